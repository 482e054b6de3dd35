"""Predicted bytes of training: every operator, kind and direction, as a pure function of a run's shape.

All bytes are those of all ranks together, over a whole run of S samples in any number of steps: most collectives send
every sample's numbers to or from each of the N - 1 other ranks, so neither uneven shares nor an uneven last batch
changes their sum.  Where ranks have fields of their own, the batches' sizes count.  What de-duplication decides is exact
given the numbers of keys, and the padding of messages has bounds.  Evaluations are not predicted.

Where exchanges go node by node, bytes inside nodes and between them are told apart: what goes to every other rank crosses
between two nodes once, and a message between two ranks is where these are.  See `comm.levels`.
"""

from typing import NamedTuple

_KEY, _COUNT, _VALUE = 8, 2, 4  # bytes: uint64; occurrences of a sample; float32
_LISTED, _ROOM = 4, 8  # bytes: int32 of a sample in each list; int64 that says how much room lists need
_HEADER, _NUMBER = 4, 8  # bytes: int32 of a message's header; float64 or int64 on which ranks agree
_LOSS_NUMBERS = 4  # terms of its sum, and whether a report is due
_WEIGHT_NUMBERS = 3  # terms of the sum of the samples' weights
_NORM_NUMBERS = 41  # terms of a sum of squares
_PARTS = 16  # of a batch, whose sums are added in order in fixed point
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
    packed_rows : bytes of the weights of a row of the narrowest and of the widest table, where embeddings have fewer than row_bytes a number
    exchange : of `train.exchange`
    whole_top, moves_rows : what it says of itself (`Exchange`)
    routed : whether keys are sent to their owners
    numbered : whether some of them travel as numbers that both sides know, as between nodes
    labels : of a sample
    tabled : whether messages say how many values they have in tables, as between nodes
    listed : whether keys lie in lists of all occurrences, as inside a node
    clip : whether gradients are clipped
    fixed_point : whether sums are integers
    own_terms : whether an embedding's gradient has a sum of its own keys' squares, where these have values: FM's
    field_widths : of each rank, numbers of a state that it has complete, where those travel
    batch_widths : of the layers that
    batch normalisation spans;  layer_width : numbers of a sample that owners add up between layers of their part
    repeats : whether ranks agree on fields whose rows repeat (`ops.repeated`)
    local : whether single ranks have dense parameters of their own
    replicated_row : bytes of a replicated row in a message, 0 without such rows
    threads : of a rank
    nodes : of each rank, the number of its node, where exchanges go node by node; empty where all ranks are alike
    weighted : whether samples have weights
    wire : bytes of a number of rows, states or their gradients as they travel (`train.wire`), 0 where they are as they are
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
    own_terms: bool = True
    widest_row: int = 0
    field_widths: tuple = ()
    batch_widths: tuple = ()
    layer_width: int = 0
    local: bool = False
    replicated_row: int = 0
    threads: int = 1
    repeats: bool = False
    nodes: tuple = ()
    weighted: bool = False
    wire: int = 0
    numbered: bool = False
    tabled: bool = False
    listed: bool = False
    labels: int = 1
    packed_rows: tuple = ()

    @property
    def steps(self):
        return sum(count for _, count in self.batches)

    @property
    def samples(self):
        """S: trained, over all steps."""
        return sum(samples * count for samples, count in self.batches)

    @property
    def row_sizes(self):
        """(bytes of the weights of a row of the narrowest table, of the widest) in memory."""
        return self.packed_rows or (self.row_width * self.row_bytes, max(self.row_width, self.widest_row) * self.row_bytes)


class KeysAway(NamedTuple):
    """Keys of local batches whose owner is another rank, on one level, added up over ranks and steps; zero where they stay uncounted.

    unique : distinct keys of each local batch, where they are counted
    whole : keys that travel as they are: of those, or, where keys lie in lists, every occurrence
    short : bytes of the numbers that the others have
    numbers, values : bytes of what occurrences are: which key of its message each is; and of the values beside them
    replicated : distinct rows of replicated fields in each local batch: all ranks get their sums
    """

    unique: int = 0
    whole: int = 0
    short: int = 0
    numbers: int = 0
    values: int = 0
    replicated: int = 0


class Bytes(NamedTuple):
    """Bytes sent by all ranks together: at least `low`, at most `high`."""

    operator: str
    kind: str
    direction: str
    level: str
    low: int
    high: int


class _Level(NamedTuple):
    """Where bytes travel: between all ranks ("flat"), inside nodes or between them.

    others : how often a number is sent that goes to all ranks but one, or is added up from them
    pairs : of ranks, in either order, that send each other messages
    away : KeysAway
    """

    name: str
    others: int
    pairs: int
    away: KeysAway


def training_bytes(run, away):
    """[Bytes] of everything that the training steps of `run` send; one rank sends nothing.

    away : {level: KeysAway}, the level being "flat", or "inside" and "between" where `run.nodes` are told apart
    """
    return [
        Bytes(operator, kind, direction, level.name, low, low + slack)
        for level in _levels(run, away)
        for operator, kind, direction, low, slack in _entries(run, level)
        if low + slack
    ]


def _levels(run, away):
    n = run.ranks
    if not run.nodes:
        return [_Level("flat", n - 1, n * (n - 1), away["flat"])]
    sizes = [run.nodes.count(node) for node in sorted(set(run.nodes))]
    inside = sum(size * (size - 1) for size in sizes)
    return [
        _Level("inside", n - len(sizes), inside, away["inside"]),
        _Level("between", len(sizes) - 1, n * (n - 1) - inside, away["between"]),
    ]


def _entries(run, level):
    exchanged = _EXCHANGES[run.exchange](run, level)
    return [
        _keys(run, level), _labels(run, level), *exchanged, *_layers(run, level), _replicated(run, level), *_top(run, level),
        _control(run, level),
    ]  # fmt: skip


def _keys(run, level):
    """Unique keys, and with them what owners need of each sample, unless samples stay at home.

    Ahead of them, every message has a header: unique keys of each field, and the number of occurrences; where samples
    stay at home, unique keys of each shard and field.  Where keys have numbers, it also says how many do: of each shard, if samples stay.
    Where values may have a table, it says how many this has.
    """
    sent, slack = _KEY * level.away.whole + level.away.short, 0
    if not run.routed:
        sent = 0
    elif run.listed:
        sent += level.away.values + _LISTED * run.shards * _homes_to_others(run, level, (1,) * run.ranks)
        sent += _ROOM * _messages(run, level)
    elif run.moves_rows:
        sent += _HEADER * run.shards * (run.fields + run.numbered) * _messages(run, level)
    else:
        sent += level.away.numbers + level.away.values + _COUNT * _homes_to_others(run, level, (1,) * run.ranks)
        sent += _HEADER * (run.fields + 1 + run.numbered + run.tabled) * _messages(run, level)
        slack = _MOST_PADDING * _messages(run, level)
    return "batch", "keys", "forward", sent, slack


def _labels(run, level):
    """Labels, dense features and, where there are some, weights of samples whose top every rank repeats."""
    needed = run.routed and run.whole_top
    return "batch", "labels", "forward", needed * _VALUE * (run.labels + run.n_dense + run.weighted) * _samples_to_others(run, level), 0


def _all_reduce(run, level):
    """A reduce-scatter and an all-gather of the partials."""
    return [(run.operator, "partials", "forward", 2 * _states(run, level), 0)]


def _reduce_scatter(run, level):
    """A reduce-scatter of the partials; an all-gather of the states' gradients."""
    return [
        (run.operator, "partials", "forward", _states(run, level), 0),
        (run.operator, "gradients", "backward", _states(run, level), 0),
    ]


def _rows(run, level):
    """Every unique key's row to its home rank, and the row's gradient back.

    In fixed point the gradient of an embedding with own terms, whose keys have values, is two sums, which the owner puts together.  Of
    several tables, the keys decide whose rows travel.  Packed rows travel as they are.
    """
    of_sums, spread = run.wire or run.sum_bytes, max(0, run.widest_row - run.row_width) * level.away.unique
    narrowest, widest = run.row_sizes
    if run.wire and not run.packed_rows:
        narrowest, widest = (size // run.row_bytes * run.wire for size in run.row_sizes)
    width = run.row_width + (run.fixed_point and run.own_terms and run.value_width > 0 and run.dim > 0)
    return [
        (run.operator, "rows", "forward", narrowest * level.away.unique, (widest - narrowest) * level.away.unique),
        (run.operator, "gradients", "backward", width * of_sums * level.away.unique, spread * of_sums),
    ]


def _pooled(run, level):
    """Every rank's own part of the states to the samples' home ranks, and its gradient back."""
    sent = _homes_to_others(run, level, run.field_widths) * (run.wire or run.sum_bytes)
    return [(run.operator, "pooled", direction, sent, 0) for direction in ("forward", "backward")]


def _homes_to_others(run, level, widths):
    """Numbers that ranks send to the samples' other homes, or get from them, widths[r] a sample between rank r and a home."""
    return sum(count * _to_other_homes(run, level, samples, widths) for samples, count in run.batches)


def _to_other_homes(run, level, samples, widths):
    """As `_homes_to_others`, of one batch; its shares differ by one sample at most."""
    home = [samples * (rank + 1) // run.ranks - samples * rank // run.ranks for rank in range(len(widths))]
    if level.name == "flat":
        away = [samples - own for own in home]
    else:
        of_node = [sum(own for own, node in zip(home, run.nodes, strict=True) if node == here) for here in run.nodes]
        away = [here - own if level.name == "inside" else samples - here for own, here in zip(home, of_node, strict=True)]
    return sum(count * width for count, width in zip(away, widths, strict=True))


_EXCHANGES = {"allreduce": _all_reduce, "reduce_scatter": _reduce_scatter, "rows": _rows, "pooled": _pooled}


def _replicated(run, level):
    """Keys, fields and sums of replicated rows to all ranks, after their numbers; a message is padded to a multiple of 8."""
    needed = not run.whole_top and run.replicated_row > 0
    sent = _NUMBER * run.threads * _messages(run, level) + level.others * run.replicated_row * level.away.replicated
    return "pool", "replicated", "backward", needed * sent, needed * (_NUMBER - 1) * level.others * run.ranks * run.steps


def _layers(run, level):
    """All-reduces between the layers of the owners' part, in sequence."""
    sent = 2 * run.layer_width * _added_up(run, level) * _samples_to_others(run, level)
    return [(run.operator, "layers", direction, sent, 0) for direction in ("forward", "backward")]


def _top(run, level):
    """What has to be added up above the states: the gradients of dense parameters, and, where a top works on a rank's own
    samples, the loss and, where there are some, their weights, and the count and two moments of each unit that batch normalisation
    needs of all of them, in fixed point of each part of a batch; and how many rows every field has, where those that repeat are looked for."""
    own_share = not run.whole_top
    parts = _PARTS // run.ranks if run.fixed_point else 1
    moments = own_share * parts * _NUMBER * sum(1 + 2 * width for width in run.batch_widths) * _messages(run, level)
    agreed = own_share * (_LOSS_NUMBERS + run.weighted * _WEIGHT_NUMBERS) + (run.repeats and run.moves_rows) * (run.fields + 1)
    return [
        ("batch", "control", "forward", agreed * _NUMBER * _messages(run, level), 0),
        ("tower", "statistics", "forward", moments, 0),
        ("tower", "statistics", "backward", moments, 0),
        ("dense", "dense", "backward", 2 * level.others * run.dense_parameters * run.sum_bytes * run.steps, 0),
    ]


def _control(run, level):
    """Agreement on the scales of fixed-point gradients: seven numbers; on the norm: its terms (`backend.exact_norm`), and one number
    more where dense parameters belong to single ranks."""
    numbers = 7 * run.fixed_point + (_NORM_NUMBERS + run.local) * run.clip
    return "batch", "control", "backward", numbers * _NUMBER * _messages(run, level), 0


def _messages(run, level):
    """Messages where in every step every rank sends one to every other."""
    return level.pairs * run.steps


def _samples_to_others(run, level):
    """How often a sample is sent where each goes to all ranks but one."""
    return level.others * run.samples


def _states(run, level):
    """Bytes of states where each goes to all ranks but one, or comes from them."""
    return run.state_width * _added_up(run, level) * _samples_to_others(run, level)


def _added_up(run, level):
    """Bytes of a number that is added up over ranks: inside a node it is as it is."""
    return run.wire if run.wire and level.name != "inside" else run.sum_bytes
