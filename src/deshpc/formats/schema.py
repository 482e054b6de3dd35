"""Which columns make up a sample: key fields with their numbers, dense features, the label and the sample's weight."""

from dataclasses import asdict, dataclass

from deshpc.config import DataConfig, FieldConfig
from deshpc.config.load import checked_crosses, checked_fields, named_crosses
from deshpc.config.schema import LISTS, CrossConfig
from deshpc.errors import ConfigError, DataError
from deshpc.formats.label_kinds import LABELS
from deshpc.storage.json_form import require

CRITEO_INTEGERS, CRITEO_CATEGORICALS = 13, 26


@dataclass(frozen=True)
class Schema:
    """The columns of a sample, by role.

    key_fields   : fields that become keys (categorical, multi, sequence, bucket); a field's index here is its field number
    crosses      : combinations of these, each with its name; their field numbers follow
    dense_fields : fields that become dense features (dense); a field's index here is its column in `Dataset.dense`
    label        : name of the label's column, or a tuple of those of several tasks; None where rows without label are read, to be scored
    weight       : name of the column of the samples' weights; None where all are 1, or nobody asks for them
    labels       : what labels are, see `formats.label_kinds`; a tuple for those of several tasks
    normalise_samples : whether samples have norm 1, see `data.norms`
    """

    key_fields: tuple[FieldConfig, ...]
    dense_fields: tuple[FieldConfig, ...]
    label: str | tuple[str, ...] | None
    weight: str | None = None
    labels: str | tuple[str, ...] = "classes"
    crosses: tuple[CrossConfig, ...] = ()
    normalise_samples: bool = False

    @classmethod
    def from_config(cls, config: DataConfig, label: bool = True, weight: bool = True, labels="classes") -> "Schema":
        """The schema of `[data]`: each role keeps the order of the fields.

        label : whether rows have one
        weight : whether a column of weights is read, where there is one
        labels : what they are, see `formats.label_kinds`
        """
        own_weight = config.weight if weight and config.weight else None
        fields = _fields(config)
        crosses = named_crosses(config.crosses, fields, "data")
        return cls.of_fields(fields, config.label if label else None, own_weight, labels, crosses, config.normalise_samples)

    @classmethod
    def of_fields(cls, fields, label, weight=None, labels="classes", crosses=(), normalise_samples=False) -> "Schema":
        """The schema of some FieldConfigs, and of CrossConfigs that have names."""
        return cls(
            key_fields=tuple(field for field in fields if field.kind != "dense"),
            dense_fields=tuple(field for field in fields if field.kind == "dense"),
            label=label,
            weight=weight,
            labels=(labels,) * len(label) if isinstance(label, tuple) and isinstance(labels, str) else labels,
            crosses=tuple(crosses),
            normalise_samples=normalise_samples,
        )

    @property
    def keyed_fields(self):
        """All that has keys, in the order of its field number: key fields, then crosses."""
        return self.key_fields + self.crosses

    @property
    def label_columns(self):
        """[(name, what it is)] of the columns of labels, in their order."""
        if self.label is None:
            return []
        return [(self.label, self.labels)] if isinstance(self.label, str) else [*zip(self.label, self.labels, strict=True)]

    @property
    def tasks(self):
        """Labels of a row that lie side by side: 0 where there is one, or none."""
        return 0 if self.label is None or isinstance(self.label, str) else len(self.label)

    def labels_like(self, rows):
        """Shape of the labels of so many rows: (rows), or (rows, tasks)."""
        return (rows, self.tasks) if self.tasks else (rows,)

    def to_json(self) -> dict:
        """As plain dictionaries, lists and strings: key fields before dense ones."""
        fields = [_plain(field) for field in self.key_fields + self.dense_fields]
        tree = {"fields": fields, "label": self.label if isinstance(self.label, str) or self.label is None else list(self.label)}
        if self.weight is not None:
            tree["weight"] = self.weight
        if self.labels != "classes":
            tree["labels"] = self.labels if isinstance(self.labels, str) else list(self.labels)
        if self.crosses:
            tree["crosses"] = [_plain(cross) for cross in self.crosses]
        if self.normalise_samples:
            tree["normalise_samples"] = True
        return tree

    @classmethod
    def from_json(cls, tree: dict) -> "Schema":
        """The inverse of `to_json`.  DataError where a configuration could not have these fields."""
        try:
            several = isinstance(tree, dict) and isinstance(tree.get("label"), list)
            form = {"fields": [dict], "label": [str] if several else (str, None)}
            if isinstance(tree, dict):
                form |= {name: str for name in ("weight", "labels") if name in tree}
                form |= {"labels": [str]} if several else {}
                form |= {"crosses": [dict]} if "crosses" in tree else {}
                form |= {"normalise_samples": bool} if "normalise_samples" in tree else {}
            require(tree, form, "schema")
            label, weight, labels = tree["label"], tree.get("weight"), tree.get("labels", "classes")
            if several:
                label, labels = tuple(label), tuple(labels)
                if not label or len(labels) != len(label) or len(set(label)) < len(label):
                    raise ValueError("schema.label and schema.labels are not those of several tasks")
            for one in labels if several else (labels,):
                if one not in LABELS.values():
                    raise ValueError(f"schema.labels is {one[:20]!r}; expected {', '.join(LABELS.values())}")
            fields = checked_fields(tree["fields"], {*(label if several else (label,)), weight}, "schema")
            crosses = checked_crosses(tree.get("crosses", []), fields, "schema")
            return cls.of_fields(fields, label, weight, labels, crosses, tree.get("normalise_samples", False))
        except (ValueError, ConfigError) as error:
            raise DataError(f"damaged: {error}") from None

    @property
    def value_width(self):
        """Numbers that an occurrence has beside its key, see `Dataset.values`: 0, 1 or 2."""
        many = [field for field in self.key_fields if field.kind in LISTS]
        if any(field.linear_pooling not in ("", field.pooling) for field in many):
            return 2
        return int(self.normalise_samples or any(field.pooling == "mean" or field.weight_separator or field.recency < 1 for field in many))

    @property
    def numbers_of_keys(self):
        """(F) field number whose keys those of each key field, and cross, are: its own, or that of the field that it shares them with."""
        number_of = {field.name: number for number, field in enumerate(self.keyed_fields)}
        return tuple(number_of[field.share or field.name] for field in self.keyed_fields)

    @property
    def columns(self):
        """[(FieldConfig, name and number of the field whose keys its column's are)] of key fields, then dense ones, which have none."""
        numbers = self.numbers_of_keys[: len(self.key_fields)]
        of_keys = [(field, self.key_fields[number].name, number) for field, number in zip(self.key_fields, numbers, strict=True)]
        return [*of_keys, *((field, field.name, None) for field in self.dense_fields)]


def _plain(config):
    """A FieldConfig or CrossConfig as JSON has it."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def _fields(config):
    """The fields that a configuration names, or those that its format has."""
    if config.format == "criteo":
        integers = [FieldConfig(f"I{i + 1}", kind=config.criteo_numeric) for i in range(CRITEO_INTEGERS)]
        return (*integers, *(FieldConfig(f"C{i + 1}") for i in range(CRITEO_CATEGORICALS)))
    if config.format == "libsvm":
        return (FieldConfig("feature", kind="multi", weight_separator=":"),)
    if config.format == "libffm":
        return tuple(FieldConfig(str(i), kind="multi", weight_separator=":") for i in range(config.libffm_fields))
    return config.fields
