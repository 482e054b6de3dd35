"""What follows the pooled rows as an ONNX graph: the second part of a model, see `serve.forward`.

inputs   what the model's `pool` gives, as `Predictor.pooled` has it;  dense (n, n_dense) where there are dense features
outputs  logit (n), and the prediction (n): probability of log-loss, else prediction          all float32; both (n, T) of T tasks
"""

from deshpc.errors import ConfigError, DataError
from deshpc.serve.onnx_graph.attention import autoint, din
from deshpc.serve.onnx_graph.cross import dcn, dcnv2
from deshpc.serve.onnx_graph.deep import deepfm, nfm, wide_deep
from deshpc.serve.onnx_graph.field_pairs import ffm, fmfm, fwfm
from deshpc.serve.onnx_graph.graph import Graph
from deshpc.serve.onnx_graph.interaction import dlrm, xdeepfm
from deshpc.serve.onnx_graph.linear import fm, lr
from deshpc.serve.onnx_graph.tasks import esmm, mmoe, ple, shared_bottom
from deshpc.storage.whole_file import write_bytes

GRAPHS = {
    "lr": lr, "fm": fm, "ffm": ffm, "fwfm": fwfm, "fmfm": fmfm, "wide_deep": wide_deep, "deepfm": deepfm, "nfm": nfm, "dcn": dcn,
    "dcnv2": dcnv2, "dlrm": dlrm, "xdeepfm": xdeepfm, "din": din, "autoint": autoint,
    "shared_bottom": shared_bottom, "mmoe": mmoe, "ple": ple, "esmm": esmm,
}  # fmt: skip
"""By `model.name`: function of a Graph and a Top that returns the parts of the logit beside the bias, each (n); of several tasks the logits (n, T)."""


def write_onnx(path, top, loss="log"):
    """Write the graph of a `Top` that a loss was made small by, checked; the file is whole or absent.  ConfigError where onnx is not installed, or the model has no graph."""
    if top.name not in GRAPHS:
        raise ConfigError(f"--onnx: model.name = {top.name!r} is a definition of your own, of which deshpc has no graph; leave --onnx out")
    try:
        import onnx
    except ImportError:
        raise ConfigError("--onnx needs the package onnx: pip install 'deshpc[onnx]'") from None
    graph = Graph(onnx, top.parameters)
    made = GRAPHS[top.name](graph, top)
    model = graph.model(made if top.tasks else graph.sum(graph.parameter("bias"), *made), loss)
    onnx.checker.check_model(model, full_check=True)
    try:
        write_bytes(path, model.SerializeToString())
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
