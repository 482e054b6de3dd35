"""Neural factorization machine: logit = bias + sum w x + w_d . dense + MLP(sum_{i<j} x_i v_i * x_j v_j)."""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.dense import Dense
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP
from deshpc.nn.pairs import BiInteraction


class NFM(Definition):
    operator, linear = "bi_interaction", True

    def __init__(self, setting):
        self.share = None
        backend, values = setting.backend, setting.values
        factors = values.uniform("fm.factors", setting.factor_bound, setting.n_dense, setting.dim)
        self._pairs = BiInteraction(backend, factors, setting.dim)
        self._wide = Dense(backend, values, "wide", setting.n_dense, 1, bias=False)
        self._deep = MLP(backend, values, "deep", setting.dim, setting.model.hidden, setting.model, setting.seed, out=True)
        self._logit = Logit(backend, values)

    def logit(self, tape, inputs):
        deep = yield from self._deep(tape, tape.apply(self._pairs, inputs.pooled, inputs.dense))
        return tape.apply(self._logit, inputs.scalar, tape.apply(self._wide, inputs.dense), deep)
