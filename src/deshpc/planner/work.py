"""The work of a rank in a training step, counted stage by stage in units that take a machine a time of their own.

    B, b = B / N     samples of the global batch, of a rank's share;  m keys a sample
    D                distinct keys of the global batch at an owner;  d of a local batch

    stage       unit            how many
    read        samples         B where every rank reads all, else b
    route       found           b m where keys travel, B m + b m where owners find out themselves what each home asks for
                packed          occurrences that are sent and received as partials' keys: b m + B m / N
                numbered        keys that are sent, or not, as numbers: d of other nodes; at both sides together
    look up     scanned         B m where every rank reads all: each owner picks its own
                rows            D, or d of N ranks' requests where keys travel
    start,      read_rows       occurrences that are added up, and that gradients are added up for
    give back   terms           the same, times the row's numbers
                gathered        distinct rows that are read, times cache lines
                owned           multiplications of the layers that owners compute, three times: forward, and two products back
    learn       sums            samples of the top, times the state's numbers
                multiplications of its dense layers, three times
    exchange,   moved           bytes that a rank sends to ranks of its node: they are written and read, and waited for
    route,      crossed         bytes that the busiest node sends to other nodes, or gets from them, all its ranks together
    give back   messages        kinds of them
    update      updated         D times cache lines of a record
                dense           parameters that are added up over ranks
    any         steps           1: calls

Where the next batch is prepared while partials travel (`Model.overlaps`), reading and looking up take no time of their own, as
long as they take less than that; and keys that travel a step ahead (`Model.routes_ahead`) take none, as long as ranks have other work meanwhile.
"""

import math
from typing import NamedTuple

from deshpc.planner.likeness import factor

LINE = 64  # bytes

STAGES = {
    ("read",): ("samples",), ("look up",): ("scanned", "rows"), ("learn",): ("sums", "multiplications"), ("update",): ("updated", "dense"),
    ("route", "start", "exchange", "give back"): ("found", "packed", "read_rows", "terms", "gathered", "owned", "moved", "crossed", "messages"),
}  # fmt: skip
"""Which units the time of some stages together depends on: what is sent in a step is not told apart by stage."""


NUMBERED_S = 4e-8
"""Seconds of a key that may have a number, at home and owner together: of an AMD EPYC.  A probe of one node has none to measure."""


class SharesAhead(NamedTuple):
    """Shares of the bytes between nodes that travel while ranks do other work.

    forward : during which the next batch is prepared
    keys : of the next batch
    """

    forward: float = 0.0
    keys: float = 0.0


_NOTHING = SharesAhead()


class Work(NamedTuple):
    """Units of each kind in a step of one rank, the busiest: see the module."""

    steps: float
    samples: float
    found: float
    packed: float
    scanned: float
    rows: float
    read_rows: float
    terms: float
    gathered: float
    owned: float
    sums: float
    multiplications: float
    updated: float
    dense: float
    moved: float
    crossed: float
    messages: float
    numbered: float = 0.0

    def with_sent(self, inside, others, ranks, nodes, uneven):
        """This Work with measured bytes of all ranks.

        inside : of nodes, as far as they were told apart;  others : all others
        uneven : what the busiest node sends, or gets, over the mean
        """
        across = nodes > 1
        return self._replace(moved=(inside + (0 if across else others)) / ranks, crossed=uneven * others / nodes if across else 0.0)

    def seconds(self, machine, ahead=_NOTHING, ranks_of_node=1):
        """{"node": what ranks do themselves, messages inside a node included, "link": what nodes wait for each other} of a step.

        machine : Machine, measured with as many threads a rank
        ahead : SharesAhead
        ranks_of_node : they write and read what crosses, as what is moved inside a node
        """
        taken, hidden = self.explained(machine, ahead, ranks_of_node)
        alike = factor(machine.measured, *shares_of(taken, hidden))
        link = taken["crossed"] + taken["messages"]
        return {"node": alike * (sum(taken.values()) - link - hidden), "link": alike * link}

    def explained(self, machine, ahead, ranks_of_node):
        """({unit: seconds of a step by the machine's rates}, seconds of these that are hidden), arguments as of `seconds`.

        Where the machine was measured on one node, its link is that of `Machine.between`.
        """
        taken = {unit: machine.seconds.get(unit, 0.0) * count for unit, count in self._asdict().items()}
        taken["numbered"] = NUMBERED_S * self.numbered
        if machine.nodes == 1 and self.messages:
            taken["messages"], taken["crossed"] = self.messages * machine.between.latency_s, self.crossed / machine.between.bytes_per_s
            taken["moved"] += machine.seconds.get("moved", 0.0) * self.crossed / ranks_of_node
        link = taken["crossed"] + taken["messages"]
        prepared = min(sum(taken[unit] for unit in _AHEAD), ahead.forward * link)
        return taken, prepared + min(sum(taken.values()) - link - prepared, ahead.keys * link)


def shares_of(taken, hidden):
    """({unit: share of all seconds}, seconds of the step) of what `Work.explained` returns."""
    total = sum(taken.values())
    return {unit: s / total for unit, s in taken.items() if s}, total - hidden


_AHEAD = ("samples", "scanned", "rows")  # units of reading and looking up


def uneven_link(need):
    """What the busiest node sends to other nodes, or gets from them, over the mean."""
    crossing = [one for one in need.sent if one.level != "inside"]
    return sum((one.low + one.high) * _over_mean(need, one) for one in crossing) / max(1, sum(one.low + one.high for one in crossing))


def work_of(need, workload, record_bytes, nodes, column=False):
    """The Work of a `planned.Need`.

    record_bytes : of a row in memory
    nodes : how many the ranks are on
    column : whether every rank has some columns of all rows
    """
    run = need.run
    n, batch = run.ranks, run.samples
    share, m = batch / n, workload.keys_per_sample
    owners = 1 if column else n
    local = workload.distinct(share)
    busiest = need.uneven.occurrences if not run.moves_rows else 1.0
    occurrences = share * m if run.moves_rows else batch * m / owners * busiest
    samples = batch if run.whole_top else share
    weights = -(-run.row_sizes[0] // LINE)
    reads_all = not run.routed
    crossing = [one for one in need.sent if nodes > 1 and one.level != "inside"]
    crossed = sum((one.low + one.high) / 2 for one in crossing)
    moved = sum((one.low + one.high) / 2 for one in need.sent) - crossed
    found = (batch * m + share * m if run.moves_rows else 0.0) if reads_all else (0.0 if run.listed else share * m)
    scanned = batch * m if reads_all and not run.moves_rows else 0.0
    if run.listed:  # written by homes, looked up by owners
        scanned = share * m + batch * m / n * busiest
    return Work(
        steps=1.0,
        samples=batch if reads_all else share,
        found=found,
        packed=share * m + batch * m / n * busiest if run.routed and not run.moves_rows and not run.listed else 0.0,
        scanned=scanned,
        rows=need.owned_rows if scanned else local,
        read_rows=2 * occurrences,
        terms=2 * occurrences * run.row_width,
        gathered=(need.owned_rows + (2 * local if run.moves_rows else 0)) * weights,
        sums=samples * run.state_width,
        owned=3 * batch * need.of_owners,
        multiplications=3 * samples * need.top,
        updated=need.owned_rows * -(-record_bytes // LINE),
        dense=run.dense_parameters if not run.whole_top else 0.0,
        moved=moved / n,
        crossed=uneven_link(need) * crossed / nodes,
        messages=len({one[:3] for one in crossing}) * math.log2(max(2, nodes)),
        numbered=local * (n - n / nodes) / n if run.numbered else 0.0,
    )


def _over_mean(need, sent):
    """How much of a kind of bytes the busiest rank sends, or gets, over the mean."""
    run, uneven = need.run, need.uneven
    if sent.kind == "pooled":
        return uneven.pooled
    if sent.kind == "keys":
        return uneven.distinct if run.moves_rows else uneven.occurrences
    return uneven.distinct if run.moves_rows and sent.kind in ("rows", "gradients") else 1.0


def share_ahead(need):
    """The SharesAhead of a step where batches are prepared ahead.  `forward`: partials, or rows, on their way to the top"""
    crossing = [one for one in need.sent if one.level != "inside"]
    whole = max(1, sum(one.low + one.high for one in crossing))
    forward = sum(one.low + one.high for one in crossing if one.kind in ("partials", "rows", "pooled") and one.direction == "forward")
    return SharesAhead(forward / whole, sum(one.low + one.high for one in crossing if one.kind == "keys") / whole)
