"""What labels may be, by the loss that learns them.

    classes   two: 0 and 1, or what `formats.labels` makes 0 and 1
    counts    numbers of 0 or more
    numbers   any finite numbers
"""

LABELS = {"log": "classes", "poisson": "counts", "squared": "numbers"}
"""By `train.loss`."""


def kinds_of(losses):
    """What labels are by the loss that learns them, or a tuple of that by the losses of several tasks."""
    return LABELS[losses] if isinstance(losses, str) else tuple(LABELS[loss] for loss in losses)


EXPECTED = {
    "classes": "0 or 1",
    "counts": "a number of 0 or more that float32 has, as a label of train.loss = 'poisson' is",
    "numbers": "a finite number that float32 has, as a label of train.loss = 'squared' is",
}
"""What a label is, for a message."""

OTHER_LOSSES = "; where labels are numbers, train.loss = 'squared' or 'poisson' learns them"
"""What is to be said where a label is of no class."""

MOST = (2 - 2.0**-23) * 2.0**127  # of float32
LEAST = {"classes": 0.0, "counts": 0.0, "numbers": -MOST}
"""The largest label, and the smallest one."""
