"""What the rows of one file of a model have to be, by the model's manifest: before anything is done with them."""

from dataclasses import dataclass

import numpy as np

from deshpc.checkpoint.manifest_form import STATE
from deshpc.config.precision import row_type
from deshpc.hashing.key_fields import fields_of, is_key_of
from deshpc.hashing.key_range import LAST_KEY, key_range
from deshpc.table.columns import places_of


@dataclass(frozen=True)
class RowForm:
    """steps : that the model has made
    first, last : key that the rank may have
    fields : fields that have keys, None where that is not known
    numbers, precision : of a row that is read out
    roots : (..) int64, the numbers of which roots are taken
    """

    steps: int
    first: int
    last: int
    fields: int | None
    numbers: int
    precision: str
    roots: np.ndarray

    @classmethod
    def of(cls, manifest, rank, fields=None):
        """The form of the rows of a rank."""
        model, ranks = manifest["model"], manifest["ranks"]
        split, scalars, dim = model["split"], model["scalars"], model["dim"]
        state = model["scalar_state"], model["vector_state"]
        places = np.arange(scalars + dim + sum(state))
        if split == "column":
            places = places_of(model, ranks, rank)
        roots = np.isin(places, _roots(model["optimizer"], scalars, dim, state))
        first, last = key_range(ranks, rank) if split == "key" else (0, LAST_KEY)
        return cls(manifest["steps"], first, last, fields, len(places), row_type(model["precision"]), np.flatnonzero(roots))

    def require_sound(self, rows):
        """ValueError unless Rows are in key order, and are rows that training could have made."""
        keys, fields = rows.keys, rows.fields
        if not (keys[1:] > keys[:-1]).all():
            raise ValueError("its keys do not ascend")
        if self.fields is not None and fields.max(initial=0) >= self.fields:
            raise ValueError(f"a row is of field {fields.max()}; there are {self.fields}")
        if not is_key_of(keys, fields).all():
            raise ValueError("a key is not one of its field")
        if rows.steps.max(initial=0) > self.steps or rows.counts.max(initial=0) > self.steps:
            raise ValueError(f"a row was updated later, or more often, than in {self.steps} steps")
        if not np.isfinite(rows.numbers).all():
            raise ValueError("a number is not finite")
        if rows.decayed is not None and not ((rows.decayed >= 0) & (rows.decayed <= 1.01 * (self.steps + 1))).all():  # it is rounded
            raise ValueError(f"a decayed count is not one of {self.steps} steps")
        if len(self.roots) and rows.numbers[:, self.roots].min(initial=0) < 0:
            raise ValueError("a sum of squares is negative")

    def require_sound_sights(self, sights):
        """ValueError unless `Sights` are of keys that the rank may have, in key order, and could have come about."""
        keys = sights.keys
        if not (keys[1:] > keys[:-1]).all() or (len(keys) and not self.first <= int(keys[0]) <= int(keys[-1]) <= self.last):
            raise ValueError("keys do not ascend, or are not the rank's")
        if not is_key_of(keys, fields_of(keys)).all() or (self.fields is not None and fields_of(keys).max(initial=0) >= self.fields):
            raise ValueError("a key is of no field")
        if sights.sights.min(initial=1) < 1 or max(sights.sights.max(initial=0), sights.steps.max(initial=0)) > self.steps:
            raise ValueError(f"a key was seen later, or more often, than in {self.steps} steps, or never")


def _roots(rule, scalars, dim, state):
    """Places, in a whole row that is read out, of the numbers of which a rule takes roots: w, v, state of w, state of v."""
    places, begin = [], scalars + dim
    for numbers, weights in zip(state, (scalars, dim), strict=True):
        planes = -(-numbers // max(1, weights))
        for plane in STATE[rule][1] if numbers else ():
            if plane < planes:
                places.append(begin + plane * (numbers // planes) + np.arange(numbers // planes))
        begin += numbers
    return np.concatenate([np.zeros(0, np.int64), *places])
