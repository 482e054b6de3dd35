"""scripts/gpu_check.sh without a GPU: all of its parts on the executor, what makes it fail, and what its figures are judged by.

How fast anything is, is not asked here.  What only CuPy can do is in `gpu_device.CudaBench`, which the executor's stands in for.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deshpc.backend.cuda import device as cuda_device
from deshpc.comm.group import Group
from deshpc.comm.ledger import Traffic

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "scripts" / "bench"
WITH_A_DEVICE = "import pytest\n@pytest.fixture\ndef device(): pass\n"


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The scripts' folder, on the path for the imports in tests."""
    sys.path.insert(0, str(BENCH))
    yield
    sys.path.remove(str(BENCH))


def check(folder, tests, **options):
    """(exit code, table, everything) of gpu_check.sh on the executor, with the tests of a file of this text."""
    (folder / "test_given.py").write_text(WITH_A_DEVICE + tests, encoding="utf-8")
    environment = {
        **os.environ, "PYTHON": sys.executable, "DEVICE": "executor", "SCALE": "tiny", "REPEATS": "1", "TESTS": str(folder),
        **options,
    }  # fmt: skip
    out = folder / "out"
    done = subprocess.run([ROOT / "scripts/gpu_check.sh", out], env=environment, capture_output=True, text=True, timeout=200)
    assert (out / "gpu_check.txt").exists(), done.stdout + done.stderr
    text = (out / "gpu_check.txt").read_text(encoding="utf-8")
    return done.returncode, text, json.loads((out / "gpu_check.json").read_text(encoding="utf-8"))


def test_every_part_runs_and_prints_no_figure_that_means_nothing(tmp_path):
    code, text, found = check(tmp_path, "def test_it(device): pass\ndef test_without(): assert False\n", VARIANT="FM, atomic")
    assert code == 0 and found["ok"], text
    assert found["tests"]["passed"] == 1
    assert found["status"].pop("peers")["code"] in (0, 3)
    assert {name: one["code"] for name, one in found["status"].items()} == {
        "environment": 0, "tests": 0, "kernels": 0, "steps": 0,
        **dict.fromkeys(("sanitizer-memcheck", "sanitizer-racecheck", "sanitizer-initcheck", "sanitizer-synccheck"), 3),
    }  # fmt: skip
    names = {result["name"] for result in found["kernels"]["results"]}
    assert {"copy", "random sectors", "find, hit", "find, miss", "claim, new keys", "growth of the index", "write_new"} <= names
    assert {f"update, {rule}, k = 16" for rule in ("sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl")} <= names
    assert {f"key sums, {how}, {drawn}" for how in ("ordered", "atomic") for drawn in ("zipf", "uniform")} <= names
    assert {"prefix sums", "routing: pack", "routing: unpack", "linear partial, every row once"} <= names
    assert {"pool, partial", "bi-interaction, key sums", "dot products, adjoint", "CIN, products", "layer normalisation", "put"} <= names
    (steps,) = found["steps"]["results"]
    assert {"upload", "look up", "start", "learn", "give back", "update"} <= set(steps["stages_ms"])
    assert steps["first_losses"][0] == pytest.approx(np.log(2), rel=0.02)  # weights begin near 0
    assert found["aims"] == [] and "G keys/s" not in text and " ms" not in text


def test_a_skipped_test_alone_makes_it_fail(tmp_path):
    given = 'def test_other(device): pass\ndef test_it(device): pytest.skip("no device")\n'
    code, text, found = check(tmp_path, given, PARTS="tests")
    assert code == 1 and not found["ok"] and found["status"]["tests"]["code"] == 1
    assert "    SKIPPED " in text and "test_it: " in text and "no device" in text and "NOT ALL IS WELL" in text


def test_whatever_does_not_pass_is_named(modules, tmp_path):
    from gpu_tests import run

    given = {
        "marked": '@pytest.mark.skip(reason="no device")\ndef test_it(device): pass\n',
        "module": 'pytest.importorskip("nothing_of_this_name")\n',
        "expected": "@pytest.mark.xfail\ndef test_it(device): assert False\n",
        "fails": "def test_it(device): assert False\n",
        "raises": "@pytest.fixture\ndef few(): raise ValueError\ndef test_it(few): pass\n",
        "passes": "def test_it(device): pass\n",
    }
    for name, text in given.items():
        (tmp_path / f"test_{name}.py").write_text(WITH_A_DEVICE + text, encoding="utf-8")
    result = run("executor", tmp_path, 60)
    outcomes = {next(part for part in given if f"test_{part}" in name): outcome for name, outcome, _ in result["bad"]}
    assert outcomes == {
        "marked": "skipped", "module": "skipped", "expected": "xfailed", "fails": "failed", "raises": "error",
    }  # fmt: skip
    assert result["passed"] == 1 and not result["ok"]


def test_what_is_left_out_or_comes_last_is_there(modules):
    from gpu_tests import LAST, LEFT_OUT

    texts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "cuda").glob("*.py")}
    for part in (*LEFT_OUT, *LAST):
        assert part == "compile_gates" or any(part in name or part in text for name, text in texts.items()), part


def test_tests_that_are_ended_are_told(modules):
    from gpu_tests import judge, lines

    log = [["selected", 3], ["test", ["a", "passed", ""]]]
    ended, whole = judge(log, None), judge(log, 0)
    assert not ended["ok"] and "over time" in "\n".join(lines(ended))
    assert whole["ok"] and list(lines(whole)) == ["1 of 3 tests passed"]
    assert not judge([], 0)["ok"] and not judge(log, 3)["ok"]


def made_up(folder, g_per_s, code=0):
    environment = {"driver_cuda": 13000}
    kernel = {"unit": "keys", "ms": 2.0, "gb_per_s": 10.0, "share_of_copy": 0.5, "note": ""}
    parts = {
        "kernels": [{**kernel, "name": "find, hit", "g_per_s": g_per_s}, {"name": "partials", "error": "E"}][: 1 + (code == 7)],
        "steps": [
            {"name": "FM, ordered", "lookups": lookups, "distinct": 0.35, "ms": ms, "least_ms": ms, "most_ms": ms, "m_samples_per_s": 1.0}
            for lookups, ms in ((2**18, 0.5), (2**20 // 26 * 26, 1.5))
        ],
    }  # fmt: skip
    for name, results in parts.items():
        (folder / f"{name}.json").write_text(json.dumps({"environment": environment, "results": results}), encoding="utf-8")
    status = f"kernels\t{code if code != 7 else 0}\t120\t120\nsteps\t0\t9\t90\n"
    (folder / "status.tsv").write_text(status, encoding="utf-8")


def test_aims_stand_beside_what_was_measured(tmp_path):
    from gpu_report import report

    made_up(tmp_path, 7.25)
    everything, text = report(tmp_path)
    of = {one["text"]: one for one in everything["aims"]}
    assert everything["ok"]
    assert (of["find, hit"]["measured"], of["find, hit"]["reached"]) == (7.25, True)
    assert (of["whole FM step, k = 16"]["measured"], of["whole FM step, k = 16"]["reached"]) == (1.5, False)
    assert (of["find, miss"]["measured"], of["find, miss"]["reached"]) == (None, None)
    assert "7.250 G keys/s" in text and "NOT REACHED" in text
    made_up(tmp_path, 5.9)
    assert not report(tmp_path)[0]["aims"][0]["reached"]


def test_steps_stand_beside_those_of_others(tmp_path):
    from gpu_report import report

    made_up(tmp_path, 7.0)
    steps = {"distinct": 0.35, "least_ms": 1.0, "most_ms": 1.0, "m_samples_per_s": 1.0}
    names = {"deepfm": 2.0, "deepfm, tf32": 1.0, "nfm": 1.0, "PyTorch deepfm": 5.0, "FBGEMM deepfm": 3.0}
    for part, of in (("steps", list(names)[:3]), ("peers", list(names)[3:])):
        results = [{**steps, "name": name, "lookups": 1000, "ms": names[name]} for name in of]
        content = {"environment": {"driver_cuda": 13000}, "results": results}
        (tmp_path / f"{part}.json").write_text(json.dumps(content), encoding="utf-8")
    everything, text = report(tmp_path)
    of = {one["name"]: one["peers"] for one in everything["beside peers"]}
    assert of == dict.fromkeys(("deepfm", "deepfm, tf32"), {"PyTorch": 5.0, "FBGEMM": 3.0})
    assert "2.50 times" in text and "3.00 times" in text


def test_a_part_over_its_time_and_a_case_that_fails_are_told(tmp_path):
    from gpu_report import report

    made_up(tmp_path, 7.0, code=124)
    everything, text = report(tmp_path)
    assert not everything["ok"] and "over its 120 s" in text and "7.000 G keys/s" in text
    made_up(tmp_path, 7.0, code=7)
    everything, text = report(tmp_path)
    assert not everything["ok"] and "FAILED E" in text


TRAFFIC = Traffic("batch", "control", "setup")


def test_the_stand_in_for_mpi_is_a_communicator_of_one(modules):
    from gpu_one_rank import OneRank

    group = Group(OneRank())
    assert (group.rank, group.size) == (0, 1)
    assert group.gather_numbers([3.0, 4.0]).wait().tolist() == [[3.0, 4.0]]
    counts = np.arange(5, dtype=np.int32).reshape(1, 5)
    np.testing.assert_array_equal(group.exchange_counts(counts, TRAFFIC), counts)
    sent, received = np.arange(7, dtype=np.uint8), np.zeros(9, np.uint8)
    seven = np.array([7], np.int64)
    group.exchange_bytes(sent, seven, received, seven, []).wait()
    assert received.tolist() == [*range(7), 0, 0]
    own, whole = np.arange(6.0).reshape(3, 2), np.zeros((3, 2))
    np.testing.assert_array_equal(group.gather_samples(own, whole, TRAFFIC).wait(), own)
    group.agree(None)
    group.free()


def test_zipf_numbers_have_their_density(modules):
    from gpu_batches import EXPONENT, zipf

    most, count = 1000, 400_000
    counted = np.bincount(zipf(np.random.default_rng(2), count, most).astype(np.int64), minlength=most)
    primitive = (np.arange(most + 1) + 1.0) ** (1 - EXPONENT)
    expected = count * np.diff(primitive) / (primitive[-1] - primitive[0])
    assert (np.abs(counted - expected) < 6 * np.sqrt(expected) + 6).all()


def test_fields_have_keys_of_their_own(modules):
    from gpu_batches import of_fields

    numbers = of_fields(np.random.default_rng(2), 500, 26, 4000)
    assert (numbers % 26 == np.arange(26)).all() and numbers.max() < 4000 + 26 and 26 < len(np.unique(numbers)) < 4000


class Nvrtc:
    """Counts what it compiles."""

    class NVRTCError(RuntimeError):
        pass

    def __init__(self, supported=(75, 80, 90)):
        self.supported, self.compiled = supported, []

    def getVersion(self):
        return 13, 0

    def getSupportedArchs(self):
        return self.supported

    def createProgram(self, source, name, headers, include_names):
        return source

    def compileProgram(self, program, options):
        if "wrong" in program:
            raise self.NVRTCError("NVRTC_ERROR_COMPILATION (6)")
        self.compiled.append(options)

    def getProgramLog(self, program):
        return "line 1: wrong"

    def getCUBIN(self, program):
        return b"cubin of " + program.encode()

    def getPTX(self, program):
        return b"ptx of " + program.encode()

    def destroyProgram(self, program):
        pass


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder where compiled kernels are kept."""
    monkeypatch.setattr(cuda_device, "cache_directory", lambda: tmp_path / "kernels")
    return tmp_path / "cuda"


def test_kernels_are_compiled_once_for_each_source_and_options(kept):
    nvrtc = Nvrtc()

    def binary(source="a", options=("-DDIM=1",), capability=90):
        return cuda_device._binary(nvrtc, capability, "a.cu", source, options)

    assert binary() == binary() == b"cubin of a" and nvrtc.compiled == [("-arch=sm_90", "-DDIM=1")]
    assert binary("b") == b"cubin of b" and binary(options=("-DDIM=2",)) == b"cubin of a" and len(nvrtc.compiled) == 3
    assert binary(capability=121) == b"ptx of a" and nvrtc.compiled[-1][0] == "-arch=compute_90"
    assert len(list(kept.iterdir())) == 4
    for path in kept.iterdir():  # a file that was not written to its end
        path.write_bytes(path.read_bytes()[:-1])
    assert binary() == b"cubin of a" and len(nvrtc.compiled) == 5


def test_what_cannot_be_compiled_names_file_and_line(kept):
    from deshpc.errors import DeshpcError, LaunchError

    with pytest.raises(DeshpcError, match=r"(?s)a\.cu .*-DDIM=1.*line 1: wrong"):
        cuda_device._binary(Nvrtc(), 90, "a.cu", "wrong", ("-DDIM=1",))
    with pytest.raises(LaunchError, match="7.0"):
        cuda_device._binary(Nvrtc(), 70, "a.cu", "a", ())
    assert not kept.exists()
