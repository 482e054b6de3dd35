"""Factorization machine under column split: own columns finish their own pairs, so that one number a sample is added up.

logit = bias + sum w x + w_d . dense + sum_{i<j} <v_i, v_j> x_i x_j, over all keys and all dense features.  Otherwise an FM needs
no tower (`ops.fm`); parameters have the same names in both.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.logit import Logit, Sum, Wide
from deshpc.nn.pairs import Pairs
from deshpc.ops.fm import first_factors


class FM(Definition):
    linear = squares = True
    owners_take_dense = True
    pushed_down, operator = ("column",), "sum"
    partial_widths, owner_parameters = (1,), ("fm.factors",)

    def __init__(self, setting):
        values, self.share = setting.values, setting.share
        self._logit = Logit(setting.backend, values)
        self._wide = Wide(values, "fm.weights", setting.n_dense)
        given = first_factors(setting.seed, setting.n_dense, setting.dim, setting.model.init_std)
        factors = values.given("fm.factors", given)
        self._pairs = Pairs(setting.backend, factors, setting.compute, setting.dim, slice(*self.share.columns))
        self._add = Sum()

    def partial(self, tape, inputs):
        yield from ()
        return (tape.apply(self._add, inputs.scalar, tape.apply(self._pairs, inputs.pooled, inputs.dense)),)

    def finish(self, tape, dense, total):
        yield from ()
        return tape.apply(self._logit, total, tape.apply(self._wide, dense))
