"""The configuration: every option is documented and checked, every mistake is a ConfigError that says what is right,
and what `deshpc info` prints reads back as the same Config.
"""

import dataclasses
import datetime
import typing

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from deshpc.cli.info import describe
from deshpc.cli.toml import to_toml
from deshpc.config import Config, FieldConfig, load, override, resolved
from deshpc.config.load import build
from deshpc.config.schema import CrossConfig, ModelFieldConfig, ModelTaskConfig, SliceConfig
from deshpc.errors import ConfigError

SYNTHETIC = {"data": {"format": "synthetic"}}
CSV = {"train": ["a.csv"], "fields": [{"name": "site"}]}
quick = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
few = settings(quick, max_examples=60)  # of what takes long


def leaves(kind=Config, path=()):
    """(path, type, dataclass field) of every option that is not a section."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from leaves(hint, (*path, field.name))
        elif not any(map(dataclasses.is_dataclass, typing.get_args(hint))):
            yield (*path, field.name.rstrip("_")), hint, field


LEAVES, FIELD_LEAVES = list(leaves()), list(leaves(FieldConfig))
OTHER_LISTS = {
    "data.crosses": CrossConfig, "model.fields": ModelFieldConfig, "model.tasks": ModelTaskConfig, "metrics.slices": SliceConfig,
}  # fmt: skip


def tree_with(path, value):
    """A minimal valid tree with one option set."""
    tree = {section: dict(content) for section, content in SYNTHETIC.items()}
    inner = tree
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    return tree


def value_of(config, path):
    for name in path:
        config = getattr(config, {"from": "from_"}.get(name, name))
    return config


def refused(tree, *words):
    """The message of the ConfigError of a tree; it holds the words."""
    with pytest.raises(ConfigError) as caught:
        build(tree)
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def test_every_option_is_documented_and_listed():
    text = describe(None, (), options=True)
    for path, _, field in LEAVES:
        assert len(field.metadata["text"]) > 5
        assert f"\n{'.'.join(path)} = " in "\n" + text and f"    {field.metadata['text']}" in text
    for path, _, field in FIELD_LEAVES:
        assert len(field.metadata["text"]) > 5 and f"data.fields[].{path[0]} = " in text
    for name, kind in OTHER_LISTS.items():
        for path, _, field in leaves(kind):
            assert len(field.metadata["text"]) > 5 and f"\n{name}[].{path[0]} = " in text
    assert "train.global_batch_samples = 8192\n" in text and 'model.name = "fm"\n' in text


def test_defaults_are_valid_and_frozen():
    assert build(SYNTHETIC) == dataclasses.replace(
        Config(), data=dataclasses.replace(Config().data, format="synthetic")
    )
    for path, hint, field in LEAVES:
        if hint in (int, float, bool, str):
            assert type(field.default) is hint
            given = build(tree_with(path, field.default)) if path != ("data", "format") else Config()
            assert value_of(given, path) == field.default
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().train.epochs = 3


@pytest.mark.parametrize(
    ("tree", "unknown", "near"),
    [
        ({"modle": {}}, "modle", "model"),
        ({"train": {"epoch": 3}}, "train.epoch", "train.epochs"),
        ({"train": {"learning_rates": 3}}, "train.learning_rates", "train."),
        ({"optimizer": {"learning-rate": 3}}, "optimizer.learning-rate", "optimizer.learning_rate"),
        ({"data": {"synthetic": {"profil": "x"}}}, "data.synthetic.profil", "data.synthetic.profile"),
        ({"data": {"fields": [{"name": "a"}, {"nmae": "b"}]}}, "data.fields[1].nmae", "data.fields[1].name"),
        ({"": 1}, "", ""),
    ],
)
def test_unknown_option_names_the_nearest(tree, unknown, near):
    refused(tree, f"unknown option {unknown};", f"did you mean {near}")


def test_every_option_refuses_values_of_another_type():
    # 3 is a number, and a word alone stands for a list of one file
    wrong = {
        int: (1.0, True, "1", [1], {}, None), float: (True, "1.0", [1.0], {}, None), bool: (1, "true", [], {}, None),
        str: (1, 1.0, True, ["a"], {}, None), tuple[str, ...]: (1, True, {}, [1], [["a"]], None),
        tuple[float, ...]: (1.0, "1.0", True, {}, ["1"], [[1.0]], None),
        tuple[int, ...]: (1, "1", True, {}, ["1"], [1.0], [True], [[1]], None),
        str | tuple[str, ...]: (1, 1.0, True, {}, [1], [["a"]], None),
    }  # fmt: skip
    for path, hint, _ in LEAVES:
        for value in wrong[hint]:
            refused(tree_with(path, value), ".".join(path))
    for path, hint, _ in FIELD_LEAVES:
        for value in wrong[hint]:
            refused({"data": {**CSV, "fields": [{"name": "a", path[0]: value}]}}, f"data.fields[0].{path[0]}")
    for name, kind in OTHER_LISTS.items():
        section, last = name.split(".")
        for path, hint, _ in leaves(kind):
            for value in wrong[hint]:
                refused({**SYNTHETIC, section: {**SYNTHETIC.get(section, {}), last: [{path[0]: value}]}}, f"{name}[0].{path[0]}")
    for section in ("data", "model", "optimizer", "train", "metrics", "compute", "run"):
        for value in (1, "x", [], [{}]):
            refused({**SYNTHETIC, section: value}, f"{section} is a section")
    refused({"data": {**CSV, "fields": {"name": "a"}}}, "data.fields must be a list")
    refused({"data": {**CSV, "fields": ["a"]}}, "data.fields[0] is a section")


def test_every_choice_and_range_is_checked():
    seen = set()
    for path, hint, field in LEAVES:
        metadata, name = field.metadata, ".".join(path)
        if metadata["choices"]:
            seen.add("choices")
            refused(tree_with(path, "fmm"), f"{name} = 'fmm' is not one of", *map(repr, metadata["choices"]))
        if metadata["minimum"] is not None:
            seen.add("minimum")
            refused(tree_with(path, hint(metadata["minimum"] - 1)), name, f"at least {metadata['minimum']}")
            assert value_of(build(tree_with(path, metadata["minimum"])), path) == metadata["minimum"]
        if metadata["above"] is not None:
            seen.add("above")
            refused(tree_with(path, metadata["above"]), name, f"above {metadata['above']}")
        if metadata["below"] is not None:
            seen.add("below")
            refused(tree_with(path, metadata["below"]), name, f"below {metadata['below']}")
    assert seen == {"choices", "minimum", "above", "below"}
    refused({"data": {**CSV, "fields": [{"name": "a", "buckets": 1}]}}, "data.fields[0].buckets", "at least 2")
    refused(tree_with(("train", "exchange"), "all_reduce"), "did you mean 'allreduce'?")
    for value in (float("nan"), float("inf"), -float("inf")):
        refused(tree_with(("optimizer", "learning_rate"), value), "optimizer.learning_rate must be finite")
    for value in (2**63, -(2**63) - 1, 10**400):  # beyond TOML's integers, and beyond any float
        refused(tree_with(("train", "seed"), value), "train.seed")
        refused(tree_with(("optimizer", "learning_rate"), value), "optimizer.learning_rate")
    assert build(tree_with(("optimizer", "learning_rate"), 3)).optimizer.learning_rate == 3.0


def test_options_that_do_not_fit_together():
    refused({}, "data.train names no file", "synthetic")
    refused({"data": {"train": "a.csv"}}, "data.fields is empty")
    fields = lambda *fields: {"data": {**CSV, "fields": list(fields)}}  # noqa: E731
    refused(fields({}), "data.fields[0].name is missing")
    refused(fields({"name": "a"}, {"name": "a"}), "data.fields[1].name = 'a' is used twice")
    refused(fields({"name": "label"}), "used twice")
    for separator in ("", "ab", '"', "\n", "\r", "é", "\udcff"):
        refused(fields({"name": "a", "kind": "multi", "separator": separator}), "separator", "one ASCII character")
    for boundaries in ([1, 1], [2, 1]):
        refused(fields({"name": "a", "kind": "bucket", "boundaries": boundaries}), "boundaries must increase")
    refused(fields(*({"name": str(i)} for i in range(65_536))), "at most 65535")
    for epsilon, start in ((0, 0.0), (0.0, 0)):
        refused({**SYNTHETIC, "optimizer": {"epsilon": epsilon, "initial_accumulator": start}}, "both 0")
    assert build({**SYNTHETIC, "optimizer": {"name": "sgd", "epsilon": 0, "initial_accumulator": 0}})
    refused({**SYNTHETIC, "train": {"precision": "float64", "accumulate": "float32"}}, "coarser")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"min_decayed_count": 0.5}, ("table.min_decayed_count = 0.5", "table.half_life_steps")),
        ({"half_life_steps": 9}, ("table.half_life_steps = 9", "table.max_rows")),
        ({"zero_age_steps": 9}, ("table.zero_age_steps = 9", "'ftrl'", "optimizer.l1")),
        ({"max_waiting_keys": 9}, ("table.max_waiting_keys = 9", "table.admit_after")),
    ],
)
def test_options_of_rows_that_come_and_go(table, words):
    refused({**SYNTHETIC, "table": table}, *words)
    usual = {"half_life_steps": 9, "max_rows": 9, "admit_after": 2}
    assert build({**SYNTHETIC, "table": {**usual, **table}, "optimizer": {"name": "ftrl", "l1": 0.1}}).table.lives


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "rowwise_adagrad", "initial_accumulator": 0, "epsilon": 0}, ("initial_accumulator", "epsilon", "both 0")),
        ({"name": "adam", "epsilon": 0}, ("optimizer.epsilon = 0", "1e-8")),
        ({"name": "ftrl", "initial_accumulator": 0, "beta": 0}, ("initial_accumulator", "optimizer.beta", "both 0")),
        ({"name": "ftrl", "warmup_steps": 1}, ("warmup_steps", "ftrl")),
        ({"name": "ftrl", "decay": "linear"}, ("decay", "ftrl")),
        *(({"name": name, "l1": 0.1}, ("optimizer.l1 = 0.1", name, "'ftrl'")) for name in ("sgd", "adagrad", "adam")),
        ({"decay_steps": 5}, ("decay_steps", "'linear'")),
        ({"final_rate_fraction": 0.5}, ("final_rate_fraction", "'linear'")),
        ({"decay": "inverse_sqrt"}, ("decay_steps = 0", "no end")),
        ({"decay": "inverse_sqrt", "decay_steps": 5, "final_rate_fraction": 0.5}, ("final_rate_fraction = 0.5", "no end")),
    ],
)
def test_options_that_the_update_rule_cannot_use(options, words):
    refused({**SYNTHETIC, "optimizer": options}, *words)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "ftrl", "l1": 1, "l2": 2, "initial_accumulator": 0},
        {"name": "ftrl", "beta": 0, "clip_norm": 3},
        {"name": "adam", "beta1": 0, "beta2": 0, "warmup_steps": 5, "decay": "cosine", "final_rate_fraction": 0.1},
        {"name": "rowwise_adagrad", "epsilon": 0, "decay": "inverse_sqrt", "decay_steps": 10, "l2": 1e-3},
        {"name": "sgd", "decay": "linear", "decay_steps": 10},
    ],
)
def test_options_of_the_update_rules(options):
    built = build({**SYNTHETIC, "optimizer": options}).optimizer
    assert all(getattr(built, name) == value for name, value in options.items())


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("train.epochs=3", "train.epochs", 3),
        ("train.epochs = 3", "train.epochs", 3),
        ("train.global_batch_samples=1_000", "train.global_batch_samples", 1000),
        ("optimizer.learning_rate=1e-3", "optimizer.learning_rate", 1e-3),
        ("optimizer.learning_rate=1", "optimizer.learning_rate", 1.0),
        ("train.shuffle=false", "train.shuffle", False),
        ("model.name=lr", "model.name", "lr"),
        ("model.name = lr ", "model.name", "lr"),
        ("model.name='lr'", "model.name", "lr"),
        ('model.name = "lr"', "model.name", "lr"),
        ("run.directory=runs/a b=c", "run.directory", "runs/a b=c"),
        ('run.directory="3"', "run.directory", "3"),
        ("data.synthetic.profile=criteo", "data.synthetic.profile", "criteo"),
        ("data.train=/x/a.csv", "data.train", ("/x/a.csv",)),
        ('data.train=["/x/a.csv", "/x/b.csv"]', "data.train", ("/x/a.csv", "/x/b.csv")),
        ('data.fields=[{name="a", kind="dense"}]', "data.fields", (FieldConfig("a", "dense"),)),
        ('metrics.slices=[{field="a", values=["1"]}]', "metrics.slices", (SliceConfig("a", ("1",)),)),
    ],
)
def test_set_forms(tmp_path, text, path, value):
    file = tmp_path / "a.toml"
    file.write_text('[data]\nformat = "synthetic"\n', encoding="utf-8")
    changed = load(file, [text])
    assert value_of(changed, path.split(".")) == value and changed == override(load(file), text)
    assert changed != load(file)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "expected section.key=value"),
        ("train.epochs", "expected section.key=value"),
        ("epochs=3", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("train.=3", "expected section.key=value"),
        (".epochs=3", "expected section.key=value"),
        ("train.epochs.x=3", "train.epochs"),
        ("train.epochs=three", "must be an integer"),
        ("train.epochs=3.5", "must be an integer"),
        ("train.epochs=", "must be an integer"),
        ("train.epochs=" + "9" * 5000, "train.epochs"),
        ("train.epoch=3", "did you mean train.epochs?"),
        ("trian.epochs=3", "did you mean train?"),
        ("data.fields.name=a", "fields is not a section"),
        ("model.name=[[[", "is not one of"),
        ("run.directory=3", "must be a string"),
        ("run.directory=2020-01-01", "must be a string"),
    ],
)
def test_bad_set_forms(tmp_path, text, word):
    file = tmp_path / "a.toml"
    file.write_text('train.epochs = 1\n[data]\ntrain="a.csv"\nfields=[{name="a"}]\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, [text])
    assert word in str(caught.value)


def test_the_last_set_counts():
    assert override(build(SYNTHETIC), "train.epochs=2", "train.epochs=5", "train.seed=9").train.epochs == 5


def test_paths(tmp_path, monkeypatch):
    folder = tmp_path / "configs"
    folder.mkdir()
    file = folder / "a.toml"
    file.write_text(
        '[data]\ntrain = ["x.csv", "/y/z.csv"]\nvalid = "../v.csv"\nfields = [{name = "a"}]\n[run]\ndirectory = "out"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    for path in (file, str(file), "configs/a.toml"):
        config = load(path)
        assert config.data.train == (str(folder / "x.csv"), "/y/z.csv")
        assert config.data.valid == (str(tmp_path / "v.csv"),)
        assert config.data.test == () and config.run.directory == "out"
    monkeypatch.chdir(folder)
    assert override(config, "data.test=t.csv").data.test == (str(folder / "t.csv"),)
    refused({"data": {**CSV, "train": ["a\0b"]}}, "data.train", "not a path")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    try:  # Python 3.13 takes it for a path
        assert build({"data": {**CSV, "test": [str(tmp_path / "loop")]}}).data.test == (str(tmp_path / "loop"),)
    except ConfigError as error:
        assert "data.test" in str(error)


def test_files_that_cannot_be_read(tmp_path):
    def message(content):
        file = tmp_path / "bad.toml"
        file.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load(file)
        assert str(file) in str(caught.value)
        return str(caught.value)

    assert "not valid TOML" in message(b"[train\n") and "line 1" in message(b"[train\n")
    assert "not valid TOML" in message(b"train.epochs = " + b"9" * 5000)
    assert "cannot be read" in message(b"# \xff\n")
    with pytest.raises(ConfigError, match="no such configuration file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def valid_value(hint, metadata):
    """Values of an option that pass its own checks."""
    if metadata.get("choices"):
        return st.sampled_from(metadata["choices"])
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(metadata["minimum"], 2**63 - 1 if metadata["maximum"] is None else metadata["maximum"])
    if hint is float:
        above = metadata["above"]
        low = metadata["minimum"] if above is None else above
        return st.floats(
            low, metadata["below"], allow_nan=False, allow_infinity=False, exclude_min=above is not None,
            exclude_max=metadata["below"] is not None,
        )  # fmt: skip
    if hint is str:
        return st.text()
    if hint == tuple[int, ...]:
        return st.lists(st.integers(1, 2**63 - 1), min_size=1)
    return st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))


HARDLY_TOGETHER = {  # what at random hardly ever fits: examples have them
    ("data",): ("positive", "delimiter", "header", "columns", "missing", "weight"),
    ("train",): ("loss", "class_weights", "negative_sampling", "sampling_correction", "stop_metric"),
}


def valid_sections():
    sections = {}
    for path, hint, field in LEAVES:
        sections.setdefault(path[:-1], {})[path[-1]] = valid_value(hint, field.metadata)
    options = {path[0]: valid_value(hint, f.metadata) for path, hint, f in FIELD_LEAVES}
    options["separator"] = st.characters(max_codepoint=127, exclude_characters='"\r\n')
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    options["boundaries"] = st.lists(numbers, unique=True).map(sorted)
    options["name"] = st.text(min_size=1)
    one = st.fixed_dictionaries({"name": options.pop("name")}, optional=options)
    fields = st.lists(one, max_size=3, unique_by=lambda field: field["name"])
    for section, names in HARDLY_TOGETHER.items():
        for name in names:
            sections[section].pop(name)
    sections["data",]["fields"] = fields
    sections["data",]["synthetic"] = st.fixed_dictionaries({}, optional=sections.pop(("data", "synthetic")))
    sections["data",].pop("format")  # generated samples: they need no files
    drawn = {path[0]: st.fixed_dictionaries({}, optional=content) for path, content in sections.items() if path != ("data",)}
    return {"data": st.fixed_dictionaries({"format": st.just("synthetic")}, optional=sections["data",]), **drawn}


@few
@given(tree=st.fixed_dictionaries({}, optional=valid_sections()))
@example({"data": {"format": "synthetic", "label": '\U0001f600 \x7f \x00 " \\ é', "synthetic": {"seed": 2**62}}})
@example({**SYNTHETIC, "optimizer": {"learning_rate": 1e16, "epsilon": 1e-300}, "train": {"precision": "float64"}})
@example(
    {"data": {**CSV, "delimiter": "\t", "header": False, "columns": ["é", '"', "#"], "positive": "\\", "missing": ["\\N", "", "'"]}}
)
@example(
    {"data": {**CSV, "valid": "b.csv", "weight": "w"}, "train": {"stop_metric": "grouped_auc", "class_weights": [1.0, 2.5], "negative_sampling": 0.5},
     "metrics": {"group": "site", "slices": [{"field": "site", "values": ["", "ü"]}]}}
)
@example({"data": {**CSV, "fields": [{"name": "'", "kind": "bucket", "boundaries": [-1e300, 0.1]}, {"name": "b"}]}})
def test_what_info_prints_is_the_same_configuration(tmp_path_factory, tree):
    try:
        config = build(tree)
    except ConfigError:  # two options that do not fit together
        assume(False)
    assert build(resolved(config)) == config
    folder = tmp_path_factory.getbasetemp()
    first, second = folder / "first.toml", folder / "second.toml"
    first.write_text(to_toml(resolved(config)), encoding="utf-8", newline="")
    assert load(first) == config
    second.write_text(describe(first, (), False), encoding="utf-8", newline="")
    assert load(second) == config


def only_config_errors(function, *arguments):
    """Call a function that gives a Config; any error but ConfigError gets through."""
    try:
        assert isinstance(function(*arguments), Config)
    except ConfigError as error:
        assert str(error)


ODD = [
    None, True, 0, -1, 3, 2**63, 10**400, 0.5, float("nan"), float("inf"), "", " ", "lr", "a\0b", "\udc80", "\ud800", "é",
    "x" * 5_000, datetime.date(2020, 1, 1), [], [1], ["a"], ["a\0b"], [0.5], [[]], [None], [{}], {}, {"a": 1}, {"name": "a"},
]  # fmt: skip


def test_odd_values_anywhere_are_a_config_or_a_config_error():
    places = {path[:i] for path, _, _ in LEAVES for i in range(1, len(path) + 1)} | {("data", "fields")}
    for value in ODD:
        only_config_errors(build, value)
        for path in places:
            only_config_errors(build, tree_with(path, value))
        for path, _, _ in FIELD_LEAVES:
            for kind in ("multi", "bucket"):
                only_config_errors(build, {"data": {**CSV, "fields": [{"name": "a", "kind": kind, path[0]: value}]}})


NAMES = sorted({name for path, _, _ in LEAVES + FIELD_LEAVES for name in path} | {"fields"})
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(ODD)
KEYS = st.sampled_from(NAMES) | st.text(max_size=5)
TREES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)


@quick
@given(tree=st.dictionaries(KEYS, TREES, max_size=6))
def test_any_tree_is_a_config_or_a_config_error(tree):
    only_config_errors(build, tree)
    only_config_errors(build, {**tree, **SYNTHETIC})
    only_config_errors(build, {"data": {**CSV, "fields": [tree]}})


WORDS = st.sampled_from(
    [".", "=", "train", "epochs", "data", "fields", "[", "]", "{", "1", "-", "e", '"', "'", "\n", " ", "#"]
)


@quick
@given(text=st.text(st.characters()) | st.lists(WORDS | st.text(max_size=2)).map("".join), name=st.sampled_from(LEAVES))
def test_any_set_text_is_a_config_or_a_config_error(text, name):
    for whole in (text, f"{'.'.join(name[0])}={text}"):
        only_config_errors(override, build(SYNTHETIC), whole)


def test_fields_of_the_model(tmp_path):
    """They are read, written back, and each is there once, with a name."""
    config = build({**SYNTHETIC, "model": {"fields": [{"name": "a", "dim": 4}, {"name": "b"}]}})
    assert [(one.name, one.dim) for one in config.model.fields] == [("a", 4), ("b", 0)]
    (tmp_path / "a.toml").write_text(to_toml(resolved(config)), encoding="utf-8")
    assert build(resolved(config)) == load(tmp_path / "a.toml") == config
    for fields, *words in (
        ([{"name": "a"}, {"name": "a"}], "model.fields[1].name = 'a'", "twice"),
        ([{"dim": 3}], "model.fields[0].name = ''", "needs a name"),
        ([{"name": "a", "dim": -1}], "model.fields[0].dim", "at least 0"),
        ([{"name": "a", "dims": 1}], "model.fields[0].dims", "did you mean model.fields[0].dim?"),
    ):
        refused({**SYNTHETIC, "model": {"fields": fields}}, *words)
