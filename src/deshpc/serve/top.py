"""What is above a model's pooled rows: all that a forward or a graph is made from."""

from typing import NamedTuple

from deshpc.config.attended import attended
from deshpc.config.field_dims import field_dims


class Top(NamedTuple):
    """options : of `[model]`, a dictionary
    parameters : {name: array}, the dense parameters, as training declares them
    n_fields F, n_dense : of a sample
    field_dims : (F) numbers of every field's embeddings
    tasks : T, labels of a sample where there are several, else 0
    attended : `config.attended.Attended` of the sequences whose values stay apart
    """

    options: dict
    parameters: dict
    n_fields: int
    n_dense: int
    field_dims: tuple = ()
    tasks: int = 0
    attended: tuple = ()

    @classmethod
    def of(cls, options, parameters, schema):
        """The Top of a model for samples of a Schema."""
        names = [field.name for field in schema.keyed_fields]
        dims = field_dims(options["dim"], {one["name"]: one["dim"] for one in options.get("fields", ())}, names)
        sequences = attended({one["name"]: one["target"] for one in options.get("fields", ()) if "target" in one}, schema.keyed_fields)
        return cls(options, parameters, len(names), len(schema.dense_fields), dims, schema.tasks, sequences)

    @property
    def name(self):
        """`model.name`."""
        return self.options["name"]

    @property
    def linear(self):
        """Whether rows of a model that may have linear weights have them."""
        return self.name != "ffm" or self.options["linear"]

    @property
    def row_dims(self):
        """(F) numbers of an embedding of each field as a row holds them: of ffm, a vector for every field and dense feature."""
        return tuple(self.vectors * dim for dim in self.field_dims)

    @property
    def vectors(self):
        """Of which an embedding consists."""
        return self.n_fields + self.n_dense if self.name == "ffm" else 1

    @property
    def dim(self):
        """k, numbers of an embedding, where fields have no dimensions of their own."""
        return self.options["dim"]
