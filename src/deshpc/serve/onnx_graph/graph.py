"""A graph under construction."""

import numpy as np

OPSET = 17
_IR_VERSION = 8  # that of ONNX 1.12, with which opset 17 came

_PREDICTIONS = {"log": ("Sigmoid", "probability"), "squared": ("Identity", "prediction"), "poisson": ("Exp", "prediction")}
"""By `train.loss`: the operator that makes a prediction of a logit, and the output's name."""


class Graph:
    """Values are known by the names of the nodes that make them; everything is float32, and samples come first."""

    def __init__(self, onnx, parameters):
        """parameters : {name: array}, the constants that `parameter` makes"""
        self._onnx, self._parameters = onnx, parameters
        self._nodes, self._constants, self._inputs = [], {}, {}

    def input(self, name, *extents):
        """An input (n, *extents)."""
        kind = self._onnx.TensorProto.FLOAT
        self._inputs[name] = self._onnx.helper.make_tensor_value_info(name, kind, ["n", *extents])
        return name

    def constant(self, name, array, dtype=np.float32):
        """A constant; a name stands for one array."""
        self._constants[name] = self._onnx.numpy_helper.from_array(np.asarray(array, dtype), name)
        return name

    def parameter(self, name):
        """A dense parameter."""
        return self.constant(name, self._parameters[name])

    def node(self, operator, *inputs, name=None, **attributes):
        """The value that an operator of ONNX makes."""
        name = name or f"{operator}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name

    def sum(self, first, *others):
        """Values added up, in order."""
        for one in others:
            first = self.node("Add", first, one)
        return first

    def reshape(self, x, *extents):
        """(n, *extents) of as many numbers a sample."""
        return self.node("Reshape", x, self.integers(0, *extents))  # 0: the extent that there is

    def columns(self, x, begin, end):
        """(n, end - begin): columns begin .. end of x (n, ...)."""
        return self.node("Slice", x, self.integers(begin), self.integers(end), self.integers(1))

    def reduce_sum(self, x, axis):
        """x added up over an axis, which goes."""
        return self.node("ReduceSum", x, self.integers(axis), keepdims=0)

    def joined(self, *values):
        """Side by side along axis 1, without those that are None."""
        values = [one for one in values if one]
        return self.node("Concat", *values, axis=1) if len(values) > 1 else values[0]

    def zeros(self, width):
        """(n, width)"""
        samples = self.node("Shape", next(iter(self._inputs)), end=1)
        shape = self.node("Concat", samples, self.integers(width), axis=0)
        return self.node("ConstantOfShape", shape)

    def column(self, x, number):
        """(n, 1): a column of x (n, ...)."""
        return self.node("Slice", x, self.integers(number), self.integers(number + 1), self.integers(1))

    def model(self, logit, loss):
        """The model whose logit is this value.  loss : `train.loss`, or a tuple of those of several tasks, whose logits are its columns"""
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        self.node("Identity", logit, name="logit")
        losses = (loss,) if isinstance(loss, str) else loss
        if len(set(losses)) == 1:
            operator, name = _PREDICTIONS[losses[0]]
            self.node(operator, logit, name=name)
        else:
            name = "prediction"
            self.node("Concat", *(self.node(_PREDICTIONS[one][0], self.column(logit, t)) for t, one in enumerate(losses)), name=name, axis=1)
        shape = ["n"] if isinstance(loss, str) else ["n", len(losses)]
        outputs = [helper.make_tensor_value_info(one, kind, shape) for one in ("logit", name)]
        graph = helper.make_graph(self._nodes, "deshpc", list(self._inputs.values()), outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="deshpc")

    def integers(self, *numbers):
        """A constant of whole numbers, such as axes."""
        return self.constant("_".join(map(str, ("integers", *numbers))), numbers, np.int64)
