"""What a run tells while it goes: callbacks and TensorBoard's files against the record, the screen against early stopping's rule."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import deshpc
from deshpc.config.load import build
from deshpc.errors import ConfigError
from deshpc.training.reports import METHODS, CallbackError

DOCUMENT = Path(__file__).parents[2] / "docs" / "report.md"


class Listener:
    """Keeps what it is told, as (method, what); fails in one method if asked to."""

    def __init__(self, fails_in=None):
        self.heard, self._fails_in = [], fails_in

    def _hear(self, method, what):
        self.heard.append((method, what))
        if method == self._fails_in:
            raise ValueError("on purpose")

    def on_start(self, config):
        self._hear("on_start", config)

    def on_progress(self, entries):
        self._hear("on_progress", entries)

    def on_evaluation(self, entries):
        self._hear("on_evaluation", entries)

    def on_end(self, result):
        self._hear("on_end", result)


class Ended:
    """Has one of the methods only."""

    def __init__(self):
        self.results = []

    def on_end(self, result):
        self.results.append(result)


def config_of(folder, **run):
    """A run of a second that learns the data by heart: the validation part gets worse, and it stops early."""
    return build(
        {
            "data": {"format": "synthetic", "synthetic": {"train_rows": 1000, "valid_rows": 300, "test_rows": 300}},
            "model": {"dim": 5},
            "optimizer": {"learning_rate": 0.5},
            "train": {
                "global_batch_samples": 256, "precision": "float64", "epochs": 50, "evaluate_every_steps": 3, "stop_metric": "log_loss",
                "stop_patience": 2,
            },
            "run": {"directory": str(folder), "report_interval_s": 1e-6, **run},
        }
    )  # fmt: skip


def lines(folder, event):
    """The record's lines of an event, without what all lines have."""
    read = map(json.loads, (folder / "record.jsonl").read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in line.items() if name not in ("event", "time_s")} for line in read if line["event"] == event]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """(folder, Listener, Ended, TrainResult) of a run on one rank that writes TensorBoard's files."""
    pytest.importorskip("tensorboardX")
    folder, listener, ended = tmp_path_factory.mktemp("told"), Listener(), Ended()
    result = deshpc.train(config_of(folder, tensorboard=True), _own_rank(), callbacks=[ended, listener])
    return folder, listener, ended, result


def _own_rank():
    from mpi4py import MPI

    return MPI.COMM_SELF


def test_callbacks_hear_what_the_record_has(told):
    folder, listener, ended, result = told
    (first, config), *between, (last, at_end) = listener.heard
    assert (first, last) == ("on_start", "on_end") and config.run.directory == str(folder)
    assert at_end is result and ended.results == [result]
    for method, event in (("on_progress", "progress"), ("on_evaluation", "valid")):
        heard = [what for name, what in between if name == method]
        assert heard == lines(folder, event) and len(heard) >= 4
    evaluations = [what["step"] for name, what in between if name == "on_evaluation"]
    assert evaluations == [step for step in range(1, result.steps + 1) if step % 4 in (0, 3)]  # 4 steps an epoch
    assert [line["step"] for line in lines(folder, "progress")] == list(range(1, result.steps + 1))


def test_stages_fill_the_time_of_training(told):
    folder, _, _, result = told
    reported = [line["stage_s"] for line in lines(folder, "progress")]
    stages = {"read", "route", "look up", "start", "exchange", "learn", "give back", "update", "callback"}
    assert set().union(*reported) == stages
    assert all(seconds > 0 for line in reported for seconds in line.values())
    assert 0.5 < sum(sum(line.values()) for line in reported) / (result.samples / result.samples_per_s) <= 1.001


def test_the_record_says_why_a_run_stopped(told):
    folder, _, _, result = told
    (stopped,) = lines(folder, "stopped")
    losses = {line["step"]: line["log_loss"] for line in lines(folder, "valid")}
    best = min(losses, key=losses.get)
    assert stopped == {"step": result.steps, "best_step": best, "why": result.stopped} and result.best_step == best
    assert [step for step in losses if step > best] == sorted(losses)[-2:]  # patience
    assert result.valid.log_loss == losses[best] and result.stopped == "valid log-loss has not gained for 2 evaluations in a row"


def test_tensorboard_reads_what_was_written(told):
    module = "tensorboard.backend.event_processing.event_accumulator"
    reader = pytest.importorskip(module, reason="TensorBoard's reader is not installed: pip install tensorboard")
    folder, _, _, result = told
    events = reader.EventAccumulator(str(folder / "tensorboard"), {"scalars": 0}).Reload()

    def curve(name):
        return [(one.step, one.value) for one in events.Scalars(name)]

    def recorded(event, entry):
        return [(line["step"], pytest.approx(line[entry], rel=1e-6)) for line in lines(folder, event) if line[entry] is not None]

    assert curve("train/loss") == recorded("progress", "loss") and curve("train/samples_per_s") == recorded("progress", "samples_per_s")
    assert curve("valid/auc") == recorded("valid", "auc") and curve("valid/calibration") == recorded("valid", "calibration")
    assert curve("model/test_log_loss") == [(result.best_step, pytest.approx(result.test.log_loss, rel=1e-6))]
    assert len(curve("stage/look_up")) == result.steps and all(0 < share < 1 for _, share in curve("stage/look_up"))
    assert "model.dim = 5" in str(events.Tensors("options/text_summary")[0].tensor_proto)


def test_the_screen_shows_evaluations_and_why_a_run_stopped(world, tmp_path, capsys):
    if world.size > 1:
        pytest.skip("one screen is enough")
    result = deshpc.train(config_of(tmp_path), world)
    said = capsys.readouterr().err.splitlines()
    shown = [line for line in said if line.startswith("step ")]
    wanted = [
        f"step {line['step']}  valid AUC {line['auc']:.5f}  log-loss {line['log_loss']:.5f}  NE {line['normalized_entropy']:.4f}  "
        f"calibration {line['calibration']:.4f}"
        for line in lines(tmp_path, "valid")
    ]
    assert [line.removesuffix("  best so far") for line in shown] == wanted
    assert max(i for i, line in enumerate(shown) if line.endswith("best so far")) == len(shown) - 3
    assert f"stopped early: {result.stopped}; the model is that of step {result.best_step}" in said
    deshpc.evaluate(tmp_path, world)
    words = f"step {result.best_step}  test AUC {result.test.auc:.5f}  log-loss {result.test.log_loss:.5f}  NE "
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith(words)]


@pytest.mark.mpi
def test_callbacks_are_called_on_the_first_rank_only(world, shared_folder):
    listener = Listener()
    deshpc.train(config_of(shared_folder), world, ["train.epochs=1"], callbacks=[listener])
    methods = {method for method, _ in listener.heard}
    assert methods == (set(METHODS) if world.rank == 0 else set())


@pytest.mark.mpi
@pytest.mark.parametrize("method", METHODS)
def test_what_a_callback_raises_is_raised_on_every_rank(world, shared_folder, method):
    if method == "on_progress" and world.size > 1:
        pytest.skip("ends the job: one rank meets it in the middle of training")
    with pytest.raises(CallbackError, match=rf"Listener\.{method} failed: ValueError: on purpose \(test_reports\.py, line \d+\)") as caught:
        deshpc.train(config_of(shared_folder), world, ["train.epochs=1"], callbacks=[Listener(fails_in=method)])
    assert isinstance(caught.value.__cause__, ValueError) == (world.rank == 0)


@pytest.mark.mpi
def test_an_object_that_would_never_be_called_is_refused(world, shared_folder):
    with pytest.raises(ConfigError, match="has none of the methods on_start, on_progress"):
        deshpc.train(config_of(shared_folder), world, callbacks=[SimpleNamespace(on_epoch=print)])


def test_tensorboard_without_its_library_says_what_to_install(world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'deshpc[tensorboard]'")):
        deshpc.train(config_of(tmp_path, tensorboard=True), world)


def test_a_run_that_goes_on_takes_its_event_files_along(tmp_path):
    """A new run removes those of the run before; a reader of one that goes on sees no step twice."""
    pytest.importorskip("tensorboardX")
    from deshpc.training.tensorboard import TensorBoard

    def write(append, *steps):
        board = TensorBoard(tmp_path, append)
        board.on_start(config_of(tmp_path))
        for step in steps:
            board.on_progress({"step": step, "loss": step / 10, "auc": None, "samples_per_s": 1.0, "stage_s": {"learn": 1.0}})
        board.on_end(SimpleNamespace(valid=None, test=None))

    write(False, 7)
    write(False, 1, 2, 3)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    write(True, 3, 4)
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed")
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [one.step for one in events.Scalars("train/loss")] == [1, 2, 3, 4]


def test_the_example_of_mlflow(world, tmp_path, monkeypatch):
    """The document's text is run, with a module that keeps what it is told."""
    logged = {"params": [], "metrics": []}
    stand_in = SimpleNamespace(
        log_params=logged["params"].append, log_metrics=lambda metrics, step: logged["metrics"].append((step, metrics))
    )
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    (code,) = re.findall(r"```python\n(import mlflow.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.setattr(deshpc, "train", lambda config, callbacks: train(config_of(tmp_path), world, callbacks=callbacks))
    train = sys.modules["deshpc.training.api"].train
    exec(code, {})
    (params,) = logged["params"]
    assert params["model.dim"] == 5 and params["run.directory"] == str(tmp_path)
    wanted = [(line["step"], {name: line[name] for name in ("auc", "log_loss", "calibration")}) for line in lines(tmp_path, "valid")]
    assert [entry for entry in logged["metrics"] if "calibration" in entry[1]] == wanted
    assert [entry for entry in logged["metrics"] if "loss" in entry[1]] == [
        (line["step"], {"loss": line["loss"]}) for line in lines(tmp_path, "progress")
    ]


@pytest.fixture
def shared_folder(world, tmp_path):
    """Rank 0's folder, on all ranks."""
    return Path(world.bcast(str(tmp_path)))
