"""The step: what every model does with every batch, on every rank.

    route       routing.route          samples' keys -> their owners           (keys travel, a step ahead of the rest, or every rank reads all)
    look up     table.look_up          rows of the keys, unseen ones inserted
    start       exchange.start         (B, s) at each owner from its own rows  (rows travel first, where the exchange moves rows)
    exchange    Handle.wait            one exchange, maybe in parts: complete states of all samples, or of each rank's own
    learn       top.learn              logits, loss, gradient of the states
    give back   exchange.give_back     gradients of the owners' rows, summed per key
    update      table.update           owners: touched rows; everyone: dense parameters
"""

from typing import NamedTuple

import numpy as np

from deshpc.backend.exact_sum import TERMS, terms_of, total
from deshpc.comm.handle import Handle
from deshpc.comm.ledger import Traffic
from deshpc.errors import DeshpcError
from deshpc.route.routed import RoutedBatch


class Step(NamedTuple):
    """An update that was made.

    batch : RoutedBatch
    loss : losses of the global batch, each times its sample's weight, added up, before the update
    weight : what the samples of the global batch count, added up
    report : whether rank 0 has wanted a report in this step; known to all ranks whose tops work on their own share
    """

    batch: RoutedBatch
    loss: float
    weight: float
    report: bool


def step(model, batch):
    """Update `model` by one global batch; returns the batch's summed loss.  Collective."""
    return next(steps(model, [batch])).loss


def steps(model, batches, wants_report=lambda: False):
    """Yield a Step of one update by each global batch.  Collective.

    batches : Batches, of each what this rank's routing reads; one must stay valid until the third behind it is asked for
    wants_report : function, asked on each rank in every step
    """
    for found, partials in _completed(model, batches, train=True):
        model.enter("learn")
        learnt = model.top.learn(found, partials)
        sums = _sums(model, learnt.loss, _weight(model, found.routed), wants_report())
        model.scores.add(learnt.logit, found.routed.labels)
        model.enter("give back")
        model.dense_sums.start()
        rows = model.exchange.give_back(found, partials, learnt.gradient, learnt.scale)
        model.update(found, rows, learnt)
        loss, weight, report = sums.wait()
        yield Step(found.routed, loss, float(found.routed.samples) if weight is None else weight, report)


def scores(model, batches):
    """Yield (RoutedBatch, logits of the samples that this rank's top works on) of each batch; nothing is inserted.  Collective.

    Logits are valid until the next ones are asked for.
    """
    for found, partials in _completed(model, batches, train=False):
        model.enter("score")
        yield found.routed, model.top.score(found, partials)


def _completed(model, batches, train):
    """Yield (Found, Partials) of each batch.

    Where `model.overlaps`, the next batch is read, routed and looked up while the partials of a batch travel: that reads no
    row, and rows are read only after the update that is made before the next batch is asked for.  Before rows are given up it is not:
    a batch that is looked up holds its rows.
    """
    following = _Following(model, batches, train)
    found = following.look_up()
    while found is not None:
        travelling, after = model.start(found), None
        ahead = model.overlaps and not (train and model.evicts_after(found.routed.step))
        if ahead:
            try:
                after = following.look_up(travelling.poke)
            except DeshpcError as error:
                if error.agreed == model.group.size:  # all ranks end here: nothing may arrive in memory that is given back
                    travelling.wait()
                raise
        model.enter("exchange")
        yield found, travelling.wait()
        found = after if ahead else following.look_up()


class _Following:
    """The batches behind the one that is worked on.

    Where `model.routes_ahead`, the keys of the next one travel until it is looked up, and messages of the one behind it are written meanwhile.
    """

    def __init__(self, model, batches, train):
        self._model, self._batches, self._train, self._travelling = model, iter(batches), train, None

    def look_up(self, poke=lambda: None):
        """The next one, routed and looked up; None after the last.  Collective.

        poke : called between pieces of work
        """
        model, travelling = self._model, self._travelling or self._written(poke)()
        if travelling is None:
            return None
        try:
            send = self._written(poke) if model.routes_ahead else lambda: None
        except DeshpcError as error:
            if error.agreed == model.group.size:
                travelling.wait()
            raise
        model.enter("route")
        routed = travelling.wait()
        self._travelling = send()
        poke()
        found = model.look_up(routed, self._train)
        poke()
        return found

    def _written(self, poke):
        """Function() -> Handle of the RoutedBatch of the batch that is read next, which sends its messages; one of None after the last."""
        model = self._model
        model.enter("read")
        batch = next(self._batches, None)
        poke()
        send = (lambda: None) if batch is None else model.route(batch, self._train)
        poke()
        return send


def _weight(model, routed):
    """Function() -> terms of the sum of the weights of this rank's top, which the host has by then; None where all are 1."""
    if routed.weights is None:
        return None
    arriving = model.backend.read_later(routed.weights)
    return lambda: terms_of(arriving().astype(np.float64))


def _sums(model, loss, weight, report):
    """Handle of (sum of the losses, of the weights or None, wish for a report of rank 0): of all samples, whose ranks gather their terms
    where each has samples of its own."""
    if model.exchange.whole_top:
        return Handle(lambda: (total(loss()[None]), weight and total(weight()[None]), bool(report)))
    numbers = np.concatenate([loss(), np.array([report], np.int64), *([weight()] if weight else [])])

    def added(read):
        return total(read[:, :TERMS]), weight and total(read[:, 1 + TERMS :]), bool(read[0, TERMS])

    return model.group.gather_numbers(numbers, Traffic("batch", "control", "forward")).then(added)
