"""The formulas of the update rules, each written once for a linear weight, an embedding and a dense parameter.

    new_weight(rule, lanes, number, zero, weight, gradient, state, plane)

returns the new weight (one number or k lanes of the compute type; see `generic.py` for lanes, number and zero) and updates
the optimizer state in place: plane p of it lies at address `state` + p `plane`.  The rule's class chooses the formula.
No operation is contracted or reordered that is not written so, so a row gets the same bits on any rank.
"""

from numba.extending import overload

from deshpc.backend import rules
from deshpc.backend.cpu.generic import between, mean_square, multiply_add, read, root, spread, write


def new_weight(rule, lanes, number, zero, weight, gradient, state, plane):
    """The weight after one update by `gradient`."""
    raise TypeError("new_weight works inside kernels")


def sgd(rule, lanes, number, zero, weight, gradient, state, plane):
    return multiply_add(gradient, spread(lanes, -rule.rate), weight)


def adagrad(rule, lanes, number, zero, weight, gradient, state, plane):
    total = multiply_add(gradient, gradient, read(lanes, number, zero, state))
    write(lanes, number, state, total)
    return weight - gradient * spread(lanes, rule.rate) / (root(total) + spread(lanes, rule.epsilon))


def rowwise_adagrad(rule, lanes, number, zero, weight, gradient, state, plane):
    total = read(None, number, zero, state) + mean_square(lanes, zero, gradient)
    write(None, number, state, total)
    return weight - gradient * spread(lanes, rule.rate) / spread(lanes, root(total) + rule.epsilon)


def adam(rule, lanes, number, zero, weight, gradient, state, plane):
    mean = multiply_add(spread(lanes, rule.beta1), read(lanes, number, zero, state), spread(lanes, rule.rest1) * gradient)
    square = spread(lanes, rule.rest2) * gradient * gradient
    square = multiply_add(spread(lanes, rule.beta2), read(lanes, number, zero, state + plane), square)
    write(lanes, number, state, mean)
    write(lanes, number, state + plane, square)
    size = root(spread(lanes, rule.correction2) * square) + spread(lanes, rule.epsilon)
    return weight - spread(lanes, rule.rate * rule.correction1) * mean / size


def ftrl(rule, lanes, number, zero, weight, gradient, state, plane):
    total = read(lanes, number, zero, state + plane)
    grown = multiply_add(gradient, gradient, total)
    alpha, l1 = spread(lanes, rule.alpha), spread(lanes, rule.l1)
    shift = (root(grown) - root(total)) / alpha
    z = read(lanes, number, zero, state) + (gradient - shift * weight)
    write(lanes, number, state, z)
    write(lanes, number, state + plane, grown)
    # where |z| <= l1 this is z - z, a zero without sign; 0 - l1 is one too, if l1 is 0
    kept = between(z, spread(lanes, zero) - l1, l1) - z
    return kept / ((spread(lanes, rule.beta) + root(grown)) / alpha + spread(lanes, rule.l2))


_FORMULAS = {
    rules.Sgd: sgd, rules.Adagrad: adagrad, rules.RowwiseAdagrad: rowwise_adagrad, rules.Adam: adam, rules.Ftrl: ftrl,
}  # fmt: skip


@overload(new_weight, inline="always")
def _new_weight(rule, lanes, number, zero, weight, gradient, state, plane):
    return _FORMULAS[rule.instance_class]
