"""Which columns make up a sample: key fields with their numbers, dense features and the label."""

from dataclasses import dataclass

from deshpc.config import DataConfig, FieldConfig


@dataclass(frozen=True)
class Schema:
    """The columns of a sample, by role.

    key_fields   : fields that become keys (categorical, multi, bucket); a field's index here is its field number
    dense_fields : fields that become dense features (dense); a field's index here is its column in `Dataset.dense`
    label        : name of the label's column
    """

    key_fields: tuple[FieldConfig, ...]
    dense_fields: tuple[FieldConfig, ...]
    label: str

    @classmethod
    def from_config(cls, config: DataConfig) -> "Schema":
        """The schema of `[data]`: each role keeps the order of `[[data.fields]]`."""
        return cls(
            key_fields=tuple(field for field in config.fields if field.kind != "dense"),
            dense_fields=tuple(field for field in config.fields if field.kind == "dense"),
            label=config.label,
        )
