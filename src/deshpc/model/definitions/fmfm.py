"""Field-matrixed factorization machine (Sun et al., 2021): every pair of fields has a matrix M_fg, which is learnt.

logit = bias + sum w x + w_d . dense + sum_{f < g} E_f M_fg E_g, over all fields; a dense feature is one, whose E is x_d f_d.  Pairs inside a field
have no matrix.  All M begin as the identity.  A matrix takes all columns of an embedding, so these are not split.
"""

import numpy as np

from deshpc.model.definitions.definition import Definition
from deshpc.nn.columns import Beside
from deshpc.nn.field_pairs import DenseFields, MatrixPairs
from deshpc.nn.logit import Logit, Wide


class FmFM(Definition):
    linear = True

    def __init__(self, setting):
        values, n_dense, dim = setting.values, setting.n_dense, setting.dim
        fields = setting.n_fields + n_dense
        self._logit, self._wide = Logit(setting.backend, values), Wide(values, "linear.weights", n_dense)
        matrices = [values.given(f"fmfm.{f}.matrices", np.tile(np.eye(dim), (fields - 1 - f, 1))) for f in range(fields - 1)]
        self._pairs = MatrixPairs(matrices, dim) if matrices else None
        factors = values.uniform("fmfm.factors", setting.factor_bound, n_dense, dim)
        self._fields, self._beside = (DenseFields(factors) if n_dense else None), Beside()

    def logit(self, tape, inputs):
        yield from ()
        x = inputs.pooled
        if self._fields:
            x = tape.apply(self._beside, x, tape.apply(self._fields, inputs.dense))
        pairs = [tape.apply(self._pairs, x)] if self._pairs else []
        return tape.apply(self._logit, inputs.scalar, *pairs, tape.apply(self._wide, inputs.dense))
