"""Versions that do not go together are named before they fail: metadata of pretended packages go in, the remedy comes out."""

from importlib import metadata
from pathlib import Path

import pytest

from deshpc.backend.cuda.device import open_device
from deshpc.backend.versions import unmet
from deshpc.errors import LaunchError

REQUIRED = [
    "numpy>=1.26",
    "numba>=0.60",
    "tomli>=2; python_version < '3.11'",
    'cupy-cuda13x[ctk]>=14; extra == "cuda"',
    'numba-cuda[cu13]>=0.21; extra == "cuda"',
    'numpy<2.5; extra == "cuda"',
    'pytest>=8.2; extra == "test"',
]
FITTING = {"numpy": "2.4.3", "numba": "0.63.1", "cupy-cuda13x": "14.0.1", "numba-cuda": "0.30.4"}


@pytest.fixture
def installed(monkeypatch):
    """Function that pretends versions are installed beside those that fit, and nothing else."""

    def pretend(**changes):
        versions = {**FITTING, **{name.replace("_", "-"): version for name, version in changes.items()}}

        def version(name):
            if versions.get(name) is None:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(metadata, "requires", lambda name: REQUIRED)

    return pretend


@pytest.mark.parametrize(
    ("changes", "extra", "told"),
    [
        ({}, "", None),
        ({}, "cuda", None),
        ({"numpy": "1.26.0", "numba": "0.60"}, "", None),  # the lowest
        ({"numpy": "1.25.9"}, "", "numpy 1.25.9 does not go together with deshpc: pip install 'numpy>=1.26'"),
        ({"numba": "0.9.1"}, "", "numba 0.9.1 does not go together with deshpc: pip install 'numba>=0.60'"),
        ({"numpy": "2.5.0"}, "", None),
        ({"numpy": "2.5"}, "cuda", "numpy 2.5 does not go together with deshpc[cuda]: pip install 'numpy<2.5'"),
        ({"numpy": "2.10.1"}, "cuda", "numpy 2.10.1 does not go together with deshpc[cuda]: pip install 'numpy<2.5'"),
        ({"numpy": "2.4.9"}, "cuda", None),
        ({"cupy_cuda13x": None, "numba_cuda": None}, "cuda", None),
        (
            {"cupy_cuda13x": "13.6.0", "numba_cuda": "0.21.0rc1", "numpy": "3.0"},
            "cuda",
            "cupy-cuda13x 13.6.0, numpy 3.0 does not go together with deshpc[cuda]: pip install 'cupy-cuda13x>=14' 'numpy<2.5'",
        ),
    ],
)
def test_what_does_not_go_together(installed, changes, extra, told):
    installed(**changes)
    assert unmet(extra) == (told or "")


def test_the_device_backend_looks_before_it_starts(installed):
    installed(numpy="2.5.1")
    with pytest.raises(LaunchError, match=r"compute.backend = 'cuda': numpy 2.5.1 does not .* pip install 'numpy<2.5'"):
        open_device(0)


def test_this_environment_goes_together():
    """And what deshpc asks for is found: pyproject.toml bounds NumPy beside numba-cuda."""
    assert (unmet(), unmet("cuda")) == ("", "")
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert ("numpy<2.5" in project) == any("numpy<2.5" in one.replace(" ", "") for one in metadata.requires("deshpc"))


def test_a_source_tree_without_metadata_is_not_judged(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert unmet("cuda") == ""
