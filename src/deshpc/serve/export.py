"""`deshpc export`: a saved model or a checkpoint to one file for `deshpc.Predictor`.  NumPy only: no MPI, no compiler."""

import os
from collections.abc import Sequence

import numpy as np

from deshpc.checkpoint.folders import model_folder
from deshpc.checkpoint.load import dense_parameters, row_blocks
from deshpc.checkpoint.manifest import read_manifest
from deshpc.config.load import build
from deshpc.config.precision import row_type
from deshpc.config.tasks import losses_of
from deshpc.data.profiles import describe
from deshpc.data.transform import Transforms
from deshpc.errors import DataError
from deshpc.formats.schema import Schema
from deshpc.serve.delta import read_with_deltas, write_delta
from deshpc.serve.exported import about_model, like_rows, stored_about, used_rows, write_rows
from deshpc.serve.onnx_graph import write_onnx
from deshpc.serve.top import Top


def export(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    onnx: str | os.PathLike[str] | None = None,
    allow_import: Sequence[str] = (),
    delta_from: Sequence[str | os.PathLike[str]] = (),
) -> str:
    """Write the model of `path` (a run's directory, a model or a checkpoint) to the file `out`; returns a line of text.

    onnx : also a file for what follows the pooled rows (`onnx_graph`)
    allow_import : as in `config.load`
    delta_from : an exported model, and deltas of it in their order: `out` gets a delta of what they are together, `serve.delta`
    Rows are read and written block by block, without optimizer state.  DataError where the model is damaged or missing.
    """
    model = SavedModel(path, allow_import)
    contents = model.contents(out)
    if delta_from:
        what = write_delta(out, read_with_deltas(*delta_from), *contents)
    else:
        what = f"{write_rows(out, *contents):,} rows"
    if onnx is not None:
        write_onnx(onnx, Top.of(contents[0]["model"], contents[3], model.schema), losses_of(model.config))
    return f"{out}: {model.config.model.name} model of {model.steps} steps, {what}" + (f"; {onnx}" if onnx else "")


class SavedModel:
    """A model or checkpoint on disk, as what an export of it consists of.

    config : its Config
    schema : of its input
    run, steps : that made it
    like : ModelRows without rows, of the type and width of its own
    """

    def __init__(self, path, allow_import=()):
        """path, allow_import : as of `export`"""
        self._folder = model_folder(path)
        self._manifest = manifest = read_manifest(self._folder)
        self.config = build(manifest["config"], source=str(self._folder), allow_import=allow_import)
        self.schema, self._transforms = _input(self.config.data, manifest["source"], self._folder)
        self.run, self.steps, self._scalars = manifest["run"], manifest["steps"], manifest["model"]["scalars"]
        self._width = self._scalars + manifest["model"]["dim"]
        self.like = like_rows(np.empty((0, self._width), row_type(manifest["model"]["precision"])), self._scalars)

    def contents(self, out):
        """Arguments of `write_rows` and `write_delta` for a file `out`; rows are read block by block."""
        about = stored_about(out, about_model(self.config, self.steps), self.schema, self._transforms)
        blocks = ((block.keys, block.numbers[:, : self._width]) for block in row_blocks(self._folder, self._manifest))
        return about, used_rows(blocks, out, self._scalars), self.like, dense_parameters(self._folder, self._manifest)


def _input(config, source, folder):
    """(Schema, Transforms or None) of what a model was trained on.

    config : DataConfig
    source : input state of the manifest
    """
    if config.format == "synthetic":
        return describe(config.synthetic).schema, None
    try:
        schema = Schema.from_json(source.get("schema"))
        if "dense" not in source:  # a cache of generated samples has nothing to transform
            return schema, None
        transforms = Transforms.from_json(source)
        transforms.require_of(schema)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from None
    if config.format != "cache" and _fields_of(schema) != _fields_of(Schema.from_config(config)):
        raise DataError(f"{folder}: damaged: the stored fields are not those of its configuration")
    return schema, transforms


def _fields_of(schema):
    return schema.key_fields, schema.dense_fields, schema.crosses
