"""Tables of a caller in the place of a configuration's files: what becomes of [data], fields that nobody has named."""

from deshpc.errors import ConfigError, DataError
from deshpc.formats.guess import batch_of, fields_of, label_of, missing_of
from deshpc.formats.sample import ROWS, sample_of_table
from deshpc.formats.table import arrow_table, described, digest

_PARTS = ("train", "valid", "test")
_OF_ALL_FORMATS = ("label", "positive", "missing", "weight", "fields", "crosses", "normalise_samples", "on_bad_row")  # options of [data] that are not of one kind of files
_SHOWN = 12


class Tables:
    """The tables of some parts, which every rank has.

    notes : {subject: what a person should know of it} of what was inferred
    """

    def __init__(self, given):
        """given : {part: table, or None}, see `formats.table.arrow_table`"""
        self._given = {part: one for part, one in given.items() if one is not None}
        self._kinds = {part: type(one) for part, one in self._given.items()}
        self._arrow, self._rows, self.notes = {}, 0, {}

    def __bool__(self):
        return bool(self._given)

    def put_into(self, tree, fields=()):
        """A configuration, as nested dictionaries, whose rows come from the tables.

        fields : as `[[data.fields]]` has them, of a configuration whose format knows its own
        Files that the configuration names give way to the tables; where a part has files and no table, it is a ConfigError.  Where it
        has no fields, they are inferred from the first table by the rule of `deshpc init`, and so are the samples of a step.
        """
        data = tree.get("data", {})
        if not isinstance(data, dict):
            return tree  # an error that the configuration's check names
        for part in _PARTS:
            if data.get(part) and part not in self._given and data.get("format") != "table":
                raise ConfigError(
                    f"data.{part} names files, and {next(iter(self._given))} is a table: pass {part} as a table, too, or leave data.{part} out"
                )
        kept = {name: data[name] for name in _OF_ALL_FORMATS if name in data}
        kept = {"format": "table", **kept}
        train = tree.get("train", {})
        if not kept.get("fields") and fields:
            kept["fields"] = list(fields)
        elif not kept.get("fields"):
            kept |= self._inferred(kept)
            train = self._with_batch(train)
        self._take(kept)
        kept |= {part: [described(self._kinds[part], table)] for part, table in self._arrow.items()}
        return {**tree, "data": kept, "train": train}

    def arrow(self):
        """{part: pyarrow.Table} with the columns that the configuration reads."""
        return self._arrow

    def facts(self):
        """What is the same on every rank if the tables are."""
        return {part: {"rows": table.num_rows, "digest of rows and columns": digest(table)} for part, table in self._arrow.items()}

    def _take(self, data):
        fields = [one.get("name") for one in data["fields"] if isinstance(one, dict)]
        label = data.get("label", "label")
        labels = label if isinstance(label, list) else [label]
        columns = [one for one in (*labels, data.get("weight"), *fields) if isinstance(one, str)]
        self._arrow = {part: arrow_table(given, part, columns) for part, given in self._given.items()}

    def _inferred(self, data):
        """{"label": ..., "positive": ..., "missing": ..., "fields": ...} of a configuration, as far as it does not say."""
        part, given = next(iter(self._given.items()))
        table = self._given[part] = arrow_table(given, part)  # a stream is read once
        self._rows = table.num_rows
        sample = sample_of_table(table, part)
        wanted = data.get("label", "label")
        if isinstance(wanted, list):
            raise ConfigError("data.fields is not given, and data.label has several columns, of which no fields are inferred: give data.fields")
        label = label_of(sample, part, None if wanted == "label" else wanted)
        missing = data.get("missing") or missing_of(sample, label.name)
        fields = [one for one in fields_of(sample, label, missing, sample) if one.name != data.get("weight")]
        chosen = [{"name": one.name, "kind": one.kind, **one.options} for one in fields if one.kind]
        if not chosen:
            raise DataError(f"{part}: no column can be learnt from: " + "; ".join(f"{one.name!r}: {one.why}" for one in fields[:9]))
        self._tell(part, min(ROWS, table.num_rows), label, fields)
        positive = data.get("positive") or label.positive
        return {"label": label.name, "positive": positive, "missing": missing, "fields": chosen}

    def _with_batch(self, train):
        """[train] with batches that fit the rows, unless it says how large they are."""
        if not isinstance(train, dict) or "global_batch_samples" in train:
            return train
        batch = batch_of(self._rows)
        self.notes["train.global_batch_samples"] = f"{batch}, as there are {self._rows:,} rows and it is not given"
        return {**train, "global_batch_samples": batch}

    def _tell(self, part, rows, label, fields):
        kinds = ", ".join(f"{one.name} {one.kind}" for one in fields[:_SHOWN] if one.kind) + (", ..." if fields[_SHOWN:] else "")
        left = "".join(f"; left out: {one.name} ({one.why})" for one in fields[:_SHOWN] if not one.kind)
        self.notes["data.fields"] = (
            f"is not given, so it is inferred from {rows:,} rows of {part}: label {label.name} ({label.why}), {kinds}{left}; "
            "the run's record has all of it"
        )
