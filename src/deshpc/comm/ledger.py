"""What travelled: bytes handed to MPI, as sent by this rank, keyed by operator, kind, level and pass."""

from collections import Counter
from typing import NamedTuple


class Traffic(NamedTuple):
    """What a collective carries.

    operator : the operator's name, or "batch" for what belongs to none
    kind : "keys", "partials", "pooled", "rows", "gradients", "dense", "statistics", "labels", "metrics", "samples" or "control"
    direction : "forward", "backward", "eval", "save" or "setup"
    level : "flat", or where exchanges go node by node "inside" or "between" nodes: see `levels.py`
    """

    operator: str
    kind: str
    direction: str
    level: str = "flat"


class Ledger:
    """Sums of bytes sent by this rank.  Knows nothing of the formulas that predict them."""

    def __init__(self):
        self._bytes = Counter()

    def add(self, traffic, sent_bytes):
        """Count `sent_bytes` of `traffic`."""
        self._bytes[traffic] += int(sent_bytes)

    def of(self, **wanted):
        """Bytes over all entries whose named parts match, such as of(kind="partials", direction="forward")."""
        return sum(n for t, n in self._bytes.items() if all(getattr(t, name) == value for name, value in wanted.items()))

    def entries(self):
        """[{operator, kind, direction, level, sent_bytes}, ...] in a fixed order."""
        return [{**t._asdict(), "sent_bytes": n} for t, n in sorted(self._bytes.items())]
