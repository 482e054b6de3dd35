"""AutoInt+: logit = bias + w . (fields after layers of attention between them) + MLP(x_0); dense features are fields with factors.

Without linear terms, as in the paper; `hidden = []` makes the MLP one layer without activation.  See `nn.self_attention`.
"""

from deshpc.model.definitions.definition import Definition
from deshpc.nn.dense import Activation, Dense
from deshpc.nn.logit import Logit
from deshpc.nn.mlp import MLP
from deshpc.nn.self_attention import FieldVectors, SelfAttention, SideBySide


class AutoInt(Definition):
    def __init__(self, setting):
        backend, values, model = setting.backend, setting.values, setting.model
        fields, width = setting.n_fields + setting.n_dense, setting.dim
        self._vectors = FieldVectors(values, "attention.factors", setting.factor_bound, setting.n_fields, setting.n_dense, width)
        self._layers = []
        for i, outputs in enumerate(model.attention_layers):
            self._layers += [
                SelfAttention(backend, values, f"attention.{i}", width, outputs, model.attention_heads, fields), Activation(backend, "relu")
            ]
            width = outputs
        self._side_by_side = SideBySide(fields)
        self._out = Dense(backend, values, "attention.out", fields * width, 1, bias=False)
        self._deep = MLP(backend, values, "deep", setting.inputs, model.hidden, model, setting.seed, out=True)
        self._logit = Logit(backend, values)

    def logit(self, tape, inputs):
        x = tape.apply(self._vectors, inputs.pooled, inputs.dense)
        for layer in self._layers:
            x = tape.apply(layer, x)
        attention = tape.apply(self._out, tape.apply(self._side_by_side, x))
        deep = yield from self._deep(tape, inputs.x0)
        return tape.apply(self._logit, attention, deep)
