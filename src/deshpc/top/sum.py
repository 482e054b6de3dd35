"""The top of linear models and factorization machines: operators finish their own parts of the logit, which add up."""

from deshpc.nn.loss import PartLosses
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
        logit = self._begun(routed)
        gradient = self._scratch.array("gradient", logit.shape, self._zero.dtype)
        losses, scales, bias = PartLosses(self._backend, self._objective, self._zero, routed.samples), (1.0, 1.0), parameters.sums_of("bias")

        def forward(parts):
            self._operators.finish(state, routed.dense, parameters, logit, parts)
            losses.slopes(parts, logit, routed.labels, routed.weights, gradient)

        def backward(parts):
            self._backend.loss.sum_gradient(gradient, scales[1], bias, parts)
            self._operators.finish_adjoint(state, routed.dense, parameters, gradient, scales[1], parts)

        def there_and_back(parts):  # a thread has its samples in its caches, and nobody waits for the others
            forward(parts)
            backward(parts)

        if self._accumulation.scales_follow:
            self._each(forward, len(logit))
            scales = self._accumulation.gradient_scales(found, partials.rows, state, gradient)
            self._each(backward, len(logit))
        else:
            self._each(there_and_back, len(logit))
        return Learnt(losses.terms, logit, state, *scales)

    def _finish(self, found, state):
        """Logits (n) from complete states (n, s)."""
        logit = self._begun(found.routed)
        self._each(lambda parts: self._operators.finish(state, found.routed.dense, self._parameters, logit, parts), len(logit))
        return logit

    def _begun(self, routed):
        """Logits (n) that are the bias so far."""
        logit = self._scratch.array("logit", len(routed.labels), self._zero.dtype)
        self._backend.loss.begin_logit(logit, self._parameters["bias"])
        return logit

    def _each(self, work, samples):
        """Call work(Parts) for those of each thread, side by side."""
        self._backend.each(work, [(parts,) for parts in parts_of(samples, self._backend.threads)])
