"""The comparison with peers without the peers: its files beside plain Python's reading of them, its AUC beside pairs that are
counted, its noise meter and its verdicts beside figures that are made up."""

import json
import re
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from deshpc.config.load import build
from deshpc.data.synthetic import draw

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
ROWS = 500


@pytest.fixture(scope="module", autouse=True)
def modules():
    """The scripts' folders, on the path for the imports in tests."""
    folders = [str(BENCH), str(BENCH / "peers")]
    sys.path[:0] = folders
    yield
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def data(modules, tmp_path_factory):
    from peers.data import written

    folder = tmp_path_factory.mktemp("peers")
    assert written(folder, ROWS) == written(folder, ROWS)
    return folder / f"data-{ROWS}"


@pytest.fixture(scope="module")
def ids():
    synthetic = {"profile": "criteo", "train_rows": ROWS * 9 // 10, "test_rows": ROWS // 10}
    config = build({"data": {"format": "synthetic", "synthetic": synthetic}}).data.synthetic
    return {part: draw(config, part, 0, count).ids.reshape(count, 26) for part, count in (("train", 450), ("test", 50))}


def texts_of(data, part):
    """{format: (n, 40) cells: label, 13 numbers, 26 values} of the three texts."""
    rows = {name: [] for name in ("tsv", "libsvm", "vw")}
    for name, found in rows.items():
        for line in (data / f"{part}.{name}").read_text(encoding="utf-8").splitlines():
            cells = line.split("\t") if name == "tsv" else line.replace(" | ", " ").split(" ")
            if name != "tsv":
                cells[1:14] = [cell.partition(":")[2] for cell in cells[1:14]]
            found.append(cells)
    return {name: np.array(found) for name, found in rows.items()}


@pytest.mark.parametrize("part", ["train", "test"])
def test_all_forms_hold_the_same_rows(data, ids, part):
    indices, dense, labels = (np.load(data / f"{part}.{name}.npy") for name in ("indices", "dense", "labels"))
    texts = texts_of(data, part)
    np.testing.assert_array_equal(texts["tsv"][:, 0], labels.astype(int).astype(str))
    np.testing.assert_array_equal(texts["libsvm"][:, 0], labels.astype(int).astype(str))
    np.testing.assert_array_equal(texts["vw"][:, 0].astype(int) > 0, labels > 0)
    for name in ("libsvm", "vw"):
        np.testing.assert_allclose(texts[name][:, 1:14].astype(float), dense, atol=5.1e-5)
    whole = texts["tsv"][:, 1:14].astype(float)
    np.testing.assert_allclose(np.sign(whole) * np.log1p(np.abs(whole) / 10), dense, atol=0.06)  # half of 1 / 10
    np.testing.assert_array_equal(texts["libsvm"][:, 14:], np.char.add((13 + indices).astype(str), ":1"))
    for field in range(26):
        np.testing.assert_array_equal(
            texts["vw"][:, 14 + field], np.char.add("abcdefghijklmnopqrstuvwxyz"[field], texts["tsv"][:, 14 + field])
        )
        pairs = set(zip(ids[part][:, field], indices[:, field], texts["tsv"][:, 14 + field], strict=True))
        assert len(pairs) == len({p[0] for p in pairs}) == len({p[1] for p in pairs}) == len({p[2] for p in pairs})


def test_values_are_numbered_field_by_field_as_they_first_appear(data):
    indices = np.concatenate([np.load(data / f"{part}.indices.npy") for part in ("train", "test")])
    first_of_field = 0
    for field in range(26):
        met = list(dict.fromkeys(indices[:, field].tolist()))
        assert met == list(range(first_of_field, first_of_field + len(met)))
        first_of_field += len(met)


def test_auc_counts_pairs(modules):
    from samples import auc

    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, 9, 200) / 4, rng.integers(0, 2, 200)
    clicks, others = scores[labels == 1], scores[labels == 0]
    pairs = (clicks[:, None] > others).mean() + 0.5 * (clicks[:, None] == others).mean()
    assert auc(scores, labels) == pytest.approx(pairs, abs=1e-12)


def test_a_training_that_has_diverged_has_no_auc(modules):
    from samples import auc

    with pytest.raises(ValueError, match="not finite"):
        auc([0.1, float("nan"), 0.3], [0, 1, 0])


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the cores' busy time is known from /proc/stat")
def test_the_clocks_see_this_process_work(modules):
    from peers.noise import Meter, busy_seconds

    busy, meter, end = busy_seconds(), Meter(), time.process_time() + 0.5
    while time.process_time() < end:
        pass
    assert meter.stop()["own_cpu_seconds"] >= 0.5
    assert busy_seconds() - busy > 0.3  # of 0.5 and what others do; counted in ticks


@pytest.mark.parametrize("others, disturbing", [(0.0, False), (0.02, False), (0.11, False), (0.13, True), (0.5, True)])
def test_others_work_is_what_is_busy_and_not_ours(modules, monkeypatch, others, disturbing):
    from peers import noise

    clocks = {"busy_seconds": [100.0, 100.0 + 1.4 + others], "own_seconds": [10.0, 10.7]}
    for name, readings in clocks.items():
        monkeypatch.setattr(noise, name, iter(readings).__next__)
    monkeypatch.setattr(noise.time, "perf_counter", iter([5.0, 6.0]).__next__)
    monkeypatch.setattr(noise.os, "cpu_count", lambda: 2)
    measured = noise.Meter().stop(lambda seconds: 2 * seconds)  # two ranks of 0.7 s each
    assert measured["own_cpu_seconds"] == pytest.approx(1.4)
    assert measured["others_share"] == pytest.approx(max(0.0, others - 0.02) / 2)  # less a tick of 10 ms a core
    assert noise.disturbed(measured) == disturbing


def reports(*shares):
    """A measurement that gives a report of each share of others' work, one after the other; None: it fails."""
    from compare import Failed

    given = iter(shares)

    def measure():
        share = next(given)
        if share is None:
            raise Failed("gone")
        return {"passes": [{"others_share": share}]}

    return measure


def test_a_disturbed_run_is_repeated_and_the_least_disturbed_is_kept(modules):
    from compare import TRIES, undisturbed

    assert undisturbed(reports(0.3, 0.01))["tries"] == 2
    kept = undisturbed(reports(0.3, 0.2, 0.1, 0.4, 0.0))
    assert (kept["passes"][0]["others_share"], kept["tries"], kept["disturbed"]) == (0.1, TRIES, True)


def test_a_run_that_fails_is_repeated_and_fails_in_the_end(modules):
    from compare import TRIES, Failed, undisturbed

    assert undisturbed(reports(None, 0.01))["tries"] == 2
    assert undisturbed(reports(0.3, *[None] * (TRIES - 1)))["disturbed"]
    with pytest.raises(Failed, match="gone"):
        undisturbed(reports(*[None] * TRIES, 0.01))


def test_where_nothing_is_known_of_others_no_run_is_disturbed(modules):
    from peers.noise import disturbed

    assert not disturbed({"others_share": None})


def made_up(seconds):
    runs = [
        {
            "samples": 100,
            "passes": [{"seconds": s, "others_share": 0.0}],
            "process_s": 1.0,
            "tries": 1,
            "disturbed": False,
        }
        for s in seconds
    ]
    return {"test_auc": 0.75, "runs": runs}


@pytest.fixture
def result(modules):
    from compare import compared
    from peers.suite import Comparison, Race

    race = Race("FM <in memory>", (), (
        Comparison("FM", ("deshpc slow", "deshpc quick"), "peer", 3, 5), Comparison("FM", ("deshpc slow",), "peer", 3, 5),
        Comparison("FM", ("deshpc quick",), "absent", 7), Comparison("FM, second pass", ("deshpc quick",), "peer", 5, second=True),
    ))  # fmt: skip
    contestants = {
        "deshpc slow": made_up([0.5, 0.5, 0.5]), "deshpc quick": made_up([0.1, 0.2, 0.3]), "peer": made_up([1.0, 1.1, 0.9]),
        "absent": {"left_out": "no wheel"},
    }  # fmt: skip
    for run in contestants["deshpc quick"]["runs"]:
        run["passes"].append({"seconds": 0.25, "others_share": 0.0})
    found = {
        "name": race.name,
        "whole_process": False,
        "contestants": contestants,
        "comparisons": compared(race, contestants),
    }
    return {
        "machine": {"processor": "P", "cores": 2, "caches": {}, "system": "S"}, "versions": {}, "peers": {}, "missing": {},
        "rows": 100, "repeats": 3, "load_before": [0.0], "races": [found],
    }  # fmt: skip


def test_ratios_are_of_medians_and_of_turns(result):
    quick, slow, absent, second = result["races"][0]["comparisons"]
    assert quick["ours"] == "deshpc quick"
    assert quick["ratio"] == pytest.approx(5.0)
    assert quick["paired_ratio"] == pytest.approx(5.5)  # of 10, 5.5 and 3
    assert (quick["met"], slow["met"]) == (True, False)
    assert "ratio" not in absent
    assert (second["ratio"], second["met"]) == (pytest.approx(4.0), False)  # the peer has one pass


def test_the_report_says_what_was_reached_and_what_is_left_out(result):
    from peers import report

    lines = report.text(result).splitlines()
    assert "| FM | peer | 0 (deshpc quick) | 0 | 5.00 (5.50) | 3x | 5x | met, both |" in lines
    assert "| FM | peer | 0 (deshpc slow) | 0 | 2.00 (2.00) | 3x | 5x | **not met** |" in lines
    assert any("absent" in line and "no wheel" in line for line in lines)


def test_the_picture_has_a_bar_for_each_contestant_that_ran(result):
    from peers.picture import picture

    tree = ElementTree.fromstring(picture(result))
    bars = [
        element for element in tree.iter("{http://www.w3.org/2000/svg}rect") if element.get("fill", "").startswith("#")
    ]
    widths = sorted(float(bar.get("width")) for bar in bars)
    assert len(widths) == 3
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.01)  # medians 100, 200 and 500 samples/s
    assert widths[2] / widths[0] == pytest.approx(5, rel=0.01)


def test_every_race_names_workers_and_peers_that_exist(modules):
    from peers.environment import PEERS
    from peers.suite import RACES

    for race in RACES:
        names = {contestant.name for contestant in race.contestants}
        assert len(names) == len(race.contestants)
        for contestant in race.contestants:
            assert (BENCH / contestant.worker).is_file()
            assert not contestant.peer or contestant.peer in PEERS
        for comparison in race.comparisons:
            assert {*comparison.ours, comparison.peer} <= names


def test_a_deep_race_is_one_model_for_all(modules):
    from peers.suite import KEPT_MEMORY, RACES

    races = [race for race in RACES if re.search("Deep|DCN|DLRM", race.name)]
    assert len(races) == 6
    for race in races:
        models = set()
        for contestant in race.contestants:
            job = contestant.job
            if contestant.peer:
                assert contestant.variables == KEPT_MEMORY
                models.add((job["model"], tuple(job["hidden"])))
            else:
                options = dict(option.split("=") for option in job["overrides"])
                models.add((options["model.name"], tuple(json.loads(options["model.hidden"]))))
        assert len(models) == 1
        peers = {contestant.name for contestant in race.contestants if contestant.peer}
        ours = {contestant.name for contestant in race.contestants if not contestant.peer}
        assert {comparison.peer for comparison in race.comparisons} == peers
        assert {name for comparison in race.comparisons for name in comparison.ours} == ours
        for comparison in race.comparisons:
            assert all("row-wise" not in name for name in comparison.ours) or "PyTorch" not in comparison.peer


def relu(x):
    return np.maximum(x, 0)


def layers(state, name, x):
    """Hidden layers and a last linear one: those of `state` called `name`.0, `name`.2 and so on."""
    places = sorted({int(key.split(".")[-2]) for key in state if key.startswith(f"{name}.")})
    for place in places:
        x = x @ state[f"{name}.{place}.weight"].T + state[f"{name}.{place}.bias"]
        if place < places[-1]:
            x = relu(x)
    return x


def deep_logits(model, state, rows, dense):
    """The logits of a deep model, sample by sample, as its formula says."""
    logits = []
    for row, d in zip(rows, dense, strict=True):
        v, w, inputs = row[:, :16], row[:, 16], np.concatenate([row[:, :16].ravel(), d])
        pairs = [(i, j) for i in range(len(v) + 1) for j in range(i)]
        if model in ("wide_deep", "deepfm"):
            logit = w.sum() + d @ state["linear.weight"][0] + layers(state, "deep", inputs)[0]
            if model == "deepfm":
                logit += sum(v[i] @ v[j] for i, j in pairs if i < len(v))
        elif model in ("dcn", "dcnv2"):
            x = inputs
            for layer in range(3):
                if model == "dcn":
                    x = inputs * (x @ state["cross.weights"][layer]) + state["cross.biases"][layer] + x
                else:
                    weight, bias = (state[f"cross.layers.{layer}.{name}"] for name in ("weight", "bias"))
                    x = inputs * (weight @ x + bias) + x
            logit = state["last.weight"][0] @ x + layers(state, "deep", inputs)[0]
        else:
            y = relu(layers(state, "bottom", d))
            vectors = [y, *v]
            logit = layers(state, "top", np.concatenate([[vectors[i] @ vectors[j] for i, j in pairs], y]))[0]
        logits.append(logit)
    return np.array(logits)


@pytest.mark.parametrize("model", ["wide_deep", "deepfm", "dcn", "dcnv2", "dlrm"])
def test_deep_peers_compute_their_formulas(modules, model):
    torch = pytest.importorskip("torch", reason="it is in the peers' environment only, as a rule")
    from torch_deep_models import top_of

    torch.manual_seed(1)
    top = top_of({"model": model, "hidden": [8, 4]}, 3, 2)[0].double()
    with torch.no_grad():
        for parameter in top.parameters():  # those that start at 0, too
            parameter.uniform_(-0.5, 0.5)
        rows, dense = torch.randn(5, 3, 20, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
        found = top(rows, dense).numpy()
    state = {name: parameter.detach().numpy() for name, parameter in top.named_parameters()}
    np.testing.assert_allclose(found, deep_logits(model, state, rows.numpy(), dense.numpy()), rtol=1e-9)


def test_deshpc_workers_report_samples_seconds_and_auc(data):
    from compare import rates, run
    from peers.suite import RACES

    for race in (RACES[0], RACES[2]):
        found = run(race.contestants[0], None, data, train_rows=450, test=True)
        assert found["samples"] == 450  # not the table's rows
        assert 0.2 < found["test_auc"] < 0.9
        first = found["passes"][0]
        assert first["own_cpu_seconds"] > 0
        assert rates({"runs": [found]}) == [450 / first["seconds"]]
        assert first["seconds"] < found["process_s"]
