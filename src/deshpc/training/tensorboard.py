"""A callback that writes TensorBoard's event files."""

from dataclasses import asdict
from pathlib import Path

from deshpc.config import flat, resolved
from deshpc.errors import ConfigError

_FOLDER, _FILES = "tensorboard", "events.out.tfevents.*"


class TensorBoard:
    """Writes progress, evaluations and final metrics into run.directory/tensorboard as scalars over steps.

    Every report is in the file as soon as it is made: a run that is killed leaves what it has said.
    """

    def __init__(self, directory, append):
        """directory : of the run;  append : keep the files of the run that this one goes on from.  ConfigError without the library."""
        self._folder, self._append, self._writer, self._config = Path(directory) / _FOLDER, append, None, None
        self._open = _writer_class()

    def on_start(self, config):
        """Remember the options, and remove the files of a run before."""
        self._config = config
        if not self._append:
            for path in self._folder.glob(_FILES):
                path.unlink()

    def on_progress(self, entries):
        """train/...: loss, AUC, samples/s; stage/...: the share of a step that each stage takes."""
        step, seconds = entries["step"], entries["stage_s"]
        self._write(step, "train", {name: entries[name] for name in ("loss", "auc", "samples_per_s")})
        whole = sum(seconds.values())
        self._write(step, "stage", {stage.replace(" ", "_"): part / whole for stage, part in seconds.items() if whole})

    def on_evaluation(self, entries):
        """valid/...: metrics."""
        self._write(entries["step"], "valid", _metrics(entries))

    def on_end(self, result):
        """model/...: metrics of the trained model on each part."""
        for part in ("valid", "test"):
            metrics = getattr(result, part)
            if metrics is not None:
                self._write(result.best_step, "model", {f"{part}_{name}": value for name, value in _metrics(asdict(metrics)).items()})
        if self._writer:
            self._writer.close()

    def _write(self, step, group, numbers):
        if self._writer is None:  # what a run before has written from this step on is of no interest any more
            purge_step = step if self._append else None
            self._writer = self._open(str(self._folder), purge_step=purge_step, filename_suffix=f".step-{step:012d}")
            self._writer.add_text("options", "".join(f"    {name} = {value}\n" for name, value in flat(resolved(self._config)).items()))
        for name, value in numbers.items():
            if value is not None:
                self._writer.add_scalar(f"{group}/{name}", value, step)
        self._writer.flush()


def _metrics(entries):
    """What is no count and no table; of several tasks, too, as TASK.metric."""
    own = {name: value for name, value in entries.items() if isinstance(value, float)}
    return own | {f"{task}.{name}": value for task, numbers in entries.get("tasks", {}).items() for name, value in _metrics(numbers).items()}


def _writer_class():
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigError("run.tensorboard = true needs tensorboardX: pip install 'deshpc[tensorboard]'") from None
    return SummaryWriter
