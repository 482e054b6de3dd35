"""Deep & Cross Network: x_{l+1} = x_0 (x_l . w_l) + b_l + x_l;  logit = bias + w_out . x_L + w . MLP(x_0).

All cross layers follow from L + 1 products of x_0, see `nn.cross.CrossScalars`: all that owners have to add up for them.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.cross import CrossProducts, CrossScalars
from deshpc.nn.dense import Completion, Product
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class DCN(Definition):
    field_dims, pushed_down = True, ("key", "field", "column")

    def __init__(self, setting):
        backend, values, self.share = setting.backend, setting.values, setting.share
        layers = setting.model.cross_layers
        self._products = CrossProducts(backend, values, "cross", setting.inputs, setting.n_dense, layers)
        self._cross = CrossScalars(backend, values, "cross.bias", "cross.weights", setting.inputs, layers)
        self._deep = MLP(
            backend, values, "deep", setting.inputs, setting.model.hidden, setting.model, setting.seed, setting.n_dense, out=True
        )
        self.first_layers = [self._products, *self._deep.first_layers]
        self._logit = Logit(backend, values)
        if self.share:
            weights, self._pooled = self._deep.first_weights, setting.pooled
            self._own = [Product(name, self.share.inputs) for name in ("cross.weights", weights)]
            self._complete = Completion(backend, "cross.weights", setting.pooled)
            self.partial_widths = layers + 1, self._deep.first_outputs
            self.owner_parameters, self.local_rows = (weights, "cross.weights"), (weights, setting.pooled)

    def logit(self, tape, inputs):
        products = tape.apply(self._products, inputs.x0)
        deep = yield from self._deep(tape, inputs.x0)
        return self._sum(tape, products, deep)

    def partial(self, tape, inputs):
        yield from ()
        return [tape.apply(product, inputs.pooled) for product in self._own]

    def finish(self, tape, dense, products, product):
        deep = yield from self._deep.complete(tape, product, dense, self._pooled)
        return self._sum(tape, tape.apply(self._complete, products, dense), deep)

    def _sum(self, tape, products, deep):
        return tape.apply(self._logit, tape.apply(self._cross, products), deep)
