"""A cross layer of low rank whose coordinates are divided over owners gives what the whole layer gives, and so do its gradients."""

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.config.schema import OptimizerConfig
from deshpc.nn.cross import CrossLayer, OwnCrossLayer
from deshpc.nn.first_values import FirstValues
from deshpc.nn.lockstep import OverRanks
from deshpc.nn.parameters import Parameters
from deshpc.nn.slot_sums import SlotSums
from deshpc.nn.tape import Gradient, Tape
from deshpc.table.optimizer import open_optimizer

N, INPUTS, RANK = 6, 11, 3


def together(walks):
    """Run owners' generators side by side: what they yield is added up, as ranks would."""
    sent, results = [None] * len(walks), [None] * len(walks)
    while None in results:
        rows = []
        for i, walk in enumerate(walks):
            try:
                yielded = walk.send(sent[i])
                assert isinstance(yielded, OverRanks)
                rows.append(yielded.rows)
            except StopIteration as end:
                results[i] = end.value or ()
        if rows:
            sent = [sum(rows)] * len(walks)
    return results


@pytest.mark.parametrize("owners", [1, 2, 3])
def test_owners_of_coordinates_do_what_one_does(owners):
    rng, values, backend = np.random.default_rng(8), FirstValues(3), open_backend("cpu", 1)
    layer = CrossLayer(backend, values, "cross", "float64", INPUTS, RANK)
    slots = [SlotSums(backend, values.shapes, "float64", 1) for _ in range(owners)]
    parameters = Parameters(backend, values.shapes, "float64", open_optimizer(OptimizerConfig()), slots=slots[0])
    values.set(parameters)
    parameters.set("cross.bias", rng.standard_normal(INPUTS))
    x0, x, g = (rng.standard_normal((N, INPUTS)) for _ in range(3))
    narrow, wide, bias = (parameters[name] for name in ("cross.narrow", "cross.wide", "cross.bias"))
    z = x @ narrow
    expected = x0 * (z @ wide + bias) + x
    dz = g * x0
    gradients = {"cross.bias": dz.sum(0), "cross.wide": z.T @ dz, "cross.narrow": x.T @ (dz @ wide.T)}
    of_x0, of_x = g * (z @ wide + bias), g + dz @ wide.T @ narrow.T

    own = np.array_split(rng.permutation(INPUTS), owners)
    tapes = [Tape(backend, backend.buffers(), parameters, one, 0, 0, 0, True, True) for one in slots]
    layers = [OwnCrossLayer(layer, part) for part in own]
    made = together([one.forward(tape, x0[:, part], x[:, part]) for one, tape, part in zip(layers, tapes, own, strict=True)])
    assert all(np.allclose(y, expected[:, part], rtol=1e-13, atol=1e-13) for (y, _), part in zip(made, own, strict=True))
    into = [(Gradient(np.empty((N, len(part)))), Gradient(np.empty((N, len(part))))) for part in own]
    together([
        one.backward(tape, saved, g[:, part].copy(), *pair)
        for one, tape, (_, saved), part, pair in zip(layers, tapes, made, own, into, strict=True)
    ])  # fmt: skip
    for part, (first, second) in zip(own, into, strict=True):
        assert np.allclose(first.array, of_x0[:, part], rtol=1e-12, atol=1e-12)
        assert np.allclose(second.array, of_x[:, part], rtol=1e-12, atol=1e-12)
    for name, whole in gradients.items():
        found = sum(one.of(0, name)[0] for one in slots)
        assert np.allclose(found, whole, rtol=1e-12, atol=1e-12), name
    backend.close()
