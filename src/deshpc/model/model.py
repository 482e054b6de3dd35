"""A model: the stations that a batch passes, and what they share."""

from deshpc.backend.exact_norm import total
from deshpc.comm.ledger import Traffic
from deshpc.launch.place import nowhere
from deshpc.nn.scores import Scores, TaskScores
from deshpc.table.found import Found


class Model:
    """The stations of a step, in order: routing, table, exchange with the operators at its ends, top, dense sums.

    `training.step` walks a batch through them.
    """

    def __init__(self, name, n_fields, backend, group, routing, parts, overlaps=False, enter=nowhere, loss="log", eviction=None, tasks=()):
        """name : `model.name`
        n_fields : fields that have keys
        routing : `Routing`, how keys reach their owners
        parts : Parts, the other stations
        overlaps : whether the next batch is prepared while the partials of a batch travel.  That hides the time on a network, and a
            device's host.  On processors inside a node nothing is left to hide, and what is prepared pushes the running batch out of
            the caches.
        enter : function that is told the name of each stage of a step as it begins
        loss : `train.loss`, which says what a logit predicts; of several tasks it is a tuple of theirs afterwards
        tasks : `config.tasks.Task`s, where there are several labels
        eviction : `Eviction`, None where no row is given up
        """
        self.name, self.n_fields, self.backend, self.group = name, n_fields, backend, group
        self.routing, self.table, self.exchange, self.operators = routing, parts.operators.table, parts.exchange, parts.operators
        self.top, self.dense_sums, self.parameters, self.accumulation = parts.top, parts.dense_sums, parts.parameters, parts.accumulation
        self.overlaps, self.enter, self.eviction = overlaps, enter, eviction
        self.tasks, self.loss = tasks, tuple(task.loss for task in tasks) or loss
        self.scores = TaskScores(backend, self.loss) if tasks else Scores(backend, classes=loss == "log")

    @property
    def routes_ahead(self):
        """Whether keys of a batch travel while the one before is worked on, and messages of the one behind are written meanwhile."""
        return self.routing.travels_ahead or (self.overlaps and not self.routing.reads_whole_batch)

    def route(self, batch, train):
        """Write the messages that bring a global batch's keys to their owners: function() -> Handle of the RoutedBatch, which sends them.

        batch : what this rank's routing reads of it
        train : see `look_up`
        The function is collective.
        """
        self.enter("route")
        return self.routing.route(batch.on(self.backend), "forward" if train else "eval")

    def look_up(self, routed, train):
        """Look up the keys of a RoutedBatch: all that may be done before the rows are read.  Returns Found.

        train : insert unseen keys, which are read as zeros otherwise
        Reads no row, so it may run while the step before is under way.  Valid until the call after the next one.  Not collective.
        """
        self.enter("look up")
        return Found(routed, self.table.look_up(routed, insert=train), train)

    def start(self, found):
        """Compute own partials and start their exchange; a Handle of Partials.  Collective."""
        self.enter("start")
        return self.exchange.start(found, self.accumulation.partial_scale)

    def update(self, found, rows, learnt):
        """Apply the update rule to the rows that the batch touched, and to the dense parameters; then give rows up, if it is time.  Collective.

        rows : as `Exchange.give_back` returns them
        learnt : Learnt
        """
        self.enter("update")
        step, inverse_scale = found.routed.step, 1.0 / learnt.scale
        self.parameters.set_gradient(self.dense_sums.wait(), 1.0 / learnt.dense_scale)
        clip = self._clip(rows, inverse_scale)
        self.table.update(rows, step, clip, inverse_scale)
        self.parameters.update(step, clip)
        if self.evicts_after(step):
            self.enter("evict")
            self.eviction.evict(step)

    def evicts_after(self, step):
        """Whether rows are given up behind the update of a step: until then no other batch may be looked up."""
        return self.eviction is not None and self.eviction.due(step)

    def take_auc(self):
        """AUC of the samples since the last call, all ranks': see `Scores`.  Collective where the top works on own shares."""
        return self.scores.take_auc(None if self.exchange.whole_top else self.group)

    def _clip(self, rows, inverse_scale):
        """Factor of all gradients: at most 1, so that their global norm is at most the optimizer's clip_norm."""
        if not self.table.optimizer.clip_norm:
            return 1.0
        of_rows = self.table.square_norm(rows, inverse_scale)
        of_dense = self.dense_sums.square_norm()  # a device that has been waited for has made both
        terms = self.group.sum(of_rows(), Traffic("batch", "control", "backward"))
        return self.table.optimizer.clip(total(terms) + of_dense)
