"""DLRM: z = bottom MLP of the dense features;  logit = MLP(z and the dot products of all pairs of E_1 .. E_F, z).

The bottom network has the layers `model.bottom_hidden` and a last one of k.  Under column split a dot product is the sum of own
columns' products: every owner computes z, of which its own columns take part.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.columns import Beside, Columns
from deshpc.nn.dots import Dots
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class DLRM(Definition):
    owners_take_dense = True
    pushed_down = ("column",)

    def __init__(self, setting):
        backend, values, model, self.share = setting.backend, setting.values, setting.model, setting.share
        self._bottom = MLP(
            backend, values, "bottom", setting.n_dense, (*model.bottom_hidden, setting.dim), model, setting.seed
        )
        if self.share:
            self._dots = Dots(backend, setting.compute, self.share.dim, setting.n_fields, beside=False)
            self._columns, self._beside = Columns(*self.share.columns), Beside()
            self.partial_widths = (self._dots.outputs,)
            self.owner_parameters = [name for name in values.shapes if name.startswith("bottom.")]
        else:
            self._dots = Dots(backend, setting.compute, setting.dim, setting.n_fields)
        inputs = setting.dim + setting.n_fields * (setting.n_fields + 1) // 2
        self._top = MLP(backend, values, "top", inputs, model.hidden, model, setting.seed, out=True)
        self._logit = Logit(backend, values)

    def logit(self, tape, inputs):
        z = yield from self._bottom(tape, inputs.dense)
        return (yield from self._above(tape, tape.apply(self._dots, inputs.pooled, z)))

    def partial(self, tape, inputs):
        z = yield from self._bottom(tape, inputs.dense)
        return (tape.apply(self._dots, inputs.pooled, tape.apply(self._columns, z)),)

    def finish(self, tape, dense, dots):
        z = yield from self._bottom(tape, dense)
        return (yield from self._above(tape, tape.apply(self._beside, z, dots)))

    def _above(self, tape, interaction):
        top = yield from self._top(tape, interaction)
        return tape.apply(self._logit, top)
