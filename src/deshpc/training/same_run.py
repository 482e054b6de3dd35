"""Which options a run may change when it goes on from a checkpoint, and which would make it another run."""

from deshpc.config import Config, flat, resolved
from deshpc.errors import ConfigError

_MAY_DIFFER = (
    "train.epochs", "train.split", "train.exchange", "train.routing", "train.key_numbers", "train.levels", "train.machine", "train.overlap", "train.evaluate_every_steps",
    "train.watchdog_s", "train.from", "model.first_layer", "model.expected_rows", "metrics", "checkpoint", "compute", "run", "data.train", "data.valid", "data.test",
)  # fmt: skip
_ABSENT = "missing"


def require_same_run(saved, here, folder):
    """ConfigError, naming option and both values, where resolved configurations differ in what makes the run.

    saved, here : nested dictionaries, of the checkpoint in `folder` and of this run
    Files may have moved, also the model that the run started from, which is not read again; ranks, threads, splits and exchanges add up the same numbers, and expected rows are memory alone;
    epochs may be added unless a learning rate falls until the end of the run.  An option that the checkpoint's version did not have yet
    was as it is by default now.
    """
    before, now, usual = flat(saved), flat(here), flat(resolved(Config()))
    optimizer = here["optimizer"]
    for name in {**before, **now}:
        one, other = before.get(name, usual.get(name, _ABSENT)), now.get(name, _ABSENT)
        if one == other:
            continue
        if not any(name == option or name.startswith(f"{option}.") for option in _MAY_DIFFER):
            raise ConfigError(
                f"--resume: {name} = {other!r}, but the checkpoint in {folder} was made with {one!r}: set it as it was, "
                "or start a new run in another run.directory"
            )
        if name == "train.epochs" and optimizer["decay"] in ("linear", "cosine") and not optimizer["decay_steps"]:
            raise ConfigError(
                f"--resume: train.epochs = {other!r}, but the checkpoint in {folder} was made with {one!r}, and "
                "optimizer.decay_steps = 0 has the learning rate fall until the last of them"
            )
