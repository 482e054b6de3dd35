"""What a machine does in a second: measured by `deshpc probe`, or written down for one that nobody here has."""

from dataclasses import asdict, dataclass, field

from deshpc.errors import ConfigError, DataError
from deshpc.planner.likeness import Measured
from deshpc.storage.json_form import COUNT, parse, require
from deshpc.storage.regular_file import open_regular

_FORM = {
    "name": str, "date": str, "source": str, "ranks": COUNT, "nodes": COUNT, "threads_per_rank": COUNT, "between": {"latency_s": float, "bytes_per_s": float},
    "seconds": {str: float}, "measured": [{"shares": {str: float}, "explained_s": float, "ratio": float}],
}  # fmt: skip


@dataclass(frozen=True)
class Link:
    """What is between nodes.

    latency_s : until a collective of a few bytes is done
    bytes_per_s : out of a node, all its ranks together
    """

    latency_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Machine:
    """name, date, source : where the numbers come from
    ranks, nodes, threads_per_rank : with which they were measured: ranks side by side share caches, memory and cores
    between : Link between nodes.  It counts where the machine was measured on one node, and is that between its ranks as long as nobody
    writes another one down; on several nodes it is what messages alone take, and `seconds` has what they took in training
    seconds : {work: seconds a unit of it takes a rank}, see `planner.work`
    measured : [Measured], steps that `seconds` explain, and how well; none where they are written down
    """

    name: str
    date: str
    source: str
    ranks: int
    nodes: int
    threads_per_rank: int
    between: Link
    seconds: dict = field(default_factory=dict)
    measured: list = field(default_factory=list)

    def to_json(self):
        """As plain JSON types."""
        return {**asdict(self), "measured": [one._asdict() for one in self.measured]}

    @classmethod
    def from_file(cls, path):
        """Of a file that `deshpc probe` has written; ConfigError for any other."""
        try:
            with open_regular(path) as file:
                tree = parse(file.read())
            if isinstance(tree, dict):
                tree.setdefault("measured", [])
            require(tree, _FORM, "machine")
        except DataError as error:
            raise ConfigError(f"{error}; a machine is written by: deshpc probe --out FILE") from None
        except ValueError as error:
            raise ConfigError(f"{path}: is no machine: {error}; write one by: deshpc probe --out FILE") from None
        return cls(**{**tree, "between": Link(**tree["between"]), "measured": [Measured(**one) for one in tree["measured"]]})
