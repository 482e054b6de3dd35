"""Deep models, one short file each: which partials of rows a model needs, and the tower above them."""

import importlib
from typing import NamedTuple

from deshpc.errors import ConfigError
from deshpc.model.definitions.definition import Definition

DEFINITIONS = {
    "fm": "FM", "ffm": "FFM", "fwfm": "FwFM", "fmfm": "FmFM", "wide_deep": "WideDeep", "deepfm": "DeepFM", "nfm": "NFM", "dcn": "DCN",
    "dcnv2": "DCNv2", "dlrm": "DLRM", "xdeepfm": "XDeepFM", "din": "DIN", "autoint": "AutoInt",
    "shared_bottom": "SharedBottom", "mmoe": "MMoE", "ple": "PLE", "esmm": "ESMM",
}  # fmt: skip
"""{model.name: class in the module of that name}."""


class Sequence(NamedTuple):
    """A sequence whose values stay apart in x_0, as embeddings begin .. begin + most of a sample, the last of which may be missing.

    target : number of the embedding that they are compared with
    """

    begin: int
    most: int
    target: int

    @property
    def end(self):
        return self.begin + self.most


class Setting(NamedTuple):
    """What a definition is made for.

    backend, values : where layers compute, and the `FirstValues` in which they declare parameters
    share : `Share` of this rank, where owners compute partials of their own; None where embeddings come pooled to the tower
    model, seed, compute : ModelConfig; of the run; type of arithmetic
    n_fields F, n_dense, dim k : of the data and the embeddings
    field_dims : (F) dimension of every field's embeddings, where fields have their own
    tasks : T, labels of a sample, 1 where `logit` gives (n)
    sequences : Sequences; each of their values counts as a field in F
    """

    backend: object
    values: object
    model: object
    seed: int
    compute: str
    n_fields: int
    n_dense: int
    dim: int
    share: object = None
    field_dims: tuple | None = None
    tasks: int = 1
    sequences: tuple = ()

    @property
    def inputs(self):
        """Numbers of x_0: all pooled embeddings and the dense features."""
        return self.pooled + self.n_dense

    @property
    def pooled(self):
        """Numbers of all pooled embeddings: x_0's dense features begin behind them."""
        return sum(self.field_dims) if self.field_dims else self.n_fields * self.dim

    @property
    def factor_bound(self):
        """First factors of dense features are uniform in +- this, as a table starts its rows."""
        return 3**0.5 * self.model.init_std


def definition_class(name):
    """The class that `model.name` names: one of DEFINITIONS, or package.module:Class, which `config.imports` has let pass.

    ConfigError where that cannot be imported, or is no subclass of `Definition`: nothing else is ever called.
    """
    if ":" not in name:
        return getattr(importlib.import_module(f"{__name__}.{name}"), DEFINITIONS[name])
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ConfigError(f"model.name = {name!r} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Definition)):
        raise ConfigError(f"model.name = {name!r} is no subclass of deshpc.model.definitions.definition.Definition")
    return found
