"""Models in NumPy float64: what becomes of a sample's rows, and of what they are pooled to.

A model is written in two parts, as in training: `pool` adds up a sample's rows, `logit` does the rest.  A class is made of a
`Top` with float64 parameters.  FORWARDS names them; an ONNX graph holds the second part (`serve.onnx_graph`).  Of a class,

logit gives (n), or (n, T) of T tasks.

linear, embeds : whether rows have a linear weight, an embedding;  own_dims : whether fields may have dimensions of their own
shapes(top)    : (name, shape) of each dense parameter, one after another
"""

from deshpc.errors import DataError
from deshpc.serve.forward.attention import DIN, AutoInt
from deshpc.serve.forward.cross import DCN, DCNv2
from deshpc.serve.forward.deep import NFM, DeepFM, WideDeep
from deshpc.serve.forward.field_pairs import FFM, FmFM, FwFM
from deshpc.serve.forward.interaction import DLRM, XDeepFM
from deshpc.serve.forward.linear import FM, LR
from deshpc.serve.forward.tasks import ESMM, PLE, MMoE, SharedBottom

FORWARDS = {
    "lr": LR, "fm": FM, "ffm": FFM, "fwfm": FwFM, "fmfm": FmFM, "wide_deep": WideDeep, "deepfm": DeepFM, "nfm": NFM, "dcn": DCN,
    "dcnv2": DCNv2, "dlrm": DLRM, "xdeepfm": XDeepFM, "din": DIN, "autoint": AutoInt,
    "shared_bottom": SharedBottom, "mmoe": MMoE, "ple": PLE, "esmm": ESMM,
}  # fmt: skip
"""By `model.name`."""


def forward_of(name, given, path):
    """The class of a model's formula.

    given : that of a definition of one's own, which a file names and never brings along; None for a model of FORWARDS
    DataError where a formula is missing, or is not of the model
    """
    if name in FORWARDS:
        if given is not None:
            raise DataError(f"{path}: model.name = {name!r} has its formula here; leave out forward = {given.__name__}")
        return FORWARDS[name]
    if ":" not in name:
        raise DataError(f"{path}: a model {name!r}; this version scores {', '.join(FORWARDS)}")
    if given is None:
        raise DataError(f"{path}: model.name = {name!r} is a definition of somebody's own: pass forward = its formula, a class as docs/own-model.md has it")
    return given
