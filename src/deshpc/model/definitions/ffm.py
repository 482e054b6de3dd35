"""Field-aware factorization machine where sums of its fields travel; where ranks have whole samples, it needs no tower (`ops.ffm`).

logit = bias + sum w x + w_d . dense + sum_{i<j} <v_{i, field of j}, v_{j, field of i}> x_i x_j, over all keys and all dense features.
Parameters have the same names in both.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.field_aware import FieldAwarePairs
from deshpc.nn.logit import Logit, Wide
from deshpc.ops.ffm import FACTORS, WEIGHTS
from deshpc.ops.fm import first_factors


class FFM(Definition):
    operator, linear, squares = "field_sums", True, True

    def __init__(self, setting):
        values, model, n_dense = setting.values, setting.model, setting.n_dense
        self._logit = Logit(setting.backend, values)
        self._wide = Wide(values, WEIGHTS, n_dense) if model.linear else None
        factors = values.given(FACTORS, first_factors(setting.seed, n_dense, setting.dim, model.init_std))
        self._pairs = FieldAwarePairs(setting.backend, factors, setting.compute, model.dim, setting.dim // model.dim)

    def logit(self, tape, inputs):
        yield from ()
        wide = [tape.apply(self._wide, inputs.dense)] if self._wide else []
        return tape.apply(self._logit, inputs.scalar, tape.apply(self._pairs, inputs.pooled, inputs.dense), *wide)
