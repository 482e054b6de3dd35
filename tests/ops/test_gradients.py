"""Forward and gradients of LR and FM against differences, the pairwise definition, and exact sums.

An SGD step of rate 1 on the summed loss moves every weight by minus its gradient: that gradient, of rows and of dense
parameters, is the slope of the whole batch's loss, by central differences in random directions; one that is wrong by
0.1 % is rejected.  FM's logits are those of the explicit sum over pairs.  Sums over float32 rows that are taken in
float64 are closer to the exact ones than those taken in float32.
"""

import numpy as np
import pytest
from plain_model import pairwise_logit
from small_training import DIM, all_rows, small_config, small_model
from synthetic_batches import N_FIELDS, awkward_batches, keys_of, plain_batch

from deshpc.table.shard import Rows
from deshpc.train.step import step

# Central difference in one direction u of length 1, of a loss L of about 50 with third derivatives of about 100:
# rounding 50 * 1.1e-16 / 1e-4 = 5e-11, truncation 1e-8 / 6 * 100 = 2e-7; measured 3e-9 |g| at most, where |g| is
# about 10.  An error of 0.1 % shows as 1e-3 |<g, u>|, in these directions 1e-5 |g| at least.
STEP, TOLERANCE = 1e-4, 1e-7


@pytest.fixture
def comm():
    from mpi4py import MPI

    return MPI.COMM_SELF


def loss_of(model, batch):
    """Summed log-loss of the batch by the model's logits, in NumPy."""
    logits = model.forward(batch, train=False).logit
    return float(np.sum(np.logaddexp(0.0, logits) - batch.labels.astype(np.float64) * logits))


def set_weights(model, rows, numbers, dense):
    """Give the model's rows these weights, and these dense parameters."""
    model.table.load(Rows(rows.keys, rows.fields, rows.counts, rows.steps, numbers))
    model.parameters.values[:] = dense


def slope_errors(model, rows, dense, batch, name, wrong=1.0):
    """{part of the weights: |slope - <gradient, direction>| / |gradient|, several directions}; `wrong` scales the gradient."""
    set_weights(model, rows, rows.numbers, dense)
    step(model, batch)
    gradients = wrong * (rows.numbers - all_rows(model).numbers), wrong * (dense - model.parameters.values)
    n_dense = batch.dense.shape[1]
    row_parts = {"linear": np.s_[:, :1], "embedding": np.s_[:, 1:]}
    dense_parts = {"bias": np.s_[:1], "dense linear": np.s_[1 : 1 + n_dense], "dense factors": np.s_[1 + n_dense :]}
    rng, errors = np.random.default_rng(5), {}
    for which, parts in enumerate((row_parts, dense_parts)):
        for part, place in parts.items():
            gradient = gradients[which][place]
            if gradient.size == 0:
                assert name == "lr" and part in ("embedding", "dense factors")
                continue
            length = np.linalg.norm(gradient)
            assert length > 0.1
            errors[part] = []
            for _ in range(3):
                direction = [np.zeros_like(rows.numbers), np.zeros_like(dense)]
                direction[which][place] = rng.standard_normal(gradient.shape)
                direction[which] /= np.linalg.norm(direction[which])
                ends = []
                for h in (STEP, -STEP):
                    set_weights(model, rows, rows.numbers + h * direction[0], dense + h * direction[1])
                    ends.append(loss_of(model, batch))
                slope = (ends[0] - ends[1]) / (2 * STEP)
                errors[part].append(abs(slope - np.sum(gradient * direction[which][place])) / length)
    return errors


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_gradients_are_the_slopes_of_the_loss(comm, name, weighted):
    first, batch = awkward_batches(11, steps=2, weighted=weighted)
    config = small_config(name, "sgd", rate=1.0, reduction="sum")
    with small_model(comm, config) as model:
        for known in (first, batch):
            model.forward(known, train=True)  # inserts the keys
        rows, rng = all_rows(model), np.random.default_rng(3)
        rows.numbers[:, 0] = 0.3 * rng.standard_normal(len(rows))  # linear weights start at zero
        dense = 0.3 * rng.standard_normal(len(model.parameters.values))
        right = slope_errors(model, rows, dense, batch, name)
        assert len(right) == (5 if name == "fm" else 3)
        for part, errors in right.items():
            assert max(errors) < TOLERANCE, part
        for part, errors in slope_errors(model, rows, dense, batch, name, wrong=1.001).items():
            assert max(errors) > TOLERANCE, f"a wrong gradient of {part} would pass"


@pytest.mark.parametrize("weighted", [True, False])
def test_fm_is_the_sum_over_pairs(comm, weighted):
    with small_model(comm, small_config("fm")) as model:
        for batch in awkward_batches(12, steps=5, weighted=weighted):
            logits = model.forward(batch, train=True).logit
            rows, parameters = all_rows(model), model.parameters
            weights = rows.numbers[np.searchsorted(rows.keys, batch.keys), : 1 + DIM]
            dense = np.column_stack([parameters["fm.weights"], parameters["fm.factors"]])
            x = np.ones(len(batch.keys)) if weighted is False else batch.values.astype(np.float64)
            for i, logit in enumerate(logits):
                own = slice(batch.offsets[i], batch.offsets[i + 1])
                all_x = np.concatenate([x[own], batch.dense[i]])
                # some 20 features of about 0.3 in 5 columns: 100 terms of 0.1, rounded to 1.1e-16 each
                assert abs(logit - pairwise_logit(all_x, np.vstack([weights[own], dense]))) < 1e-13


def test_sums_in_float64_over_float32_rows_are_closer(comm):
    """Few keys, each thousands of times: float32 sums lose digits that float64 sums keep."""
    rng, samples, in_sample = np.random.default_rng(13), 701, 97
    total = samples * in_sample
    fields = rng.integers(0, N_FIELDS, total)
    batch = plain_batch(
        0, np.full(samples, in_sample), keys_of(fields, rng.integers(0, 20, total)), fields, rng.random(total) - 0.2,
        np.zeros((samples, 0)), rng.random(samples) < 0.4,
    )  # fmt: skip
    sample, x = np.repeat(np.arange(samples), in_sample), batch.values.astype(np.float64)
    state_errors, row_errors = [], []
    for accumulate in ("float32", "float64"):
        config = small_config("fm", "sgd", 1.0, "float32", accumulate=accumulate, reduction="sum")
        with small_model(comm, config, n_dense=0) as model:
            forward = model.forward(batch, train=True)
            rows = all_rows(model)
            assert rows.numbers.dtype == np.float32 and forward.state.dtype == accumulate
            place = np.searchsorted(rows.keys, batch.keys)
            v, w = rows.numbers[place, 1:].astype(np.float64), rows.numbers[place, 0].astype(np.float64)
            state = np.zeros((samples, DIM + 1))
            np.add.at(state, sample, np.column_stack([v * x[:, None], w * x - 0.5 * (v**2).sum(axis=1) * x**2]))
            state_errors.append(np.abs(forward.state - state).max())
            upstream = np.ones(samples, accumulate)  # the gradient of the sum of all logits
            model.backward(forward, upstream)
            gradient = np.zeros((len(rows), DIM))
            np.add.at(gradient, place, x[:, None] * (state[sample, :DIM] - v * x[:, None]))
            (shard,) = forward.shards
            order = np.empty(len(rows), np.int64)
            order[shard.local] = place  # distinct key of the batch -> row in key order
            sums = np.empty((len(rows), DIM))
            own = shard.self_sums[:, None] * rows.numbers[order, 1:].astype(accumulate)
            sums[order] = shard.vector_sums.astype(np.float64) - own
            row_errors.append(np.abs(sums - gradient).max() / np.abs(gradient).max())
            shard.scalar_sums[:], shard.vector_sums[:], shard.self_sums[:] = 0, 0, 0
    # float32 sums of 97 terms and of some 570 per key are off by 1e-7 to 1e-5; float64 over the same float32 numbers
    # by 1e-15 (measured 1.1e-15 and 4e-16)
    assert state_errors[0] > 1e-7 and row_errors[0] > 1e-7
    assert state_errors[1] < 1e-13 and row_errors[1] < 1e-13
