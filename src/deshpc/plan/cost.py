"""Predicted bytes of training: every operator, kind and direction, as a pure function of a run's shape.

All bytes are those of all ranks together, over a whole run of S samples in any number of steps: most collectives send
every sample's numbers to or from each of the N - 1 other ranks, so neither uneven shares nor an uneven last batch
changes their sum.  What de-duplication decides is exact given the numbers of keys, and the padding of messages has
bounds.  Evaluations are not predicted.
"""

from typing import NamedTuple

_KEY, _INDEX, _COUNT, _VALUE = 8, 4, 2, 4  # bytes: uint64; which key an occurrence is; occurrences of a sample; float32
_HEADER, _NUMBER = 4, 8  # bytes: int32 of a message's header; float64 or int64 on which ranks agree
_MOST_PADDING = 6  # bytes of a message, whose parts are even: up to a multiple of 8


class Run(NamedTuple):
    """What the bytes of training depend on, besides the keys.

    operator : the operators' name;  ranks N, threads T of each, steps;  samples S : trained, over all steps
    fields F, n_dense, dense_parameters P;  value_width : values of an occurrence, 0 to 2
    state_width s;  row_width w : weights of a row, of which dim are its embedding's
    row_bytes, sum_bytes : of a number of a row, and of a sum: partials, and gradients of states, rows and parameters
    exchange : "allreduce", "reduce_scatter" or "rows";  routed : whether keys are sent to their owners
    clip : whether gradients are clipped;  fixed_point : whether sums are integers
    """

    operator: str
    ranks: int
    threads: int
    steps: int
    samples: int
    fields: int
    n_dense: int
    dense_parameters: int
    value_width: int
    state_width: int
    row_width: int
    dim: int
    row_bytes: int
    sum_bytes: int
    exchange: str
    routed: bool
    clip: bool
    fixed_point: bool


class KeysAway(NamedTuple):
    """Keys of local batches whose owner is another rank, added up over ranks and steps; zero where they stay uncounted.

    unique : distinct keys of each local batch;  occurrences : alike, every one
    """

    unique: int = 0
    occurrences: int = 0


class Bytes(NamedTuple):
    """Bytes sent by all ranks together: at least `low`, at most `high`."""

    operator: str
    kind: str
    direction: str
    level: str
    low: int
    high: int


def training_bytes(run, away):
    """[Bytes] of everything that the training steps of `run` send, `away` being its KeysAway; one rank sends nothing."""
    entries = [_keys(run, away), _labels(run), *_EXCHANGES[run.exchange](run, away), *_top(run), _control(run)]
    return [
        Bytes(operator, kind, direction, "flat", low, low + slack)
        for operator, kind, direction, low, slack in entries
        if low + slack
    ]


def _keys(run, away):
    """Unique keys, and with them what owners need of each sample, unless samples stay at home.

    Ahead of them, every message has a header: unique keys of each field, and the number of occurrences; where samples
    stay at home, unique keys of each thread and field.
    """
    sent, slack = 0, 0
    if run.routed and run.exchange == "rows":
        sent = _KEY * away.unique + _HEADER * run.threads * run.fields * _messages(run)
    elif run.routed:
        of_occurrence = _INDEX + _VALUE * run.value_width
        sent = _KEY * away.unique + of_occurrence * away.occurrences + _COUNT * _samples_to_others(run)
        sent += _HEADER * (run.fields + 1) * _messages(run)
        slack = _MOST_PADDING * _messages(run)
    return "batch", "keys", "forward", sent, slack


def _labels(run):
    """Labels and dense features of samples whose top every rank repeats."""
    needed = run.routed and run.exchange == "allreduce"
    return "batch", "labels", "forward", needed * _VALUE * (1 + run.n_dense) * _samples_to_others(run), 0


def _all_reduce(run, away):
    """A reduce-scatter and an all-gather of the partials."""
    return [(run.operator, "partials", "forward", 2 * _states(run), 0)]


def _reduce_scatter(run, away):
    """A reduce-scatter of the partials; an all-gather of the states' gradients."""
    return [
        (run.operator, "partials", "forward", _states(run), 0),
        (run.operator, "gradients", "backward", _states(run), 0),
    ]


def _rows(run, away):
    """Every unique key's row to its home rank, and the row's gradient back.

    In fixed point the gradient of an embedding whose keys have values is two sums, which the owner puts together.
    """
    width = run.row_width + (run.fixed_point and run.value_width > 0 and run.dim > 0)
    return [
        (run.operator, "rows", "forward", run.row_width * run.row_bytes * away.unique, 0),
        (run.operator, "gradients", "backward", width * run.sum_bytes * away.unique, 0),
    ]


_EXCHANGES = {"allreduce": _all_reduce, "reduce_scatter": _reduce_scatter, "rows": _rows}


def _top(run):
    """What a top that works on a rank's own samples has to add up: the loss, and the dense parameters' gradients."""
    own_share = run.exchange != "allreduce"
    dense = 2 * (run.ranks - 1) * run.dense_parameters * run.sum_bytes * run.steps
    return [
        ("batch", "control", "forward", own_share * _NUMBER * _messages(run), 0),
        ("dense", "dense", "backward", own_share * dense, 0),
    ]


def _control(run):
    """Agreement on the scale of fixed-point gradients: five numbers; on the norm: one number, three in fixed point."""
    numbers = 5 * run.fixed_point + (3 if run.fixed_point else 1) * run.clip
    return "batch", "control", "backward", numbers * _NUMBER * _messages(run), 0


def _messages(run):
    """Messages where in every step every rank sends one to every other."""
    return run.ranks * (run.ranks - 1) * run.steps


def _samples_to_others(run):
    """How often a sample is sent where each goes to all ranks but one."""
    return (run.ranks - 1) * run.samples


def _states(run):
    """Bytes of states where each goes to all ranks but one, or comes from them."""
    return run.state_width * run.sum_bytes * _samples_to_others(run)
