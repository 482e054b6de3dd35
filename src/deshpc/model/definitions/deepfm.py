"""DeepFM [Guo 2017]: a factorization machine and a network that share their embeddings.

logit = bias + sum w x + w_d . dense + sum_{i<j} <v_i, v_j> x_i x_j + MLP(x_0); dense features have factors of their own in the
pairs, and enter the network as they are.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.dense import Dense
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP
from deshpc.nn.pairs import Pairs


class DeepFM(Definition):
    linear = squares = True

    def __init__(self, setting):
        backend, values = setting.backend, setting.values
        self._pairs = Pairs(
            backend, values, "fm.factors", setting.compute, setting.dim, setting.n_fields, setting.n_dense, setting.factor_bound
        )
        self._wide = Dense(backend, values, "wide", setting.n_dense, 1, bias=False)
        self._deep = MLP(backend, values, "deep", setting.inputs, setting.model.hidden, setting.model, setting.seed)
        self._out = Dense(backend, values, "deep.out", self._deep.outputs, 1, bias=False)
        self._logit = Logit(values)

    def logit(self, tape, inputs):
        pairs = tape.apply(self._pairs, inputs.pooled, inputs.dense)
        deep = yield from self._deep(tape, inputs.x0)
        deep = tape.apply(self._out, deep)
        return tape.apply(self._logit, inputs.first, pairs, tape.apply(self._wide, inputs.dense), deep)
