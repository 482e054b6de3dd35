"""The top of linear models and factorization machines: operators finish their own parts of the logit, which add up."""

from deshpc.nn.parts import edges, parts_of


class SumTop:
    """logit = bias + each operator's `finish`."""

    room = 0
    scaled = True  # sums of dense gradients have the accumulation type and its scale

    def __init__(self, backend, operators, parameters):
        self._backend, self._operators, self._parameters = backend, operators, parameters

    def forward(self, state, samples, logit):
        """Set logit (n) from complete states (n, s), which the adjoint needs as this leaves them."""
        self._operators.finish(state, samples.dense, self._parameters, logit)

    def backward(self, state, samples, gradient, scale):
        """The gradient of the loss by the states, in their place, from that by the logits (n); adds up dense gradients."""
        sums, places = self._parameters.sums_of("bias"), edges(len(gradient))
        self._backend.each(
            self._backend.loss.sum_gradient,
            [(gradient, scale, sums, places, a, b) for a, b in parts_of(self._backend.threads)],
        )
        self._operators.finish_adjoint(state, samples.dense, self._parameters, gradient, scale)
        return state
