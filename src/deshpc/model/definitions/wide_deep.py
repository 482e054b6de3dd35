"""Wide & Deep [Cheng 2016]: logit = bias + sum w x + w_d . dense + MLP(x_0)."""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.dense import Dense
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class WideDeep(Definition):
    linear = True

    def __init__(self, setting):
        backend, values = setting.backend, setting.values
        self._deep = MLP(backend, values, "deep", setting.inputs, setting.model.hidden, setting.model, setting.seed)
        self._out = Dense(backend, values, "deep.out", self._deep.outputs, 1, bias=False)
        self._wide = Dense(backend, values, "wide", setting.n_dense, 1, bias=False)
        self._logit = Logit(values)

    def logit(self, tape, inputs):
        deep = yield from self._deep(tape, inputs.x0)
        deep = tape.apply(self._out, deep)
        return tape.apply(self._logit, inputs.first, tape.apply(self._wide, inputs.dense), deep)
