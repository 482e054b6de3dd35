"""Models in NumPy float64: what becomes of a sample's rows, and of what they are pooled to.

A model is written in two parts, as in training: `pool` adds up a sample's rows, `logit` does the rest.  A class is made of a
`Top` with float64 parameters.  FORWARDS names them; an ONNX graph holds the second part (`serve.onnx_graph`).  Of a class,

linear, embeds : whether rows have a linear weight, an embedding;  own_dims : whether fields may have dimensions of their own
shapes(top)    : (name, shape) of each dense parameter, one after another
"""

from deshpc.serve.forward.attention import DIN, AutoInt
from deshpc.serve.forward.cross import DCN, DCNv2
from deshpc.serve.forward.deep import NFM, DeepFM, WideDeep
from deshpc.serve.forward.interaction import DLRM, XDeepFM
from deshpc.serve.forward.linear import FM, LR

FORWARDS = {
    "lr": LR, "fm": FM, "wide_deep": WideDeep, "deepfm": DeepFM, "nfm": NFM, "dcn": DCN, "dcnv2": DCNv2, "dlrm": DLRM,
    "xdeepfm": XDeepFM, "din": DIN, "autoint": AutoInt,
}  # fmt: skip
"""By `model.name`."""
