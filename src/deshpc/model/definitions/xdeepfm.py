"""xDeepFM: logit = bias + sum w x + w_d . dense + w . CIN(E) + MLP(x_0).

Columns never mix inside the CIN, so under column split its outputs over own columns add up.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.cin import CIN
from deshpc.nn.dense import Dense, Product
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class XDeepFM(Definition):
    linear, pushed_down = True, ("column",)

    def __init__(self, setting):
        backend, values, model, self.share = setting.backend, setting.values, setting.model, setting.share
        dim = self.share.dim if self.share else setting.dim
        self._cin = CIN(backend, values, "cin", dim, setting.n_fields, model.cin_layers)
        self._cin_out = Dense(backend, values, "cin.out", self._cin.outputs, 1, bias=False)
        self._wide = Dense(backend, values, "wide", setting.n_dense, 1, bias=False)
        self._deep = MLP(backend, values, "deep", setting.inputs, model.hidden, model, setting.seed, out=True)
        self._logit = Logit(backend, values)
        if self.share:
            weights, self._pooled = self._deep.first_weights, setting.pooled
            self._product = Product(weights, self.share.inputs)
            self.partial_widths = 1, self._cin.outputs, self._deep.first_outputs
            self.owner_parameters, self.local_rows = (weights, *self._cin.parameters), (weights, setting.pooled)

    def logit(self, tape, inputs):
        deep = yield from self._deep(tape, inputs.x0)
        return self._sum(tape, inputs.scalar, tape.apply(self._cin, inputs.pooled), inputs.dense, deep)

    def partial(self, tape, inputs):
        yield from ()
        return inputs.scalar, tape.apply(self._cin, inputs.pooled), tape.apply(self._product, inputs.pooled)

    def finish(self, tape, dense, scalar, cin, product):
        deep = yield from self._deep.complete(tape, product, dense, self._pooled)
        return self._sum(tape, scalar, cin, dense, deep)

    def _sum(self, tape, scalar, cin, dense, deep):
        parts = tape.apply(self._cin_out, cin), tape.apply(self._wide, dense), deep
        return tape.apply(self._logit, scalar, *parts)
