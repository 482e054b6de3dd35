"""DLRM [Naumov 2019]: z = bottom MLP of the dense features;  logit = MLP(z and the dot products of all pairs of E_1 .. E_F, z).

The bottom network has the layers `model.bottom_hidden` and a last one of k.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.dense import Dense
from deshpc.nn.dots import Dots
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class DLRM(Definition):
    def __init__(self, setting):
        backend, values, model, seed = setting.backend, setting.values, setting.model, setting.seed
        widths = (*model.bottom_hidden, setting.dim)
        self._bottom = MLP(backend, values, "bottom", setting.n_dense, widths, model, seed)
        self._dots = Dots(backend, setting.compute, setting.dim, setting.n_fields)
        self._top = MLP(backend, values, "top", self._dots.outputs, model.hidden, model, seed)
        self._out = Dense(backend, values, "top.out", self._top.outputs, 1, bias=False)
        self._logit = Logit(values)

    def logit(self, tape, inputs):
        z = yield from self._bottom(tape, inputs.dense)
        top = yield from self._top(tape, tape.apply(self._dots, inputs.pooled, z))
        return tape.apply(self._logit, tape.apply(self._out, top))
