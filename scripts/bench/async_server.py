"""How many samples an AUC takes: synchronous training beside an asynchronous parameter server with four workers.

    python scripts/bench/async_server.py SOURCE [--cases CASE ...] [--seeds 1 2 3] [--out docs/measured/async_server.json]

SOURCE has the raw files of MovieLens (examples/movielens/prepare.py).  The same model, rule (Adagrad on summed losses), order of samples
and local batch of 1,024 for

    synchronous, 4 x 1,024      deshpc: an update for every 4,096 samples, which N ranks make as one does (--ranks N)
    synchronous, 4 x 256        the same with an update for every 1,024 samples
    asynchronous, 4 x 1,024     async_training.py: an update for every 1,024 samples, by weights that are some updates old
    one worker, 1,024           the same server without staleness: is it deshpc's training?

Each side has the best of the same rates, by the samples to the highest level that it reaches on other held-out rows (MovieLens: valid;
generated data: another seed) than those of the figures (test; the seeds), which are means of the seeds and their ranges.  Levels are
interpolated between evaluations, every 8,192 samples (generated data: 16,384).  Workers take from pull to push 2, 2.2, 2.4 and 2.6
times as long as they compute: links take about as long as computing, and speeds differ a bit.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from async_model import Model, Samples
from async_training import Rule, Server, train
from quality import samples_until
from threadpoolctl import threadpool_limits

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
ROOT = HERE.parents[1]
RATES = {"movielens": (0.05, 0.1, 0.2, 0.4), "criteo": (0.00625, 0.0125, 0.025, 0.05)}
PACES = (2.0, 2.2, 2.4, 2.6)
WORKERS, BATCH, TUNING_SEED = 4, 1024, 11
EVERY = {"movielens": 8192, "criteo": 16_384}  # samples between evaluations
LEVELS = {"movielens": (0.86, 0.88, 0.90, 0.905, 0.91, 0.915), "criteo": (0.70, 0.71, 0.72, 0.725, 0.73, 0.735)}
CRITEO = """
[data]
format = "synthetic"
synthetic = { profile = "criteo", numeric = "bucket", train_rows = 600_000, valid_rows = 30_000, test_rows = 0 }
"""
DEEP = ["model.name=deepfm", "model.hidden=[64,32]", "model.dropout=0"]
CASES = {  # name: (data, epochs, overrides)
    "FM, MovieLens": ("movielens", 2, ["model.name=fm"]),
    "DeepFM 64-32, MovieLens": ("movielens", 2, DEEP),
    "FM, generated criteo": ("criteo", 1, ["model.name=fm"]),
    "DeepFM 64-32, generated criteo": ("criteo", 1, DEEP),
}
SIDES = {  # name: (samples of an update, workers of the server, or None for deshpc)
    "synchronous, 4 x 1,024": (WORKERS * BATCH, None),
    "synchronous, 4 x 256": (BATCH, None),
    "asynchronous, 4 x 1,024": (BATCH, PACES),
    "one worker, 1,024": (BATCH, PACES[:1]),
}
CONTROL, ITS_RATE_IS_OF = "one worker, 1,024", "synchronous, 4 x 256"


class Trainings:
    """Trainings of one case.

    folder : has the prepared rows, and room for runs;  ranks : of deshpc
    """

    def __init__(self, case, folder, ranks):
        self._data, self._epochs, self._overrides = CASES[case]
        self._folder, self._ranks = folder, ranks
        self._file = ROOT / "examples/movielens/implicit_fm.toml" if self._data == "movielens" else folder / "criteo.toml"
        if self._data == "criteo":
            self._file.write_text(CRITEO, encoding="utf-8")

    @property
    def levels(self):
        return LEVELS[self._data]

    @property
    def rates(self):
        return RATES[self._data]

    def run(self, side, rate, seed):
        """([(samples, AUC)], staleness of each push, none of a synchronous side); seed : None for the held-out rows that rates are chosen by."""
        batch, paces = SIDES[side]
        options = self._options(batch, rate, seed)
        return (self._synchronous(options, batch), []) if paces is None else self._by_server(options, batch, paces)

    def _options(self, batch, rate, seed):
        if self._data == "movielens":
            parts = {"train": "train", "valid": "test" if seed else "valid"}
            data = [f"data.{part}={self._folder / f'implicit_{file}.csv.gz'}" for part, file in parts.items()] + ["data.test=[]"]
        else:
            data = [f"data.synthetic.seed={seed or TUNING_SEED}"]
        return [
            *data, *self._overrides, "model.dim=16", "model.init_std=0.01", "optimizer.initial_accumulator=1", "optimizer.l2=0",
            f"optimizer.learning_rate={rate}", f"train.seed={seed or TUNING_SEED}", f"train.epochs={self._epochs}", "train.stop_metric=none",
            "train.shuffle_block_rows=1000000", "train.shuffle_run_rows=1", f"train.global_batch_samples={batch}",
            f"train.evaluate_every_steps={EVERY[self._data] // batch}", "compute.threads_per_rank=1", "run.save_model=false", f"run.directory={self._folder / 'run'}",
        ]  # fmt: skip

    def _synchronous(self, options, batch):
        flags = [part for option in options for part in ("--set", option)]
        command = [BIN / "mpiexec", "-n", str(self._ranks), sys.executable, "-m", "deshpc", "train", self._file, "--overwrite", *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"exit code {done.returncode}\n{done.stderr[-2000:]}")
        lines = [json.loads(line) for line in (self._folder / "run/record.jsonl").read_text(encoding="utf-8").splitlines()]
        rows = next(line["train_rows"] for line in lines if line["event"] == "ready")
        steps = -(-rows // batch)  # of an epoch
        return [
            (line["step"] // steps * rows + min(line["step"] % steps * batch, rows), line["auc"]) for line in lines if line["event"] == "valid"
        ]  # fmt: skip

    def _by_server(self, options, batch, paces):
        from deshpc.config.load import load
        from deshpc.data.input import open_input
        from deshpc.data.order import EpochOrder

        config = load(self._file, options)
        source, seed = open_input(config.data), config.train.seed
        parts = [source.load(part) for part in ("train", "valid")]
        known = np.unique(np.concatenate([part.keys for part in parts]))
        samples, held_out = (Samples(part, known, source.n_fields) for part in parts)
        model = Model(source.n_fields, config.model.dim, config.model.hidden if config.model.name == "deepfm" else ())
        base = samples.labels.mean(dtype=np.float64)
        first = model.first_weights(len(known), config.model.init_std, np.log(base / (1 - base)), np.random.default_rng(seed))
        rule = Rule(config.optimizer.learning_rate, config.optimizer.initial_accumulator, config.optimizer.l2)

        def batches():
            for epoch in range(config.train.epochs):
                order = EpochOrder(len(samples), config.train.shuffle_block_rows, seed, epoch, True)
                yield from (order.rows(begin, min(begin + batch, len(samples))) for begin in range(0, len(samples), batch))

        return train(model, Server(first, rule), samples, held_out, batches(), paces, EVERY[self._data])


def best_rate(trainings, side):
    """(rate, {rate: samples to each level}): the one with the fewest samples to the highest level that any reaches."""
    found = {rate: needed(trainings.run(side, rate, None)[0], trainings.levels) for rate in trainings.rates}
    highest = max(sum(one is not None for one in samples) for samples in found.values())
    if not highest:
        return trainings.rates[0], found
    return min((samples[highest - 1], rate) for rate, samples in found.items() if samples[highest - 1] is not None)[1], found


def needed(points, levels):
    return [samples_until(points, level) for level in levels]


def distribution(staleness):
    """{staleness: share of the pushes}, their mean and the largest."""
    counts = Counter(np.asarray(staleness).tolist())
    return {
        "mean": float(np.mean(staleness)), "largest": int(np.max(staleness)),
        "shares": {number: round(count / len(staleness), 4) for number, count in sorted(counts.items())},
    }  # fmt: skip


def studied(case, folder, seeds, ranks):
    """The JSON of a case: of each side its rates, samples to each level by seed, highest AUC by seed, and staleness."""
    trainings, sides = Trainings(case, folder, ranks), {}
    print(f"\n{case}: thousands of samples to AUC" + "".join(f"{level:>16}" for level in trainings.levels), flush=True)
    for side in SIDES:
        rate, tuning = (sides[ITS_RATE_IS_OF]["rate"], {}) if side == CONTROL else best_rate(trainings, side)
        runs = [trainings.run(side, rate, seed) for seed in seeds]
        sides[side] = {
            "rate": rate, "tuning": tuning, "samples": [needed(points, trainings.levels) for points, _ in runs],
            "highest_auc": [max(auc for _, auc in points) for points, _ in runs],
            "staleness": [distribution(staleness) for _, staleness in runs if len(staleness)],
        }  # fmt: skip
        cells = [_cell([run[i] for run in sides[side]["samples"]]) for i in range(len(trainings.levels))]
        print(f"{side:<26}rate {rate:<6}" + "".join(f"{cell:>16}" for cell in cells) + f"   highest {statistics.mean(sides[side]['highest_auc']):.4f}")
        for one in sides[side]["staleness"][:1]:
            print(f"{'':<26}staleness {one['mean']:.2f}, at most {one['largest']}: " + ", ".join(f"{k}: {share:.1%}" for k, share in one["shares"].items()))
        sys.stdout.flush()
    return {"levels": trainings.levels, "sides": sides}


def _cell(samples):
    """Mean and range in thousands."""
    if None in samples:
        return f"{sum(one is None for one in samples)} of {len(samples)} never"
    low, middle, high = (round(value / 1000) for value in (min(samples), statistics.mean(samples), max(samples)))
    return f"{middle} ({low}-{high})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "rates": RATES, "paces": PACES, "seeds": options.seeds, "cases": {}}
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder = Path(name)
        subprocess.run([sys.executable, ROOT / "examples/movielens/prepare.py", options.source, folder], check=True, stdout=subprocess.DEVNULL)
        for case in options.cases:
            result["cases"][case] = studied(case, folder, options.seeds, options.ranks)
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
