"""Deep & Cross Network [Wang 2017]: x_{l+1} = x_0 (x_l . w_l) + b_l + x_l;  logit = bias + w_out . x_L + w . MLP(x_0).

All cross layers follow from L + 1 products of x_0, see `nn.cross.CrossScalars`.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.cross import CrossProducts, CrossScalars
from deshpc.nn.dense import Dense
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class DCN(Definition):
    def __init__(self, setting):
        backend, values, layers = setting.backend, setting.values, setting.model.cross_layers
        self._products = CrossProducts(values, "cross.weights", setting.inputs, layers)
        self._cross = CrossScalars(backend, values, "cross.bias", "cross.weights", setting.inputs, layers)
        self._deep = MLP(backend, values, "deep", setting.inputs, setting.model.hidden, setting.model, setting.seed)
        self._out = Dense(backend, values, "deep.out", self._deep.outputs, 1, bias=False)
        self._logit = Logit(values)

    def logit(self, tape, inputs):
        cross = tape.apply(self._cross, tape.apply(self._products, inputs.x0))
        deep = yield from self._deep(tape, inputs.x0)
        return tape.apply(self._logit, cross, tape.apply(self._out, deep))
