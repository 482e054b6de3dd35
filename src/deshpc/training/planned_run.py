"""A run that plans how to split its model before it is built, and says afterwards how near the plan was."""

from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from deshpc.checkpoint.manifest import read_manifest
from deshpc.data.statistics import SampleStatistics
from deshpc.errors import DataError, DeshpcError
from deshpc.launch.console import say
from deshpc.model.combinations import is_open, levels_name
from deshpc.planner.candidates import configured
from deshpc.planner.machine import Machine
from deshpc.planner.plan import plan
from deshpc.planner.workload import Workload

_OPTIONS = ("split", "exchange", "routing")
_LOOKED_AT = 65_536  # rows
_EXPECTED = ("keys", "rows")  # kinds whose bytes distinct keys decide, beside gradients of rows
_MOST_OFF = 0.05  # of their bytes


@dataclass(frozen=True)
class Forecast:
    """What the chosen option was to send and take: bytes a sample and rank by kind; seconds a step, None without a machine.

    moves_rows : whether gradients are those of rows
    keys_known : whether bytes of keys are known: where these travel as numbers, they depend on the distinct keys of the whole part
    samples : of the whole run, for which they are
    """

    choice: dict
    why: str
    bytes_per_sample: dict
    step_s: float | None
    moves_rows: bool
    keys_known: bool = True
    samples: int | None = None

    def beside(self, result):
        """What was planned and measured, side by side: {"bytes_per_sample": {kind: [planned, sent]}, "step_s": [planned, measured]}.

        Nothing is measured where a run goes on from its end.
        """
        kinds = sorted({*self.bytes_per_sample, *result.bytes_per_sample})
        before = result.first_step if result.resumed_from is None else result.resumed_from
        steps = max(1, result.steps - before)
        return {
            "bytes_per_sample": {kind: [self.bytes_per_sample.get(kind, 0.0), result.bytes_per_sample.get(kind, 0.0)] for kind in kinds},
            "step_s": [self.step_s, result.samples / result.samples_per_s / steps if result.samples else None],
        }

    def require_agreement(self, group, result):
        """DeshpcError on every rank where bytes are not as planned: exactly, or within 5 % where distinct keys decide.  Collective.

        Those of keys are left out where they are not known, or the run has ended before its end, and all where it goes on from there.
        """
        if not result.samples:
            return
        wrong, whole_run = [], self.samples is None or self.samples == result.samples
        for kind, (planned, sent) in self.beside(result)["bytes_per_sample"].items():
            if kind == "keys" and not (self.keys_known and whole_run):
                continue
            expected = kind in _EXPECTED or (kind == "gradients" and self.moves_rows)
            if abs(planned - sent) > (_MOST_OFF if expected else 0.01) * max(planned, sent):
                wrong.append(f"{kind}: {planned:,.2f} bytes a sample planned, {sent:,.2f} sent")
        if wrong:
            group.agree(DeshpcError(f"--check-plan: {'; '.join(wrong)}: the plan or the ledger is wrong"))


def made_before(group, checkpoints):
    """{option: value} of how the newest of a run's checkpoints that can be read was split, where it was made by as many ranks; else {}.

    A run that goes on keeps it, and so its bits: another part of a stream, or another file of a machine, might have another plan.
    checkpoints : their folders, newest first.  Collective.
    """

    def look():
        for folder in checkpoints:
            with suppress(DataError):
                manifest = read_manifest(folder)
                train = manifest["config"].get("train", {})  # of an older version, which may not have had all of these
                return {name: train[name] for name in _OPTIONS if name in train} if manifest["ranks"] == group.size else {}
        return {}

    return group.from_first(group.together(look if group.rank == 0 else lambda: None))


def plan_run(session, part, record, before=()):
    """Choose what a session's configuration leaves open, from its first training rows; the Forecast, None where nothing is open.

    part : TrainingPart
    before : {option: value} of those that are chosen already
    Prints the plan and writes it into the record.  Collective.
    """
    config, group = session.config, session.group
    if not is_open(config):
        return None
    options = {name: getattr(config.train, name) for name in _OPTIONS}
    fixed = {**dict(before), **{name: value for name, value in options.items() if value != "auto"}}
    fixed |= {"first_layer": config.model.first_layer, "levels": "two" if "between" in group.levels.names else "one"}

    def choose():
        machine = Machine.from_file(config.train.machine) if config.train.machine else None
        nodes = len(group.nodes.members)
        return plan(config, _workload(session, part), group.size, nodes, machine, fixed, session.backend.threads)

    chosen = group.together(choose if group.rank == 0 else lambda: None)
    choice, key_numbers, forecast = group.from_first(
        chosen and (chosen.best.choice, chosen.best.key_numbers, _forecast(chosen, part, config.train.epochs))
    )
    if group.rank == 0:
        say(f"deshpc: plan: train.split = {choice.split!r}, exchange = {choice.exchange!r}, routing = {choice.routing!r}, key_numbers = {key_numbers!r}: {chosen.why}\n")
        options = [
            {"choice": one.choice._asdict(), "key_numbers": one.key_numbers, "bytes_per_sample": one.bytes_per_sample(), "seconds": one.seconds, "memory": one.need.memory}
            for one in chosen.options
        ]
        record.write("plan", **asdict(forecast), options=options)
    session.take(configured(config, choice._replace(levels=levels_name(config)), key_numbers))
    return forecast


def _workload(session, part):
    schema = session.input.schema
    statistics = SampleStatistics(schema)
    statistics.add(part.dataset.head(_LOOKED_AT))
    found = {**statistics.to_json(), "dense": [None] * part.dataset.n_dense}
    return replace(Workload.from_profile(found, part.dataset.value_width, schema.keyed_fields), rows=part.samples)


def _forecast(chosen, part, epochs):
    best = chosen.best
    step_s, run = None if best.seconds is None else best.step_s, best.need.run
    known = (True, None)
    if run.numbered:
        known = max(len(part.dataset), part.samples) <= _LOOKED_AT, epochs * part.samples
    return Forecast(best.choice._asdict(), chosen.why, best.bytes_per_sample(), step_s, run.moves_rows, *known)
