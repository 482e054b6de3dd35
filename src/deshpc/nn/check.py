"""Whether an operator's adjoint is right: its gradients against differences of what it computes.  For operators of one's own."""

import numpy as np

from deshpc.backend.open import open_backend
from deshpc.config.schema import OptimizerConfig
from deshpc.nn.first_values import FirstValues
from deshpc.nn.parameters import Parameters
from deshpc.nn.slot_sums import SlotSums
from deshpc.nn.tape import Gradient, Tape
from deshpc.table.optimizer import open_optimizer

_STEP = 1e-5  # rounding 1e-16 / STEP, truncation STEP^2: an error of 1e-9 is none


def gradient_error(make, *inputs, seed=1):
    """The largest difference between an operator's gradients and slopes of its values, relative to the largest gradient: about 1e-10 if they are right.

    make : function(backend, values) that gives the `Operator`, whose parameters it declares in a `FirstValues`
    inputs : arrays (n, ...) of float64
    seed : of the numbers by which the outputs are added up to one
    """
    backend, values = open_backend("cpu", 1), FirstValues(seed)
    try:
        operator = make(backend, values)
        slots = SlotSums(backend, values.shapes, "float64", 1)
        parameters = Parameters(backend, values.shapes, "float64", open_optimizer(OptimizerConfig()), slots=slots)
        values.set(parameters)
        inputs, generator = [np.array(one, np.float64) for one in inputs], np.random.default_rng(seed)

        def run(upstream=None):
            """The output; or the gradients of inputs and parameters by the sum of output times `upstream`."""
            tape, targets = Tape(backend, backend.buffers(), parameters, slots, 0, 0, 0, True, True), [Gradient(np.empty_like(one)) for one in inputs]
            slots.clear()
            node = tape.apply(operator, *(tape.input(one, target) for one, target in zip(inputs, targets, strict=True)))
            if upstream is None:
                return node.array.copy()
            for _ in tape.backward(node, upstream.copy()):
                raise ValueError("an operator that spans the batch has to be checked in a model")
            slots.close()
            return [*(target.array for target in targets), *(slots.of(0, name)[0].copy() for name in values.shapes)]

        upstream = generator.standard_normal(run().shape)
        gradients = run(upstream)
        numbers = [*inputs, *(parameters[name] for name in values.shapes)]
        return _error(lambda: float((run() * upstream).sum()), numbers, gradients)
    finally:
        backend.close()


def _error(function, numbers, gradients):
    """The largest error of gradients, one number after another, relative to the largest of all.  function : of what `numbers` hold"""
    worst, largest = 0.0, max(np.abs(one).max(initial=0) for one in gradients)
    for array, gradient in zip(numbers, gradients, strict=True):
        flat = array.reshape(-1)
        for i, slope in enumerate(gradient.reshape(-1).tolist()):
            held, ends = flat[i], []
            for h in (_STEP, -_STEP):
                flat[i] = held + h
                ends.append(function())
            flat[i] = held
            worst = max(worst, abs((ends[0] - ends[1]) / (2 * _STEP) - slope))
    return worst / largest
