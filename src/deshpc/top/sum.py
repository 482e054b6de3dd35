"""The top of linear models and factorization machines: operators finish their own parts of the logit, which add up."""

from deshpc.nn.loss import slopes
from deshpc.nn.parts import parts_of
from deshpc.top.contract import Learnt


class SumTop:
    """A `Top`: logit = bias + each operator's `finish`.  Sums of dense gradients have the accumulation type and its scale."""

    def __init__(self, backend, operators, parameters, accumulation, objective):
        """objective : `nn.loss.Objective`"""
        self._backend, self._operators, self._parameters = backend, operators, parameters
        self._accumulation, self._objective = accumulation, objective
        self._zero, self._scratch = operators.table.form.zero, backend.buffers()

    def score(self, found, partials):
        """Logits (n) of the compute type: see `Top`."""
        state = self._accumulation.numbers(partials.state)
        self._accumulation.check(found, partials.rows)
        return self._finish(found, state)

    def learn(self, found, partials):
        """Learnt, whose gradient (n, s) lies where the states were: see `Top`."""
        routed, parameters = found.routed, self._parameters
        state = self._accumulation.numbers(partials.state)
        logit = self._finish(found, state)
        gradient = self._scratch.array("gradient", logit.shape, self._zero.dtype)
        loss = slopes(self._backend, self._objective, self._zero, logit, routed.labels, routed.weights, gradient, routed.samples)
        scale, dense_scale = self._accumulation.gradient_scales(found, partials.rows, state, gradient)
        sums = parameters.sums_of("bias")
        self._backend.each(
            self._backend.loss.sum_gradient,
            [(gradient, dense_scale, sums, parts) for parts in parts_of(len(gradient), self._backend.threads)],
        )
        self._operators.finish_adjoint(state, routed.dense, parameters, gradient, dense_scale)
        return Learnt(loss, logit, state, scale, dense_scale)

    def _finish(self, found, state):
        """Logits (n) from complete states (n, s), which the adjoint needs as this leaves them."""
        logit = self._scratch.array("logit", len(found.routed.labels), self._zero.dtype)
        self._operators.finish(state, found.routed.dense, self._parameters, logit)
        return logit
