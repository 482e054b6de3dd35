"""Is what `deshpc init` writes nearly as good as a configuration by hand?   On MovieLens, on KuaiRand, as CSV and as a folder of Parquet.

    python scripts/bench/init_quality.py MOVIELENS KUAIRAND [NAME ...]

MOVIELENS, KUAIRAND : folders of raw files, see examples/movielens/README.md and examples/kuairand/README.md
NAME : of the pairs below; all where there is none

`deshpc init` sees the files, and nothing else; what it writes is trained as it stands, and so is the configuration of examples/, on the
same files.  Prints test AUC of both, and ends with an error where init's is more than 0.01 below.  One process, some minutes; Parquet
needs pandas and pyarrow.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parents[2]
PARTS = ("train", "valid", "test")
ALLOWED = 0.01


def movielens(task):
    """The three CSV files of a task; a FM by hand."""

    def make(folder, sources):
        prepare("movielens", sources[0], folder / "movielens")
        files = [folder / f"movielens/{task}_{part}.csv.gz" for part in PARTS]
        return files, "movielens", f"{task}_fm.toml", {part: [file] for part, file in zip(PARTS, files, strict=True)}

    return make


def kuairand(folder, sources):
    prepare("kuairand", sources[1], folder / "kuairand")
    files = [folder / f"kuairand/{part}.csv.gz" for part in PARTS]
    return files, "kuairand", "fm_history.toml", {part: [file] for part, file in zip(PARTS, files, strict=True)}


def kuairand_raw(folder, sources):
    """Impressions as they were logged, outcomes of all kinds beside the label; by hand without those."""
    files = [sources[1] / f"{part}.csv.gz" for part in PARTS]
    names = ("user_id", "video_id", "tab", "hourmin")
    fields = [f'{{ name = "{name}" }}' for name in names] + ['{ name = "duration_ms", kind = "dense" }']
    return files, "kuairand", "fm.toml", {part: [file] for part, file in zip(PARTS, files, strict=True)}, [f"data.fields=[{', '.join(fields)}]"]


def kuairand_parquet(folder, sources):
    """A folder day=*/rows.parquet of the same rows, bags as lists; the last day is for testing, the one before for validation."""
    import pandas

    prepare("kuairand", sources[1], folder / "csv")
    rows = pandas.concat([pandas.read_csv(folder / f"csv/{part}.csv.gz", dtype={"tag": str, "user_id": str}) for part in PARTS])
    for name in ("tag", "history_shown", "history_long_view"):
        rows[name] = rows[name].fillna("").astype(str).str.split("|").map(lambda values: [value for value in values if value])
    rows["day"] = pandas.concat([pandas.read_csv(sources[1] / f"{part}.csv.gz", usecols=["date"]) for part in PARTS])["date"]
    for day, own in rows.groupby("day"):
        (folder / f"parquet/day={day}").mkdir(parents=True)
        own.drop(columns="day").to_parquet(folder / f"parquet/day={day}/rows.parquet", index=False)
    files = sorted((folder / "parquet").glob("day=*/rows.parquet"))
    parts = {"train": files[:-2], "valid": files[-2:-1], "test": files[-1:]}
    return [folder / "parquet"], "kuairand", "fm_history.toml", parts, ['data.format="parquet"']


PAIRS = {
    "movielens implicit": movielens("implicit"), "movielens rating": movielens("rating"), "kuairand": kuairand, "kuairand raw": kuairand_raw,
    "kuairand parquet": kuairand_parquet,
}  # fmt: skip
"""{name: function of an empty folder and both sources; gives (files for init, folder in examples, its configuration, {part: files}
and, where there are such, further options for it)}"""


def prepare(example, source, target):
    run([sys.executable, HERE / f"examples/{example}/prepare.py", source, target])


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stderr}\n{' '.join(map(str, command))}: exit code {done.returncode}")
    return done.stdout


def test_auc(config, directory, overrides=()):
    """Of the model that a configuration gives."""
    options = [f"run.directory={directory}", *overrides]
    table = run([sys.executable, "-m", "deshpc", "train", config, *(part for option in options for part in ("--set", option))])
    return float(next(line.split()[-1] for line in table.splitlines() if line.startswith("test AUC")))


def main(sources, names):
    worst = 0.0
    print("| data | init | by hand | difference |\n|---|---|---|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            files, example, config, parts, *others = PAIRS[name](folder, sources)
            run([sys.executable, "-m", "deshpc", "init", *files, "--out", folder / "click.toml"])
            overrides = [f"data.{part}=[{', '.join(repr(str(path)) for path in paths)}]" for part, paths in parts.items()]
            by_init = test_auc(folder / "click.toml", folder / "run")
            by_hand = test_auc(HERE / "examples" / example / config, folder / "run_by_hand", [*overrides, *sum(others, [])])
        print(f"| {name} | {by_init:.4f} | {by_hand:.4f} | {by_init - by_hand:+.4f} |", flush=True)
        worst = min(worst, by_init - by_hand)
    if worst < -ALLOWED:
        sys.exit(f"init's is {-worst:.4f} below; {ALLOWED} is allowed")


if __name__ == "__main__":
    if len(sys.argv) < 3 or not set(sys.argv[3:]) <= set(PAIRS):
        sys.exit(__doc__)
    main([Path(folder).resolve() for folder in sys.argv[1:3]], sys.argv[3:] or list(PAIRS))
