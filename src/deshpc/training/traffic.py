"""What a run's training steps have sent, by the ledger, beside what the formula says."""

from collections import Counter
from dataclasses import dataclass

from deshpc.errors import DeshpcError
from deshpc.plan.cost import KeysAway, training_bytes
from deshpc.planner.shape import of_replicated, run_of


@dataclass(frozen=True)
class TrafficRow:
    """Bytes that all ranks together sent: by the ledger, and by the formula at least `low_bytes`, at most `high_bytes`."""

    operator: str
    kind: str
    direction: str
    level: str
    sent_bytes: int
    low_bytes: int
    high_bytes: int

    @property
    def agrees(self):
        return self.low_bytes <= self.sent_bytes <= self.high_bytes


@dataclass(frozen=True)
class KeysMet:
    """m, key occurrences a sample, and u, distinct keys of a rank's share of a batch, divided by its samples.

    Both are means over a run's steps.  u is None where nobody counts distinct keys: inside a node, unless rows travel.  m is that of the
    data set where no key is routed: on a rank of one thread, and by broadcast.
    """

    m: float
    u: float | None


def training_traffic(session, train_set, steps, samples, epoch_samples=None):
    """([TrafficRow] of all that the ledger or the formula has, KeysMet) of a session's training steps.  Collective.

    steps, samples : all that session.model has been trained by since it was built, on `train_set`
    epoch_samples : of an epoch, where these are not all of train_set
    """
    group, model = session.group, session.model
    counts = sum(group.gather(model.routing.counts.of("forward")), Counter())
    sent = _sent(group)
    replicated = sum(group.gather(of_replicated(model, lambda exchange: exchange.rows_met)))
    names = ("unique", "whole", "short", "numbers", "values")
    away = {level: KeysAway(**{name: counts[name, level] for name in names}, replicated=replicated) for level in group.levels.names}
    batches = _batches(epoch_samples or len(train_set), session.config.train.global_batch_samples, steps, samples)
    run = run_of(model, session.config, batches, session.input.n_fields, train_set.n_dense, train_set.value_width, train_set.has_weights)
    formula = training_bytes(run, away)
    predicted = {tuple(what): (low, high) for *what, low, high in formula}
    rows = [TrafficRow(*what, sent[what], *predicted.get(what, (0, 0))) for what in sorted({*sent, *predicted})]
    if not counts["steps"]:
        return rows, KeysMet(train_set.keys_per_sample, None)
    return rows, KeysMet(counts["occurrences"] / samples, counts["unique"] / samples if counts["unique"] else None)


def bytes_per_sample(traffic, ranks, samples):
    """{kind: bytes that an average rank sent, per sample of the whole run}."""
    kinds = sorted({row.kind for row in traffic if row.sent_bytes})
    return {kind: sum(row.sent_bytes for row in traffic if row.kind == kind) / ranks / samples for kind in kinds}


def require_agreement(group, traffic):
    """Raise on every rank if ledger and formula differ anywhere.  Collective."""
    wrong = [
        f"{row.operator}, {row.kind}, {row.direction}{'' if row.level == 'flat' else f', {row.level}'}: {row.sent_bytes:,} bytes sent, {_formula(row)} by the formula"
        for row in traffic
        if not row.agrees
    ]
    if wrong:
        text = f"--check-bytes, all ranks together: {'; '.join(wrong)}: the ledger or deshpc.plan.cost is wrong"
        group.agree(DeshpcError(text))


def _sent(group):
    """Counter of what all ranks together sent in training steps, by (operator, kind, direction, level).  Collective."""
    sent = Counter()
    for of_rank in group.gather(group.ledger.entries()):
        for entry in of_rank:
            count = entry.pop("sent_bytes")
            if count and entry["direction"] in ("forward", "backward"):
                sent[tuple(entry.values())] += count
    return sent


def _formula(row):
    return f"{row.low_bytes:,}" + (f" to {row.high_bytes:,}" if row.high_bytes > row.low_bytes else "")


def _batches(rows, batch_samples, steps, samples):
    """((samples of a batch, batches of so many), ...) of `steps` batches of so many samples in all: whole ones, and last ones of
    an epoch of so many rows."""
    last = rows % batch_samples
    if not last:
        return ((batch_samples, steps),)
    smaller = (steps * batch_samples - samples) // (batch_samples - last)
    return (batch_samples, steps - smaller), (last, smaller)
