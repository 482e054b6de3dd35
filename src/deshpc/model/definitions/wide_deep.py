"""Wide & Deep: logit = bias + sum w x + w_d . dense + MLP(x_0)."""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.dense import Dense, Product
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class WideDeep(Definition):
    linear, field_dims, pushed_down = True, True, ("key", "field", "column")

    def __init__(self, setting):
        backend, values, self.share = setting.backend, setting.values, setting.share
        self._deep = MLP(
            backend, values, "deep", setting.inputs, setting.model.hidden, setting.model, setting.seed, setting.n_dense, out=True
        )
        self.first_layers = self._deep.first_layers
        self._wide = Dense(backend, values, "wide", setting.n_dense, 1, bias=False)
        self._logit = Logit(backend, values)
        if self.share:
            self._pooled = setting.pooled
            self._product = Product(self._deep.first_weights, self.share.inputs)
            self.partial_widths = 1, self._deep.first_outputs
            self.owner_parameters = (self._deep.first_weights,)
            self.local_rows = self._deep.first_weights, setting.pooled

    def logit(self, tape, inputs):
        deep = yield from self._deep(tape, inputs.x0)
        return self._sum(tape, inputs.scalar, inputs.dense, deep)

    def partial(self, tape, inputs):
        yield from ()
        return inputs.scalar, tape.apply(self._product, inputs.pooled)

    def finish(self, tape, dense, scalar, product):
        deep = yield from self._deep.complete(tape, product, dense, self._pooled)
        return self._sum(tape, scalar, dense, deep)

    def _sum(self, tape, scalar, dense, deep):
        return tape.apply(self._logit, scalar, tape.apply(self._wide, dense), deep)
