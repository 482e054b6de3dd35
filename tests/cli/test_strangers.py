"""Files from strangers: what they name is not imported, what they link to is not written, unless the user has said so.

A model that was trained here gets a manifest, under a right checksum, that names a class of a module beside it.  The module
leaves a mark when it is imported: there must be none, whatever reads the model, or a configuration of the same kind.
"""

import json
import sys

import pytest
from launching import deshpc, errors

import deshpc as package
from deshpc.checkpoint.folders import step_folders
from deshpc.checkpoint.manifest import NAME, write_manifest
from deshpc.cli.info import describe
from deshpc.cli.main import main
from deshpc.config import Config, ModelConfig, load, override
from deshpc.errors import ConfigError

MODULE = """
from pathlib import Path
Path({mark!r}).write_text("imported")
from deshpc.model.definitions.wide_deep import WideDeep
class Net(WideDeep):
    pass
def call(*arguments):
    Path({mark!r}).write_text("called")
"""
CONFIG = """
[data]
format = "synthetic"
synthetic = {{ train_rows = 600, valid_rows = 0, test_rows = 300 }}
[model]
name = "{name}"
dim = 4
hidden = [4]
[train]
global_batch_samples = 100
[checkpoint]
every_steps = 4
[compute]
threads_per_rank = 1
[run]
directory = "run"
"""
NAME_OF_NET = "click_model.helper:Net"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of the built-in model that Net is another name of."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "plain.toml").write_text(CONFIG.format(name="wide_deep"))
    done = deshpc("train", "plain.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "click_model").mkdir()
    (folder / "click_model" / "helper.py").write_text(MODULE.format(mark=str(folder / "mark")))
    (folder / "numpy.py").write_text(MODULE.format(mark=str(folder / "mark")))
    return folder


@pytest.fixture
def stranger(trained, monkeypatch):
    """The folder, where the module can be imported; no mark is in it, neither before nor after the test."""
    monkeypatch.chdir(trained)
    monkeypatch.syspath_prepend(trained)
    (trained / "mark").unlink(missing_ok=True)
    yield trained
    for name in [name for name in sys.modules if name.startswith("click_model")]:
        del sys.modules[name]
    (trained / "mark").unlink(missing_ok=True)


def named(folder, name):
    """Give run and checkpoints of a folder, and a configuration, another model.name."""
    (folder / "evil.toml").write_text(CONFIG.format(name=name))
    for model in (folder / "run" / "model", *(one for _, one in step_folders(folder / "run"))):
        manifest = json.loads((model / NAME).read_text())
        del manifest["crc32"]
        manifest["config"]["model"]["name"] = manifest["model"]["operator"] = name
        write_manifest(model, manifest)


COMMANDS = [
    ("train", "evil.toml"), ("train", "plain.toml", "--set", "model.name={name}"), ("train", "evil.toml", "--resume"), ("eval", "run"),
    ("eval", "run/checkpoints/step-000000000004"), ("predict", "run", "--out", "scores.csv"), ("export", "run", "--out", "x.model"),
    ("info", "run"), ("info", "evil.toml"), ("profile", "evil.toml"), ("convert", "evil.toml", "--out", "caches"),
    ("eval", "run", "--allow-import", "click_model.helper:Other"), ("eval", "run", "--allow-import", "click_model:Net"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", [NAME_OF_NET, "os:system"])
def test_every_command_refuses_before_it_imports(stranger, capsys, command, name):
    named(stranger, name)
    before = sorted(path.name for path in stranger.rglob("*"))
    assert main([word.format(name=name) for word in command]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"model.name = {name!r}" in said and f"add --allow-import {name} " in said and "allow_import=" in said
    assert "click_model.helper" not in sys.modules and sorted(path.name for path in stranger.rglob("*")) == before


def test_every_entry_of_python_refuses_before_it_imports(stranger, world):
    named(stranger, NAME_OF_NET)
    entries = [
        lambda: load("evil.toml"), lambda: load("plain.toml", [f"model.name={NAME_OF_NET}"]),
        lambda: override(load("plain.toml"), f"model.name={NAME_OF_NET}"), lambda: package.train("evil.toml", world),
        lambda: package.train(Config(model=ModelConfig(name=NAME_OF_NET)), world), lambda: package.evaluate("run", world),
        lambda: package.train("evil.toml", world, allow_import=["click_model.helper:Other"]),
        lambda: package.Classifier(NAME_OF_NET).fit([{"a": "x"}, {"a": "y"}], [0, 1]), lambda: describe("run", (), False),
        lambda: package.Classifier(overrides=[f"model.name={NAME_OF_NET}"]).fit([{"a": "x"}, {"a": "y"}], [0, 1]),
    ]  # fmt: skip
    for entry in entries:
        with pytest.raises(ConfigError, match=r"allow_import=\('click_model.helper:Net',\)"):
            entry()
    assert "click_model.helper" not in sys.modules and not (stranger / "mark").exists()


def test_what_is_allowed_is_imported(stranger, capsys):
    named(stranger, NAME_OF_NET)
    assert main(["eval", "run", "--allow-import", "os:system", "--allow-import", NAME_OF_NET]) == 0
    assert (stranger / "mark").read_text() == "imported"
    assert main(["info", "run", "--allow-import", NAME_OF_NET]) == 0 and NAME_OF_NET in capsys.readouterr().out
    model = package.Classifier(NAME_OF_NET, dim=2, hidden=[2], threads=1, allow_import=[NAME_OF_NET])
    model.fit([{"a": "x"}, {"a": "y"}] * 10, [0, 1] * 10)
    assert "allow_import" in model.get_params()


@pytest.mark.parametrize("name", ["click_model.helper:call", "os:system"])
def test_what_is_allowed_and_no_definition_is_not_called(stranger, capsys, name):
    named(stranger, name)
    assert main(["eval", "run", "--allow-import", name]) == 2
    assert "no subclass" in capsys.readouterr().err.splitlines()[-1]
    assert not (stranger / "mark").exists() or (stranger / "mark").read_text() == "imported"


@pytest.mark.parametrize("name", ["a b:C", "os:system;ls", "x:`ls`", "a:b:c", ":C", "os:", ".os:system", "a\nb:C", "\u0430s:C"])
def test_what_is_no_name_is_suggested_to_nobody(stranger, name):
    for wanted, allowed in ((name, ()), (NAME_OF_NET, (name,))):
        with pytest.raises(ConfigError) as caught:
            override(Config(), f"model.name={json.dumps(wanted)}", allow_import=allowed)
        text = str(caught.value)
        assert "package.module:Class" in text and "\n" not in text and f"add --allow-import {name}" not in text


def test_modules_of_the_working_directory_are_nobody_s(trained):
    """A stranger's folder has a numpy.py, and what the manifest names."""
    (trained / "mark").unlink(missing_ok=True)
    named(trained, NAME_OF_NET)
    done = deshpc("eval", "run", cwd=trained)
    assert done.returncode == 2 and "--allow-import" in errors(done)[0] and not (trained / "mark").exists()
    done = deshpc("eval", "run", "--allow-import", NAME_OF_NET, cwd=trained)
    assert done.returncode == 2 and "No module named 'click_model'" in errors(done)[0] and not (trained / "mark").exists()


def test_links_in_a_folder_are_not_written_through(stranger, tmp_path, capsys):
    """Reports replace a link; a record that is one is refused, and begun anew where nothing is kept of it."""
    named(stranger, "wide_deep")
    mine = tmp_path / "mine"
    mine.write_text("kept")
    for name in ("eval-test.jsonl", "scores.csv", "x.model"):
        (stranger / "run" / name).unlink(missing_ok=True)
        (stranger / "run" / name).symlink_to(mine)
    assert main(["eval", "run"]) == 0
    assert main(["predict", "run", "--out", "run/scores.csv"]) == 0
    assert main(["export", "run", "--out", "run/x.model"]) == 0
    (stranger / "run" / "record.jsonl").rename(stranger / "record")
    (stranger / "run" / "record.jsonl").symlink_to(mine)
    assert main(["train", "plain.toml", "--resume"]) == 2
    assert "run.directory = 'run' cannot be written" in capsys.readouterr().err
    (stranger / "record").replace(stranger / "run" / "record.jsonl")
    assert mine.read_text() == "kept"


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_no_model_is_not_replaced_by_one(tmp_path, monkeypatch, capsys, kind):
    """A configuration whose run.directory has a `model` that no run has made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.toml").write_text(CONFIG.format(name="lr"))
    (tmp_path / "run" / "checkpoints" / "mine.partial").mkdir(parents=True)
    model = tmp_path / "run" / "model"
    if kind == "folder":
        model.mkdir()
        (model / "thesis.txt").write_text("kept")
    else:
        (tmp_path / "thesis.txt").write_text("kept")
        model.symlink_to(tmp_path / "thesis.txt") if kind == "link" else model.write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", "plain.toml"]) == 3
    assert f"{model.relative_to(tmp_path)}: is there and no model" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
