"""`deshpc completion`: shells load the script, and bash, asked as for a Tab, has the candidates that a person expects."""

import re
import shutil
import subprocess
import sys

import pytest
from launching import deshpc

from deshpc.cli.main import main

pytest.importorskip("shtab", reason="scripts of completion are written by shtab")

ASK = """
source script.bash
compopt() {{ [ "$1 $2" != "-o nospace" ] || echo "no space"; }}  # outside of a Tab there is nothing to change
COMP_WORDS=({words}) COMP_CWORD={place} COMPREPLY=()
$(complete -p deshpc | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "tcsh", "fish"):
        done = deshpc("completion", shell)
        assert done.returncode == 0, done.stderr
        (folder / f"script.{shell}").write_text(done.stdout, encoding="utf-8")
    (folder / "click.toml").touch()
    (folder / "runs").mkdir()
    return folder


@pytest.mark.parametrize(
    ("words", "there", "absent"),
    [
        (["deshpc", ""], {"init", "train", "eval", "predict", "completion"}, {"click.toml"}),
        (["deshpc", "tr"], {"train"}, {"eval"}),
        (["deshpc", "train", "cl"], {"click.toml"}, {"runs"}),
        (["deshpc", "train", "click.toml", "--re"], {"--resume"}, {"--overwrite"}),
        (["deshpc", "eval", ""], {"runs"}, {"click.toml"}),
        (["deshpc", "eval", "runs", "--part", ""], {"train", "valid", "test"}, {"runs"}),
        (["deshpc", "train", "click.toml", "--set", "train.ep"], {"train.epochs=", "no space"}, {"train.seed="}),
        (["deshpc", "train", "click.toml", "--set", "model.name", "=", "d"], {"deepfm", "dcn", "dcnv2", "dlrm"}, {"fm", "click.toml"}),
        (["deshpc", "train", "click.toml", "--set", "train.shuffle", "="], {"true", "false"}, {"="}),
        (["deshpc", "completion", ""], {"bash", "zsh", "tcsh", "fish"}, {"train"}),
    ],
)
def test_candidates(folder, words, there, absent):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    script = ASK.format(words=" ".join(f"'{word}'" for word in words), place=len(words) - 1)
    done = subprocess.run([bash, "--norc", "-c", script], cwd=folder, capture_output=True, text=True)
    found = set(done.stdout.split("\n"))
    assert done.stderr == "" and there <= found and not absent & found, (found, done.stderr)


@pytest.mark.parametrize(
    ("shell", "command"),
    [
        ("zsh", ["-fc", 'autoload -Uz compinit && compinit -D && eval "$(cat script.zsh)" && [[ $_comps[deshpc] ]]']),
        ("tcsh", ["-fc", "source script.tcsh; complete deshpc | grep -q train.epochs="]),
        ("fish", ["-c", "source script.fish; complete -C 'deshpc tr' | grep -q '^train'"]),
    ],
)
def test_other_shells_load_it(folder, shell, command):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    done = subprocess.run([shell, *command], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_its_library_it_says_what_to_install(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert re.search(re.escape("pip install 'deshpc[completion]'"), capfd.readouterr().err)
