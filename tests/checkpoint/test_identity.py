"""Parts of two runs are never one model: whoever puts them together, and however right sizes and checksums are.

The expectation is the pair of models that were written apart: each alone is sound, every mixture is named by the file that does
not belong, when it is written, read, verified and exported.
"""

import json
import shutil

import pytest
from saved_models import RUN, plain_manifest, random_rows, single_rank, write_model

from deshpc.checkpoint.folders import partial, remove_leftovers, step_folder
from deshpc.checkpoint.load import dense_parameters, row_blocks, verify
from deshpc.checkpoint.manifest import NAME, identity, read_manifest, write_manifest
from deshpc.checkpoint.save import complete, prepare
from deshpc.cli.inspect import inspect
from deshpc.errors import DataError
from deshpc.training.cursor import Cursor

OTHER = "fedcba9876543210"
PARTS = ("dense", "rank-00000-of-00002.rows", "rank-00001-of-00002.rows")


def written(folder, run=RUN, steps=7, **how):
    return write_model(folder, [random_rows(1, 7, high=2**63), random_rows(2, 5, low=2**63)], steps=steps, run=run, **how)


def rewritten(folder, **entries):
    """Let the manifest say what is there, under a right checksum, as a run that takes whatever it finds."""
    manifest = {**json.loads((folder / NAME).read_text()), **entries}
    del manifest["crc32"]
    write_manifest(folder, {**manifest, "files": {name: identity(folder / name) for name in PARTS}})


OTHERS = {"run": {"run": OTHER}, "steps": {"steps": 8}}


@pytest.mark.parametrize("differs", OTHERS)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_write_is_named_by_all_who_read_it(tmp_path, part, differs):
    folder, other = written(tmp_path / "model"), written(tmp_path / "other", **OTHERS[differs])
    assert verify(folder)["run"] == RUN and verify(other)["rows"] == [7, 5]
    shutil.copyfile(other / part, folder / part)
    rewritten(folder)
    manifest, dense = read_manifest(folder), part == "dense"
    readers = [lambda: verify(folder), lambda: inspect(folder), lambda: inspect(tmp_path)]
    readers.append((lambda: dense_parameters(folder, manifest)) if dense else (lambda: list(row_blocks(folder, manifest))))
    for reader in readers:
        with pytest.raises(DataError, match=f"model/{part}: a part of another model: its {differs} is "):
            reader()
    (dense_parameters if not dense else lambda *where: list(row_blocks(*where)))(folder, manifest)  # the other parts are sound


def test_rows_of_another_rank_are_named(tmp_path):
    folder = written(tmp_path / "model")
    shutil.copyfile(folder / PARTS[1], folder / PARTS[2])
    rewritten(folder)
    with pytest.raises(DataError, match=f"{PARTS[2]}: a part of another model: its rank is 0; the manifest says 1"):
        verify(folder)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("differs", OTHERS)
def test_a_writer_counts_only_its_own_files(tmp_path, part, differs):
    """One of them is another's, under the name and at the place of its own: nothing appears."""
    source, other = written(tmp_path / "source"), written(tmp_path / "other", **OTHERS[differs])
    folder = tmp_path / "model"
    new = partial(folder, RUN)
    new.mkdir()
    for name in PARTS:
        shutil.copyfile((other if name == part else source) / name, new / name)
    with pytest.raises(DataError, match=f"{part}: a part of another model: its {differs}"):
        complete(folder, plain_manifest(2, 7))
    assert not folder.exists()
    shutil.copyfile(source / part, new / part)
    complete(folder, plain_manifest(2, 7))
    assert verify(folder)["rows"] == [7, 5]


def test_two_runs_never_write_to_the_same_folder(tmp_path):
    """Ranks that outlive their run write to its own; the next run removes what the last one left, and nothing of anybody else."""
    folder = step_folder(tmp_path, 7)
    for run in (RUN, OTHER):
        prepare(single_rank(), folder, plain_manifest(1, 7, run=run))
        (partial(folder, run) / "dense").write_text(run)
    assert [(partial(folder, run) / "dense").read_text() for run in (RUN, OTHER)] == [RUN, OTHER]
    for name in ("mine.partial", "step-1.old"):
        (folder.parent / name).mkdir()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["mine.partial", "step-1.old"]


def test_a_checkpoint_takes_only_the_best_model_of_its_run(tmp_path):
    model, progress = written(tmp_path / "model", steps=3), {"best_step": 3, "best_run": RUN}
    folder = step_folder(tmp_path, 7)
    for wrong in ({"best_step": 4}, {"best_run": OTHER}, {"best_run": None}):
        with pytest.raises(DataError, match="model: is a model after 3 steps of run .* expected the best model of this run"):
            prepare(single_rank(), folder, plain_manifest(2, 7, progress={**progress, **wrong}), model)
    prepare(single_rank(), folder, plain_manifest(2, 7, progress=progress), model)
    assert sorted(path.name for path in (partial(folder, RUN) / "best").iterdir()) == sorted([NAME, *PARTS])


def test_the_best_model_inside_belongs_to_the_checkpoint(tmp_path):
    progress = {"best_step": 3, "best_run": RUN, "stopping": None}
    folder = written(tmp_path / "step", progress=progress)
    written(folder / "best", steps=3)
    verify(folder)
    shutil.rmtree(folder / "best")
    written(folder / "best", run=OTHER, steps=3)
    with pytest.raises(DataError, match=f"best: is a model of run '{OTHER}'; expected '{RUN}'"):
        verify(folder)


def test_inspect_says_which_record_is_a_model_s(tmp_path):
    written(tmp_path / "model")
    written(tmp_path / "checkpoints" / "step-000000000007", run=OTHER)
    lines = [{"event": "start", "time_s": 0.0, "version": "0", "run": RUN, "config": {}}, {"event": "ready", "run": OTHER}]
    (tmp_path / "record.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model, checkpoint = (inspect(folder) for folder in (tmp_path / "model", tmp_path / "checkpoints" / "step-000000000007"))
    assert f"{RUN}, in {tmp_path / 'record.jsonl'}" in model and f"{OTHER}, not in {tmp_path / 'record.jsonl'}" in checkpoint


def test_a_checkpoint_of_a_stream_from_before_pieces_is_read(tmp_path):
    stream = {"file": "rows.csv", "row": 3, "done": False, "mean_weight": 1.0, "field_keys": [1.0]}
    folder = written(tmp_path / "step", progress={"stream": stream})
    assert Cursor.from_manifest(read_manifest(folder), folder).stream == stream
