"""The CUDA tests on a real device: none may fail, none may be skipped, and some must have run.

    PYTHONPATH=src python scripts/bench/gpu_tests.py [--device cuda] [--tests tests/cuda] [--limit 120] [--out tests.json]

Runs pytest with itself as a plugin, on several processes where pytest-xdist is there: most of the time is the compiler's.  Of the
tests those that take the fixtures `device` or `few`, or CuPy's device, are run, whole trainings last; tests of the executor and of what the compiler
makes of kernels are left out, by name.  pytest needs none of the plugins of a developer's environment for that, and where there
is no MPI a stand-in of one rank serves.  Exit code: 0, or 1 with the names of what went wrong.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from gpu_device import ROOT, save

FIXTURES = {"device", "few"}
OF_REAL_DEVICES = {"opened"}  # the device through CuPy, elsewhere a stand-in
LEFT_OUT = (  # what only the executor can tell; parts of files' and tests' names
    "test_executor", "compile_gates", "test_machine_code", "waits_for_its_losses_alone", "reads_nothing_back",
)  # fmt: skip
LAST = ("test_deep_training", "test_training", "test_rows_of_deep_models", "test_embeddings_of_other_sizes")
"""Parts of names of tests that train: they compile most, and say least about what is wrong."""
SHOWN = 30
BAD = ("failed", "error", "skipped", "xfailed")


def pytest_configure(config):
    import gpu_one_rank

    gpu_one_rank.stand_in()


def pytest_collection_modifyitems(config, items):
    fixtures = FIXTURES | (OF_REAL_DEVICES if os.environ.get("DESHPC_TEST_DEVICE") == "cuda" else set())
    kept = [item for item in items if fixtures & set(item.fixturenames) and not any(part in item.nodeid for part in LEFT_OUT)]
    left_out = [item for item in items if item not in kept]
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted(kept, key=lambda item: any(part in item.nodeid for part in LAST))
    if _worker() in ("", "gw0"):  # every process collects all tests
        _write("selected", len(kept))
        _write("left out", sorted({item.nodeid.split("[")[0] for item in left_out}))


def pytest_runtest_logreport(report):
    if _worker():
        return  # the process that hands out the tests is told of all
    outcome = "error" if report.failed and report.when != "call" else report.outcome
    if hasattr(report, "wasxfail"):
        outcome = "xfailed"
    if report.when == "call" or outcome != "passed":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        _write("test", [report.nodeid, outcome, reason[-2000:] if outcome != "passed" else ""])


def pytest_collectreport(report):
    if _worker() not in ("", "gw0"):
        return
    if report.failed:
        _write("test", [report.nodeid, "error", report.longreprtext[-2000:]])
    elif report.skipped:
        _write("test", [report.nodeid, "skipped", str(report.longrepr[2])])


def _worker():
    """The name of this process if pytest-xdist has started it."""
    return os.environ.get("PYTEST_XDIST_WORKER", "")


def _write(what, content):
    path = os.environ.get("GPU_TESTS_LOG")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps([what, content]) + "\n")


def run(device, tests, limit, workers=0):
    """The outcome of the tests, on so many processes (0: this pytest alone): see `judge`."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        log.touch()
        environment = {**os.environ, "DESHPC_TEST_DEVICE": device, "GPU_TESTS_LOG": str(log)}
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT / "src"), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        )
        command = [sys.executable, "-m", "pytest", "-q", "-p", "gpu_tests", "-p", "no:cacheprovider"]
        command += ["--continue-on-collection-errors", *(["-n", str(workers)] if workers else []), str(tests)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
        return judge([json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()], code)


def judge(log, code):
    """{"passed", "selected", "over_time", "left_out", "bad": [[name, outcome, reason]], "ok"} of what pytest has written.

    code : its exit code, None if it was ended
    """
    of = {what: content for what, content in log if what != "test"}
    tests = [json.loads(text) for text in dict.fromkeys(json.dumps(content) for what, content in log if what == "test")]
    bad = [test for test in tests if test[1] in BAD]
    passed = sum(test[1] == "passed" for test in tests)
    if code is not None and code != 0 and not bad:
        bad.append(["pytest", "error", f"exit code {code}"])
    if not bad and code is not None and passed == 0:
        bad.append(["pytest", "error", "no test has run"])
    return {
        "passed": passed, "selected": of.get("selected", 0), "over_time": code is None, "left_out": of.get("left out", []),
        "bad": bad, "ok": not bad and code is not None,
    }  # fmt: skip


def lines(result):
    """A result as lines of the table."""
    yield f"{result['passed']} of {result['selected']} tests passed" + (", ended: over time" if result["over_time"] else "")
    for name, outcome, reason in result["bad"][:SHOWN]:
        of_pytest = [line[1:].strip() for line in reason.splitlines() if line.startswith("E ")]
        yield f"    {outcome.upper():<8} {name}: {(of_pytest or reason.strip().splitlines()[-1:] or [''])[0]}"
    if len(result["bad"]) > SHOWN:
        yield f"    ... and {len(result['bad']) - SHOWN} more"
    if result["left_out"]:
        yield f"    left out, by name or since they need no device: {len(result['left_out'])} tests"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "executor"), default="cuda")
    parser.add_argument("--tests", default="tests/cuda")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds")
    parser.add_argument("--workers", type=int, help="processes; default: half the cores, up to 6, where there is pytest-xdist")
    parser.add_argument("--out")
    options = parser.parse_args()
    workers = options.workers
    if workers is None:
        several = options.device == "cuda" and importlib.util.find_spec("xdist")
        workers = min(6, os.cpu_count() // 2) if several else 0
    result = run(options.device, options.tests, options.limit, workers)
    save(options.out, result)
    print("\n".join(lines(result)))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
