"""Predicted bytes of training: every operator, kind and direction, as a pure function of a run's shape.

All bytes are those of all ranks together, over a whole run of S samples in any number of steps: most collectives send
every sample's numbers to or from each of the N - 1 other ranks, so neither uneven shares nor an uneven last batch
changes their sum.  Where ranks have fields of their own, the batches' sizes count.  What de-duplication decides is exact
given the numbers of keys, and the padding of messages has bounds.  Evaluations are not predicted.
"""

from typing import NamedTuple

_KEY, _INDEX, _COUNT, _VALUE = 8, 4, 2, 4  # bytes: uint64; which key an occurrence is; occurrences of a sample; float32
_HEADER, _NUMBER = 4, 8  # bytes: int32 of a message's header; float64 or int64 on which ranks agree
_LOSS_NUMBERS = 4  # terms of its sum, and whether a report is due
_WEIGHT_NUMBERS = 3  # terms of the sum of the samples' weights
_NORM_NUMBERS = 41  # terms of a sum of squares
_MOST_PADDING = 6  # bytes of a message, whose parts are even: up to a multiple of 8


class Run(NamedTuple):
    """What the bytes of training depend on, besides the keys.

    operator : the operators' name;  ranks N;  shards T of each, over all tables
    batches : ((samples, batches of so many), ...)
    fields F, n_dense;  value_width : values of an occurrence, 0 to 2
    dense_parameters P : those whose gradients are added up over ranks (`top.dense_sums`)
    state_width s;  row_width w : weights of a row, of which dim are its embedding's; where there are several tables, of the narrowest
    one's, and widest_row of the widest one's
    row_bytes, sum_bytes : of a number of a row, and of a sum: partials, and gradients of states, rows and parameters
    exchange : of `train.exchange`
    whole_top, moves_rows : what it says of itself (`Exchange`)
    routed : whether keys are sent to their owners
    clip : whether gradients are clipped
    fixed_point : whether sums are integers
    field_widths : of each rank, numbers of a state that it has complete, where those travel
    batch_widths : of the layers that
    batch normalisation spans;  layer_width : numbers of a sample that owners add up between layers of their part
    repeats : whether ranks agree on fields whose rows repeat (`ops.repeated`)
    local : whether single ranks have dense parameters of their own
    replicated_row : bytes of a replicated row in a message, 0 without such rows
    threads : of a rank
    weighted : whether samples have weights
    """

    operator: str
    ranks: int
    shards: int
    batches: tuple
    fields: int
    n_dense: int
    value_width: int
    dense_parameters: int
    state_width: int
    row_width: int
    dim: int
    row_bytes: int
    sum_bytes: int
    exchange: str
    whole_top: bool
    moves_rows: bool
    routed: bool
    clip: bool
    fixed_point: bool
    widest_row: int = 0
    field_widths: tuple = ()
    batch_widths: tuple = ()
    layer_width: int = 0
    local: bool = False
    replicated_row: int = 0
    threads: int = 1
    repeats: bool = False
    weighted: bool = False

    @property
    def steps(self):
        return sum(count for _, count in self.batches)

    @property
    def samples(self):
        """S: trained, over all steps."""
        return sum(samples * count for samples, count in self.batches)


class KeysAway(NamedTuple):
    """Keys of local batches whose owner is another rank, added up over ranks and steps; zero where they stay uncounted.

    unique : distinct keys of each local batch
    occurrences : alike, every one
    replicated : distinct rows of replicated fields in each local batch: all ranks get their sums
    """

    unique: int = 0
    occurrences: int = 0
    replicated: int = 0


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
    entries = [_keys(run, away), _labels(run), *_EXCHANGES[run.exchange](run, away), *_layers(run), _replicated(run, away), *_top(run), _control(run)]
    return [
        Bytes(operator, kind, direction, "flat", low, low + slack)
        for operator, kind, direction, low, slack in entries
        if low + slack
    ]


def _keys(run, away):
    """Unique keys, and with them what owners need of each sample, unless samples stay at home.

    Ahead of them, every message has a header: unique keys of each field, and the number of occurrences; where samples
    stay at home, unique keys of each shard and field.
    """
    sent, slack = 0, 0
    if run.routed and run.moves_rows:
        sent = _KEY * away.unique + _HEADER * run.shards * run.fields * _messages(run)
    elif run.routed:
        of_occurrence = _INDEX + _VALUE * run.value_width
        sent = _KEY * away.unique + of_occurrence * away.occurrences + _COUNT * _samples_to_others(run)
        sent += _HEADER * (run.fields + 1) * _messages(run)
        slack = _MOST_PADDING * _messages(run)
    return "batch", "keys", "forward", sent, slack


def _labels(run):
    """Labels, dense features and, where there are some, weights of samples whose top every rank repeats."""
    needed = run.routed and run.whole_top
    return "batch", "labels", "forward", needed * _VALUE * (1 + run.n_dense + run.weighted) * _samples_to_others(run), 0


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

    In fixed point the gradient of an embedding whose keys have values is two sums, which the owner puts together.  Of several
    tables, the keys decide whose rows travel.
    """
    spread = max(0, run.widest_row - run.row_width) * away.unique
    width = run.row_width + (run.fixed_point and run.value_width > 0 and run.dim > 0)
    return [
        (run.operator, "rows", "forward", run.row_width * run.row_bytes * away.unique, spread * run.row_bytes),
        (run.operator, "gradients", "backward", width * run.sum_bytes * away.unique, spread * run.sum_bytes),
    ]


def _pooled(run, away):
    """Every rank's own part of the states to the samples' home ranks, and its gradient back."""
    sent = sum(count * _to_other_homes(samples, run.field_widths) for samples, count in run.batches) * run.sum_bytes
    return [(run.operator, "pooled", direction, sent, 0) for direction in ("forward", "backward")]


def _to_other_homes(samples, widths):
    """Numbers of a batch whose home is another rank; shares of a batch differ by one sample at most."""
    ranks = len(widths)
    home = [samples * (rank + 1) // ranks - samples * rank // ranks for rank in range(ranks)]
    return sum((samples - own) * width for own, width in zip(home, widths, strict=True))


_EXCHANGES = {"allreduce": _all_reduce, "reduce_scatter": _reduce_scatter, "rows": _rows, "pooled": _pooled}


def _replicated(run, away):
    """Keys, fields and sums of replicated rows to all ranks, after their numbers; a message is padded to a multiple of 8."""
    needed = not run.whole_top and run.replicated_row > 0
    sent = _NUMBER * run.threads * _messages(run) + (run.ranks - 1) * run.replicated_row * away.replicated
    return "pool", "replicated", "backward", needed * sent, needed * (_NUMBER - 1) * _messages(run)


def _layers(run):
    """All-reduces between the layers of the owners' part, in sequence."""
    sent = 2 * run.layer_width * run.sum_bytes * _samples_to_others(run)
    return [(run.operator, "layers", direction, sent, 0) for direction in ("forward", "backward")]


def _top(run):
    """What has to be added up above the states: the gradients of dense parameters, and, where a top works on a rank's own
    samples, the loss and, where there are some, their weights, and the count and two moments of each unit that batch normalisation
    needs of all of them; and how many rows every field has, where those that repeat are looked for."""
    own_share = not run.whole_top
    moments = own_share * _NUMBER * sum(1 + 2 * width for width in run.batch_widths) * _messages(run)
    agreed = own_share * (_LOSS_NUMBERS + run.weighted * _WEIGHT_NUMBERS) + (run.repeats and run.moves_rows) * (run.fields + 1)
    return [
        ("batch", "control", "forward", agreed * _NUMBER * _messages(run), 0),
        ("tower", "statistics", "forward", moments, 0),
        ("tower", "statistics", "backward", moments, 0),
        ("dense", "dense", "backward", 2 * (run.ranks - 1) * run.dense_parameters * run.sum_bytes * run.steps, 0),
    ]


def _control(run):
    """Agreement on the scale of fixed-point gradients: five numbers; on the norm: its terms (`backend.exact_norm`), and one number
    more where dense parameters belong to single ranks."""
    numbers = 5 * run.fixed_point + (_NORM_NUMBERS + run.local) * run.clip
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
