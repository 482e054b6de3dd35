"""xDeepFM [Lian 2018]: logit = bias + sum w x + w_d . dense + w . CIN(E) + MLP(x_0)."""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.cin import CIN
from deshpc.nn.dense import Dense
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class XDeepFM(Definition):
    linear = True

    def __init__(self, setting):
        backend, values, model = setting.backend, setting.values, setting.model
        self._cin = CIN(values, "cin", setting.dim, setting.n_fields, model.cin_layers)
        self._cin_out = Dense(backend, values, "cin.out", self._cin.outputs, 1, bias=False)
        self._wide = Dense(backend, values, "wide", setting.n_dense, 1, bias=False)
        self._deep = MLP(backend, values, "deep", setting.inputs, model.hidden, model, setting.seed)
        self._out = Dense(backend, values, "deep.out", self._deep.outputs, 1, bias=False)
        self._logit = Logit(values)

    def logit(self, tape, inputs):
        cin = tape.apply(self._cin_out, tape.apply(self._cin, inputs.pooled))
        deep = yield from self._deep(tape, inputs.x0)
        deep = tape.apply(self._out, deep)
        return tape.apply(self._logit, inputs.first, cin, tape.apply(self._wide, inputs.dense), deep)
