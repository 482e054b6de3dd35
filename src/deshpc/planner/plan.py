"""The table of all ways to run a configuration on so many ranks, by predicted bytes, seconds and memory; and which to take."""

from collections import Counter
from dataclasses import dataclass, replace

from deshpc.backend.open import open_backend
from deshpc.config.schema import TrainConfig, choices
from deshpc.model.combinations import attends
from deshpc.planner.candidates import Choice, candidates
from deshpc.planner.planned import Need, need_of, node_map
from deshpc.planner.work import SharesAhead, share_ahead, work_of


@dataclass(frozen=True)
class Option:
    """One way.

    choice : Choice
    need : Need
    key_numbers : of `train.key_numbers`, "on" or "off"
    seconds : {part: seconds a step}: "node", what ranks do themselves, and "link", between nodes; None without a Machine
    """

    choice: Choice
    need: Need
    key_numbers: str
    seconds: dict | None

    @property
    def step_s(self):
        """Seconds of a step."""
        return sum(self.seconds.values())

    @property
    def memory(self):
        """Bytes of a rank."""
        return sum(self.need.memory.values())

    def bytes_per_sample(self, level=None):
        """Bytes that an average rank sends of each kind, for a sample of the global batch.  level : None for all of them"""
        run, sent = self.need.run, Counter()
        for one in self.need.sent:
            if level in (None, one.level):
                sent[one.kind] += (one.low + one.high) / 2
        return {kind: count / run.ranks / run.samples for kind, count in sorted(sent.items()) if count}


@dataclass(frozen=True)
class Plan:
    """options : of every valid Choice, the fastest first, or that with the fewest bytes between nodes where no Machine is known
    why : one sentence about the first
    """

    options: list
    why: str

    @property
    def best(self):
        return self.options[0]


def plan(config, workload, ranks, nodes=1, machine=None, fixed=None, threads=None):
    """The Plan of a configuration, whose train.split, exchange, routing and levels and model.first_layer do not count.

    workload : Workload of the training part
    ranks : on `nodes` nodes, in blocks
    machine : Machine, for seconds
    fixed : {option: value} of a Choice that are not to be chosen
    threads : of a rank; those of the configuration by default, or those with which the machine was measured
    ConfigError where nothing is valid.
    """
    threads = threads or config.compute.threads_per_rank or (machine.threads_per_rank if machine else 1)
    places, backend = node_map(ranks, nodes), open_backend("cpu", threads)
    options = []
    try:
        for choice, planned in candidates(config, ranks, nodes, workload.field_names, fixed, workload.key_fields):
            ways = []
            for key_numbers in _key_numbers(config.train.key_numbers, choice, nodes, machine):
                way = replace(planned, train=replace(planned.train, key_numbers=key_numbers))
                need, record_bytes = need_of(way, workload, places, backend)
                work = work_of(need, workload, record_bytes, nodes, choice.split == "column")
                ahead = share_ahead(need) if _prepares_ahead(config.train.overlap, nodes) else SharesAhead()
                ways.append(Option(choice, need, key_numbers, machine and work.seconds(machine, ahead, ranks / nodes)))
            options.append(min(ways, key=lambda one: one.step_s) if machine else ways[0])
    finally:
        backend.close()
    order = choices(TrainConfig, "split").index  # of equal ways the usual one
    options.sort(key=lambda one: (*_cost(one, ranks, machine), order(one.choice.split), one.choice))
    return Plan(options, _why(options, nodes, machine, attends(config)))


def _key_numbers(wanted, choice, nodes, machine):
    """What train.key_numbers may be: where it is auto, a Machine says which takes less time."""
    if wanted != "auto":
        return (wanted,)
    return ("on", "off") if machine and nodes > 1 and choice.routing == "routed" else ("on",)


def _prepares_ahead(overlap, nodes):
    """Whether processors prepare the next batch while partials travel (`model.build`)."""
    return nodes > 1 if overlap == "auto" else overlap == "on"


def _cost(option, ranks, machine):
    """What is to be small, the most important first; one rank sends nothing by any way."""
    if ranks == 1:
        return ()
    return (option.step_s,) if machine else (_crossing(option.need), option.memory)


def _crossing(need):
    """Bytes of a step between nodes, or between ranks where all are on one."""
    return sum(one.high for one in need.sent if one.level != "inside")


def _why(options, nodes, machine, attends):
    """What tells the first option from others, in a sentence.  attends : whether values of a sequence are weighed one by one"""
    best, substitutes = options[0], not options[0].need.run.moves_rows
    other = next((one for one in options if one.need.run.moves_rows == substitutes), None)
    what = "partials travel, rows stay" if substitutes else "rows travel to the samples"
    if other is None:
        return f"{what}{', which weigh the values of a sequence one by one' if attends else ''}; there is no other way"
    first, second = (sum((x.low + x.high) / 2 for x in one.need.sent if x.level != "inside") for one in (best, other))
    way = "moving rows" if substitutes else "substitution"
    crossing = "between nodes" if nodes > 1 else "between ranks"
    text = f"{what}: {first / best.need.run.samples:,.0f} bytes a sample {crossing}, {second / best.need.run.samples:,.0f} by {way}"
    if machine:
        text += f"; a step takes {1e3 * best.step_s:.2f} ms, {1e3 * other.step_s:.2f} by {way}"
    return text
