"""What follows the pooled rows as an ONNX graph: the second part of a model, see `serve.forward`.

inputs   c (n) and, for fm, A (n, k): what `Predictor.pooled` gives;  dense (n, n_dense) where there are dense features
outputs  logit (n), probability (n)                                                          all float32
"""

from pathlib import Path

import numpy as np

from deshpc.errors import ConfigError, DataError
from deshpc.storage.whole_file import publish, synchronise

OPSET = 17
_IR_VERSION = 8  # that of ONNX 1.12, with which opset 17 came


def write_onnx(path, name, dense):
    """Write the graph of the model `name` with the {name: array} `dense`, checked; the file is whole or absent.

    ConfigError where onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ConfigError("--onnx needs the package onnx: pip install 'deshpc[onnx]'") from None
    model = _GRAPHS[name](onnx, dense)
    onnx.checker.check_model(model, full_check=True)
    partial = Path(f"{path}.partial")
    try:
        partial.write_bytes(model.SerializeToString())
        synchronise(partial)
        publish(partial, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


class _Graph:
    """A graph under construction: values are known by the names of the nodes that make them."""

    def __init__(self, onnx):
        self._onnx, self._nodes, self._constants, self._inputs = onnx, [], [], []

    def input(self, name, *extents):
        """A float32 input (n, *extents)."""
        kind = self._onnx.TensorProto.FLOAT
        self._inputs.append(self._onnx.helper.make_tensor_value_info(name, kind, ["n", *extents]))
        return name

    def constant(self, name, array, dtype=np.float32):
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(self, operator, *inputs, name=None, **attributes):
        name = name or f"{operator}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name

    def model(self, logit):
        """The model whose logit is this value."""
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        self.node("Identity", logit, name="logit")
        self.node("Sigmoid", logit, name="probability")
        outputs = [helper.make_tensor_value_info(name, kind, ["n"]) for name in ("logit", "probability")]
        graph = helper.make_graph(self._nodes, "deshpc", self._inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="deshpc")


def _lr(onnx, dense):
    graph = _Graph(onnx)
    logit = graph.node("Add", graph.input("c"), graph.constant("bias", dense["bias"]))
    weights = dense["linear.weights"]
    if len(weights):
        features = graph.input("dense", len(weights))
        logit = graph.node("Add", logit, graph.node("MatMul", features, graph.constant("weights", weights)))
    return graph.model(logit)


def _fm(onnx, dense):
    graph = _Graph(onnx)
    weights, factors = dense["fm.weights"], dense["fm.factors"]
    total = graph.input("A", factors.shape[1])
    logit = graph.node("Add", graph.input("c"), graph.constant("bias", dense["bias"]))
    half = graph.constant("half", 0.5)
    if len(weights):
        features = graph.input("dense", len(weights))
        logit = graph.node("Add", logit, graph.node("MatMul", features, graph.constant("weights", weights)))
        total = graph.node("Add", total, graph.node("MatMul", features, graph.constant("factors", factors)))
        half_squares = np.square(factors, dtype=np.float64).sum(axis=1) / 2
        squares = graph.node("Mul", features, features)
        own = graph.node("MatMul", squares, graph.constant("half_squares", half_squares))
        logit = graph.node("Sub", logit, own)
    axes = graph.constant("axes", [1], np.int64)
    square = graph.node("ReduceSum", graph.node("Mul", total, total), axes, keepdims=0)
    return graph.model(graph.node("Add", logit, graph.node("Mul", square, half)))


_GRAPHS = {"lr": _lr, "fm": _fm}
