"""Plans against runs: what is planned before is what the ledger has counted afterwards, by every kind and level."""

from dataclasses import replace

import pytest
from pretended_nodes import pretend

import deshpc
import deshpc.errors
from deshpc.config.load import build
from deshpc.config.schema import TASK_MODELS
from deshpc.data.profiles import describe
from deshpc.planner.candidates import Choice, candidates, configured
from deshpc.planner.fit import rates
from deshpc.planner.machine import Link, Machine
from deshpc.planner.paper import MODELS, compare
from deshpc.planner.plan import plan
from deshpc.planner.workload import Workload

BATCH, STEPS = 512, 8


def config(name="fm", **model):
    return build(
        {
            "data": {"format": "synthetic", "synthetic": {"train_rows": BATCH * STEPS, "test_rows": 0}},
            "model": {"name": name, **{"dim": 4, "hidden": [8, 4], **model}}, "train": {"global_batch_samples": BATCH, "precision": "float64" if name == "ffm" else "float32"},
            "run": {"save_model": False}, "compute": {"threads_per_rank": 1},
        }
    )  # fmt: skip


def workload(of):
    return Workload.of_synthetic(describe(of.data.synthetic))


FFM = [
    ("column", "pooled", "reduce_scatter", "broadcast"), ("key", "pooled", "rows", "routed"), ("key", "pooled", "reduce_scatter", "broadcast"),
    ("field", "pooled", "pooled", "routed"),
]  # fmt: skip
CHOICES = [
    ("fm", Choice("key", "pooled", "allreduce", "routed", "one")),
    ("fm", Choice("column", "pooled", "reduce_scatter", "broadcast", "two")),
    ("wide_deep", Choice("key", "pooled", "rows", "routed", "two")),
    ("wide_deep", Choice("field", "pooled", "pooled", "routed", "two")),
    ("dcn", Choice("key", "pushed_down", "allreduce", "routed", "two")),
    *(("ffm", Choice(*way, "one")) for way in FFM),
]


@pytest.mark.mpi
@pytest.mark.parametrize(("name", "choice"), CHOICES)
def test_planned_bytes_are_those_of_the_run(world, monkeypatch, tmp_path, name, choice):
    """Exactly, but for what distinct keys decide, which are expected: within 3 %."""
    nodes = min(2, world.size)
    if choice.levels == "two" and nodes > 1:
        pretend(monkeypatch, "blocks")
    wanted = config(name)
    options = {str(one.choice): one for one in plan(wanted, workload(wanted), world.size, nodes if choice.levels == "two" else 1).options}
    levels = choice.levels if 1 < nodes < world.size else "one"
    need = options[str(choice._replace(levels=levels))].need
    folder = world.bcast(str(tmp_path))
    run = replace(configured(wanted, choice._replace(levels=levels), "on"), run=replace(wanted.run, directory=folder))
    found = {tuple(vars(row).values())[:4]: row.sent_bytes for row in deshpc.train(run, world, check_bytes=True).traffic}
    planned = {(one.operator, one.kind, one.direction, one.level): (one.low * STEPS, one.high * STEPS) for one in need.sent}
    assert planned.keys() == found.keys()
    for what, (low, high) in planned.items():
        expected = what[1] == "keys" or choice.exchange == "rows" and what[1] in ("rows", "gradients")
        assert 0.97 * low <= found[what] <= 1.03 * high if expected else low == found[what] == high


def test_every_choice_is_another_run_that_is_valid():
    found = [choice for choice, _ in candidates(config("fm"), 4, 2, workload(config("fm")).field_names)]
    assert len(found) == len(set(found))
    assert {one.first_layer for one in found} == {"pooled"} and {one.levels for one in found} == {"one", "two"}
    assert {one.routing for one in found if one.split == "column"} == {"broadcast"}
    # with 4 columns a rank would have none
    assert "column" not in {choice.split for choice, _ in candidates(config("fm"), 5, 1, workload(config("fm")).field_names)}


def test_the_choice_follows_the_link():
    """One-hot data: a sample's embeddings are more bytes than its share of distinct rows.  Where the link takes no time and keys take long
    to find, partials win, whose keys nobody has to find."""
    wanted = config("wide_deep", dim=16, hidden=[64, 4])
    seconds = {"steps": 1e-4, "found": 1e-5}
    slow, fast = (Machine("", "", "", 4, 1, 1, Link(0.0, speed), seconds) for speed in (1e6, 1e12))
    assert plan(wanted, workload(wanted), 4, 4, slow).best.need.run.moves_rows
    best = plan(wanted, workload(wanted), 4, 4, fast)
    assert not best.best.need.run.moves_rows and best.best.seconds["node"] == pytest.approx(1e-4)
    assert "partials travel" in best.why and "moving rows" in best.why


def test_keys_have_numbers_where_these_take_less_time_than_they_save():
    """40 ns a key, of which about 7 bytes are saved.  Where nobody knows a machine, they have."""
    wanted, chosen = config("fm"), []
    for link in (Link(0.0, 1e6), Link(0.0, 1e12), None):
        machine = link and Machine("", "", "", 4, 1, 1, link, {"steps": 1e-4})
        best = plan(wanted, workload(wanted), 4, 4, machine, {"split": "key", "routing": "routed", "exchange": "rows"}).best
        assert best.need.run.numbered == (best.key_numbers == "on") == (best.need.memory["key numbers"] > 0)
        chosen.append((best.key_numbers, best.bytes_per_sample()["keys"]))
    assert [one for one, _ in chosen] == ["on", "off", "on"]
    assert chosen[0] == chosen[2] and chosen[0][1] < chosen[1][1]
    off = replace(wanted, train=replace(wanted.train, key_numbers="off"))
    assert plan(off, workload(off), 4, 4, None, {"routing": "routed"}).best.key_numbers == "off"


def test_bytes_of_values_of_history_by_hand():
    """Bags by recency: at most 200 values, 8 bits each, beside a table in each message; as many bags on every rank."""
    wanted = build({
        "data": {"format": "synthetic", "synthetic": {"profile": "history"}},
        "model": {"name": "wide_deep", "dim": 4, "hidden": [4]}, "train": {"global_batch_samples": 4096},
    })  # fmt: skip
    best = plan(wanted, workload(wanted), 4, 4, None, {"split": "field", "routing": "routed", "exchange": "pooled"}).best
    known = workload(wanted)
    plain = replace(known, fields=tuple(replace(field, distinct_values=None) for field in known.fields))
    whole = plan(wanted, plain, 4, 4, None, {"split": "field", "routing": "routed", "exchange": "pooled"}).best
    saved = whole.bytes_per_sample()["keys"] - best.bytes_per_sample()["keys"]
    assert saved == pytest.approx(3 / 4 * (1004 * 3 - 4 * 200 * 4 / 1024) / 4, rel=1e-3)
    assert best.need.uneven.occurrences == pytest.approx(1) and best.need.uneven.pooled == 1


def test_rates_explain_seconds():
    units = [[1, 0, 2], [1, 3, 0], [1, 5, 1], [1, 1, 7]]
    true = [0.5, 2.0, 0.25]
    spent = [sum(a * b for a, b in zip(row, true, strict=True)) for row in units]
    assert rates(units, spent, [1.0] * 4) == pytest.approx(true)
    assert rates([[1, 1], [1, 2]], [2.0, 1.0], [1.0, 1.0])[1] == 0.0  # a rate below zero would explain it better: none is


def test_savings_of_the_first_claims():
    """FM on industrial data by hand: 2 (N - 1) sums of 17 numbers by key; one number a sample each way by column."""
    found = {(one.ranks, one.with_keys): one for one in compare(models=("fm",), ranks=(4, 32)).savings if one.profile == "industrial"}
    u = Workload.of_synthetic(describe(build({"data": {"format": "synthetic", "synthetic": {"profile": "industrial"}}}).data.synthetic))
    u = u.distinct(1024) / 1024
    assert found[4, False].choice.startswith("column") and found[4, False].substitution == pytest.approx(2 * 3 * 4)
    assert found[32, False].substitution == pytest.approx(2 * 31 * 17 * 4)  # 16 columns are too few for 32 ranks
    assert found[4, False].rows == pytest.approx(2 * u * 17 * 4 * 3 / 4, rel=1e-4)
    assert found[4, False].server == pytest.approx(2 * u * 17 * 4) and found[4, True].server == pytest.approx(2 * u * 17 * 4 + 16 * u)
    assert found[4, True].substitution > found[4, False].substitution


def test_every_model_is_compared_or_left_out_with_the_reason():
    comparison = compare(share=8, ranks=(2,))
    compared = {one.model for one in comparison.savings}
    assert compared | set(comparison.left_out) == set(MODELS) and not compared & set(comparison.left_out)
    reasons = {"din": "weighs the values of a sequence", **dict.fromkeys(TASK_MODELS, "learns several labels")}
    assert set(comparison.left_out) == set(reasons)
    assert all(reasons[model] in why for model, why in comparison.left_out.items())


def test_a_machine_survives_a_file(tmp_path):
    import json

    machine, path = Machine("a", "2026-01-01", "said", 2, 1, 1, Link(1e-6, 1e9), {"steps": 1e-3}), tmp_path / "machine.json"
    path.write_text(json.dumps(machine.to_json()))
    assert Machine.from_file(path) == machine
    path.write_text(json.dumps({**machine.to_json(), "ranks": "two"}))
    with pytest.raises(deshpc.errors.ConfigError, match=r"machine\.json: is no machine: machine\.ranks is 'two'"):
        Machine.from_file(path)


def test_one_rank_keeps_the_usual_split():
    """It sends nothing by any way."""
    wanted = config("fm")
    best = plan(wanted, workload(wanted), 1).best
    assert best.choice.split == "key" and best.bytes_per_sample() == {}
