"""Where ranks are in a run, in words."""

from dataclasses import dataclass

WAIT = "wait"
"""The stage in which a rank waits for others that read, compile or load."""


def nowhere(stage, works=False):
    """`Watchdog.enter` where nobody watches."""


@dataclass(frozen=True)
class Place:
    """Where a rank is: after how many moves, in which step and stage, for how long, and at which line of Python."""

    moves: int
    step: int
    stage: str
    idle_s: float
    line: str


def describe(places, silent, limit_s):
    """One line of text about {rank: Place}: ranks that are silent first, then those that are behind the others.

    Who waits for the others' work before the steps begin may have made fewer moves than they, and does not hold them up.
    """
    groups = {}
    for rank, place in sorted(places.items()):
        groups.setdefault((place.step, place.stage), []).append(rank)
    parts = [f"{_names(sorted(silent))} {'does' if len(silent) == 1 else 'do'} not answer"] if silent else []
    for (step, stage), ranks in sorted(groups.items(), key=lambda group: (group[0][1] == WAIT, places[group[1][0]].moves)):
        place = max((places[rank] for rank in ranks), key=lambda place: place.idle_s)
        line = f" ({place.line})" if place.line else ""
        parts.append(f"{_names(ranks)} in {stage!r} of step {step} for {place.idle_s:.0f} s{line}")
    return f"no progress for {limit_s:g} s (train.watchdog_s): {'; '.join(parts)}"


def _names(ranks):
    """rank 3; ranks 0-2, 5."""
    runs = []
    for rank in ranks:
        if runs and runs[-1][-1] == rank - 1:
            runs[-1][-1] = rank
        else:
            runs.append([rank, rank])
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    return f"rank {texts[0]}" if len(ranks) == 1 else f"ranks {', '.join(texts)}"
