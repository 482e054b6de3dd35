"""DCN-v2 [Wang 2021], parallel: x_{l+1} = x_0 * (x_l W_l + b_l) + x_l;  logit = bias + w_out . x_L + w . MLP(x_0).

W_l is full, or of rank `model.cross_rank`.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.cross import CrossLayer
from deshpc.nn.dense import Dense
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class DCNv2(Definition):
    def __init__(self, setting):
        self.share = None
        backend, values, model = setting.backend, setting.values, setting.model
        self._cross = [
            CrossLayer(backend, values, f"cross.{i}", setting.compute, setting.inputs, model.cross_rank)
            for i in range(model.cross_layers)
        ]
        self._cross_out = Dense(backend, values, "cross.out", setting.inputs, 1, bias=False)
        self._deep = MLP(backend, values, "deep", setting.inputs, model.hidden, model, setting.seed)
        self._out = Dense(backend, values, "deep.out", self._deep.outputs, 1, bias=False)
        self._logit = Logit(values)

    def logit(self, tape, inputs):
        x = inputs.x0
        for layer in self._cross:
            x = tape.apply(layer, inputs.x0, x)
        cross = tape.apply(self._cross_out, x)
        deep = yield from self._deep(tape, inputs.x0)
        return tape.apply(self._logit, cross, tape.apply(self._out, deep))
