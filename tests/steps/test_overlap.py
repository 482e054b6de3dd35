"""While a batch's partials travel the next batch is read, routed and looked up: that changes no bit.

`steps` over batches of a reader that reuses three sets of buffers gives the losses, rows and dense parameters of one `step`
after another; with one set of buffers it does not, so the look-ahead is real.  Where keys travel, those of one more batch are on their way.  Tables that grow in the look-ahead (new
index, new chunks of rows) leave the running batch alone.
"""

import numpy as np
import pytest
from small_training import EXCHANGES, ROUTINGS, all_rows, all_samples, reads, score, small_config, small_model
from synthetic_batches import N_FIELDS, awkward_batches, keys_of, plain_batch

from deshpc.backend.cpu.buffers import Buffers
from deshpc.backend.record import CHUNK_ROWS
from deshpc.comm.handle import Handle
from deshpc.data.dataset import Dataset
from deshpc.data.reader import Reader
from deshpc.errors import DeshpcError
from deshpc.training.scored_samples import reads_of
from deshpc.training.step import scores, step, steps

pytestmark = pytest.mark.mpi


def dataset(weighted, n_dense=2):
    """The samples of the awkward batches, one after another."""
    batches = awkward_batches(61, weighted=weighted, n_dense=n_dense)
    counts = np.concatenate([batch.ends - batch.begins for batch in batches])
    joined = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in ("keys", "fields", "dense", "labels")}
    values = np.concatenate([batch.values for batch in batches]) if weighted else None
    offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    return Dataset(offsets, joined["keys"], joined["fields"], values, joined["dense"], joined["labels"])


def readings(model, data, buffers=Buffers):
    """Two shuffled epochs in batches of 37 samples, whose last is smaller."""
    reader = Reader(data, 37, reads_of(model), buffers, seed=3, shuffle=True, block_rows=64)
    for epoch in range(2):
        yield from reader.epoch(epoch, epoch * reader.batches)


def one_at_a_time(model, batches):
    return [step(model, batch) for batch in batches]


def overlapped(model, batches):
    assert model.overlaps
    return [one.loss for one in steps(model, batches)]


def trained(world, config, threads, train, data, buffers=Buffers):
    """(losses, rows, dense parameters) after training in a way; collective."""
    with small_model(world, config, threads) as model:
        losses = train(model, readings(model, data, buffers))
        rows = all_rows(model)
        return [np.array(losses), rows.keys, rows.fields, rows.counts, rows.steps, rows.numbers, model.parameters.values.copy()]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("routing, threads, weighted, precision, accumulate", [
    ("broadcast", 1, 2, "float32", ""), ("broadcast", 2, 0, "float64", "int64"), ("routed", 1, 1, "float64", "int64"),
    ("routed", 2, 2, "float32", ""),
])  # fmt: skip
def test_overlapped_steps_give_the_bits_of_one_step_after_another(
    world, exchange, routing, threads, weighted, precision, accumulate
):
    data = dataset(weighted)
    config = small_config("fm", overlap="on", exchange=exchange, routing=routing, precision=precision, accumulate=accumulate)
    plain = trained(world, config, threads, one_at_a_time, data)
    assert len(plain[0]) == 2 * -(-len(data) // 37) and len(data) % 37
    assert same(plain, trained(world, config, threads, overlapped, data))


def test_one_set_of_buffers_would_not_do(world):
    data, config, one = dataset(weighted=True), small_config("fm", overlap="on", routing="broadcast"), Buffers()
    plain = trained(world, config, 1, one_at_a_time, data, lambda: one)  # nothing is read ahead: one set is enough
    assert same(plain, trained(world, config, 1, overlapped, data))
    assert not same(plain, trained(world, config, 1, overlapped, data, lambda: one))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_next_batch_is_routed_and_looked_up_while_partials_travel(world, exchange):
    batches, stages = awkward_batches(62, steps=3), []
    with small_model(world, small_config("fm", overlap="on", exchange=exchange, routing="broadcast"), enter=stages.append) as model:
        overlapped(model, [reads(model, batch) for batch in batches])
    ahead, work = ["read", "route", "route", "look up"], ["exchange", "learn", "give back", "update"]
    one = ["start", *ahead, *work]
    assert stages == [*ahead, *one, *one, "start", "read", *work]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_keys_of_one_more_batch_travel(world, exchange):
    """Messages of the batch behind the next one are written, then keys of the next one waited for, after a whole step."""
    if world.size == 1:
        pytest.skip("one rank sends no keys")
    batches, stages = awkward_batches(62, steps=3), []
    with small_model(world, small_config("fm", overlap="on", exchange=exchange, routing="routed"), enter=stages.append) as model:
        overlapped(model, [reads(model, batch) for batch in batches])
    sent, work = ["read", "route"], ["exchange", "learn", "give back", "update"]
    one = [*sent, "route", "look up"]
    assert stages == [*sent, *one, "start", *one, *work, "start", "read", "route", "look up", *work, "start", "read", *work]


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("routing", ROUTINGS)
def test_nothing_travels_on_where_reading_fails_on_all_ranks(world, monkeypatch, exchange, routing):
    """Memory that messages arrive in is given back then, and used again."""
    handles, make = [], Handle.__init__

    def noted(handle, *arguments, **options):
        make(handle, *arguments, **options)
        handles.append(handle)

    def failing(model):
        yield from [reads(model, batch) for batch in awkward_batches(62, steps=3)]
        raise DeshpcError("no more").shared_by(world.size)

    with small_model(world, small_config("fm", overlap="on", exchange=exchange, routing=routing)) as model:
        monkeypatch.setattr(Handle, "__init__", noted)
        with pytest.raises(DeshpcError, match="no more"):
            overlapped(model, failing(model))
        assert world.size == 1 or any(handle._request is not None for handle in handles)
        assert not [handle for handle in handles if handle._request is not None and handle._finish is not None]


@pytest.mark.parametrize("overlap, several_nodes, ahead", [
    ("on", False, True), ("off", True, False), ("auto", True, True), ("auto", False, False),
])  # fmt: skip
def test_the_next_batch_is_prepared_ahead_where_it_is_asked_for(world, overlap, several_nodes, ahead):
    batches, stages = awkward_batches(62, steps=2), []
    with small_model(world, small_config("fm", overlap=overlap), several_nodes=several_nodes, enter=stages.append) as model:
        for _ in steps(model, [reads(model, batch) for batch in batches]):
            pass
    second = [place for place, stage in enumerate(stages) if stage == "look up"][1]
    assert (stages.index("update") > second) == ahead  # inside a node keys are written a step ahead in any case


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_overlapped_evaluation_gives_the_same_logits(world, exchange, routing):
    batches = awkward_batches(63)
    with small_model(world, small_config("fm", overlap="on", exchange=exchange, routing=routing)) as model:
        overlapped(model, [reads(model, batch) for batch in batches[:10]])
        shares = [reads(model, batch) for batch in batches]
        ahead = [all_samples(model, logit) for _, logit in scores(model, shares)]
        for share, logits in zip(shares, ahead, strict=True):
            assert np.array_equal(logits, all_samples(model, score(model, share)))


def growing_batches(owners):
    """Few keys, then so many new ones that every owner's index is rebuilt and a second chunk begins, then the few again."""
    rng = np.random.default_rng(64)

    def batch(step, numbers):
        fields, samples = numbers % N_FIELDS, len(numbers) // 50
        dense, labels = rng.standard_normal((samples, 2)), rng.random(samples) < 0.4
        return plain_batch(step, np.full(samples, 50), keys_of(fields, numbers), fields, None, dense, labels)

    few, many = np.arange(1000), 1000 + np.arange(int(owners * CHUNK_ROWS * 1.05) // 50 * 50)
    return [batch(0, few), batch(1, np.concatenate([few[:500], many])), batch(2, few), batch(3, rng.permutation(few))]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_tables_may_grow_in_the_look_ahead(world, exchange):
    batches, results = growing_batches(world.size), []
    for train in (one_at_a_time, overlapped):
        with small_model(world, small_config("lr", overlap="on", exchange=exchange, precision="float32")) as model:
            losses = train(model, [reads(model, batch) for batch in batches])
            assert len(model.table) > CHUNK_ROWS
            rows = model.table.export()
            results.append([np.array(losses), rows.keys, rows.counts, rows.numbers, model.parameters.values.copy()])
    assert same(*results)
