"""Forward and gradients of LR and FM against differences, the pairwise definition, and exact sums.

An SGD step of rate 1 on the summed loss moves every weight by minus its gradient: that gradient, of rows and of dense
parameters, is the slope of the whole batch's loss, by central differences in random directions; one that is wrong by
0.1 % is rejected.  FM's logits are those of the explicit sum over pairs.  Sums over float32 rows that are taken in
float64 are closer to the exact ones than those taken in float32.
"""

import numpy as np
import pytest
from mpi4py import MPI
from plain_model import pairwise_logit, values_of
from small_training import DIM, all_rows, complete, insert, score, small_config, small_model
from synthetic_batches import N_FIELDS, awkward_batches, keys_of, plain_batch

from deshpc.nn.parts import parts_of
from deshpc.table.shard import Rows
from deshpc.training.step import step

# The slope along a direction of length 1, by a central difference of step h, relative to the gradient's length |g|
# (6 to 76 here): rounding 1.1e-16 L / h = 6e-11 for losses L of about 50; truncation h^2 / 6 times the third
# derivative.  Measured 1.3e-9 |g| at most.  A gradient wrong by 0.1 % is off by 1e-3 |<g, u>|: measured 3e-6 |g| at
# least, since u is random in up to 1300 dimensions.
STEP, TOLERANCE = 1e-4, 1e-8


def loss_of(model, batch):
    """Summed log-loss of the batch by the model's logits, in NumPy."""
    logits = score(model, batch)
    return float(np.sum(np.logaddexp(0.0, logits) - batch.labels.astype(np.float64) * logits))


def set_weights(model, rows, numbers, dense):
    """Give the model's rows these weights, and these dense parameters."""
    model.table.load(Rows(rows.keys, rows.fields, rows.counts, rows.steps, numbers))
    model.parameters.values[:] = dense


def slopes(model, rows, dense, batch, rng):
    """Yield (part of the weights, slope of the loss, what the gradient predicts for it, the gradient's length) for
    several random directions in each part."""
    set_weights(model, rows, rows.numbers, dense)
    step(model, batch)
    gradients = rows.numbers - all_rows(model).numbers, dense - model.parameters.values
    n_dense = batch.dense.shape[1]
    parts = [
        ("linear", 0, np.s_[:, :1]), ("embedding", 0, np.s_[:, 1:]), ("bias", 1, np.s_[:1]),
        ("dense linear", 1, np.s_[1 : 1 + n_dense]), ("dense factors", 1, np.s_[1 + n_dense :]),
    ]  # fmt: skip
    for part, which, place in parts:
        gradient = gradients[which][place]
        for _ in range(3 if gradient.size else 0):
            direction = [np.zeros_like(rows.numbers), np.zeros_like(dense)]
            direction[which][place] = rng.standard_normal(gradient.shape)
            direction[which] /= np.linalg.norm(direction[which])
            ends = []
            for h in (STEP, -STEP):
                set_weights(model, rows, rows.numbers + h * direction[0], dense + h * direction[1])
                ends.append(loss_of(model, batch))
            predicted = np.sum(gradient * direction[which][place])
            yield part, (ends[0] - ends[1]) / (2 * STEP), predicted, np.linalg.norm(gradient)


@pytest.mark.parametrize("weighted", [0, 1, 2])
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_gradients_are_the_slopes_of_the_loss(name, weighted):
    first, batch = awkward_batches(11, steps=2, weighted=weighted)
    with small_model(MPI.COMM_SELF, small_config(name, "sgd", rate=1.0, reduction="sum")) as model:
        for known in (first, batch):
            insert(model, known)  # inserts the keys; those of `first` alone have no gradient
        rows, rng = all_rows(model), np.random.default_rng(3)
        rows.numbers[:, 0] = 0.3 * rng.standard_normal(len(rows))  # linear weights start at zero
        dense = 0.3 * rng.standard_normal(len(model.parameters.values))
        parts = set()
        for part, slope, predicted, length in slopes(model, rows, dense, batch, rng):
            assert abs(slope - predicted) < TOLERANCE * length, part
            assert abs(slope - 1.001 * predicted) > TOLERANCE * length, f"a wrong gradient of {part} would pass"
            parts.add(part)
        assert len(parts) == (5 if name == "fm" else 3)


@pytest.mark.parametrize("weighted", [0, 1, 2])
def test_fm_is_the_sum_over_pairs(weighted):
    with small_model(MPI.COMM_SELF, small_config("fm")) as model:
        for batch in awkward_batches(12, steps=5, weighted=weighted):
            insert(model, batch)  # inserts the keys
            rows, parameters = all_rows(model), model.parameters
            rows.numbers[:, 0] = np.random.default_rng(batch.step).standard_normal(len(rows))  # they start at zero
            model.table.load(rows)
            logits = score(model, batch)
            weights = rows.numbers[np.searchsorted(rows.keys, batch.keys), : 1 + DIM]
            dense = np.column_stack([parameters["fm.weights"], parameters["fm.factors"]])
            x, xl = values_of(batch)
            for i, logit in enumerate(logits):
                own = slice(batch.begins[i], batch.ends[i])
                values = [np.concatenate([one[own], batch.dense[i]]) for one in (x, xl)]
                expected = pairwise_logit(*values, np.vstack([weights[own], dense]))
                # |A|^2 of up to 20 features of about 0.5 in 5 columns: sums of up to 100 are rounded to 1.1e-16 each
                assert abs(logit - expected) < 1e-13


def test_sums_in_float64_over_float32_rows_are_closer():
    """Samples of 97 keys, and each key in 570 places: float32 sums lose digits that float64 sums keep."""
    rng, samples, in_sample = np.random.default_rng(13), 701, 97
    total = samples * in_sample
    fields = rng.integers(0, N_FIELDS, total)
    batch = plain_batch(
        0, np.full(samples, in_sample), keys_of(fields, rng.integers(0, 20, total)), fields, rng.random(total) - 0.2,
        np.zeros((samples, 0)), rng.random(samples) < 0.4,
    )  # fmt: skip
    sample, x = np.repeat(np.arange(samples), in_sample), batch.values.astype(np.float64)[:, None]
    state_errors, gradient_errors = [], []
    for accumulate in ("float32", "float64"):
        config = small_config("fm", precision="float32", accumulate=accumulate)
        with small_model(MPI.COMM_SELF, config, n_dense=0) as model:
            insert(model, batch)
            rows = all_rows(model)
            rows.numbers[:, 0] = np.random.default_rng(14).random(len(rows))  # linear weights start at zero
            model.table.load(rows)
            found, partials = complete(model, batch, train=True)
            assert rows.numbers.dtype == np.float32 and partials.state.dtype == accumulate
            row = np.searchsorted(rows.keys, batch.keys)
            w, v = rows.numbers[row, :1].astype(np.float64), rows.numbers[row, 1 : 1 + DIM].astype(np.float64)
            state = np.zeros((samples, DIM + 1))
            np.add.at(state, sample, np.hstack([v * x, w * x - 0.5 * (v**2).sum(axis=1, keepdims=True) * x**2]))
            state_errors.append(np.abs(partials.state - state).max() / np.abs(state).max())

            ones = np.ones(samples, accumulate)  # the gradient of the sum of all logits
            model.operators.finish_adjoint(partials.state, batch.dense, model.parameters, ones, 1.0, *parts_of(len(ones), 1))
            (shard,) = model.exchange.give_back(found, partials, partials.state, 1.0)
            gradient = np.zeros((len(rows), DIM))
            np.add.at(gradient, row, x * (state[sample, :DIM] - v * x))
            row_of_distinct = np.empty(len(rows), np.int64)
            row_of_distinct[shard.occurrences.local] = row
            weights = rows.numbers[row_of_distinct, 1 : 1 + DIM].astype(accumulate)
            sums = shard.sums.vector - shard.sums.square[:, None] * weights
            gradient_errors.append(np.abs(sums - gradient[row_of_distinct]).max() / np.abs(gradient).max())
    # unit roundoff 6e-8 and 1.1e-16, grown by the sums: measured 5e-7 and 8e-7 against 1e-15 and 2e-15
    assert min(state_errors[0], gradient_errors[0]) > 6e-8
    assert max(state_errors[1], gradient_errors[1]) < 1e-14
