"""Numbers of a model that are not finite: found before they are saved, and named.

A loss is that of the weights before its step, so the last update of a run is seen here first.
"""

import numpy as np

from deshpc.checkpoint.dense_file import dense_of
from deshpc.errors import DeshpcError
from deshpc.table.columns import places_of

DIVERGED = "training diverged; lower optimizer.learning_rate"


def finite_blocks(blocks, manifest, rank):
    """Yield the Rows `blocks` of a rank; DeshpcError at the first number that is not finite.  manifest : as `describe`d"""
    for block in blocks:
        if not np.isfinite(block.numbers).all():
            row, place = np.argwhere(~np.isfinite(block.numbers))[0].tolist()
            key, field = int(block.keys[row]), _field(manifest, int(block.fields[row]))
            what = f"{_number_of_row(manifest, rank, place)} of key {key} ({field})"
            raise _not_finite(manifest, what, block.numbers[row, place])
        yield block


def require_finite_dense(manifest, names, arrays):
    """DeshpcError where a dense parameter, or its optimizer state, is not finite.  names, arrays : as `dense_file` has them"""
    begin, values, state = 0, arrays["values"], arrays["state"]
    for name, shape in names:
        end = begin + int(np.prod(shape, dtype=np.int64))
        odd = np.flatnonzero(~np.isfinite(values[begin:end]))
        if len(odd):
            index = [int(one) for one in np.unravel_index(odd[0], shape)] if shape else ""
            raise _not_finite(manifest, f"the dense parameter {name}{index}", values[begin + odd[0]])
        begin = end
    for value in state[~np.isfinite(state)][:1]:
        raise _not_finite(manifest, "the optimizer's state of a dense parameter", value)


def require_finite(model, manifest):
    """DeshpcError on every rank where a number of `model` is not finite.  One pass over all rows.  Collective."""
    dense = dense_of(model)

    def look():
        if dense is not None:
            require_finite_dense(manifest, *dense)
        for _ in finite_blocks(model.table.blocks(ordered=False), manifest, model.group.rank):
            model.enter("save")

    model.group.together(look)


def _not_finite(manifest, what, value):
    return DeshpcError(f"after {manifest['steps']:,} steps {what} is {value}: {DIVERGED}")


def _number_of_row(manifest, rank, place):
    """What one of the numbers of a row is, of which a rank may have some columns."""
    model = manifest["model"]
    scalars, dim = model["scalars"], model["dim"]
    if model["split"] == "column":
        place = int(places_of(model, manifest["ranks"], rank)[place])
    if place < scalars:
        return "the linear weight"
    if place < scalars + dim:
        return f"embedding column {place - scalars}"
    of_linear = place < scalars + dim + model["scalar_state"]
    return f"the optimizer's state of the {'linear weight' if of_linear else 'embedding'}"


def _field(manifest, number):
    """A field by its name, where the input has one."""
    fields = manifest["source"].get("schema", {}).get("fields", [])
    return f"field {fields[number]['name']!r}" if number < len(fields) else f"field number {number}"
