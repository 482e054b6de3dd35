"""A fitted classifier in the file of its model: what `Classifier.load` needs to predict the same, and to go on training.

    about/classifier    parameters, classes, columns and config of the classifier, and where it is
    training/NAME       keys, fields, counts, steps, numbers of the table's rows with their optimizer state; values, state of the
                        dense parameters
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from deshpc.checkpoint.load import require_sound_state
from deshpc.checkpoint.row_form import RowForm
from deshpc.config import resolved
from deshpc.config.load import build
from deshpc.errors import ConfigError, DataError
from deshpc.estimator.learner import Knowledge, Learner
from deshpc.serve.exported import KIND, about_model, read_model, write_model
from deshpc.storage.container import Container
from deshpc.storage.json_form import COUNT, require
from deshpc.storage.strict_json import json_text
from deshpc.table.shard import Rows

_PREFIX = "training/"
_ROWS = {"keys": np.uint64, "fields": np.uint16, "counts": np.uint32, "steps": np.uint32}
_FORM = {
    "parameters": dict, "classes": {"dtype": str, "values": [(bool, int, float, str)]}, "columns": [str], "named": bool,
    "why": {str: str}, "config": dict, "planned_steps": COUNT, "mean_weight": float, "steps": COUNT, "epochs": COUNT,
}  # fmt: skip


class Fitted(NamedTuple):
    """What a classifier is after fit.

    parameters : {name: value}, plain values
    classes    : (2), sorted
    columns    : [name] of X
    named      : whether X had these names
    why : {column: why its field is of its kind}
    learner    : Learner
    """

    parameters: dict
    classes: np.ndarray
    columns: list
    named: bool
    why: dict
    learner: Learner


def write_fitted(path, fitted):
    """Write a Fitted to a file, which a predictor reads, too.  DataError where it cannot be written."""
    knowledge, classes = fitted.learner.knowledge(), fitted.classes
    about = {
        "parameters": fitted.parameters, "classes": {"dtype": classes.dtype.str, "values": classes.tolist()}, "columns": fitted.columns,
        "named": fitted.named, "why": fitted.why, "config": resolved(knowledge.config), "planned_steps": knowledge.planned_steps,
        "mean_weight": knowledge.mean_weight, "steps": knowledge.steps, "epochs": knowledge.epochs,
    }  # fmt: skip
    try:
        json_text(about)
        require(about, _FORM, "classifier")
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: a parameter, or a class, cannot be written as JSON: {error}") from None
    blocks, numbers, dense, scalars = fitted.learner.exported()
    rows = {name: array for name, array in vars(knowledge.rows).items() if array is not None}  # it counts nothing that decays
    sections = {**rows, **knowledge.parameters}
    write_model(
        path, {**about_model(knowledge.config, knowledge.steps), "classifier": about}, knowledge.schema, knowledge.transforms,
        blocks, numbers, dense, scalars, [(f"{_PREFIX}{name}", array) for name, array in sections.items()],
    )  # fmt: skip


def read_fitted(path):
    """The Fitted of a file.  DataError where it is damaged, or no classifier's."""
    model, container = read_model(path, copy=True), Container(path, KIND, copy=True)
    about = container.about.get("classifier")
    if about is None:
        raise DataError(f"{path}: is a model that deshpc export has written: open it by deshpc.Predictor, which gives probabilities")
    try:
        require(about, _FORM, "classifier")
        config = build(about["config"], source=str(path))
        classes = np.array(about["classes"]["values"], np.dtype(about["classes"]["dtype"]))
        names = [field.name for field in (*model.schema.key_fields, *model.schema.dense_fields)]
        if classes.shape != (2,) or sorted(about["columns"]) != sorted(names) or len(set(names)) != len(names):
            raise ValueError("its classes are not two, or its columns are not those of the model's fields")
        if {field.name for field in config.data.fields} != {*names}:
            raise ValueError("its configuration has other fields than the model")
        knowledge = Knowledge(config, model.transforms, *(about[name] for name in ("planned_steps", "mean_weight", "steps", "epochs")))
        model.transforms.require_of(knowledge.schema)
        learner = Learner(knowledge)
        manifest = learner.described()
        rows, dense = _numbers(container, manifest, len(knowledge.schema.keyed_fields))
        learner.return_to(replace(knowledge, rows=rows, parameters=dense))  # ValueError where dense parameters are others
        require_sound_state(dense, manifest["dense"], manifest["model"]["dense_optimizer"], path)
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: damaged: {error}") from None
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: damaged: {error}") from None
    return Fitted(about["parameters"], classes, about["columns"], about["named"], about["why"], learner)


def _numbers(container, manifest, fields):
    """(Rows, {"values", "state"}) of a file, which are those that a model of the manifest could have."""
    form = RowForm.of(manifest, 0, fields)
    arrays = {name: container.read(_PREFIX + name).copy() for name in (*_ROWS, "numbers", "values", "state")}
    rows = len(arrays["keys"])
    expected = {name: ((rows,), np.dtype(kind)) for name, kind in _ROWS.items()}
    expected["numbers"] = (rows, form.numbers), np.dtype(form.precision)
    for name, (shape, kind) in expected.items():
        if arrays[name].shape != shape or arrays[name].dtype != kind:
            raise ValueError(f"section {_PREFIX + name!r} is {arrays[name].dtype} {arrays[name].shape}; expected {kind} {shape}")
    found = Rows(*(arrays[name] for name in (*_ROWS, "numbers")))
    form.require_sound(found)
    dense = {name: arrays[name] for name in ("values", "state")}
    if not all(np.isfinite(array).all() for array in dense.values()):
        raise ValueError("a dense parameter, or its state, is not finite")
    return found, dense
