"""DCN-v2, parallel: x_{l+1} = x_0 * (x_l W_l + b_l) + x_l;  logit = bias + w_out . x_L + w . MLP(x_0).

W_l is full, or of rank `model.cross_rank`.  Of low rank, owners of fields or columns can do each layer on their own coordinates:
they add up rank numbers a sample and layer, one layer after another.
"""

import numpy as np

from deshpc.model.definitions.definition import Definition
from deshpc.nn.columns import Beside
from deshpc.nn.cross import CrossLayer, OwnCrossLayer
from deshpc.nn.dense import Dense, Product
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class DCNv2(Definition):
    pushed_down, owners_take_dense, field_dims = ("field", "column"), True, True

    def __init__(self, setting):
        backend, values, model, self.share = setting.backend, setting.values, setting.model, setting.share
        self._cross = [
            CrossLayer(backend, values, f"cross.{i}", setting.compute, setting.inputs, model.cross_rank)
            for i in range(model.cross_layers)
        ]
        cross_names = list(values.shapes)
        self._cross_out = Dense(backend, values, "cross.out", setting.inputs, 1, bias=False)
        self._deep = MLP(backend, values, "deep", setting.inputs, model.hidden, model, setting.seed, out=True)
        self._logit = Logit(backend, values)
        if self.share:
            weights, self._pooled, self._beside = self._deep.first_weights, setting.pooled, Beside()
            own = np.arange(setting.pooled)[self.share.inputs]
            if self.share.has_rest:  # the dense features are coordinates of one owner
                own = np.concatenate([own, np.arange(setting.pooled, setting.inputs)])
            self._own_cross = [OwnCrossLayer(layer, own) for layer in self._cross]
            self._own_out, self._product = Product("cross.out.weights", own), Product(weights, self.share.inputs)
            self.partial_widths, self.layer_width = (1, self._deep.first_outputs), model.cross_layers * model.cross_rank
            self.owner_parameters = (weights, *cross_names, "cross.out.weights")
            self.local_rows = weights, setting.pooled

    def logit(self, tape, inputs):
        x = inputs.x0
        for layer in self._cross:
            x = tape.apply(layer, inputs.x0, x)
        cross = tape.apply(self._cross_out, x)
        deep = yield from self._deep(tape, inputs.x0)
        return tape.apply(self._logit, cross, deep)

    def partial(self, tape, inputs):
        x0 = tape.apply(self._beside, inputs.pooled, inputs.dense) if self.share.has_rest else inputs.pooled
        x = x0
        for layer in self._own_cross:
            x = yield from tape.apply_in_step(layer, x0, x)
        return tape.apply(self._own_out, x), tape.apply(self._product, inputs.pooled)

    def finish(self, tape, dense, cross, product):
        deep = yield from self._deep.complete(tape, product, dense, self._pooled)
        return tape.apply(self._logit, cross, deep)
