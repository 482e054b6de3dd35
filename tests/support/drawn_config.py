"""Configurations drawn from the schema itself, with rows to train on: any option may have any value that it alone allows.

What an option allows is read from the dataclasses of `config.schema`, so a new option is drawn as soon as it is there.  LIMITS has
those whose values cost time, end a run by right, or name files.
"""

import csv
import dataclasses
import random
import typing
from pathlib import Path

from deshpc.config.schema import Config, FieldConfig, ModelFieldConfig, options_of

NUMBERS = (0.0, 1e-3, 0.01, 0.05, 0.1, 0.3, 0.5, 0.9, 0.999, 1.0, 2.0)
EXTREMES = (1e-300, 1e-60, 1e-40, 1e-30, 1e-8, 1.0 - 1e-9, 1e3, 1e8, 1e30, 1e60, 1e300)
LIMITS = {
    "data.format": ("csv", "tsv", "synthetic"), "data.libffm_fields": (0,), "data.criteo_numeric": ("dense",),
    "data.synthetic.profile": ("small",), "data.synthetic.train_rows": (40,), "data.synthetic.valid_rows": (0, 30),
    "data.synthetic.test_rows": (0, 1, 30), "model.dim": (5, 4, 1, 3), "train.global_batch_samples": (17, 40, 64, 1000),
    "train.epochs": (1, 2), "train.watchdog_s": (0.0, 600.0), "run.save_model": (True,), "compute.threads_per_rank": (1, 2),
    "compute.backend": ("auto", "cpu"), "run.report_interval_s": (1000.0, 1e-3), "checkpoint.walltime_s": (0.0, 1e6),
    "data.follow": (False,), "data.fields.clip": ((), (-10.0, 20.0)),
}  # fmt: skip
OF_KINDS = {"dense": ("transform", "clip", "standardise"), "sequence": ("length", "newest", "recency")}  # options that other kinds refuse
FEW_KERNELS = {  # so that the types for which kernels are compiled are those of other tests
    "model.dim": (5,), "train.precision": ("float64",), "train.accumulate": ("", "", "int64"), "model.fields.dim": (0, 0, 3),
    "data.format": ("csv",), "compute.matrix_products": ("auto",),
}  # fmt: skip


class Draw:
    """One drawn configuration: `tree`, nested dictionaries; `extreme` : whether a number is far from any that is of use."""

    def __init__(self, seed, folder, limits=()):
        """folder : gets train.csv, valid.csv and test.csv, and the run's folder;  limits : {dotted name: values} beside LIMITS"""
        self._chance, self.folder, self.extreme = random.Random(seed), Path(folder), False
        self._limits = {**LIMITS, **dict(limits)}
        self._rate = self._chance.choice((0.05, 0.15, 0.4))  # of options that are not the default
        fields = self._fields()
        self._names = [field["name"] for field in fields if field["kind"] != "dense"]
        self._rows = fields
        self.tree = self._section(Config, ())
        data = self.tree.setdefault("data", {})
        if data.get("format", "csv") == "synthetic":
            self._names = [f"c{i}" for i in range(12)]
        else:
            suffix = data.setdefault("format", "csv")
            data["fields"], data["label"] = fields, "label"
            for part in ("train", "test", *["valid"] * self._chance.randrange(2)):
                data[part] = [str(self.folder / f"{part}.{suffix}")]
        if self._chance.random() < 0.3:
            chosen = self._chance.sample(self._names, self._chance.randint(0, len(self._names)))
            self.tree.setdefault("model", {})["fields"] = [
                {**self._section(ModelFieldConfig, ("model", "fields")), "name": name} for name in chosen
            ]
        self.tree.setdefault("run", {})["directory"] = str(self.folder / "run")

    def write_rows(self):
        """Write the files of rows that the configuration names."""
        delimiter = "\t" if self.tree["data"]["format"] == "tsv" else ","
        for part, rows in (("train", 40), ("valid", 20), ("test", 25)):
            for path in self.tree["data"].get(part, ()):
                with open(path, "w", newline="", encoding="utf-8") as file:
                    writer = csv.writer(file, delimiter=delimiter)
                    writer.writerow(["label", *(field["name"] for field in self._rows)])
                    for _ in range(rows):
                        writer.writerow([self._chance.randrange(2), *map(self._cell, self._rows)])

    def _fields(self):
        """[field] of all shapes: no key, no number, one of each, several."""
        chance, fields = self._chance, []
        kinds = [*["dense"] * chance.choice((0, 0, 1, 2)), *chance.choices(("categorical", "multi", "bucket"), k=chance.choice((0, 1, 2, 4)))]
        for i, kind in enumerate(chance.sample(kinds, len(kinds)) or ["categorical"]):
            self._rate = 0.5
            others = {option for of, options in OF_KINDS.items() if of != kind for option in options}
            section = {own: value for own, value in self._section(FieldConfig, ("data", "fields")).items() if own not in others}
            field = {**section, "name": f"{kind[0]}{i}", "kind": kind}
            if kind == "multi" and chance.random() < 0.5:
                field["weight_separator"] = ":"
            fields.append(field)
        self._rate = chance.choice((0.05, 0.15, 0.4))
        return fields

    def _cell(self, field):
        chance = self._chance
        if chance.random() < 0.15:
            return ""
        if field["kind"] in ("dense", "bucket"):
            return f"{chance.gauss(0, 30):.3f}"
        if field["kind"] == "categorical":
            return f"v{chance.randrange(6)}"
        weight = ":{:.2f}" if field.get("weight_separator") else ""
        return "|".join(f"t{chance.randrange(5)}" + weight.format(chance.gauss(1, 1)) for _ in range(chance.randrange(4)))

    def _section(self, kind, path):
        """{option: value} of a dataclass; what is left out has its default."""
        hints, section = typing.get_type_hints(kind), {}
        for own, field in options_of(kind).items():
            name, hint = ".".join((*path, own)), hints[field.name]
            if dataclasses.is_dataclass(hint):
                section[own] = self._section(hint, (*path, own))
            elif name in self._limits:
                section[own] = self._chance.choice(self._limits[name])
            elif self._chance.random() < self._rate:
                value = self._value(hint, field.metadata)
                if value is not None:
                    section[own] = value
        return section

    def _value(self, hint, metadata):
        """A value that the option alone allows; None for its default."""
        chance = self._chance
        if metadata["choices"]:
            return chance.choice(metadata["choices"])
        if hint is bool:
            return chance.random() < 0.5
        if hint is int:
            return metadata["minimum"] + chance.choice((0, 1, 2, 3, 7))
        if hint is float:
            extreme = chance.random() < 0.1
            low, above, below = metadata["minimum"], metadata["above"], metadata["below"]
            numbers = [
                one for one in (EXTREMES if extreme else NUMBERS)
                if (low is None or one >= low) and (above is None or one > above) and (below is None or one < below)
            ]  # fmt: skip
            self.extreme |= extreme
            return chance.choice(numbers)
        if hint == tuple[int, ...]:
            return [chance.randint(1, 6) for _ in range(chance.randrange(4))]
        if hint == tuple[float, ...]:
            return sorted({chance.gauss(0, 20) for _ in range(chance.randrange(4))})
        return None
