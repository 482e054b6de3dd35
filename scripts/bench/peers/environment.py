"""The peers' Python environment, made from PyPI once: FOLDER/venv, and FOLDER/peers.json, which says what is in it.

A peer that cannot be installed or imported is left out with its reason; to try again, remove peers.json.  Versions that
have to fit each other are pinned.  xLearn is compiled here for this processor, which takes a C++ compiler; cmake comes
from PyPI where there is none.  On Linux PyPI's PyTorch brings gigabytes of CUDA along: where pip is configured to find
PyTorch's wheels for CPUs (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL), it takes these.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PEERS = {  # module: lists of arguments of pip install
    "sklearn": [["scikit-learn>=1.5"]],
    "xlearn": [["xlearn==0.40a1"]],
    "vowpalwabbit": [["vowpalwabbit>=9.10"]],
    "pylibffm": [["numpy", "scipy"], ["pylibffm==0.4.1"]],
    "torch": [["numpy", "torch==2.13.0"]],
    "fbgemm_gpu": [["--no-deps", "fbgemm-gpu-cpu==1.8.0"]],
    "torchrec": [  # asks for fbgemm-gpu, which fbgemm-gpu-cpu stands in for
        ["--no-deps", "torchrec==1.8.0"],
        ["torchmetrics==1.0.3", "tensordict", "pyre-extensions", "iopath", "tqdm"],
    ],
}
RECORDED = [
    "scikit-learn", "xlearn", "vowpalwabbit", "pylibffm", "torch", "fbgemm-gpu-cpu", "torchrec", "numpy", "scipy",
]  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """python : the peers';  missing : {module: why it is not there};  versions : {distribution: version}"""

    python: Path
    missing: dict
    versions: dict


def prepared(folder):
    """The Environment in `folder`, which is made if it is not there."""
    python, record = folder / "venv" / "bin" / "python", folder / "peers.json"
    if not record.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        missing = {module: reason for module in PEERS if (reason := why_missing(python, module))}
        known = {"missing": missing, "versions": versions(python)}
        record.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return Environment(python, **json.loads(record.read_text(encoding="utf-8")))


def with_modules(folder, modules):
    """The peers' Python in `folder`, with these modules, which are installed if they are not there; ends the program if one cannot be."""
    found = with_some(folder, modules)
    for module, reason in found.missing.items():
        sys.exit(f"{module} cannot be installed: {reason}")
    return found.python


def with_some(folder, modules):
    """The Environment in `folder`, with those of these modules that are there or can be installed."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    missing = {}
    for module in modules:
        there = subprocess.run([python, "-c", f"import {module}"], capture_output=True, env=surroundings(python))
        if there.returncode and (reason := why_missing(python, module)):
            missing[module] = reason
    return Environment(python, missing, versions(python))


def surroundings(python):
    """Environment variables for the peers' Python: its programs are found first; no other package path."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables.setdefault("USER", "nobody")  # without it xLearn ends itself
    return variables | {"PATH": f"{python.parent}{os.pathsep}{variables.get('PATH', '')}", "PYTHONWARNINGS": "ignore"}


def why_missing(python, module):
    """Install a peer; the last line of what went wrong, empty where nothing did."""
    requirements = list(PEERS[module])
    if module == "xlearn" and not shutil.which("cmake"):
        requirements.insert(0, ["cmake<4"])
    commands = [["-m", "pip", "install", "--quiet", *arguments] for arguments in requirements] + [
        ["-c", f"import {module}"]
    ]
    for command in commands:
        print("peers:", *command[1:], file=sys.stderr)
        done = subprocess.run([python, *command], capture_output=True, text=True, env=surroundings(python))
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return ""


def versions(python):
    """{distribution: version} of RECORDED, and of Python."""
    code = (
        "import importlib.metadata as m, json, platform, sys\n"
        "have = {d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}\n"
        "print(json.dumps({'python': platform.python_version()} | {n: have[n] for n in sys.argv[1:] if n in have}))"
    )
    done = subprocess.run(
        [python, "-c", code, *RECORDED], check=True, capture_output=True, text=True, env=surroundings(python)
    )
    return json.loads(done.stdout)
