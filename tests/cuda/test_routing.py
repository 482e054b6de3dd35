"""How keys travel between devices, against dicts and the wire format: picked, packed at home, unpacked at the owner.

Several ranks are played in one process: each home rank packs its share, the messages are cut and joined as an all-to-all
does, and each owner unpacks.  Messages are those that the wire format says, written here with dicts and `tobytes`, and byte
for byte those of the CPU.  Arrays are longer than needed, and what lies behind must not change.
"""

import numpy as np
import pytest
from device_shards import fast

from deshpc.backend.arguments import Messages, UniqueKeys, Unpacked
from deshpc.backend.cpu.backend import CpuBackend
from deshpc.backend.cuda.backend import CudaBackend
from deshpc.data.batch import Batch
from deshpc.hashing.key import FIELD_BITS, FIELD_SHIFT
from deshpc.hashing.partition import FieldPartition, KeyPartition
from deshpc.route.distinct import Deduplication

TILE = 2048
N_FIELDS = 6  # of which field 4 never has a key
CANARY = 77

PARTITIONS = {
    "one owner": KeyPartition(1, 1),
    "by key": KeyPartition(3, 1),
    "by key, shards": KeyPartition(2, 3),
    "by field": FieldPartition(3, 1, np.array([2, 0, 1, 1, 0, 2])),
    "by field, shards": FieldPartition(2, 2, np.array([3, 0, 1, 1, 0, 2])),
}


def field_of(key):
    """The field that a key is of."""
    return key >> FIELD_SHIFT & 0xFFFF


def owner_of(partition, key):
    """Owner by the documented formulas, in Python integers."""
    if isinstance(partition, FieldPartition):
        return int(partition.owner_of_field[field_of(key)])
    return (key >> 32) * partition.ranks * partition.shards >> 32


def draw_share(generator, pool, counts, width, step=0):
    """Batch in host memory: samples of so many occurrences each, of keys of the pool."""
    keys = generator.choice(pool, int(sum(counts)))
    fields = np.array([field_of(key) for key in keys.tolist()], np.uint16)
    values = generator.random((len(keys), 2) if width == 2 else len(keys)).astype(np.float32) if width else None
    ends, n = np.cumsum(counts, dtype=np.int64), len(counts)
    dense = np.zeros((n, 1), np.float32)
    return Batch(step, n, np.arange(n), ends - counts, ends, keys, fields, values, dense, np.zeros(n, np.float32))


def draw_pool(generator, n, crowded=False):
    """Distinct keys, of which half belong to the last owner, if they are not all in one bucket of any index."""
    keys = generator.integers(1, 2**64, n, dtype=np.uint64)
    keys[::2] |= np.uint64(3 << 62)
    keys &= ~np.uint64(FIELD_BITS)
    keys |= generator.choice(np.array([0, 1, 2, 3, 5], np.uint64), n) << np.uint64(FIELD_SHIFT)
    return keys | np.uint64(0xFFFFFFFF) if crowded else keys


def dirty(backend, shape, dtype):
    """An array in which every number is CANARY."""
    return backend.array(np.full(shape, CANARY, dtype))


def values_of(backend, batch, room):
    """Room for values in the form of the batch's, or None."""
    return None if batch.values is None else dirty(backend, (room, *batch.values.shape[1:]), np.float32)


def room_for_unique(backend, batch, with_values=True):
    """UniqueKeys of a batch, in which every number is CANARY."""
    n = len(batch.keys)
    return UniqueKeys(
        dirty(backend, n + 1, np.uint64), dirty(backend, n + 1, np.uint16), dirty(backend, n + 1, np.int32),
        dirty(backend, len(batch) + 1, np.int64), dirty(backend, n, np.int32), values_of(backend, batch, n) if with_values else None,
    )  # fmt: skip


def deduplicated(backend, batch, partition, modulus, residue, buckets, with_values=True):
    """(UniqueKeys, header, answer) of a batch on the backend."""
    unique, sparse = room_for_unique(backend, batch, with_values), batch.on(backend).sparse
    if not with_values:
        sparse = sparse._replace(values=None)
    room = dirty(backend, 8 * buckets, np.uint64)
    header = np.full((partition.ranks, N_FIELDS + 1), CANARY, np.int32)
    return unique, header, backend.routing.deduplicate(sparse, partition, modulus, residue, room, unique, header, True)


def first_keys(unique, count):
    """The UniqueKeys of the first so many keys, for messages."""
    return unique._replace(keys=unique.keys[:count], fields=unique.fields[:count], ranks=unique.ranks[:count])


def check_unique(backend, batch, partition, modulus, residue):
    n, keys = len(batch.keys), batch.keys.tolist()
    found, header, answer = deduplicated(backend, batch, partition, modulus, residue, 4096)
    own = np.array([owner_of(partition, key) % modulus == residue for key in keys], bool)
    numbers, taken = {}, int(own.sum())
    expected = [numbers.setdefault(key, len(numbers)) for key, mine in zip(keys, own, strict=True) if mine]
    behind = [CANARY] * (n + 1 - len(numbers))
    assert answer == (len(numbers), taken)
    assert backend.host(found.keys).tolist() == [*numbers, *behind]
    assert backend.host(found.fields).tolist() == [*map(field_of, numbers), *behind]
    owners = [owner_of(partition, key) for key in numbers]
    assert backend.host(found.ranks).tolist() == [owner // partition.shards for owner in owners] + behind
    counted, times = np.zeros((partition.ranks, N_FIELDS + 1), np.int32), np.bincount(np.array(expected, int))
    for key, owner in zip(numbers, owners, strict=True):
        counted[owner // partition.shards, field_of(key)] += 1
        counted[owner // partition.shards, N_FIELDS] += times[numbers[key]]
    assert header.tolist() == counted.tolist()
    assert backend.host(found.occurrences).tolist() == expected + [-1] * (n - taken)
    sample = np.repeat(np.arange(len(batch)), batch.ends - batch.begins)[own]
    counts = np.bincount(sample, minlength=len(batch))
    assert backend.host(found.offsets).tolist() == [0, *np.cumsum(counts).tolist()]
    if batch.values is not None:
        values = np.full(batch.values.shape, CANARY, np.float32)
        values[:taken] = batch.values[own]
        assert backend.host(found.values).tolist() == values.tolist()


def moduli(partition):
    """All keys, those of one thread of every rank, those of one owner."""
    owners, shards = partition.ranks * partition.shards, partition.shards
    return [(1, 0), (shards, shards - 1), (owners, owners // 2)]


@pytest.mark.parametrize("name, width", zip(PARTITIONS, (2, 1, 0, 2, 1), strict=True))
def test_distinct_keys_of_an_owner(device, name, width):
    backend, generator = CudaBackend(device), np.random.default_rng(width)
    pool = draw_pool(generator, 60, crowded=width == 1)
    counts = generator.multinomial(280, np.full(90, 1 / 90))  # some samples without keys
    batch = draw_share(generator, pool, counts, width)
    for modulus, residue in moduli(PARTITIONS[name]):
        check_unique(backend, batch, PARTITIONS[name], modulus, residue)


@pytest.mark.parametrize("distinct", [1, 400, 100_000])
@pytest.mark.parametrize("n", [0, 1, 33, TILE, TILE + 1, 2 * TILE + 300])
def test_distinct_keys_of_batches_of_many_sizes(few, n, distinct):
    backend, generator = CudaBackend(few), np.random.default_rng(n)
    pool = draw_pool(generator, min(distinct, 2 * n + 1))
    batch = draw_share(generator, pool, generator.multinomial(n, np.full(50, 1 / 50)), 1)
    for modulus, residue in moduli(PARTITIONS["by key, shards"]):
        check_unique(backend, batch, PARTITIONS["by key, shards"], modulus, residue)
    check_unique(backend, batch, KeyPartition(5, 1), 5, 3)


def test_a_scratch_index_that_is_too_small_is_an_answer(few):
    """64 buckets take 153 keys; `Deduplication` comes again with twice as many."""
    backend, generator = CudaBackend(few), np.random.default_rng(4)
    batch = draw_share(generator, draw_pool(generator, 500), [100, 53, 1], 0)
    full = batch.share(0, 2)
    full = Batch(*(getattr(full, name) for name in ("step", "global_samples", "samples", "begins", "ends")),
                 batch.keys[:153], batch.fields[:153], None, full.dense, full.labels)  # fmt: skip
    for modulus in (1, 3):
        assert deduplicated(backend, full, KeyPartition(3, 1), modulus, 0, 64)[2][0] >= 0
        assert deduplicated(backend, batch, KeyPartition(3, 1), modulus, 0, 64)[2] == (-1, 0)
    unique, _ = Deduplication(backend.routing, KeyPartition(3, 1), 3, N_FIELDS)(batch.on(backend), backend.buffers())
    numbers = {}
    expected = [numbers.setdefault(key, len(numbers)) for key in batch.keys.tolist()]
    assert backend.host(unique.keys).tolist() == list(numbers) and backend.host(unique.occurrences).tolist() == expected


# ------------------------------------------------------------------ messages


def narrow(width):
    """Messages with one value an occurrence stand for those inside a node, the others for those between nodes."""
    return width != 1


def in_bits(numbers, bits):
    """Numbers in so many bits each, the lowest first, in whole uint32."""
    found = np.packbits((np.array(numbers, np.int64).reshape(-1, 1) >> np.arange(bits)) & 1, bitorder="little").tobytes()
    return found + bytes(-len(found) % 4)


def messages_of(batch, ranks, partition, width):
    """(header, message to each rank), as the wire format says, and the place of every unique key in its message."""
    header, messages, places = np.zeros((ranks, N_FIELDS + 1), np.int32), [], {}
    occurrences = batch.keys.tolist()
    sample = np.repeat(np.arange(len(batch)), batch.ends - batch.begins)
    for rank in range(ranks):
        own = [j for j, key in enumerate(occurrences) if owner_of(partition, key) == rank]
        unique = list(dict.fromkeys(occurrences[j] for j in own))
        unique.sort(key=field_of)  # stable: in order of first appearance inside a field
        places.update({key: place for place, key in enumerate(unique)})
        header[rank, :N_FIELDS] = np.bincount([field_of(key) for key in unique], minlength=N_FIELDS)
        header[rank, N_FIELDS] = len(own)
        message = np.array(unique, np.uint64).tobytes()
        message += in_bits([places[occurrences[j]] for j in own], max(0, len(unique) - 1).bit_length() if narrow(width) else 32)
        message += batch.values[own].tobytes() if width else b""
        message += np.bincount(sample[own], minlength=len(batch)).astype(np.uint16).tobytes()
        messages.append(message + bytes(-len(message) % 8))
    return header, messages, places


def pack(backend, batch, partition, width):
    """(header, sections, messages, places, answer) of a share on a device."""
    buckets = 1 << 16 if len(batch.keys) > 9_000 else 4096
    found, header, (count, _) = deduplicated(backend, batch, partition, 1, 0, buckets, with_values=False)
    return header, *packed(backend, batch, partition, width, first_keys(found, count), header, batch.on(backend).sparse)


def packed(backend, batch, partition, width, unique, header, sparse):
    """(sections, messages, places, answer), of its unique keys."""
    sections, samples = np.empty((partition.ranks, 4), np.int64), np.full(partition.ranks, len(batch), np.int64)
    backend.routing.section_bytes(header, samples, width, narrow(width), sections)
    message, places = dirty(backend, int(sections[:, 3].sum()), np.uint8), dirty(backend, len(unique.keys), np.int32)
    answer = backend.routing.pack(sparse, unique, places, Messages(message, header, sections, samples, narrow(width)))
    return sections, backend.host(message).tobytes(), backend.host(places).tolist(), answer


def pack_on_cpu(batch, partition, width):
    """(header, messages) of the CPU."""
    backend = CpuBackend(1)
    found, header, (count, _) = deduplicated(backend, batch, partition, 1, 0, 4096, with_values=False)
    _, message, _, answer = packed(backend, batch, partition, width, first_keys(found, count), header, batch.sparse)
    assert answer == -1
    return header, message


def check_packed(backend, batch, partition, width):
    """(header, message to each rank) of a share, which are what the wire format says."""
    header, sections, message, places, answer = pack(backend, batch, partition, width)
    expected, messages, places_of = messages_of(batch, partition.ranks, partition, width)
    assert answer == -1
    assert header.tolist() == expected.tolist()
    assert sections[:, 3].tolist() == [len(one) for one in messages]
    assert places == [places_of[key] for key in dict.fromkeys(batch.keys.tolist())]
    assert message == b"".join(messages)
    cpu_header, cpu_message = pack_on_cpu(batch, partition, width)
    assert cpu_header.tolist() == header.tolist() and cpu_message == message
    return header, messages


def check_unpacked(backend, shares, received, headers, partition, owner, width):
    """Keys, fields, occurrences, values and offsets that an owner reads out of the messages of all home ranks."""
    samples = np.array([len(share) for share in shares], np.int64)
    sections = np.empty((len(shares), 4), np.int64)
    backend.routing.section_bytes(headers, samples, width, narrow(width), sections)
    n_keys, n, total = int(headers[:, :N_FIELDS].sum()), int(headers[:, N_FIELDS].sum()), int(samples.sum())
    kept = Unpacked(
        dirty(backend, n_keys + 1, np.uint64), dirty(backend, n_keys + 1, np.uint16), dirty(backend, total + 1, np.int64),
        dirty(backend, n + 1, np.int32), values_of(backend, shares[0], n + 1),
    )  # fmt: skip
    messages = Messages(backend.array(np.frombuffer(received, np.uint8)), headers, sections, samples, narrow(width))
    result = backend.routing.unpack(messages, partition, owner, None, None, kept)
    assert result == (n_keys, n)
    own_keys, own_occurrences, own_values, counts = [], [], [], []
    for share in shares:
        mine = [owner_of(partition, key) == owner for key in share.keys.tolist()]
        unique = sorted(dict.fromkeys(share.keys[mine].tolist()), key=field_of)
        place = {key: len(own_keys) + p for p, key in enumerate(unique)}
        own_keys += unique
        own_occurrences += [place[key] for key in share.keys[mine].tolist()]
        own_values += share.values[mine].tolist() if width else []
        sample = np.repeat(np.arange(len(share)), share.ends - share.begins)[mine]
        counts += np.bincount(sample, minlength=len(share)).tolist()
    assert backend.host(kept.keys).tolist() == [*own_keys, CANARY]
    assert backend.host(kept.fields).tolist() == [*map(field_of, own_keys), CANARY]
    assert backend.host(kept.occurrences).tolist() == [*own_occurrences, CANARY]
    assert backend.host(kept.offsets).tolist() == [0, *np.cumsum(counts, dtype=np.int64).tolist()]
    if width:
        assert backend.host(kept.values).tolist() == [*own_values, [CANARY] * 2 if width == 2 else CANARY]


def travel(backend, shares, partition, width):
    """Pack every share, exchange the messages, unpack them at every owner."""
    ranks = partition.ranks
    packed = [check_packed(backend, share, partition, width) for share in shares]
    for owner in range(ranks):
        received = b"".join(messages[owner] for _, messages in packed)
        headers = np.stack([header[owner] for header, _ in packed])
        check_unpacked(backend, shares, received, headers, partition, owner, width)


def draw_shares(generator, pool, sizes, width):
    """A share of so many (samples, occurrences) for each home rank."""
    counts = [generator.multinomial(n, np.full(samples, 1 / samples)) if samples else [] for samples, n in sizes]
    return [draw_share(generator, pool, np.array(one, np.int64), width) for one in counts]


SMALL = [(5, 40), (1, 0), (130, 290), (0, 0), (3, 1)]  # among them ranks without keys, or without samples


@pytest.mark.parametrize("width", [0, 1, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_keys_travel_between_ranks(device, ranks, width):
    backend, generator = CudaBackend(device), np.random.default_rng(10 * ranks + width)
    shares = draw_shares(generator, draw_pool(generator, 90), SMALL[:ranks], width)
    travel(backend, shares, KeyPartition(ranks, 1), width)


@pytest.mark.parametrize("width", [0, 2])
def test_keys_travel_by_field(few, width):
    """Of four ranks, one of which owns nothing."""
    backend, generator = CudaBackend(few), np.random.default_rng(width)
    shares = draw_shares(generator, draw_pool(generator, 90), SMALL[:4], width)
    travel(backend, shares, FieldPartition(4, 1, np.array([3, 0, 1, 1, 0, 3])), width)


@pytest.mark.parametrize("sizes", [[(TILE, TILE - 1), (7, TILE)], [(300, TILE + 1), (2, 2 * TILE + 5), (1, 1)]])
@pytest.mark.parametrize("distinct", [1, 30_000])
def test_keys_of_larger_shares_travel(few, sizes, distinct):
    backend, generator = CudaBackend(few), np.random.default_rng(distinct)
    shares = draw_shares(generator, draw_pool(generator, distinct), sizes, 1)
    travel(backend, shares, KeyPartition(len(sizes), 1), 1)


def test_many_ranks_and_fields_are_sorted_by_more_than_one_digit(few):
    """60 ranks times 6 fields are more than 256 groups."""
    backend, generator = CudaBackend(few), np.random.default_rng(6)
    shares = draw_shares(generator, draw_pool(generator, 500), [(9, 700)] + [(0, 0)] * 59, 0)
    check_packed(backend, shares[0], KeyPartition(60, 1), 0)


@pytest.mark.parametrize(
    "counts, answer",
    [([3, 65_535, 1], -1), ([3, 65_536, 2], 1), ([0, 1, 65_536, 65_537, 2], 2)],
)
def test_more_keys_of_a_sample_than_a_message_can_tell(few, counts, answer):
    """All of one owner: the counts of a message are 16 bits.  The first such sample is the answer."""
    backend = CudaBackend(fast(few))
    keys = np.full(sum(counts), 2**63 + 12345, np.uint64)
    batch = draw_share(np.random.default_rng(1), keys[:1], counts, 0)
    partition = KeyPartition(2, 1)
    *_, message, _, found = pack(backend, batch, partition, 0)
    assert found == answer
    if answer < 0:
        assert message == b"".join(messages_of(batch, 2, partition, 0)[1])


def test_a_sample_of_more_keys_than_that_at_two_owners(few):
    backend, partition = CudaBackend(fast(few)), KeyPartition(2, 1)
    batch = draw_share(np.random.default_rng(2), np.array([5, (2**64 - 1) & ~FIELD_BITS], np.uint64), [1, 70_000], 0)
    *_, message, _, found = pack(backend, batch, partition, 0)
    assert found == -1 and message == b"".join(messages_of(batch, 2, partition, 0)[1])


@pytest.mark.parametrize("n", [0, 1, 256, 300])
def test_through(few, n):
    backend, generator = CudaBackend(few), np.random.default_rng(n)
    occurrences, local = generator.integers(0, 50, n).astype(np.int32), generator.integers(0, 999, 50).astype(np.int32)
    array = backend.array(np.append(occurrences, np.int32(3)))
    backend.routing.through(array[:n], backend.array(local))
    assert backend.host(array).tolist() == [*local[occurrences].tolist(), 3]
