"""Training computes what the definitions of LR, FM and every update rule say.

Twenty steps on awkward batches agree with `plain_model` (dictionaries, explicit pairs, one sample at a time, its own
random numbers) in losses, rows and dense parameters; evaluation inserts nothing and reads unseen keys as zero.
"""

import numpy as np
import pytest
from mpi4py import MPI
from plain_model import PlainModel
from small_training import DIM, INIT_STD, all_rows, reads, score, small_config, small_model
from synthetic_batches import awkward_batches

from deshpc.training.step import step

SEED = 1  # of new rows: the default of train.seed
# Over 20 steps both sides round each of some 1e4 operations to 1.1e-16, in different orders: measured 2e-14 at most.
TOLERANCE = 1e-11
RULES = {  # options of [optimizer]: rates at which weights move by about their own size and nothing diverges
    "adagrad": {"name": "adagrad", "learning_rate": 0.05},
    "adagrad of the mean": {"name": "adagrad", "learning_rate": 0.3, "reduction": "mean"},
    "adagrad with everything": {"name": "adagrad", "learning_rate": 0.05, "l2": 0.05, "clip_norm": 3.0, "warmup_steps": 6},
    "sgd": {"name": "sgd", "learning_rate": 0.3},
    "sgd of the sum": {"name": "sgd", "learning_rate": 0.01, "reduction": "sum"},
    "sgd with everything": {"name": "sgd", "learning_rate": 0.3, "l2": 0.02, "clip_norm": 0.1, "warmup_steps": 30},
    "rowwise_adagrad": {"name": "rowwise_adagrad", "learning_rate": 0.05},
    "rowwise_adagrad with everything":
        {"name": "rowwise_adagrad", "learning_rate": 0.05, "l2": 0.05, "clip_norm": 3.0, "warmup_steps": 6},
    # FM's gradient of the only feature of a sample is a difference of equal numbers: its rounding, over epsilon, moves weights
    "adam": {"name": "adam", "learning_rate": 0.02, "epsilon": 1e-3},
    "adam with everything": {
        "name": "adam", "learning_rate": 0.02, "epsilon": 1e-3, "beta1": 0.7, "beta2": 0.9, "l2": 0.01, "clip_norm": 0.1,
        "warmup_steps": 6,
    },
    "ftrl": {"name": "ftrl", "learning_rate": 0.1},
    "ftrl with everything": {
        "name": "ftrl", "learning_rate": 0.1, "beta": 0.5, "l1": 0.5, "l2": 0.2, "clip_norm": 3.0, "initial_accumulator": 0.3,
    },
}  # fmt: skip


def dense_parts(name, values, n_dense):
    """Bias, and weights (n_dense, 1 + dim) of the dense features, of flat dense parameters."""
    factors = values[1 + n_dense :].reshape(n_dense, DIM if name == "fm" else 0)
    return values[0], np.column_stack([values[1 : 1 + n_dense], factors])


def assert_close(actual, expected):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    if expected.size:
        assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max()


def rows_state(plain, keys):
    """State of rows as a table holds it: of the linear weights, then of the embeddings, plane by plane."""
    states = [np.array([plain.states[key][plane] for key in keys]) for plane in range(len(plain.bias_states))]
    linear, embeddings = [state[:, :1] for state in states], [state[:, 1:] for state in states if plain.dim]
    return np.hstack([np.empty((len(keys), 0)), *linear, *embeddings])


def trained_pair(model, name, options, batches):
    """The plain model trained beside `model`; asserts equal losses."""
    dim, n_dense = DIM if name == "fm" else 0, batches[0].dense.shape[1]
    bias, dense = dense_parts(name, model.parameters.values, n_dense)
    assert bias == 0 and not dense[:, 0].any()  # weights start at zero, factors uniform
    assert np.abs(dense[:, 1:]).max(initial=0) <= np.sqrt(3) * INIT_STD
    plain = PlainModel(dim, options, model.table.optimizer.reduction, SEED, INIT_STD, dense)
    assert_close([step(model, reads(model, batch)) for batch in batches], [plain.step(batch) for batch in batches])
    return plain


def kinds():
    """(options of [optimizer], values an occurrence, dense features): two values with three rules only."""
    for rule, options in RULES.items():
        for weighted, n_dense in ((1, 2), (0, 0), (0, 2), (2, 2)):
            if weighted < 2 or rule in ("adagrad", "sgd with everything", "ftrl with everything"):
                yield pytest.param(options, weighted, n_dense, id=f"{rule}-{weighted}-{n_dense}")


@pytest.mark.thorough(40)
@pytest.mark.parametrize("options, weighted, n_dense", list(kinds()))
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_twenty_steps_agree_with_the_definitions(name, options, weighted, n_dense):
    batches = awkward_batches(7, weighted=weighted, n_dense=n_dense)
    with small_model(MPI.COMM_SELF, small_config(name, rule=options), n_dense=n_dense) as model:
        plain = trained_pair(model, name, options, batches)
        rows, width = all_rows(model), 1 + plain.dim
        keys = sorted(plain.weights)
        assert rows.keys.tolist() == keys and len(keys) > 500  # the index has grown twice on the way
        assert rows.fields.tolist() == [plain.fields[key] for key in keys]
        assert rows.counts.tolist() == [plain.counts[key] for key in keys]
        assert rows.steps.tolist() == [plain.steps[key] for key in keys]
        weights, state = np.array([plain.weights[key] for key in keys]), rows_state(plain, keys)
        assert_close(rows.numbers[:, 0], weights[:, 0])
        assert_close(rows.numbers[:, 1:width], weights[:, 1:])
        assert rows.numbers.shape[1] == width + state.shape[1]
        for column in range(state.shape[1]):
            assert_close(rows.numbers[:, width + column], state[:, column])
        if "l1" in options:
            assert np.array_equal(rows.numbers[:, :width] == 0, weights == 0)
            assert 0.1 < (weights == 0).mean() < 0.9
        bias, dense = dense_parts(name, model.parameters.values, n_dense)
        assert_close(bias, plain.bias[0])
        assert_close(dense, plain.dense)
        planes = model.parameters.state.reshape(len(plain.bias_states), len(model.parameters.values))
        for plane, of_bias, of_dense in zip(planes, plain.bias_states, plain.dense_states, strict=True):
            bias, dense = dense_parts(name, plane, n_dense)
            assert_close(bias, of_bias[0])
            assert_close(dense, of_dense)


@pytest.mark.parametrize("weighted", [0, 1, 2])
@pytest.mark.parametrize("name", ["lr", "fm"])
def test_evaluation_inserts_nothing_and_reads_unseen_keys_as_zero(name, weighted):
    batches = awkward_batches(8, steps=16, weighted=weighted)
    seen, later = batches[:10], batches[10:]
    with small_model(MPI.COMM_SELF, small_config(name)) as model:
        empty = score(model, reads(model, later[0])).copy()  # nothing is there yet
        plain = trained_pair(model, name, RULES["adagrad"], seen)
        assert len(empty) == len(later[0])
        before, dense = all_rows(model), model.parameters.values.copy()
        for batch in later + seen:
            logits = score(model, reads(model, batch))
            assert_close(logits, plain.logits(batch))
        known = np.array(sorted(plain.weights), np.uint64)
        assert 0 < np.isin(later[0].keys, known).sum() < len(later[0].keys)  # seen and unseen keys side by side
        after = all_rows(model)
        for part in ("keys", "fields", "counts", "steps", "numbers"):
            assert np.array_equal(getattr(after, part), getattr(before, part))
        assert np.array_equal(model.parameters.values, dense)


def test_first_evaluation_of_an_empty_table_is_the_bias_and_the_dense_features():
    batch = awkward_batches(9, steps=1)[0]
    with small_model(MPI.COMM_SELF, small_config("lr")) as model:
        model.parameters.values[:] = [0.5, -2.0, 0.25]  # bias, weights of two dense features
        logits = score(model, reads(model, batch))
        assert_close(logits, 0.5 + batch.dense.astype(np.float64) @ [-2.0, 0.25])
        assert len(model.table) == 0
