"""Every transport of device arrays, on the executor's device: the same bits as NumPy adds in rank order, and the same bytes in the ledger.

CUDA-aware MPI is given objects that offer a `__cuda_array_interface__` and nothing else; their memory is the host's, so that any
MPI library moves it.  NCCL is a stand-in that writes down what it is asked for.  Neither has run on a GPU here.
"""

import inspect
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from counting_device import CountingDevice
from executor.device import ExecutorDevice
from executor.errors import ExecutorError
from executor.schedule import Schedule
from nccl_stand_in import NcclStandIn
from small_training import reads, small_config, small_model, train_on
from synthetic_batches import awkward_batches
from transports import TRANSPORTS, every_transport, group_by

from deshpc.backend.cuda.backend import CudaBackend
from deshpc.comm import cuda_support
from deshpc.comm.cuda_probe import arrives
from deshpc.comm.cuda_support import Support, probe, require_cuda_aware
from deshpc.comm.group import Group
from deshpc.comm.host_transport import HostTransport
from deshpc.comm.ledger import Traffic
from deshpc.comm.mpi_transport import MpiTransport
from deshpc.comm.nccl_transport import NcclTransport
from deshpc.comm.shares import number_counts, slice_of
from deshpc.comm.staged_transport import StagedTransport
from deshpc.comm.transport import DeviceTransport, Transport
from deshpc.config.load import build
from deshpc.errors import ConfigError, LaunchError, RankError
from deshpc.training.step import steps

TRAFFIC = Traffic("fm", "partials", "forward")
SHAPES = [(0, 3), (1, 1), (2, 5), (7, 3), (64, 2), (700, 5)]


@pytest.fixture
def executor():
    return ExecutorDevice(Schedule("random", seed=5))


@pytest.fixture(params=TRANSPORTS)
def opened(request, world, executor, monkeypatch):
    """(Group, CudaBackend) by each transport."""
    with every_transport(world, executor, monkeypatch), group_by(request.param, world, executor) as pair:
        yield pair


def contribution(rank, shape, dtype, seed=0):
    """What `rank` brings: numbers of very different sizes, so that another order of additions shows; -0 among them."""
    random = np.random.default_rng([seed, rank, *shape])
    if np.dtype(dtype).kind == "i":
        return random.integers(-(2**60), 2**60, shape, dtype=dtype)
    numbers = (random.standard_normal(shape) * np.exp(random.standard_normal(shape) * 3)).astype(dtype)
    numbers[random.random(shape) < 0.1] = -0.0
    return numbers


def in_rank_order(size, shape, dtype, seed=0):
    total = contribution(0, shape, dtype, seed)
    for rank in range(1, size):
        total = total + contribution(rank, shape, dtype, seed)
    return total


def same(found, expected):
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", [HostTransport, StagedTransport, MpiTransport, NcclTransport])
def test_a_transport_has_what_the_contract_says(kind):
    contract = Transport if kind is HostTransport else DeviceTransport
    for name in (name for one in contract.__mro__ for name, value in vars(one).items() if inspect.isfunction(value) and name[0] != "_"):
        assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(contract, name)), name


# ------------------------------------------------------------------ what arrives


@pytest.mark.mpi
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_sums_are_in_rank_order_and_count_the_same_bytes(world, opened, dtype):
    group, backend = opened
    plain = Group(world)
    for shape in SHAPES:
        own, wanted = contribution(group.rank, shape, dtype), in_rank_order(group.size, shape, dtype)
        before, array = (group.ledger.of(), plain.ledger.of()), backend.array(own)
        summed = group.sum_samples(array, TRAFFIC).wait()
        assert summed is array and same(backend.host(summed), wanted)
        share = group.reduce_samples(backend.array(own), TRAFFIC).wait()
        assert same(backend.host(share), wanted[slice(*slice_of(shape[0], group.size, group.rank))])
        whole = backend.zeros(shape, dtype)
        assert group.gather_samples(share, whole, TRAFFIC).wait() is whole and same(backend.host(whole), wanted)
        on_host = plain.reduce_samples(own.copy(), TRAFFIC).wait()
        plain.gather_samples(on_host, np.empty_like(own), TRAFFIC).wait()
        plain.sum_samples(own, TRAFFIC).wait()
        assert group.ledger.of() - before[0] == plain.ledger.of() - before[1]
    plain.free()


def message(seed, i, j):
    random = np.random.default_rng([seed, i, j])
    return random.integers(0, 256, 0 if random.random() < 0.3 else random.integers(1, 5000), dtype=np.uint8)


@pytest.mark.mpi
def test_bytes_arrive(opened):
    group, backend = opened
    n, rank = group.size, group.rank
    for seed in range(3):
        out, into = [message(seed, rank, j) for j in range(n)], [message(seed, i, rank) for i in range(n)]
        sent, received = (np.array([len(one) for one in side], np.int64) for side in (out, into))
        room, before = backend.zeros(int(received.sum()), np.uint8), group.ledger.of()
        handle = group.exchange_bytes(backend.array(np.concatenate(out)), sent, room, received, [(TRAFFIC, sent)])
        assert handle.wait() is room and same(backend.host(room), np.concatenate(into))
        assert group.ledger.of() - before == sent.sum() - sent[rank]
        of_ranks = [message(seed, i, i) for i in range(n)]
        whole = backend.zeros(sum(map(len, of_ranks)), np.uint8)
        lengths = np.array([len(one) for one in of_ranks], np.int64)
        assert group.gather_bytes(backend.array(of_ranks[rank]), lengths, whole, TRAFFIC).wait() is whole
        assert same(backend.host(whole), np.concatenate(of_ranks))


@pytest.mark.mpi
def test_several_are_under_way_between_collectives_of_the_host(opened):
    """One rank pokes, all ask in one order and wait in another; host arrays and numbers travel in between."""
    group, backend = opened
    for _ in range(2):  # the second time their room is there already
        handles = []
        for seed in range(4):
            handles.append(group.sum_samples(backend.array(contribution(group.rank, (90, 30), "float32", seed)), TRAFFIC))
            for _ in range(3 * (group.rank == 0)):
                handles[-1].poke()
            if seed == 1:
                assert group.sum(group.rank + 1).tolist() == [group.size * (group.size + 1) // 2]
            if seed == 2:
                labels = np.zeros(5, np.float32)
                mine = np.arange(5, dtype=np.float32)[slice(*slice_of(5, group.size, group.rank))]
                assert group.gather_samples(mine, labels, TRAFFIC).wait().tolist() == [0, 1, 2, 3, 4]
        for seed in (2, 0, 3, 1):
            assert same(backend.host(handles[seed].wait()), in_rank_order(group.size, (90, 30), "float32", seed))


@pytest.mark.mpi
@pytest.mark.parametrize("exchange, routing", [("reduce_scatter", "routed"), ("rows", "broadcast")])
def test_training_gives_the_same_bits_by_every_transport(world, executor, monkeypatch, exchange, routing):
    if world.size not in (2, 3):
        pytest.skip("trained on two and three ranks")
    batches, found = awkward_batches(21, 3, 1), {}
    with every_transport(world, executor, monkeypatch) as nccl:
        for transport in TRANSPORTS:
            config = small_config("fm", precision="float32", exchange=exchange, routing=routing, transport=transport)
            trained = train_on(world, batches, config, backend=CudaBackend(executor))
            found[transport] = trained.losses.tobytes(), trained.digest(), trained.ledger
        assert any(call[0] == "send" for call in nccl.calls)
    assert found["host"] == found["cuda-aware"] == found["nccl"]


# ------------------------------------------------------------------ who waits for what


class Recorded:
    """A device or communicator that takes down which of its methods are called, together with others, in `calls`."""

    def __init__(self, one, calls, *names):
        self._one, self._calls, self._names = one, calls, names

    def __getattr__(self, name):
        found = getattr(self._one, name)
        if name not in self._names:
            return found

        def call(*arguments, **options):
            self._calls.append(name)
            return found(*arguments, **options)

        return call


@pytest.mark.mpi
def test_the_host_waits_for_the_copy_alone_and_only_when_mpi_is_to_have_it(world, executor, monkeypatch):
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    calls = []
    with group_by("host", world, Recorded(executor, calls, "copy_out", "wait", "mark", "to_host", "into_host")) as (group, backend):
        array, other = backend.array(contribution(group.rank, (7, 3), "float32")), backend.zeros(4, np.float32)
        before = executor.synchronisations
        handle = group.sum_samples(array, TRAFFIC)
        other.fill(7.0)  # the device goes on
        assert calls == ["copy_out"]
        handle.wait()
        assert calls == ["copy_out", "wait", "mark"] and executor.synchronisations == before
        assert same(backend.host(array), in_rank_order(group.size, (7, 3), "float32"))


@pytest.mark.mpi
def test_how_often_a_step_waits_for_the_device(world, executor, monkeypatch):
    """By NCCL for the losses alone, as one rank does; else for the partials, too."""
    if world.size != 2:
        pytest.skip("counted on two ranks")
    (batch,), found, losses = awkward_batches(21, 1), {}, []
    with every_transport(world, executor, monkeypatch):
        for transport in TRANSPORTS:
            device, waits = CountingDevice(executor), []
            config = small_config("fm", precision="float32", routing="broadcast", transport=transport)
            with small_model(world, config, backend=CudaBackend(device)) as model:
                model.table.reserve(5_000)
                for one in steps(model, [reads(model, batch)] * 6):
                    waits.append(device.counts()["waits"])
                    losses.append(one.loss)
            found[transport] = set(np.diff(waits[1:-1]).tolist())
    assert found == {"host": {2}, "cuda-aware": {2}, "nccl": {1}}
    assert losses[:6] == losses[6:12] == losses[12:]


@pytest.mark.mpi
def test_nobody_writes_to_an_array_that_is_being_copied(world, executor):
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    backend, point = CudaBackend(executor), None
    array, host = backend.zeros(4, np.float32), executor.host_memory((4,), np.float32)
    point = executor.copy_out(array, host)
    assert not executor.passed(point)
    array.fill(1.0)
    with pytest.raises(ExecutorError, match="written to before its copy"):
        executor.wait(point)
    backend.close()


@pytest.mark.mpi
def test_mpi_gets_an_array_when_the_device_has_done_what_was_started_before(world, executor):
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    calls, comm = [], world.Dup()
    backend = CudaBackend(Recorded(executor, calls, "mark", "wait", "lend"))
    transport = MpiTransport(Recorded(comm, calls, "Iallgatherv", "Ialltoallv"), backend)
    array = backend.array(contribution(world.rank, (7, 3), "float32"))
    handle = transport.reduce_samples(array, number_counts(array.shape, world.size))
    assert calls == ["mark"]
    share = backend.host(handle.wait())
    assert calls == ["mark", "wait", "lend", "lend", "Ialltoallv"]
    assert same(share, in_rank_order(world.size, (7, 3), "float32")[slice(*slice_of(7, world.size, world.rank))])
    calls.clear()
    transport.all_gather(backend.array(share), number_counts(array.shape, world.size), array).wait()
    assert calls == ["mark", "wait", "lend", "lend", "Iallgatherv"]
    comm.Free()
    busy = backend.zeros(3, np.float32)
    with pytest.raises(ExecutorError, match="given to MPI while the device may be at work on it"):
        assert executor.lend(busy).__cuda_array_interface__
    backend.close()


@pytest.mark.mpi
def test_what_nccl_is_asked_for(world, executor, monkeypatch):
    """Every rank sends every other one its stretch, and receives one, in one group, on the device's stream."""
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    size, rank = world.size, world.rank
    others = [peer for peer in range(size) if peer != rank]
    with every_transport(world, executor, monkeypatch) as nccl, group_by("nccl", world, executor) as (group, backend):
        made = [("get_unique_id",)] if rank == 0 else []
        assert nccl.calls == [*made, ("NcclCommunicator", size, rank)]
        nccl.calls.clear()
        counts = np.arange(size) * 3  # the first gets nothing
        mine = np.full(size, 3 * rank)
        room = backend.zeros(int(mine.sum()), np.uint8)
        group.exchange_bytes(backend.zeros(int(counts.sum()), np.uint8), counts, room, mine, [(TRAFFIC, counts)])
        expected = [("groupStart",)]
        for peer in others:
            expected += [("send", 3 * peer, 1, peer, executor.stream)] if peer else []
            expected += [("recv", 3 * rank, 1, peer, executor.stream)] if rank else []
        assert nccl.calls == [*expected, ("groupEnd",)]
        nccl.calls.clear()
        before = executor.synchronisations
        group.sum_samples(backend.zeros((5, 2), np.int64), TRAFFIC).wait()
        assert nccl.calls == [("allReduce", 10, nccl.NCCL_INT64, nccl.NCCL_SUM, executor.stream)]
        assert executor.synchronisations == before
    assert nccl.calls[-1] == ("destroy",)


# ------------------------------------------------------------------ refusals


@pytest.mark.mpi
def test_a_failing_call_of_nccl_names_the_rank_and_what_does_without(world, executor, monkeypatch):
    if world.size == 1:
        pytest.skip("one rank sends nothing")
    with every_transport(world, executor, monkeypatch) as nccl, group_by("nccl", world, executor) as (group, backend):
        nccl.failing = "NCCL_ERROR_SYSTEM_ERROR: unhandled system error"
        with pytest.raises(RankError, match=f"rank {world.rank}: NCCL: NCCL_ERROR_SYSTEM_ERROR.*'host' does without"):
            group.sum_samples(backend.zeros((5, 2), np.float32), TRAFFIC)
        nccl.failing = None


@pytest.mark.mpi
def test_two_ranks_on_one_device_are_refused_by_nccl_on_all_ranks(world, monkeypatch):
    if world.size == 1:
        pytest.skip("one rank sends nothing")

    class Shared(ExecutorDevice):
        place = "0000:3B:00.0"

    executor, group = Shared(), Group(world)
    with every_transport(world, executor, monkeypatch), pytest.raises(LaunchError, match="ranks 0 and 1 share device 0000:3B:00.0.*'host'") as caught:
        group.take_arrays_of(CudaBackend(executor), "nccl")
    assert caught.value.agreed == world.size
    group.free()


@pytest.mark.mpi
def test_nccl_that_does_not_start_is_an_error_on_all_ranks(world, executor, monkeypatch):
    if world.size == 1:
        pytest.skip("one rank sends nothing")

    class Failing(NcclStandIn):
        def NcclCommunicator(self, ndev, commId, rank):
            raise self.NcclError("NCCL_ERROR_SYSTEM_ERROR")

    group, nccl = Group(world), Failing(world, executor.stream)
    monkeypatch.setattr(executor, "nccl", lambda: nccl)
    with pytest.raises(LaunchError, match="NCCL does not start: NCCL_ERROR_SYSTEM_ERROR.*choose 'host'") as caught:
        group.take_arrays_of(CudaBackend(executor), "nccl")
    assert caught.value.agreed == world.size
    group.free()
    nccl.comm.Free()


@pytest.mark.mpi
def test_an_mpi_that_does_not_know_cuda_is_refused_on_all_ranks(world, monkeypatch):
    found = Support(False, "MPIX_Query_cuda_support says no")
    monkeypatch.setattr(cuda_support, "probe", lambda number: found)
    group = Group(world)
    with pytest.raises(LaunchError, match=r"'cuda-aware': .* does not take arrays .* \(MPIX_Query_cuda_support says no\); choose 'host'") as caught:
        require_cuda_aware(world, SimpleNamespace(number=0), group.together)
    assert caught.value.agreed == world.size
    group.free()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_transport_without_a_device_is_refused(transport):
    tree = {"data": {"format": "synthetic"}, "compute": {"transport": transport}}
    for backend in ("auto", "cpu"):
        with pytest.raises(ConfigError, match=f"compute.transport = '{transport}' is for arrays of a device.*compute.backend = 'cuda'"):
            build({**tree, "compute": {**tree["compute"], "backend": backend}})
    assert build({**tree, "compute": {**tree["compute"], "backend": "cuda"}}).compute.transport == transport


# ------------------------------------------------------------------ finding out


@pytest.mark.mpi
def test_another_process_asks_the_library(world):
    """From a job of several ranks, too, which it must not join."""
    found = probe() if world.rank == 0 else None
    if world.rank == 0:
        assert found.works in (True, False) and found.how in ("MPIX_Query_cuda_support", "mpi_built_with_cuda_support")
    world.Barrier()


def test_switches_of_the_environment_are_heeded():
    from mpi4py import MPI

    switch = "MPIR_CVAR_ENABLE_GPU" if MPI.get_vendor()[0] == "MPICH" else "MPICH_GPU_SUPPORT_ENABLED"
    assert cuda_support.asked({switch: "0"}) == Support(False, f"{switch}=0")


@pytest.mark.parametrize(
    "program, works, words",
    [
        ("print('{\"works\": true, \"how\": \"a query\"}', flush=True); import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
         False, "a query says yes, but a process that sent an array of the device was ended by signal 11"),
        ("print('{\"works\": true, \"how\": \"a query\"}\\n{\"sent\": true}')", True, "a query says yes, and an array of the device arrived"),
        ("print('{\"works\": null, \"how\": \"no query\"}\\n{\"sent\": false}')", False, "no query, and an array of the device arrived with other contents"),
        ("print('{\"works\": false, \"how\": \"a query\"}')", False, "a query"),
        ("raise SystemExit('no MPI')", None, "it could not be asked: ended with 1: no MPI"),
    ],
)  # fmt: skip
def test_what_a_process_finds_that_sends_itself_an_array(program, works, words):
    assert probe(0, (sys.executable, "-c", program)) == Support(works, words)


def test_the_launchers_variables_stay_here():
    """A process that were given them would join the job."""
    program = "import os, json; print(json.dumps({'works': False, 'how': ' '.join(sorted(os.environ))}))"
    given = {"PMI_RANK": "1", "PMIX_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "SLURM_PROCID": "0", "MPIR_CVAR_ENABLE_GPU": "1", "PATH": "/bin"}
    assert set(probe(0, (sys.executable, "-c", program), given).how.split()) & set(given) == {"MPIR_CVAR_ENABLE_GPU", "PATH"}


@pytest.mark.mpi
def test_arrays_that_arrive_are_told_from_those_that_do_not(world, executor):
    from mpi4py import MPI

    backend = CudaBackend(executor)
    held = {}

    def put(numbers):
        array = backend.array(numbers)
        executor.wait(executor.mark())
        lent = executor.lend(array, writes=True)
        held[id(lent)] = array
        return lent

    def read(lent):
        return backend.host(held[id(lent)])

    assert arrives(MPI.COMM_SELF, put, read)
    assert not arrives(MPI.COMM_SELF, put, lambda lent: np.where(read(lent) == 7, 0, read(lent)))
    backend.close()
