"""Synchronous updates, one after another."""


def step(model, batch):
    """Update `model` by one global batch; returns the batch's summed log-loss.  Collective."""
    return next(steps(model, [batch]))[1]


def steps(model, batches):
    """Yield (RoutedBatch, summed log-loss) of one update by each global batch.  Collective.

        route     samples' keys -> their owners                   (keys travel, or every rank reads all)
        look up   local hash tables, inserting unseen keys
        partial   (B, s) at each owner from its own rows          (rows travel first, where the exchange moves rows)
        exchange  one collective: complete states of all samples, or of each rank's own
        finish    logits, loss, gradient
        adjoint   gradients of the owner's rows, summed per key
        update    owners: touched rows; everyone: dense parameters
    """
    for forward in forwards(model, batches, train=True):
        model.lose(forward)
        model.backward(forward)
        model.update(forward)
        yield forward.routed, forward.loss.wait()


def forwards(model, batches, train):
    """Yield a completed Forward of each batch, down to the logits.  Collective.

    Where `model.overlaps`, the next batch is read, routed and looked up while the partials of a batch travel: that reads no
    row, and rows are read only after the update that is made before the next Forward is asked for.  So a batch must stay
    valid until the one after the next is asked for.
    """
    batches = iter(batches)
    prepared = _prepare(model, batches, train)
    while prepared is not None:
        forward = model.begin(prepared)
        if model.overlaps:
            prepared = _prepare(model, batches, train, forward.travelling.poke)
        yield model.complete(forward)
        if not model.overlaps:
            prepared = _prepare(model, batches, train)


def _prepare(model, batches, train, poke=lambda: None):
    """The next batch, routed and looked up; None after the last."""
    model.enter("read")
    batch = next(batches, None)
    poke()
    return None if batch is None else model.prepare(batch, train, poke)
