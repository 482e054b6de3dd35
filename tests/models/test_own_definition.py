"""A model of the user's own: a short module with a `Definition`, named by `model.name`."""

import sys
import textwrap

import numpy as np
import pytest
from deep_training import plain_rows
from mpi4py import MPI
from small_training import DIM, EXCHANGES, INIT_STD, RULES, all_rows, all_samples, reads, score, small_model, train_on
from synthetic_batches import N_FIELDS, awkward_batches

from deshpc.config.load import build
from deshpc.errors import ConfigError
from deshpc.training.step import step

pytestmark = pytest.mark.mpi

SOURCE = textwrap.dedent('''
    """Each field's embedding times the first one, and a layer above."""

    import numpy as np

    from deshpc.model.definitions.definition import Definition
    from deshpc.nn.dense import Dense
    from deshpc.nn.logit import Logit
    from deshpc.nn.mlp import MLP
    from deshpc.nn.tape import Operator


    class ByTheFirst(Operator):
        """embeddings (n, F k) -> (n, F k): each one times the first, coordinate by coordinate."""

        def __init__(self, dim):
            self._dim = dim

        def forward(self, tape, embeddings):
            fields = embeddings.reshape(len(embeddings), embeddings.shape[1] // self._dim, self._dim)
            return (fields * fields[:, :1]).reshape(embeddings.shape), fields

        def backward(self, tape, fields, gradient, into):
            gradient = gradient.reshape(fields.shape)
            slope = gradient * fields[:, :1]
            slope[:, 0] += (gradient * fields).sum(axis=1)
            into.add(tape, slope.reshape(into.array.shape))


    class Mine(Definition):
        linear = True

        def __init__(self, setting):
            values, model = setting.values, setting.model
            self._products = ByTheFirst(setting.dim)
            self._net = MLP(setting.backend, values, "net", setting.n_fields * setting.dim, model.hidden, model, setting.seed)
            self._out = Dense(setting.backend, values, "net.out", self._net.outputs, 1, bias=False)
            self._logit = Logit(setting.backend, values)

        def logit(self, tape, inputs):
            net = yield from self._net(tape, tape.apply(self._products, inputs.pooled))
            return tape.apply(self._logit, inputs.scalar, tape.apply(self._out, net))


    class DenseAlone(Definition):
        """Rows have linear weights, of which it makes nothing, as of the embeddings."""

        linear = True

        def __init__(self, setting):
            self._out = Dense(setting.backend, setting.values, "out", setting.n_dense, 1, bias=False)
            self._logit = Logit(setting.backend, setting.values)

        def logit(self, tape, inputs):
            return tape.apply(self._logit, tape.apply(self._out, inputs.dense))
            yield
''')


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """The module `own_models`, which can be imported while a test runs."""
    (tmp_path / "own_models.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_models", raising=False)
    yield
    sys.modules.pop("own_models", None)


def config(name="own_models:Mine", rule="adagrad", normalisation="none", **train):
    return build(
        {
            "data": {"format": "synthetic"},
            "model": {"name": name, "dim": DIM, "init_std": INIT_STD, "hidden": [8], "activation": "tanh", "normalisation": normalisation},
            "optimizer": RULES[rule],
            "train": {"precision": "float64", **train},
        },
        allow_import=(name,) if ":" in name else (),
    )


@pytest.mark.parametrize("normalisation", ["none", "batch"])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_it_does_not_see_the_number_of_ranks(world, own_module, exchange, normalisation):
    batches = awkward_batches(51)
    expected = train_on(MPI.COMM_SELF, batches, config(normalisation=normalisation))
    trained = train_on(world, batches, config(exchange=exchange, normalisation=normalisation), threads=2)
    assert np.array_equal(trained.rows.keys, expected.rows.keys)
    for one, other in (
        (trained.losses, expected.losses), (trained.rows.numbers, expected.rows.numbers), (trained.parameters, expected.parameters),
    ):  # fmt: skip
        assert np.abs(one - other).max() <= 1e-11 * np.abs(other).max()


def test_it_learns(world, own_module):
    """A batch by heart."""
    batch = awkward_batches(52, steps=1)[0]
    trained = train_on(world, [batch] * 60, config())
    assert trained.losses[-1] < 0.4 * trained.losses[0]


def test_it_is_what_it_says(world, own_module):
    """Its logits, from its formula."""
    batches = awkward_batches(53, steps=3)
    with small_model(world, config()) as model:
        for batch in batches:
            step(model, reads(model, batch))
        rows, batch = plain_rows(model, all_rows(model)), batches[0]
        found = all_samples(model, score(model, reads(model, batch)))
        of = model.parameters.host
        for i, logit in enumerate(found):
            linear, fields = 0.0, np.zeros((N_FIELDS, DIM))
            for j in range(batch.begins[i], batch.ends[i]):
                w, v = rows[int(batch.keys[j])]
                linear += w * float(batch.values[j])
                fields[batch.fields[j]] += v * float(batch.values[j])
            hidden = np.tanh((fields * fields[0]).ravel() @ of("net.0.weights") + of("net.0.bias"))
            assert abs(logit - linear - hidden @ of("net.out.weights")[:, 0] - of("bias")) <= 1e-12


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_rows_of_which_it_makes_nothing_stay_as_they_are(world, own_module, exchange):
    """Nothing depends on them, so their gradient is zero, whatever the last steps have left in memory."""
    batches = awkward_batches(54, steps=6)
    with small_model(world, config("own_models:DenseAlone", rule="sgd", exchange=exchange)) as model:
        for batch in batches:
            step(model, reads(model, batch))
        rows = all_rows(model).numbers
        assert not rows[:, 0].any()  # as they started
        assert np.abs(rows[:, 1:]).max() <= 3**0.5 * INIT_STD


@pytest.mark.parametrize("name, text", [
    ("own_model:Mine", "No module named 'own_model'"),
    ("own_models:Mein", "has no attribute 'Mein'"),
])  # fmt: skip
def test_a_name_that_is_not_there(world, own_module, name, text):
    with pytest.raises(ConfigError) as caught, small_model(world, config(name)):
        raise AssertionError("was built")
    assert f"model.name = '{name}' cannot be imported" in str(caught.value) and text in str(caught.value)


@pytest.mark.parametrize("name", ["os:system", "own_models:np", "own_models:textwrap", "own_models:Dense", "own_models:called"])
def test_only_a_definition_is_called(world, own_module, tmp_path, name):
    """Allowed by the user, who was mistaken."""
    with open(tmp_path / "own_models.py", "a", encoding="utf-8") as file:
        file.write("\n\nimport textwrap\n\ndef called(setting):\n    raise SystemExit('was called')\n")
    with pytest.raises(ConfigError, match=f"model.name = '{name}' is no subclass of .*Definition"), small_model(world, config(name)):
        raise AssertionError("was built")


def test_a_name_without_a_class_is_none_of_the_models():
    with pytest.raises(ConfigError, match="own_models.*"):
        config("own_models")
