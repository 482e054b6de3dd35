"""Layer and batch normalisation: gradients by differences, values by definition, running statistics, blocks of the batch."""

import numpy as np
import pytest
from nn.through_tape import WAYS, Case, numbers

from deshpc.backend.open import open_backend
from deshpc.config.load import build
from deshpc.nn.first_values import FirstValues
from deshpc.nn.lockstep import lockstep
from deshpc.nn.normalisation import BatchNormalisation, LayerNormalisation
from deshpc.nn.parameters import Parameters
from deshpc.nn.slot_sums import SlotSums
from deshpc.nn.tape import Tape
from deshpc.table.optimizer import open_optimizer

KINDS = {"layer": LayerNormalisation, "batch": BatchNormalisation}


def normalisation(kind, columns):
    return lambda backend, values: KINDS[kind](backend, values, "layer", columns)


def by_definition(x, axis, gain, shift):
    """Normalised over samples (axis 0) or over units (axis 1)."""
    variance = ((x - x.mean(axis=axis, keepdims=True)) ** 2).mean(axis=axis, keepdims=True)
    return gain * (x - x.mean(axis=axis, keepdims=True)) / np.sqrt(variance + 1e-5) + shift


@pytest.mark.parametrize("fresh, narrow", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind, fresh, narrow):
    for n, columns in [(5, 17), (5, 33), (5, 3), (0, 3)]:
        wanted = (columns - 2,) if narrow else ()
        Case(normalisation(kind, columns), [3 + 2 * numbers(n, columns)], wanted=wanted, fresh=fresh).check()


@pytest.mark.parametrize("kind, n, columns", [("layer", 5, 1), ("batch", 1, 17)])
def test_of_a_single_number_the_shift_is_left(kind, n, columns):
    """The only unit of a sample, or the only sample of a batch: its own mean, whatever it is."""
    case = Case(normalisation(kind, columns), [numbers(n, columns)])
    assert np.array_equal(case.forward(case.point)[0], np.tile(case.point["layer.shift"], (n, 1)))
    gradients = case.check()
    assert not gradients["input 0"].any() and not gradients["layer.gain"].any()


@pytest.mark.parametrize("kind, axis", [("layer", 1), ("batch", 0)])
def test_values(kind, axis):
    x = 3 + 2 * numbers(29, 17)
    case = Case(normalisation(kind, 17), [x])
    expected = by_definition(x, axis, case.point["layer.gain"], case.point["layer.shift"])
    assert np.abs(case.forward(case.point)[0] - expected).max() <= 1e-13  # rounding of numbers up to 10, and of their squares


@pytest.mark.parametrize("n, blocks", [(5, 3), (17, 3), (3, 4), (29, 4)])
def test_the_batch_is_that_of_all_blocks(n, blocks):
    """A block may have no sample at all."""
    x = 3 + 2 * numbers(n, 17)
    one, several = (Case(normalisation("batch", 17), [x], blocks=blocks) for blocks in (1, blocks))
    assert np.abs(several.forward(one.point)[0] - one.forward(one.point)[0]).max() <= 1e-12
    expected, found = one.gradients(), several.check()
    for name, gradient in expected.items():
        assert np.abs(found[name] - gradient).max() <= 1e-12 * max(1, np.abs(gradient).max()), name


def test_blocks_do_not_matter_to_layers():
    one, several = (Case(normalisation("layer", 17), [numbers(17, 17)], blocks=blocks) for blocks in (1, 3))
    assert np.abs(several.forward(one.point)[0] - one.forward(one.point)[0]).max() <= 1e-15


def batch_normalisation(width, threads=1):
    """(backend, layer, its Parameters)."""
    backend, values = open_backend("cpu", threads), FirstValues(3)
    layer = BatchNormalisation(backend, values, "layer", width)
    optimizer = open_optimizer(build({"data": {"format": "synthetic"}}).optimizer)
    slots = SlotSums(backend, values.shapes, "float64", threads)
    parameters = Parameters(backend, values.shapes, "float64", optimizer, slots=slots, statistics=values.statistics)
    values.set(parameters)
    return backend, layer, parameters


def outputs(backend, layer, parameters, x, edges, train):
    """What the layer makes of blocks of x."""
    walks = []
    for block, (begin, end) in enumerate(zip(edges, edges[1:], strict=False)):
        tape = Tape(backend, backend.buffers(), parameters, None, 0, 0, begin, train, block == 0)
        walks.append(tape.apply_in_step(layer, tape.input(x[begin:end])))
    return np.concatenate([node.array for node in lockstep(backend, walks, sum)])


@pytest.mark.parametrize("edges, threads", [([0, 1.0], 1), ([0, 0.3, 0.7, 1.0], 1), ([0, 0.3, 0.7, 1.0], 2)])
def test_running_statistics(edges, threads):
    """Nine tenths of what they were and a tenth of each batch's mean and unbiased variance; evaluation uses them."""
    backend, layer, parameters = batch_normalisation(17, threads)
    mean, variance = np.zeros(17), np.ones(17)
    for n in (5, 29, 1, 3):
        x = 3 + 2 * numbers(n, 17)
        outputs(backend, layer, parameters, x, [int(n * edge) for edge in edges], train=True)
        of_batch = ((x - x.mean(axis=0)) ** 2).sum(axis=0) / max(1, n - 1)
        mean, variance = 0.9 * mean + 0.1 * x.mean(axis=0), 0.9 * variance + 0.1 * of_batch
        assert np.abs(parameters["layer.mean"] - mean).max() <= 1e-13
        assert np.abs(parameters["layer.variance"] - variance).max() <= 1e-13
    x = 3 + 2 * numbers(4, 17)
    found = outputs(backend, layer, parameters, x, [0, 4], train=False)
    assert np.abs(found - (x - mean) / np.sqrt(variance + 1e-5)).max() <= 1e-13
    assert np.abs(parameters["layer.mean"] - mean).max() <= 1e-13  # as it was
    backend.close()


def test_a_batch_of_no_samples_leaves_the_statistics_alone():
    backend, layer, parameters = batch_normalisation(3)
    assert outputs(backend, layer, parameters, numbers(0, 3), [0, 0], train=True).shape == (0, 3)
    assert not parameters["layer.mean"].any() and (parameters["layer.variance"] == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_numbers_have_no_spread(kind):
    """Nothing is divided by zero: what is left is the shift."""
    case = Case(normalisation(kind, 3), [np.full((5, 3), 1e3)])
    assert np.abs(case.forward(case.point)[0] - case.point["layer.shift"]).max() <= 1e-9
    assert all(np.isfinite(gradient).all() for gradient in case.gradients().values())
