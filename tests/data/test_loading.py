"""Data sets read by several workers: against Python's splitting and the definition of a key, and one worker to the bit."""

import gzip
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from thread_workers import Threads

from deshpc.config import ComputeConfig, Config, DataConfig, FieldConfig
from deshpc.data import fitting
from deshpc.data.dataset import ARRAYS
from deshpc.data.fitting import Fitting
from deshpc.data.input import open_input
from deshpc.data.samples import unfinished
from deshpc.errors import DataError
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.hashing.key import key


def criteo_line(rng, label=None):
    integers = ["" if rng.random() < 0.3 else str(rng.choice([0, 1, 7, -2, 123, 20_000, 3_000_000])) for _ in range(13)]
    return "\t".join([label or rng.choice("01"), *integers, *(f"{rng.randrange(9 + 90 * i):08x}" for i in range(26))])


def libffm_line(rng, label=None):
    return " ".join([label or rng.choice("01"), *(f"{rng.randrange(3)}:{rng.randrange(40)}:0.5" for _ in range(rng.randrange(5)))])


def csv_line(rng, label=None):
    cells = [f"s{rng.randrange(9)}", "|".join(f"t{rng.randrange(5)}" for _ in range(rng.randrange(4))), str(rng.randrange(40))]
    return ",".join([label or rng.choice("01"), *cells, rng.choice(["", "1.5", "-3"])])


def quoted_line(rng, label=None):
    """Sites are quoted, and some have a line end."""
    label, site, *cells = csv_line(rng, label).split(",")
    return ",".join([label, f'"{site}{rng.choice(["", chr(10), chr(10) * 2])}"', *cells])


def tsv_line(rng, label=None):
    return csv_line(rng, label).replace(",", "\t")


FIELDS = (
    FieldConfig("site"), FieldConfig("tags", "multi", pooling="mean"), FieldConfig("age", "bucket", buckets=4),
    FieldConfig("price", "dense"),
)  # fmt: skip
KINDS = {
    "criteo": (criteo_line, {"format": "criteo"}, ""),
    "criteo, buckets": (criteo_line, {"format": "criteo", "criteo_numeric": "bucket"}, ""),
    "libffm": (libffm_line, {"format": "libffm", "libffm_fields": 3}, ""),
    "csv": (csv_line, {"format": "csv", "fields": FIELDS}, "label,site,tags,age,price\n"),
    "csv, quoted": (quoted_line, {"format": "csv", "fields": FIELDS}, "label,site,tags,age,price\n"),
    "tsv": (tsv_line, {"format": "tsv", "fields": FIELDS}, "label\tsite\ttags\tage\tprice\n"),
}
ENDS = ("\n", "\r\n")


def write(folder, kind, rows=(70, 1, 133), seed=0, bad=False):
    """Files of random rows, some lines of which are bad ones or blank; their DataConfig, and the lines of each file."""
    line_of, options, header = KINDS[kind]
    rng, paths, lines = random.Random(seed), [], []
    for number, count in enumerate(rows):
        own = [line_of(rng) for _ in range(count)]
        if bad:
            for place in sorted(rng.sample(range(count), count // 7)):
                own[place] = rng.choice(["", line_of(rng, "2"), "1"]) if kind != "libffm" else rng.choice(["", "2 0:1:1", "1 7"])
        text = header + "".join(one + rng.choice(ENDS) for one in own) + line_of(rng)  # the last line has no end
        paths.append(folder / f"{number}.txt")
        paths[-1].write_text(text, newline="")
        lines.append(text.removeprefix(header).splitlines())
    policy = "skip" if bad else "error"
    return DataConfig(train=tuple(map(str, paths)), test=(str(paths[0]),), on_bad_row=policy, **options), lines


def same_bits(one, other):
    for name in ARRAYS:
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        assert a is None or (a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()), name


def facts(source):
    return [(source.bad_rows[part].count, source.bad_rows[part].examples) for part in ("train", "test")], source.state()


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_workers_reads_the_same(tmp_path, monkeypatch, kind, bad):
    monkeypatch.setattr(fitting, "MOMENT_ROWS", 16)
    config, _ = write(tmp_path, kind, bad=bad)
    one = open_input(config)
    expected = {part: one.load(part) for part in ("train", "test")}
    assert (one.bad_rows["train"].count > 0) == bad
    for size in (2, 3, 8, 50):
        several = open_input(config)
        for part in ("train", "test"):
            same_bits(several.load(part, Threads(size)), expected[part])
        assert facts(several) == facts(one)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("bad", [False, True])
def test_criteo_rows_become_their_samples(tmp_path, size, bad):
    config, lines = write(tmp_path, "criteo", bad=bad)
    rows = [one.split("\t") for own in lines for one in own if len(one.split("\t")) == 40 and one[0] in "01"]
    assert len(rows) < sum(map(len, lines)) or not bad
    source = open_input(config)
    found = source.load("train", Threads(size))
    assert found.labels.tolist() == [float(row[0]) for row in rows]
    assert found.keys.tolist() == [key(i, f"C{i + 1}", value) for row in rows for i, value in enumerate(row[14:])]
    assert found.fields.tolist() == list(range(26)) * len(rows)
    assert found.offsets.tolist() == list(range(0, 26 * len(rows) + 1, 26))
    for j in range(13):
        logs = [math.copysign(math.log1p(abs(int(row[j + 1]))), int(row[j + 1])) if row[j + 1] else None for row in rows]
        present = [z for z in logs if z is not None]
        mean = math.fsum(present) / len(present)
        std = math.sqrt(math.fsum((z - mean) ** 2 for z in present) / len(present))
        wanted = [0 if z is None else (z - mean) / std for z in logs]
        np.testing.assert_allclose(found.dense[:, j], wanted, rtol=1e-5, atol=1e-6)
        assert abs(source.transforms.dense[j].mean - mean) < 1e-6 and abs(source.transforms.dense[j].std - std) < 1e-6


def test_compressed_files_are_the_same_rows(tmp_path):
    config, _ = write(tmp_path, "criteo", bad=True)
    zipped = []
    for path in config.train:
        with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as file:
            file.write(plain.read())
        zipped.append(f"{path}.gz")
    for paths in (zipped, [config.train[0], *zipped[1:]]):
        for size in (1, 2, 5):
            one, other = open_input(config), open_input(replace(config, train=tuple(paths)))
            same_bits(one.load("train"), other.load("train", Threads(size)))
            assert one.state() == other.state() and one.bad_rows["train"].count == other.bad_rows["train"].count


@pytest.mark.parametrize("kind", ["criteo", "libffm"])
def test_the_first_bad_row_of_the_files_is_the_error_whoever_reads_it(tmp_path, kind):
    config, lines = write(tmp_path, kind, rows=(90,))
    path = config.train[0]
    for place in (0, 44, 89):
        own = [*lines[0]]
        own[place] = own[-1] = "2" + own[place][1:]
        with open(path, "w", newline="") as file:
            file.write("\n".join(own))
        for size in (1, 2, 7, 200):
            with pytest.raises(DataError, match=f"{path}, line {place + 1}, field '.*': .2. is not 0"):
                for result in [open_input(config).load("train", InOrder(size))]:
                    assert result is None


class InOrder(Threads):
    """Workers whose first error is raised when all are done, as that of ranks is."""

    def run(self, task):
        results, errors = [], []
        for worker in self.own:
            try:
                results.append(task(worker))
            except DataError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return results


def test_files_that_grow_while_they_are_read_are_an_error(tmp_path, monkeypatch):
    config, _ = write(tmp_path, "criteo")
    reader = type(open_format(config))
    room = reader.room
    monkeypatch.setattr(reader, "room", lambda self, parts: tuple(np.subtract(room(self, parts), (1, 26)).tolist()))
    with pytest.raises(DataError, match="grown while they were read"):
        open_input(config).load("train")


@pytest.mark.parametrize("kind", ["criteo", "criteo, buckets", "csv"])
def test_what_is_fitted_depends_on_neither_blocks_nor_workers(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fitting, "MOMENT_ROWS", 32)
    monkeypatch.setattr(fitting, "SAMPLED_ROWS", 64)
    config, _ = write(tmp_path, kind)
    source = open_input(config)
    source.load("train", Threads(3))
    for chunk_bytes in (1, 700, 100_000):
        reader = open_format(config)
        reader._chunk_bytes = chunk_bytes
        stream = Fitting(reader.schema)
        for columns in reader.blocks(config.train, BadRows("error")):
            stream.add(columns, unfinished(columns, reader.schema).dense)
        assert stream.finish() == source.transforms


@pytest.mark.mpi
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_ranks_and_threads_read_what_one_reads(world, tmp_path_factory, capfd, kind, threads):
    from deshpc.training.session import Session

    config = None
    if world.rank == 0:
        config, _ = write(tmp_path_factory.mktemp("load"), kind, bad=True)
    config = world.bcast(config)
    one, session = open_input(config), Session(Config(data=config, compute=ComputeConfig(threads_per_rank=threads)), world)
    session._nothing_compiled = threads == 2
    for part in ("train", "test"):
        same_bits(session.load(part), one.load(part))
        skipped = one.bad_rows[part]
        assert session.skipped[part] == {"count": skipped.count, "examples": skipped.examples}
    assert session.input.state() == one.state() == session.input_state()  # every rank knows the transforms
    assert capfd.readouterr().err.count("bad rows were skipped") == (2 if world.rank == 0 else 0)
    session.close()


@pytest.mark.mpi
def test_an_error_of_one_rank_is_that_of_all(world, tmp_path_factory):
    from deshpc.training.session import Session

    config = None
    if world.rank == 0:
        config, lines = write(tmp_path_factory.mktemp("error"), "criteo", rows=(200,))
        with open(config.train[0], "a") as file:
            file.write("\nnot a row\n")
    config = world.bcast(config)
    session = Session(Config(data=config, compute=ComputeConfig(threads_per_rank=1)), world)
    with pytest.raises(DataError, match=f"{config.train[0]}, line 202: the row has 1 cells; expected 40"):
        session.load("train")
    assert len(session.group.gather(world.rank)) == world.size  # all ranks are still together
    session.close()


@pytest.mark.mpi
def test_synthetic_samples_do_not_depend_on_who_generates_them(world):
    from deshpc.training.session import Session

    synthetic = replace(Config().data.synthetic, profile="history", train_rows=101)
    config = Config(data=replace(Config().data, format="synthetic", synthetic=synthetic))
    session = Session(config, world)
    same_bits(session.load("train"), open_input(config.data).load("train"))
    session.close()
