"""Type hints of what `deshpc` exports: a user's program that is right passes a strict check, and each mistake in one is found."""

import re
import sys
from pathlib import Path

import pytest

import deshpc

mypy = pytest.importorskip("mypy.api")

RIGHT = '''
import numpy
import polars
from mpi4py import MPI

import deshpc

frame = polars.DataFrame({"user": [1, 2], "click": [0, 1]})
result: deshpc.TrainResult = deshpc.train({"model": {"name": "lr"}}, train=frame, valid={"user": [1], "click": [0]})
if isinstance(result.valid, deshpc.Metrics) and result.valid.auc is not None:
    print(result.valid.auc + 0.5, result.bytes_per_sample["rows"] * 2, [row + 1 for row in result.rows_per_rank])
metrics = deshpc.evaluate("runs/latest", MPI.COMM_SELF, ["train.global_batch_samples=8"], data=["rows.csv"])
model = deshpc.Classifier("fm", dim=4, early_stopping_rounds=2, fields={"user": "categorical"})
model = model.fit(frame, [0, 1], eval_set=(frame, [0, 1]), sample_weight=numpy.ones(2)).partial_fit(frame, [0, 1])
print(model.predict_proba(frame)[:, 1].mean(), model.set_params(dim=3).classes_, deshpc.Classifier.load("m").score(frame, [0, 1]))
print(deshpc.export("runs/latest", "m").upper(), deshpc.Predictor("m", copy=True).predict_one({"user": 1}) + 1)
config = deshpc.Config()
print(config.train.epochs + 1, config.model.hidden[0], config.data.fields[0].kind.upper())


class Told(deshpc.Callback):
    def on_evaluation(self, entries: dict[str, object]) -> None:
        print(entries)


with deshpc.ranks() as comm:
    try:
        deshpc.train("c.toml", comm, callbacks=[Told()])
    except deshpc.ConfigError as error:
        print(error.exit_code + 1)
'''

MISTAKES = {
    'deshpc.train("c.toml", epochs=3)': "call-arg",
    'deshpc.train("c.toml", train=3)': "arg-type",
    'deshpc.train("c.toml").test.auc': "union-attr",
    'deshpc.evaluate("run", part=1)': "arg-type",
    'deshpc.Classifier(dims=3)': "call-arg",
    'deshpc.Classifier("fm").fit([[1]])': "call-arg",
    'deshpc.Classifier("fm").predict_prob([[1]])': "attr-defined",
    'deshpc.Predictor("m").predict_one({"user": 1}).upper()': "union-attr",
    'deshpc.Config().train.epoch': "attr-defined",
    'deshpc.trian("c.toml")': "attr-defined",
}


def test_a_right_program_passes_and_mistakes_are_found(tmp_path, monkeypatch):
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text("import deshpc\n" + "".join(f"{line}\n" for line in MISTAKES))
    monkeypatch.setenv("MYPYPATH", str(Path(deshpc.__file__).parents[1]))
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"), "--python-executable", sys.executable]
    out, errors, _ = mypy.run([*options, str(tmp_path / "right.py"), str(tmp_path / "wrong.py")])
    found = [match for match in map(re.compile(r".*?(\w+)\.py:(\d+): error: .*\[(.+)\]$").match, out.splitlines()) if match]
    assert [one[0] for one in found if one[1] != "wrong"] == [] and not errors, out
    assert {(int(one[2]) - 2, one[3]) for one in found} == {*enumerate(MISTAKES.values())}


def test_what_is_exported_is_there_and_typed():
    assert {*deshpc.__all__} <= {*dir(deshpc)} and all(getattr(deshpc, name) for name in deshpc.__all__)
    package = Path(deshpc.__file__).parent
    assert (package / "py.typed").exists() and "deshpc = py.typed," in (package.parents[1] / "setup.cfg").read_text()
    checked = re.findall(r"^    from (\S+) import (\w+) as \2$", (package / "__init__.py").read_text(), re.MULTILINE)
    assert {name: module for module, name in checked} == deshpc._HOMES  # what a checker sees is what is loaded
