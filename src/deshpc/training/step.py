"""One synchronous update."""

from deshpc.nn.loss import log_loss


def step(model, batch):
    """Update `model` by one global batch; returns the batch's summed log-loss (float64).  Collective.

        route     samples' keys -> their owners                       (keys travel, or every rank reads all)
        look up   local hash tables, inserting unseen keys
        partial   (B, s) at each owner from its own rows
        exchange  one collective: complete states on every rank
        finish    logits of all B samples, loss, gradient             (the same on every rank)
        adjoint   gradients of the owner's rows, summed per key
        update    owners: touched rows; everyone: dense parameters
    """
    forward = model.forward(batch, train=True)
    loss = log_loss(
        model.backend, model.zero, forward.logit, forward.routed.labels, forward.gradient, model.table.optimizer.reduction
    )
    model.backward(forward)
    model.update(forward)
    return loss
