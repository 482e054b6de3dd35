"""What a saved model and a new one have in common, where training starts from another model (`train.from`).

Rows have parts: the linear weight, the embedding, and the optimizer's state of each.  A part that both models have is taken; the others of
a row begin as those of a new row.  Dense parameters have groups: all layers of a network are taken, or none is.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from deshpc.checkpoint.dense_file import named, size_of
from deshpc.config.precision import row_type
from deshpc.errors import ConfigError

_LINEAR_OF_DENSE = ("linear.weights", "fm.weights", "wide.weights")  # one thing: what lr, fm and deep models call it


class _Part(NamedTuple):
    """Places of a part's weights, and of their state, in a whole row."""

    weights: np.ndarray
    state: np.ndarray


@dataclass(frozen=True)
class Common:
    """What is taken of a saved model.

    keep : whether optimizer state is taken, too; otherwise it begins as that of first values does, and a row's history as if it had been seen at step 0 alone
    before, now : {part of a row: _Part} of the saved model and of this one, of the parts that both have
    dense : {name of a dense parameter: its name in the saved model}
    left : [text], what the saved model has and this one has not
    new : [text], what this model has and the saved one has not
    """

    keep: bool
    before: dict
    now: dict
    dense: dict
    left: list
    new: list

    @classmethod
    def of(cls, model, manifest, keep, folder):
        """Of a Model, and the manifest of a saved model in a folder.

        ConfigError, naming option and both values, where embeddings have other dimensions, numbers that are read out are of another type, or optimizer
        state that is to be kept is another rule's, and where rows have nothing in common.
        """
        saved, table = manifest["model"], model.table
        layout = table.whole_layout
        before = _parts(saved["scalars"], saved["dim"], saved["scalar_state"], saved["vector_state"])
        now = _parts(layout.scalars, layout.dim, layout.scalar_state, layout.vector_state)
        both = [name for name in before if name in now]
        if not both:
            raise ConfigError(
                f"train.from: the model in {folder} is of model.name = {saved['operator']!r}, whose rows have {', '.join(before)} alone; "
                f"those of {model.name!r} have {', '.join(now)}: there is nothing to start from"
            )
        if row_type(saved["precision"]) != row_type(layout.precision):
            _require(folder, "train.precision", saved["precision"], layout.precision)
        if "embeddings" in both:
            if saved.get("vectors", 1) != table.whole_rows.get("vectors", 1):  # ffm's have one for each field, whatever their numbers add up to
                _require(folder, "model.name", saved["operator"], model.name, what="embeddings of ")
            _require_dims(folder, saved, table.whole_rows, model.n_fields)
        if keep:
            _require(folder, "optimizer.name", saved["optimizer"], table.optimizer.config.name, _OR_FRESH)
            _require(folder, "optimizer.dense_name", saved["dense_optimizer"], table.optimizer.dense.name, _OR_FRESH)
        dense, left, new = _dense_in_common(manifest["dense"], model.parameters.names())
        return cls(
            keep, {name: before[name] for name in both}, {name: now[name] for name in both}, dense,
            [name for name in before if name not in now] + left, [name for name in now if name not in before] + new,
        )  # fmt: skip

    def rows_for(self, table, rows):
        """Arguments of `Table.load`: `Rows` made of saved whole ones, and which numbers of a row they have."""
        places, numbers = [], []
        for name, part in self.now.items():
            weights = rows.numbers[:, self.before[name].weights]
            state = rows.numbers[:, self.before[name].state] if self.keep else self._first_state(table.optimizer, weights)
            places += [part.weights, part.state]
            numbers += [weights, state]
        places = np.concatenate(places)
        order = np.argsort(places)
        taken = replace(rows, numbers=np.concatenate(numbers, axis=1)[:, order])
        if not self.keep:
            taken = replace(taken, counts=np.zeros_like(rows.counts), steps=np.zeros_like(rows.steps), decayed=np.ones(len(rows)))
        return taken, places[order]

    def dense_for(self, parameters, arrays, names):
        """{"values", "state"} for `Parameters.load`: what the saved model has of these Parameters, and otherwise what they are.

        arrays : {"values", "state"} of the saved model;  names : [(name, shape)] of its dense parameters
        """
        saved = named(arrays["values"], names)
        for name, other in self.dense.items():
            parameters.set(name, saved[other].reshape(parameters[name].shape))
        parameters.begin_state()
        own = parameters.arrays()
        if self.keep and len(own["state"]):
            planes = len(own["state"]) // len(parameters.gradient)
            saved_state, state = (array.reshape(planes, -1) for array in (arrays["state"], own["state"]))
            begins, begin = {}, 0
            for name, shape in names:
                begins[name], begin = begin, begin + size_of(shape)
            for name, other in self.dense.items():
                if name not in parameters.statistics:
                    (a, b), begin = parameters.place(name), begins[other]
                    state[:, a:b] = saved_state[:, begin : begin + b - a]
        return own

    @staticmethod
    def _first_state(optimizer, weights):
        """(n, numbers) state of weights (n, k) that are first values."""
        planes, k = optimizer.state_start.planes, optimizer.state_numbers(weights.shape[1]) // max(1, optimizer.state_start.planes)
        state = optimizer.state_start.of(weights.ravel()).reshape(planes, *weights.shape)[:, :, :k]
        return state.transpose(1, 0, 2).reshape(len(weights), planes * k).astype(weights.dtype)


def _parts(scalars, dim, scalar_state, vector_state):
    """{name: _Part} of whole rows of this form, see `table.columns`."""
    parts, weights = {}, scalars + dim
    if scalars:
        parts["linear weights"] = _Part(np.arange(scalars), weights + np.arange(scalar_state))
    if dim:
        parts["embeddings"] = _Part(scalars + np.arange(dim), weights + scalar_state + np.arange(vector_state))
    return parts


def _dense_in_common(saved, here):
    """({name here: saved name}, [what is left], [what is new]) of dense parameters, [(name, shape)] each."""
    before, now = _groups(saved), _groups(here)
    taken, left, new = {}, [], []
    for group, members in now.items():
        others = before.get(group)
        if others is not None and _shapes(others) == _shapes(members):
            taken |= {name: others[canonical][0] for canonical, (name, _) in members.items()}
        else:
            new.append(_in_words(group, members))
    left = [_in_words(group, members) for group, members in before.items() if not any(name in taken.values() for name, _ in members.values())]
    return taken, left, new


def _groups(names):
    """{group: {name that models share: (name, shape)}}: layers of a network belong together, everything else stands for itself."""
    groups = {}
    for name, shape in names:
        shared = _LINEAR_OF_DENSE[0] if name in _LINEAR_OF_DENSE else name
        groups.setdefault(shared.partition(".")[0], {})[shared] = name, tuple(shape)
    return groups


def _shapes(members):
    """{name: shape} of a group; numbers alone where models write the same numbers in other shapes."""
    return {name: (size_of(shape),) if name in _LINEAR_OF_DENSE else shape for name, (_, shape) in members.items()}


def _in_words(group, members):
    shapes = ", ".join(" x ".join(map(str, shape)) for _, shape in members.values() if len(shape) > 1)
    return f"{group} ({shapes})" if shapes else group


_OR_FRESH = ", or let its state begin anew: train.from_state = 'fresh'"


def _require_dims(folder, saved, here, n_fields):
    before, now = (list(one.get("dims") or [one["dim"]] * n_fields) for one in (saved, here))
    if before != now:
        option = "model.fields" if "dims" in saved or "dims" in here else "model.dim"
        short = [one[0] if len(set(one)) == 1 else one for one in (before, now)]
        _require(folder, option, *short, what="embeddings of ")


def _require(folder, option, saved, here, remedy="", what=""):
    """ConfigError unless an option is here what it was in the saved model."""
    if saved != here:
        raise ConfigError(
            f"train.from: {option} = {here!r}, but the model in {folder} has {what}{saved!r}: set it as it was{remedy}"
        )
