"""What a run's training steps have sent, by the ledger, beside what the formula says."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from deshpc.errors import DeshpcError
from deshpc.exchange.with_replicated import WithReplicated
from deshpc.model.combinations import exchange_name
from deshpc.plan.cost import KeysAway, Run, training_bytes


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

    Both are means over a run's steps.  u is None, and m that of the data set, where routing counts none: no key travels.
    """

    m: float
    u: float | None


def training_traffic(session, train_set, steps, samples, epoch_samples=None):
    """([TrafficRow] of all that the ledger or the formula has, KeysMet) of a session's training steps.  Collective.

    steps, samples : all that session.model has been trained by since it was built, on `train_set`
    epoch_samples : of an epoch, where these are not all of train_set
    """
    group, model = session.group, session.model
    counts = np.sum(group.gather(model.routing.counts.of("forward")), axis=0).tolist()
    counted, unique, unique_away, occurrences, occurrences_away = counts
    sent = _sent(group)
    replicated = sum(group.gather(_replicated(model, lambda exchange: exchange.rows_met)))
    away = KeysAway(unique_away, occurrences_away, replicated)
    formula = training_bytes(_run(session, train_set, steps, samples, epoch_samples or len(train_set)), away)
    predicted = {tuple(what): (low, high) for *what, low, high in formula}
    rows = [TrafficRow(*what, sent[what], *predicted.get(what, (0, 0))) for what in sorted({*sent, *predicted})]
    if not counted:
        return rows, KeysMet(train_set.keys_per_sample, None)
    return rows, KeysMet(occurrences / samples, unique / samples)


def bytes_per_sample(traffic, ranks, samples):
    """{kind: bytes that an average rank sent, per sample of the whole run}."""
    kinds = sorted({row.kind for row in traffic if row.sent_bytes})
    return {kind: sum(row.sent_bytes for row in traffic if row.kind == kind) / ranks / samples for kind in kinds}


def require_agreement(group, traffic):
    """Raise on every rank if ledger and formula differ anywhere.  Collective."""
    wrong = [
        f"{row.operator}, {row.kind}, {row.direction}: {row.sent_bytes:,} bytes sent, {_formula(row)} by the formula"
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


def _run(session, train_set, steps, samples, epoch_samples):
    model, train, ranks = session.model, session.config.train, session.group.size
    layout, sums, exchange = model.table.layout, model.table.sums_type, exchange_name(session.config)
    widths = [table.layout.weights for table in model.table.of_shards]
    return Run(
        operator=model.operators.name, ranks=ranks, shards=len(model.table.of_shards),
        batches=_batches(epoch_samples, train.global_batch_samples, steps, samples), fields=session.input.n_fields,
        n_dense=train_set.n_dense, value_width=train_set.value_width, dense_parameters=model.dense_sums.sent,
        state_width=model.operators.width, row_width=min(widths), widest_row=max(widths), dim=layout.dim,
        row_bytes=np.dtype(layout.precision).itemsize, sum_bytes=sums.itemsize, exchange=exchange,
        whole_top=model.exchange.whole_top, moves_rows=model.exchange.moves_rows, routed=train.routing == "routed",
        clip=session.config.optimizer.clip_norm > 0, fixed_point=sums.kind == "i",
        field_widths=_field_widths(model.operators.operator) if exchange == "pooled" and ranks > 1 else (),
        batch_widths=tuple(width for name, (width, *_) in model.parameters.statistics.items() if name.endswith(".mean")),
        layer_width=model.operators.layer_width, local=model.dense_sums.local > 0, threads=session.backend.threads,
        repeats=model.operators.repeats, weighted=train_set.has_weights,
        replicated_row=_replicated(model, lambda exchange: exchange.row_bytes(train_set.value_width > 0)),
    )  # fmt: skip


def _replicated(model, number):
    """number(exchange) of replicated fields, 0 where there are none."""
    return number(model.exchange) if isinstance(model.exchange, WithReplicated) else 0


def _batches(rows, batch_samples, steps, samples):
    """((samples of a batch, batches of so many), ...) of `steps` batches of so many samples in all: whole ones, and last ones of
    an epoch of so many rows."""
    last = rows % batch_samples
    if not last:
        return ((batch_samples, steps),)
    smaller = (steps * batch_samples - samples) // (batch_samples - last)
    return (batch_samples, steps - smaller), (last, smaller)


def _field_widths(pool):
    """Numbers of a state that each rank has complete: its fields' embeddings, and the first column where there is one."""
    return tuple(pool.embeddings_at + end - begin for begin, end in pool.places_of_ranks())
