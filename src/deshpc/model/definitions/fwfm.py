"""Field-weighted factorization machine (Pan et al., 2018): every pair of fields has a weight r_fg, which is learnt.

logit = bias + sum w x + w_d . dense + sum_{f < g} r_fg <E_f, E_g>, over all fields; a dense feature is one, whose E is x_d f_d.  Pairs inside a field
have no weight.  All r begin at 1.  Coordinates never mix, so own columns give one number a sample.
"""

import numpy as np

from deshpc.model.definitions.definition import Definition
from deshpc.nn.columns import Beside
from deshpc.nn.field_pairs import DenseFields, WeightedPairs
from deshpc.nn.logit import Logit, Sum, Wide


class FwFM(Definition):
    linear, pushed_down = True, ("column",)
    owners_take_dense = True
    partial_widths = (1,)

    def __init__(self, setting):
        values, self.share, n_dense = setting.values, setting.share, setting.n_dense
        fields, dim, columns = setting.n_fields + n_dense, setting.dim, slice(None)
        if self.share:
            dim, columns = self.share.dim, slice(*self.share.columns)
        self._logit, self._wide, self._add = Logit(setting.backend, values), Wide(values, "linear.weights", n_dense), Sum()
        weights = values.given("fwfm.weights", np.tri(fields, k=-1))
        factors = values.uniform("fwfm.factors", setting.factor_bound, n_dense, setting.dim)
        self._pairs = WeightedPairs(setting.backend, weights, dim, fields)
        self._fields, self._beside = (DenseFields(factors, columns) if n_dense else None), Beside()
        self.owner_parameters = (weights, factors)

    def logit(self, tape, inputs):
        yield from ()
        return tape.apply(self._logit, inputs.scalar, self._pairs_of(tape, inputs), tape.apply(self._wide, inputs.dense))

    def partial(self, tape, inputs):
        yield from ()
        return (tape.apply(self._add, inputs.scalar, self._pairs_of(tape, inputs)),)

    def finish(self, tape, dense, total):
        yield from ()
        return tape.apply(self._logit, total, tape.apply(self._wide, dense))

    def _pairs_of(self, tape, inputs):
        x = inputs.pooled
        if self._fields:
            x = tape.apply(self._beside, x, tape.apply(self._fields, inputs.dense))
        return tape.apply(self._pairs, x)
