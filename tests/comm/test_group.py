"""Every collective of a Group and of a Node against NumPy, on one to four ranks, in ranks' order and in reverse.

What a rank contributes is a function of its number, so every rank knows what must come out.  Proves contents, equal
bits on all ranks, empty and uneven shares, exchanges that overlap, and the ledger's bytes by closed formulas.
"""

import math
import os
import time

import numpy as np
import pytest

from deshpc.comm.group import Group
from deshpc.comm.handle import done
from deshpc.comm.host_transport import in_order
from deshpc.comm.ledger import Ledger, Traffic
from deshpc.comm.node import Node
from deshpc.comm.shares import slice_of, slices
from deshpc.errors import DataError, DeshpcError, LaunchError, RankError

TRAFFIC = Traffic("fm", "partials", "forward")
SAMPLES = (0, 1, 2, 3, 4, 7, 64, 1009)


@pytest.fixture(params=["world", "reversed", "through MPI"])
def group(request, world, monkeypatch):
    """A Group of all ranks, in the order of COMM_WORLD or in the opposite one; they are on one node, see `deshpc.comm.slots`."""
    least = math.inf if request.param == "through MPI" else 0
    monkeypatch.setattr("deshpc.comm.host_transport._SHARED_FROM", least)
    comm = world if request.param != "reversed" else world.Split(0, -world.rank)
    made = Group(comm)
    yield made
    made.free()
    if comm is not world:
        comm.Free()


@pytest.fixture
def node(world):
    made = Node(world)
    yield made
    made.free()


def contribution(rank, shape, dtype, seed=0):
    """What `rank` brings."""
    generator = np.random.default_rng([seed, rank, *shape])
    if np.dtype(dtype).kind == "i":
        most = np.iinfo(dtype).max // 8  # no sum overflows
        return generator.integers(-most, most, shape, dtype=dtype)
    return (generator.standard_normal(shape) * np.exp(generator.standard_normal(shape) * 3)).astype(dtype)


def same_bits(group, array):
    return len(set(group.gather(array.tobytes()))) == 1


def sent(group):
    """Bytes in every rank's ledger."""
    return group.gather(group.ledger.of())


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
def test_sum_samples(group, dtype):
    for samples in SAMPLES:
        for width in (1, 17):
            shape, before = (samples, width), sent(group)
            array = contribution(group.rank, shape, dtype)
            summed = group.sum_samples(array, TRAFFIC).wait()
            assert summed is array and same_bits(group, summed)
            terms = np.array([contribution(rank, shape, dtype) for rank in range(group.size)])
            if np.dtype(dtype).kind == "i":
                assert np.array_equal(summed, terms.sum(axis=0))
            else:  # N terms, N - 1 roundings
                bound = (group.size - 1) * np.finfo(dtype).eps / 2 * abs(terms.astype(np.longdouble)).sum(axis=0)
                assert (abs(summed - terms.astype(np.longdouble).sum(axis=0)) <= bound).all()
            moved = np.array(sent(group)) - before
            assert moved.sum() == 2 * (group.size - 1) * array.nbytes
            if samples % group.size == 0:
                assert (moved * group.size == 2 * (group.size - 1) * array.nbytes).all()


INNER = ((), (1,), (5,), (0,), (2, 3))  # what a sample consists of


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
def test_reduce_samples(group, dtype):
    """Bit for bit the sums in rank order, in NumPy: any two numbers are added as IEEE says."""
    for samples in SAMPLES:
        for inner in INNER:
            arrays = [contribution(rank, (samples, *inner), dtype) for rank in range(group.size)]
            wanted = arrays[0].copy()
            for array in arrays[1:]:
                wanted += array
            mine, before = slice(*slice_of(samples, group.size, group.rank)), group.ledger.of()
            share = group.reduce_samples(arrays[group.rank], TRAFFIC).wait()
            assert share.dtype == dtype and np.array_equal(share, wanted[mine])
            whole = np.zeros_like(wanted)
            sent_bytes = group.ledger.of() - before
            assert sent_bytes == (wanted.nbytes - share.nbytes if group.size > 1 else 0)
            group.gather_samples(share, whole, TRAFFIC).wait()  # its adjoint: together they are an all-reduce
            assert np.array_equal(whole, wanted)


@pytest.mark.mpi
def test_bytes_of_seven_samples_of_three_float32(world):
    """12 bytes a sample: a reduce-scatter sends those of all other ranks, an all-gather the own ones to all others."""
    if world.size > 4:
        pytest.skip("counted by hand up to 4 ranks")
    shares, scattered, gathered = {
        1: ([7], [0], [0]),
        2: ([3, 4], [48, 36], [36, 48]),
        3: ([2, 2, 3], [60, 60, 48], [48, 48, 72]),
        4: ([1, 2, 2, 2], [72, 60, 60, 60], [36, 72, 72, 72]),
    }[world.size]
    group, array = Group(world), np.ones((7, 3), np.float32)
    share = group.reduce_samples(array, TRAFFIC).wait()
    assert len(share) == shares[group.rank] and group.ledger.of() == scattered[group.rank]
    group.gather_samples(share, np.empty((7, 3), np.float32), TRAFFIC).wait()
    assert group.ledger.of() == scattered[group.rank] + gathered[group.rank]
    group.free()


@pytest.mark.mpi
def test_gather_numbers(group):
    others = group.size - 1
    for numbers in ([0.5, -1.0, group.rank], np.arange(5) * 10**15 + group.rank, float(group.rank)):
        before, length = group.ledger.of(), np.size(numbers)
        found = group.gather_numbers(numbers, TRAFFIC).wait()
        assert found.shape == (group.size, length) and found.dtype == np.asarray(numbers).dtype
        assert np.array_equal(found, [np.atleast_1d(one) for one in group.gather(numbers)])
        assert group.ledger.of() - before == 8 * length * others
    assert group.gather_numbers(np.array([np.nan, np.inf])).wait().shape == (group.size, 2)
    assert group.ledger.of(kind="control", direction="setup") == 16 * others


@pytest.mark.mpi
def test_a_handle_can_be_poked_and_continued(group):
    array, wanted = contribution(group.rank, (64, 3), "int64"), contribution(0, (64, 3), "int64")
    for rank in range(1, group.size):
        wanted = wanted + contribution(rank, (64, 3), "int64")
    seen = []
    handle = group.sum_samples(array, TRAFFIC).then(lambda whole: whole * 2).then(lambda whole: seen.append(1) or whole + 1)
    for _ in range(1000):
        handle.poke()  # may complete it
    assert not seen  # what follows is done when it is waited for
    assert np.array_equal(handle.wait(), wanted * 2 + 1) and seen == [1]
    handle.poke()
    with pytest.raises(TypeError):
        handle.wait()
    there = done(3).then(lambda three: three + 1)
    there.poke()
    assert there.wait() == 4


@pytest.mark.mpi
def test_exchanges_may_overlap(group):
    for _ in range(2):  # the second time their room is there already
        arrays = [contribution(group.rank, (37, 3), "float64", seed) for seed in range(3)]
        apart = [array.copy() for array in arrays]
        own = arrays[0][slice(*slice_of(37, group.size, group.rank))].copy()
        gathered = np.empty((37, 3))
        handles = [group.sum_samples(array, TRAFFIC) for array in arrays]
        handles.append(group.gather_samples(own, gathered, TRAFFIC))
        handles += [group.reduce_samples(array, TRAFFIC) for array in apart]
        shares = [handle.wait() for handle in handles][4:]
        for seed, (array, share) in enumerate(zip(arrays, shares, strict=True)):
            wanted = sum(contribution(rank, (37, 3), "float64", seed) for rank in range(group.size))
            assert np.allclose(array, wanted, rtol=1e-13, atol=1e-12)
            assert np.array_equal(share, wanted[slice(*slice_of(37, group.size, group.rank))])
        for rank in range(group.size):
            share = slice(*slice_of(37, group.size, rank))
            assert np.array_equal(gathered[share], contribution(rank, (37, 3), "float64", 0)[share])
    with pytest.raises(TypeError):
        handles[0].wait()  # its result was handed out


@pytest.mark.mpi
def test_nothing_is_written_over_before_all_have_read_it(group):
    """Exchanges one after another and several under way, with ranks that are late by turns."""
    plan, late = np.random.default_rng(5), np.random.default_rng([6, group.rank])
    under_way = []
    for number in range(150):
        samples = int(plan.integers(1, 400))
        wanted = sum(contribution(rank, (samples, 5), "int64", number) for rank in range(group.size))
        under_way.append((group.sum_samples(contribution(group.rank, (samples, 5), "int64", number), TRAFFIC), wanted))
        while under_way and plan.random() < 0.6:
            handle, expected = under_way.pop(0)
            time.sleep(0.002 * (late.random() < 0.2))
            assert np.array_equal(handle.wait(), expected)
    for handle, expected in under_way:
        assert np.array_equal(handle.wait(), expected)


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["float32", "uint64"])
def test_gather_samples(group, dtype):
    for samples in SAMPLES:
        for inner in ((), (5,), (0,), (2, 3)):
            whole = (np.random.default_rng(samples).random((samples, *inner)) * 1000).astype(dtype)
            own = whole[slice(*slice_of(samples, group.size, group.rank))].copy()
            gathered, before = np.zeros_like(whole), group.ledger.of()
            assert group.gather_samples(own, gathered, TRAFFIC).wait() is gathered
            assert np.array_equal(gathered, whole)
            assert group.ledger.of() - before == (group.size - 1) * own.nbytes


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_exchange_counts(group, dtype):
    for columns in ((), (1,), (7,)):
        of_ranks = np.array([contribution(rank, (group.size, *columns), dtype) for rank in range(group.size)])
        counts, before = of_ranks[group.rank].copy(), group.ledger.of()
        received = group.exchange_counts(counts, TRAFFIC)
        assert received.dtype == dtype and np.array_equal(received, of_ranks[:, group.rank])
        assert group.ledger.of() - before == counts.nbytes * (group.size - 1) // group.size


@pytest.mark.mpi
def test_exchange_bytes(group):
    n = group.size

    def message(seed, i, j):
        generator = np.random.default_rng([seed, i, j])
        size = 0 if generator.random() < 0.3 else generator.integers(0, 1000)
        return generator.integers(0, 256, size, dtype=np.uint8)

    for seed in range(5):
        out = [message(seed, group.rank, j) for j in range(n)]
        into = [message(seed, i, group.rank) for i in range(n)]
        send_bytes, receive_bytes = (np.array([len(one) for one in side], np.int64) for side in (out, into))
        receive = np.zeros(receive_bytes.sum(), np.uint8)
        keys, values = send_bytes // 3, send_bytes - send_bytes // 3
        kinds = [Traffic("batch", "keys", "eval"), Traffic("batch", "rows", "eval")]
        before = [group.ledger.of(kind=one.kind) for one in kinds]
        handle = group.exchange_bytes(
            np.concatenate(out), send_bytes, receive, receive_bytes, list(zip(kinds, (keys, values), strict=True))
        )
        assert handle.wait() is receive and np.array_equal(receive, np.concatenate(into))
        for kind, parts, bytes_before in zip(kinds, (keys, values), before, strict=True):
            assert group.ledger.of(kind=kind.kind) - bytes_before == sum(np.delete(parts, group.rank))


@pytest.mark.mpi
def test_gather_bytes(group):
    """Messages of any lengths, small ones through MPI, large ones through a node's shared memory; two under way."""
    for seed, most in enumerate((0, 7, 3000, 9000, 100_000)):
        messages, whole = [], []
        for turn in range(2):
            generator = np.random.default_rng([seed, turn])
            lengths = generator.integers(0, most + 1, group.size) * (generator.random(group.size) < 0.7)
            messages.append([generator.integers(0, 256, length, dtype=np.uint8) for length in lengths])
            whole.append(np.zeros(lengths.sum(), np.uint8))
        before = group.ledger.of()
        handles = [
            group.gather_bytes(of[group.rank], np.array([len(one) for one in of], np.int64), room, TRAFFIC)
            for of, room in zip(messages, whole, strict=True)
        ]
        for handle, of, room in zip(handles, messages, whole, strict=True):
            assert handle.wait() is room and np.array_equal(room, np.concatenate(of))
        assert group.ledger.of() - before == (group.size - 1) * sum(len(of[group.rank]) for of in messages)


@pytest.mark.mpi
def test_small_sums_and_things(group):
    n, others = group.size, group.size - 1
    assert group.sum(group.rank + 1).tolist() == [n * (n + 1) // 2]
    assert group.ledger.of(kind="control") == 8 * others  # every number to every other rank
    total = group.sum(np.array([0.5, -1.0, group.rank]))
    assert total.dtype == np.float64 and total.tolist() == [n / 2, -n, n * others / 2]
    group.sum(np.arange(5), TRAFFIC)
    assert group.ledger.of(kind="partials") == 40 * others
    assert group.gather(("rank", group.rank)) == [("rank", rank) for rank in range(n)]
    assert group.from_first([group.rank]) == [0]


@pytest.mark.mpi
def test_a_group_is_apart_from_its_communicator(world):
    from mpi4py import MPI

    group = Group(world)
    assert MPI.Comm.Compare(group.comm, world) == MPI.CONGRUENT
    assert (group.rank, group.size) == (world.rank, world.size)
    group.free()
    alone = Group(MPI.COMM_SELF)  # not collective over the world
    array = np.ones((3, 2), np.float32)
    assert alone.size == 1 and alone.sum_samples(array, TRAFFIC).wait() is array and (array == 1).all()
    assert alone.ledger.entries() == []
    alone.free()


def check_agreement(group, error, kind, text):
    """Every rank raises this kind of error with this text."""
    with pytest.raises(DeshpcError) as caught:
        group.agree(error)
    assert type(caught.value) is kind and str(caught.value) == text and caught.value.agreed == group.size
    assert len(set(group.gather(str(caught.value)))) == 1


@pytest.mark.mpi
def test_agree(group):
    n, last = group.size, group.size - 1
    assert group.agree(None) is None
    check_agreement(group, DataError("no file"), DataError, "no file")  # all of them: no rank needs a name
    where = f" (rank {last})" if n > 1 else ""
    check_agreement(group, LaunchError("odd") if group.rank == last else None, LaunchError, f"odd{where}")
    check_agreement(group, KeyError("x") if group.rank == last else None, RankError, f"rank {last}: KeyError: 'x'")
    different = [DataError("first"), None, LaunchError("second"), DataError("third")]
    bad = [rank for rank in range(n) if different[rank % 4]]
    where = "" if len(bad) == n else f" (rank{'s' if len(bad) > 1 else ''} {', '.join(map(str, bad))})"
    check_agreement(group, different[group.rank % 4], DataError, f"first{where}")
    assert group.agree(None) is None  # and the group goes on working


@pytest.mark.mpi
def test_together(group):
    assert group.together(lambda: group.rank) == group.rank

    def only_the_first_fails():
        if group.rank == 0:
            raise DataError("bad")

    with pytest.raises(DataError, match="bad"):
        group.together(only_the_first_fails)


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["float32", "uint16", "int64"])
def test_a_node_holds_an_array_once(node, dtype):
    for shape in ((7,), (3, 5), (0,), (0, 4), (1,)):
        wanted = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
        shared = node.share(wanted if node.rank == 0 else None)
        assert shared.dtype == dtype and shared.shape == shape and np.array_equal(shared, wanted)
        node.comm.Barrier()
        if node.rank == 0 and shared.size:
            shared.flat[0] = 99  # one memory: every rank sees it
        node.comm.Barrier()
        assert not shared.size or shared.flat[0] == 99
        node.comm.Barrier()


@pytest.mark.mpi
def test_cores_are_divided(node, monkeypatch):
    def with_cores(cores):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
        return node.threads_per_rank()

    assert with_cores({2 * node.rank, 2 * node.rank + 1}) == 2  # bound to cores of its own
    assert with_cores(set(range(13))) == 13 // node.size
    assert with_cores({5}) == 1  # more ranks than cores
    if node.size > 1:  # the first has four cores to itself, the others share eight
        cores, wanted = ({0, 1, 2, 3}, 4) if node.rank == 0 else (set(range(4, 12)), 8 // (node.size - 1))
        assert with_cores(cores) == wanted
    monkeypatch.undo()
    assert node.threads_per_rank() >= 1


@pytest.mark.mpi
def test_the_first_rank_of_a_node_goes_first(node, world):
    done = node.share(np.zeros(node.size, np.int64) if node.rank == 0 else None)
    seen = []

    def task():
        seen.append(int(done[0]))
        done[node.rank] = 1

    group = Group(world)
    node.first_then_others(task, group)
    assert seen == [0 if node.rank == 0 else 1] and done.all()
    assert node.from_first(node.rank) == 0
    group.free()


@pytest.mark.mpi
@pytest.mark.parametrize("failing", [0, -1])
def test_an_error_in_turn_is_raised_on_all_ranks(node, world, failing):
    """After the first rank's, nobody begins; after another's, all have."""
    group, begun = Group(world), []
    failing %= node.size

    def task():
        begun.append(node.rank)
        if node.rank == failing:
            raise DataError(f"of rank {node.rank}")

    with pytest.raises(DataError, match=f"of rank {failing}") as caught:
        node.first_then_others(task, group)
    assert caught.value.agreed == world.size
    assert begun == ([node.rank] if node.rank == 0 or failing else [])
    group.free()


def test_slices_are_contiguous_and_even():
    for size in (1, 2, 3, 4, 7, 16):
        for total in (*range(20), 1009, 10**15):
            edges = [slice_of(total, size, rank) for rank in range(size)]
            assert edges[0][0] == 0 and edges[-1][1] == total
            assert all(left[1] == right[0] for left, right in zip(edges, edges[1:], strict=False))
            counts = [end - begin for begin, end in edges]
            assert max(counts) - min(counts) <= 1
            assert slices(total, size).dtype == np.int64 and slices(total, size).tolist() == counts


def test_ledger():
    ledger = Ledger()
    assert ledger.of() == 0 and ledger.entries() == []
    for traffic, count in (
        (Traffic("fm", "partials", "forward"), 5),
        (Traffic("fm", "partials", "eval"), np.int64(7)),
        (Traffic("batch", "keys", "forward"), 11),
        (Traffic("fm", "partials", "forward"), 2**62),
        (Traffic("fm", "partials", "forward", "node"), 0),
    ):
        ledger.add(traffic, count)
    assert ledger.of() == 2**62 + 23 and ledger.of(kind="partials", direction="forward") == 2**62 + 5
    assert ledger.of(operator="batch") == 11 and ledger.of(operator="lr") == 0
    first = {"operator": "batch", "kind": "keys", "direction": "forward", "level": "flat", "sent_bytes": 11}
    assert len(ledger.entries()) == 4 and ledger.entries()[0] == first


def test_sums_in_rank_order_do_not_depend_on_the_number_of_samples():
    """NumPy's own sum over the first axis would add eight numbers of one sample in another order than those of several."""
    parts = np.random.default_rng(9).standard_normal((13, 5, 1)).astype(np.float32)
    whole = in_order(parts)
    for i in range(5):
        one_by_one = parts[0, i, 0]
        for part in parts[1:, i, 0]:
            one_by_one = one_by_one + part
        assert whole[i, 0] == in_order(parts[:, i : i + 1])[0, 0] == one_by_one
