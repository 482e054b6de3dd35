"""Deep interest network: logit = bias + MLP(x_0), in which a sequence has the sum of its values, weighed by their likeness to a target.

Without linear terms, as in the paper.  See `nn.attention`.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.attention import Attention, WithSums
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP


class DIN(Definition):
    sequences = True

    def __init__(self, setting):
        backend, values, model, dim = setting.backend, setting.values, setting.model, setting.dim
        self._attentions = [
            Attention(backend, values, f"attention.{i}", one, i, dim, model) for i, one in enumerate(setting.sequences)
        ]
        self._with_sums = WithSums(setting.sequences, dim, setting.pooled)
        inputs = self._with_sums.pooled + setting.n_dense
        self._deep = MLP(backend, values, "deep", inputs, model.hidden, model, setting.seed, out=True)
        self._logit = Logit(backend, values)

    def logit(self, tape, inputs):
        sums = [attention(tape, inputs.x0, inputs.lengths) for attention in self._attentions]
        deep = yield from self._deep(tape, tape.apply(self._with_sums, inputs.x0, *sums))
        return tape.apply(self._logit, deep)
