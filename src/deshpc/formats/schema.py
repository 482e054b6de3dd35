"""Which columns make up a sample: key fields with their numbers, dense features, the label and the sample's weight."""

from dataclasses import asdict, dataclass

from deshpc.config import DataConfig, FieldConfig
from deshpc.config.load import checked_fields
from deshpc.config.schema import LISTS
from deshpc.errors import ConfigError, DataError
from deshpc.formats.label_kinds import LABELS
from deshpc.storage.json_form import require

CRITEO_INTEGERS, CRITEO_CATEGORICALS = 13, 26


@dataclass(frozen=True)
class Schema:
    """The columns of a sample, by role.

    key_fields   : fields that become keys (categorical, multi, sequence, bucket); a field's index here is its field number
    dense_fields : fields that become dense features (dense); a field's index here is its column in `Dataset.dense`
    label        : name of the label's column; None where rows without label are read, to be scored
    weight       : name of the column of the samples' weights; None where all are 1, or nobody asks for them
    labels       : what labels are, see `formats.label_kinds`
    """

    key_fields: tuple[FieldConfig, ...]
    dense_fields: tuple[FieldConfig, ...]
    label: str | None
    weight: str | None = None
    labels: str = "classes"

    @classmethod
    def from_config(cls, config: DataConfig, label: bool = True, weight: bool = True, labels: str = "classes") -> "Schema":
        """The schema of `[data]`: each role keeps the order of the fields.

        label : whether rows have one
        weight : whether a column of weights is read, where there is one
        labels : what they are, see `formats.label_kinds`
        """
        own_weight = config.weight if weight and config.weight else None
        return cls.of_fields(_fields(config), config.label if label else None, own_weight, labels)

    @classmethod
    def of_fields(cls, fields, label, weight=None, labels="classes") -> "Schema":
        """The schema of some FieldConfigs."""
        return cls(
            key_fields=tuple(field for field in fields if field.kind != "dense"),
            dense_fields=tuple(field for field in fields if field.kind == "dense"),
            label=label,
            weight=weight,
            labels=labels,
        )

    def to_json(self) -> dict:
        """As plain dictionaries, lists and strings: key fields before dense ones."""
        fields = [{**asdict(field), "boundaries": list(field.boundaries)} for field in self.key_fields + self.dense_fields]
        weight = {} if self.weight is None else {"weight": self.weight}
        return {"fields": fields, "label": self.label, **weight, **({} if self.labels == "classes" else {"labels": self.labels})}

    @classmethod
    def from_json(cls, tree: dict) -> "Schema":
        """The inverse of `to_json`.  DataError where a configuration could not have these fields."""
        try:
            form = {"fields": [dict], "label": (str, None)}
            if isinstance(tree, dict):
                form |= {name: str for name in ("weight", "labels") if name in tree}
            require(tree, form, "schema")
            label, weight, labels = tree["label"], tree.get("weight"), tree.get("labels", "classes")
            if labels not in LABELS.values():
                raise ValueError(f"schema.labels is {labels[:20]!r}; expected {', '.join(LABELS.values())}")
            return cls.of_fields(checked_fields(tree["fields"], {label, weight}, "schema"), label, weight, labels)
        except (ValueError, ConfigError) as error:
            raise DataError(f"damaged: {error}") from None

    @property
    def value_width(self):
        """Numbers that an occurrence has beside its key, see `Dataset.values`: 0, 1 or 2."""
        many = [field for field in self.key_fields if field.kind in LISTS]
        if any(field.linear_pooling not in ("", field.pooling) for field in many):
            return 2
        return int(any(field.pooling == "mean" or field.weight_separator or field.recency < 1 for field in many))

    @property
    def numbers_of_keys(self):
        """(F) field number whose keys each key field's are: its own, or that of the field that it shares them with."""
        number_of = {field.name: number for number, field in enumerate(self.key_fields)}
        return tuple(number_of[field.share or field.name] for field in self.key_fields)

    @property
    def columns(self):
        """[(FieldConfig, name and number of the field whose keys its column's are)] of key fields, then dense ones, which have none."""
        of_keys = [(field, self.key_fields[number].name, number) for field, number in zip(self.key_fields, self.numbers_of_keys, strict=True)]
        return [*of_keys, *((field, field.name, None) for field in self.dense_fields)]


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
