"""Log-loss and its gradient, CPU.  See `nn.loss`."""

import math

from deshpc.backend.cpu.memory import at, cast, put
from deshpc.jit import kernel


@kernel
def log_loss(zero, logit, labels, scale, gradient, begin, end):
    """gradient[i] = (p_i - y_i) scale with p = 1 / (1 + exp(-logit)); returns the sum of the losses (float64).

    loss = log(1 + exp(-|z|)) + max(z, 0) - y z, which never overflows.  logit, gradient : compute type.
    """
    total = 0.0
    one = cast(1.0, zero)
    for i in range(begin, end):
        z, y = at(logit, i), cast(at(labels, i), zero)
        e = math.exp(-abs(z))
        p = one / (one + e)
        if z < zero:
            p = e / (one + e)
        put(gradient, i, (p - y) * scale)
        total += math.log1p(e) + max(z, zero) - y * z
    return total
