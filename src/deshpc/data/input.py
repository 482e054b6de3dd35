"""The samples that a configuration names, as data sets: generated or read from text."""

from deshpc.data.schema import Schema
from deshpc.errors import ConfigError, DataError

PARTS = ("train", "valid", "test")


class SyntheticInput:
    """Generated samples with a known truth."""

    def __init__(self, config):
        from deshpc.data.profiles import describe

        self._config, self._description = config.synthetic, describe(config.synthetic)
        self.n_fields = len(self._description.field_names)
        self.n_dense = len(self._description.dense_names)

    def has(self, part):
        """Whether there is a part "train", "valid" or "test" of at least one row."""
        return getattr(self._config, f"{part}_rows") > 0

    def load(self, part):
        """The Dataset of a part."""
        from deshpc.data.synthetic import generate

        return generate(self._config, part, 0, getattr(self._config, f"{part}_rows"))

    def state(self):
        """What has to be stored to read the same samples again: nothing, the configuration says it all."""
        return {}

    def restore(self, state):
        """Take a stored `state`."""


class TextInput:
    """CSV or TSV files.  The transforms are fitted when the training part is loaded, or restored."""

    def __init__(self, config):
        self._config, self._transforms = config, None
        self._schema = Schema.from_config(config)
        self.n_fields, self.n_dense = len(self._schema.key_fields), len(self._schema.dense_fields)

    def has(self, part):
        """Whether the configuration names files of this part."""
        return bool(getattr(self._config, part))

    def load(self, part):
        """The Dataset of a part; "train" comes first, since it fits the transforms."""
        from deshpc.data.text import read
        from deshpc.data.transform import Transforms

        columns = read(getattr(self._config, part), self._config)
        if part == "train":
            self._transforms = Transforms.fit(columns, self._schema)
        return self._transforms.apply(columns)

    def state(self):
        """The fitted transforms as plain JSON types."""
        return self._transforms.to_json()

    def restore(self, state):
        """Take stored transforms instead of fitting them."""
        from deshpc.data.transform import Transforms

        try:
            self._transforms = Transforms.from_json(state)
        except (KeyError, TypeError) as error:
            raise DataError(f"the stored transforms are damaged: {error!r}") from None


def open_input(config):
    """The input of a DataConfig."""
    return SyntheticInput(config) if config.format == "synthetic" else TextInput(config)


def require(source, part, why):
    """ConfigError unless `source` has the part."""
    if not source.has(part):
        raise ConfigError(f"{why} needs data.{part} files (or data.synthetic.{part}_rows above 0)")
