"""A model's state and the stages of a step: route, look up, partial, exchange, finish, and the same walked back."""

from dataclasses import dataclass, field

import numpy as np

from deshpc.backend.exact_sum import TERMS, total
from deshpc.comm.group import Handle, slice_of
from deshpc.comm.ledger import Traffic
from deshpc.comm.place import nowhere
from deshpc.model.fixed_point import PARTIAL_SCALE, FixedPoint
from deshpc.model.tower import TopSamples
from deshpc.nn.loss import log_loss, loss_slopes
from deshpc.nn.scores import Scores
from deshpc.table.routed import RoutedBatch
from deshpc.table.table import ShardRows


@dataclass(frozen=True)
class Prepared:
    """A batch whose keys are at their owners and whose rows are found: all that may be done before the rows are read.

    shards : ShardRows of this rank's shards;  train : unseen keys have been inserted
    replicated : ShardRows of replicated fields, of the samples of this rank's top, where there are such fields
    """

    routed: RoutedBatch
    shards: list[ShardRows]
    train: bool
    replicated: list[ShardRows] | None = None

    @property
    def direction(self):
        return "forward" if self.train else "eval"


@dataclass
class Forward:
    """A step under way.

    prepared : the batch;  travelling : Handle of the exchange;  partial_shards : ShardRows of this rank's partials
    state (n, s), logit (n), gradient (n) : of the samples that this rank's top works on; gradient is that of the loss
    by the logits;  loss, dense : Handles of the batch's summed loss, and of the dense gradients' sums
    gradient_scale : of fixed-point sums of gradients
    replicated : ShardRows of replicated fields with the sums over all ranks
    """

    prepared: Prepared
    travelling: Handle
    partial_shards: list = field(default_factory=list)
    state: np.ndarray | None = None
    logit: np.ndarray | None = None
    gradient: np.ndarray | None = None
    loss: Handle | None = None
    dense: Handle | None = None
    gradient_scale: float = 1.0
    replicated: list[ShardRows] | None = None

    @property
    def routed(self):
        return self.prepared.routed

    @property
    def shards(self):
        return self.prepared.shards


class Model:
    """Operators on one table, and what is above their complete states: a sum of logits (`SumTop`) or a tower (`Tower`).

    The states of all operators lie side by side in one array (B, s), so that a step makes one aggregating
    collective however many operators there are.

    replicated : `ops.replicated.Replicated`, where every rank has the rows of some fields
    wants_report : function that says whether a report on the training is due, asked of each rank in every step
    report : whether rank 0 wanted one in the step whose loss was waited for last; known to ranks whose tops work on their own share
    overlaps : whether the next batch is prepared while the partials of a batch travel.  That hides the time on a network.  Inside
    a node nothing is left to hide, and what is prepared pushes the running batch out of the caches.
    """

    def __init__(
        self, name, n_fields, backend, group, routing, exchange, table, operators, parameters, top, dense_sums, overlaps=False,
        replicated=None,
    ):  # fmt: skip
        """name : `model.name`;  n_fields : fields that have keys;  dense_sums : `DenseSums` of the parameters"""
        self.name, self.n_fields = name, n_fields
        self.backend, self.group, self.routing, self.exchange = backend, group, routing, exchange
        self.table, self.operators, self.parameters, self.top, self.overlaps = table, operators, parameters, top, overlaps
        self.dense_sums, self.replicated = dense_sums, replicated
        self.zero = table.zero
        self.enter, self.wants_report = nowhere, _never
        self.report = False
        self.scores = Scores(backend)
        self._scratch = backend.buffers()
        self._fixed = FixedPoint(group, group.size * backend.threads) if table.sums_type.kind == "i" else None

    @property
    def width(self):
        """s, numbers of a sample's state."""
        return self.operators.width

    def prepare(self, batch, train, poke=lambda: None):
        """Route a global batch, of which `batch` is what this rank's routing reads, and look its keys up.

        Reads no row, so it may run while the step before is under way.  train : insert unseen keys; otherwise they
        read as zeros.  poke : called between pieces of work.  Valid until the call after the next one.  Collective.
        """
        self.enter("route")
        batch, replicated = batch.on(self.backend), None
        if self.replicated:
            batch, replicated = self.replicated.split(batch, self.routing.reads_whole_batch, self.exchange.whole_top)
        routed = self.routing.route(batch, "forward" if train else "eval")
        poke()
        self.enter("look up")
        shards = self.table.lookup(routed, insert=train)
        if self.replicated:
            replicated = self.replicated.table.lookup(replicated, insert=train)
        poke()
        return Prepared(routed, shards, train, replicated)

    def begin(self, prepared):
        """Compute partials and start their exchange; returns a Forward.  Collective."""
        self.enter("partial")
        return Forward(prepared, self.exchange.start(prepared, PARTIAL_SCALE, prepared.direction))

    def complete(self, forward):
        """Wait for the exchange and fill in state and logits.  Collective."""
        routed = forward.routed
        self.enter("exchange")
        forward.state, forward.partial_shards = forward.travelling.wait()
        self.enter("finish")
        if self.replicated:
            forward.state = self.replicated.add(forward.state, forward.prepared.replicated)
        if self._fixed:
            value = self._scratch.array("value", forward.state.shape, np.float64)
            self.backend.update.set_numbers(forward.state, 1.0 / PARTIAL_SCALE, value)
            forward.state = value
            if not forward.prepared.train:
                self._fixed.check_partials(routed.step, self._magnitude(forward))
        samples = len(routed.labels)
        forward.logit = self._scratch.array("logit", samples, self.zero.dtype)
        forward.gradient = self._scratch.array("gradient", samples, self.zero.dtype)
        self.top.forward(forward.state, self._top_samples(forward), forward.logit)
        return forward

    def forward(self, batch, train):
        """Logits of a global batch: prepare, begin, complete.  Valid until the next call.  Collective."""
        return self.complete(self.begin(self.prepare(batch, train)))

    def lose(self, forward):
        """Set the gradient of the loss by the logits, and start adding up the loss over ranks.  Collective.

        The scores, which no update has made yet for these samples, are counted in `scores`.
        """
        routed = forward.routed
        self.scores.add(forward.logit, routed.labels)
        loss = log_loss(
            self.backend, self.zero, forward.logit, routed.labels, forward.gradient, routed.samples,
            self.table.optimizer.reduction,
        )  # fmt: skip
        report = self.wants_report()
        if self.exchange.whole_top:
            forward.loss = Handle(lambda: self._lost(np.append(loss(), report)[None]))
        else:
            traffic = Traffic("batch", "control", "forward")
            forward.loss = self.group.gather_numbers(np.append(loss(), report), traffic).then(self._lost)

    def backward(self, forward):
        """Sum the gradients of all rows and dense parameters, from `forward.gradient`.  Collective."""
        self.enter("backward")
        samples, gradient = self._top_samples(forward), forward.gradient
        if self._fixed and self.top.scaled:
            forward.gradient_scale = self._agree_scale(forward)
        forward.state = self.top.backward(forward.state, samples, gradient, forward.gradient_scale)
        if self._fixed and not self.top.scaled:
            forward.gradient_scale = self._agree_scale(forward)
        if not self.operators.own_parameters:  # what the top has to add up travels meanwhile
            forward.dense = self.dense_sums.start()
        if self.replicated:
            travelling = self.replicated.backward(
                forward.prepared.replicated, forward.state, self.exchange.whole_top, forward.routed.step
            )
            forward.state = self.replicated.sharded(forward.state)
        self.exchange.backward(forward.prepared, forward.partial_shards, forward.state, forward.gradient_scale)
        if self.replicated:
            forward.replicated = travelling.wait()
        if self.operators.own_parameters:
            forward.dense = self.dense_sums.start()

    def update(self, forward):
        """Apply the update rule to the rows that the batch touched and to the dense parameters.  Collective."""
        self.enter("update")
        step, inverse_scale = forward.routed.step, 1.0 / forward.gradient_scale
        self.parameters.set_gradient(forward.dense.wait(), inverse_scale)
        clip = self._clip(forward, inverse_scale)
        self.table.update(forward.shards, step, clip, inverse_scale)
        if self.replicated:
            self.replicated.table.update(forward.replicated, step, clip, inverse_scale)
        self.parameters.update(step, clip)

    def take_auc(self):
        """AUC of the samples since the last call, all ranks': see `Scores`.  Collective where the top works on own shares."""
        return self.scores.take_auc(None if self.exchange.whole_top else self.group)

    def _lost(self, found):
        """The summed loss, from the terms and the wish for a report (n, 4) of each rank whose samples are its own."""
        self.report = bool(found[0, TERMS])
        return total(found[:, :TERMS])

    def _top_samples(self, forward):
        """TopSamples of the samples that this rank's top works on."""
        routed = forward.routed
        first = 0 if self.exchange.whole_top else self._home_samples(routed)[0]

        def slopes(begin, end, logit, gradient):
            labels, reduction = routed.labels[begin:end], self.table.optimizer.reduction
            loss_slopes(self.backend, self.zero, logit, labels, gradient, routed.samples, reduction)

        return TopSamples(routed.dense, routed.step, first, slopes if forward.prepared.train else None)

    def _clip(self, forward, inverse_scale):
        """Factor of all gradients: at most 1, so that their global norm is at most the optimizer's clip_norm."""
        if not self.table.optimizer.clip_norm:
            return 1.0
        norms = np.concatenate(self.table.square_norms(forward.shards, inverse_scale))
        norms.sort()  # rows are numbered as their keys came, which the routing decides: the sum's rounding must not follow it
        if self._fixed:
            of_rows = self._fixed.sum(norms)
        else:
            of_rows = float(self.group.sum(norms.sum(), Traffic("batch", "control", "backward"))[0])
        if self.replicated:  # once, not once a rank
            of_rows += self.replicated.square_norm(forward.replicated, inverse_scale)
        return self.table.optimizer.clip(of_rows + self.dense_sums.square_norm())

    def _agree_scale(self, forward):
        """The scale of this step's gradients in fixed point, from every rank's own share of the batch."""
        routed, home = forward.routed, forward.routed.home
        first, last = self._home_samples(routed)
        begin, end = (first, last) if self.exchange.whole_top else (0, last - first)
        largest = self._scratch.array("largest values", len(home), np.float64)
        self.backend.loss.largest_values(home.begins, home.ends, home.values, home.dense, largest)
        term, sample = self.operators.largest_term(
            forward.partial_shards, forward.state, forward.gradient, self.parameters, largest, begin, end
        )
        return self._fixed.gradient_scale(
            routed.step, self._magnitude(forward), (term, sample - begin + first), home.occurrences + len(home)
        )

    def _magnitude(self, forward):
        """(largest sum of |terms| of a partial at this rank, its sample in the batch)."""
        magnitude, sample = self.operators.magnitude(forward.partial_shards)
        return magnitude, sample + (self._home_samples(forward.routed)[0] if self.exchange.moves_rows else 0)

    def _home_samples(self, routed):
        return slice_of(routed.samples, self.group.size, self.group.rank)


def _never():
    """What `Model.wants_report` does where nobody reports."""
    return False
