"""libffm itself on libffm files: one sample at a time, Adagrad, lock-free threads of OpenMP.

    libffm_worker.py '{"data": FOLDER, "passes": 1, "rate": 0.2, "threads": 2, "normalise": true}'

PyPI has no package of its program.  pylibffm 0.4.1 (Linux, Python up to 3.11) brings its machine code as a shared object, whose functions
libffm.cpp calls; that is compiled here.  What is timed is what libffm prints, its time in passes, in tenths of a second.  L2 is 2e-5, as it comes.
"""

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ffm_data import log_loss
from noise import Meter


def opened(folder):
    """The functions of libffm.cpp, on those of pylibffm's shared object."""
    package = importlib.util.find_spec("pylibffm").submodule_search_locations[0]
    whole = next(Path(package).glob(f"wrapper.cpython-3{sys.version_info.minor}-*.so"))
    ctypes.CDLL(str(whole), ctypes.RTLD_GLOBAL)
    own = folder / "libffm.so"
    subprocess.run(["c++", "-O2", "-shared", "-fPIC", Path(__file__).with_name("libffm.cpp"), "-o", own], check=True)
    return ctypes.CDLL(str(own))


def printed(path):
    """Seconds of all passes, as libffm has printed them: the last number of the last line of a table."""
    numbers = [line.split() for line in path.read_text().splitlines()]
    return float([line for line in numbers if len(line) == 3 and line[0].isdigit()][-1][-1])


def main(job):
    os.environ["OMP_NUM_THREADS"] = str(job["threads"])
    data = Path(job["data"])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        functions, log, scores = opened(folder), folder / "log", folder / "scores"
        binary, stdout = str(folder / "train.bin").encode(), os.dup(1)
        with open(log, "wb") as file:
            os.dup2(file.fileno(), 1)
        functions.read_problem(str(data / "train.ffm").encode(), binary)
        meter, number = Meter(), ctypes.c_float
        given = binary, str(data / "test.ffm").encode(), str(scores).encode(), number(job["rate"]), number(2e-5), job["passes"], 4, int(job["normalise"])
        failed = functions.train_and_predict(*given)
        measured = meter.stop()
        os.dup2(stdout, 1)
        if failed:
            sys.exit("no scores were written")
        measured["seconds"] = printed(log)
        loss = log_loss(np.loadtxt(scores), np.load(data / "test.labels.npy"))
    samples = len(np.load(data / "train.labels.npy"))
    print(json.dumps({"samples": job["passes"] * samples, "passes": [{**measured, "log_loss": loss}]}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
