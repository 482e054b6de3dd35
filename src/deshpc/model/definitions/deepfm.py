"""DeepFM: a factorization machine and a network that share their embeddings.

logit = bias + sum w x + w_d . dense + sum_{i<j} <v_i, v_j> x_i x_j + MLP(x_0); dense features have factors of their own in the
pairs, and enter the network as they are.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.dense import Dense, Product
from deshpc.nn.logit import Logit, Sum
from deshpc.nn.mlp import MLP
from deshpc.nn.pairs import Pairs, SumFields


class DeepFM(Definition):
    linear = squares = True
    pushed_down = ("key", "field", "column")

    def __init__(self, setting):
        backend, values, self.share = setting.backend, setting.values, setting.share
        fields, dim, columns = setting.n_fields, setting.dim, slice(None)
        if self.share:
            fields, dim, columns = self.share.n_fields, self.share.dim, slice(*self.share.columns)
        self._sum_fields = SumFields(backend, setting.compute, dim, fields)
        factors = values.uniform("fm.factors", setting.factor_bound, setting.n_dense, setting.dim)
        self._pairs = Pairs(backend, factors, setting.compute, setting.dim, columns)
        self._wide = Dense(backend, values, "wide", setting.n_dense, 1, bias=False)
        self._deep = MLP(
            backend, values, "deep", setting.inputs, setting.model.hidden, setting.model, setting.seed, setting.n_dense, out=True
        )
        self.first_layers = self._deep.first_layers
        self._logit = Logit(backend, values)
        if self.share:
            weights = self._deep.first_weights
            self._product, self._pooled = Product(weights, self.share.inputs), setting.pooled
            self.owners_take_dense = self.share.split == "column"
            self._by_column, self._add = self.share.split == "column", Sum()
            self.partial_widths = (1, self._deep.first_outputs) if self._by_column else (1, dim, self._deep.first_outputs)
            self.owner_parameters = (weights, factors) if self._by_column else (weights,)
            self.local_rows = weights, setting.pooled

    def logit(self, tape, inputs):
        pairs = tape.apply(self._pairs, tape.apply(self._sum_fields, inputs.pooled), inputs.dense)
        deep = yield from self._deep(tape, inputs.x0)
        return self._sum(tape, inputs.scalar, pairs, inputs.dense, deep)

    def partial(self, tape, inputs):
        """Under column split own columns finish their pairs: one number.  Otherwise A travels, k numbers."""
        yield from ()
        sums, product = tape.apply(self._sum_fields, inputs.pooled), tape.apply(self._product, inputs.pooled)
        if self._by_column:
            return tape.apply(self._add, inputs.scalar, tape.apply(self._pairs, sums, inputs.dense)), product
        return inputs.scalar, sums, product

    def finish(self, tape, dense, scalar, *others):
        *sums, product = others
        pairs = [tape.apply(self._pairs, one, dense) for one in sums]
        deep = yield from self._deep.complete(tape, product, dense, self._pooled)
        return self._sum(tape, scalar, *pairs, dense, deep)

    def _sum(self, tape, *parts):
        *parts, dense, deep = parts
        return tape.apply(self._logit, *parts, tape.apply(self._wide, dense), deep)
