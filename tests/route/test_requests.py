"""Where rows travel: what home ranks ask of owners.

A brute-force model of requests in Python lists, for awkward batches (empty shares, keys that one rank alone sees): a
home rank's thread lists the distinct keys of its own occurrences by owner rank, then field, then first appearance (on several nodes
those that it has sent before come first, in the order in which it did); an
owner's shard sees the stretches of all home ranks one after another, the same ones, whether keys travelled or the owner
read the whole batch.  Occurrences name places in that list.  All that while the next batch is routed.
"""

from collections import defaultdict

import numpy as np
import pytest
from pretended_nodes import pretend
from synthetic_batches import N_FIELDS, awkward_batches, owner_of, share_of

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.exchange.rows import RowExchange
from deshpc.hashing.partition import KeyPartition
from deshpc.route.requests import BroadcastRequests, RoutedRequests

pytestmark = pytest.mark.mpi


def occurrences_of(share):
    """[(sample, place in the batch's arrays)] of a share's occurrences."""
    return [(i, j) for i in range(len(share)) for j in range(share.begins[i], share.ends[i])]


def requests_of(share, ranks, shards, s, seen=None):
    """[(owner rank, field, key)] that thread s of the share's home rank asks for, in the order of the rows' return.

    seen : {owner rank: {key: its number} of those that thread s has sent to another node}
    """
    found = {}  # in order of first appearance
    for _, j in occurrences_of(share):
        owner = owner_of(share.keys[j], ranks * shards)
        if owner % shards == s:
            found.setdefault((owner // shards, int(share.fields[j]), int(share.keys[j])))
    numbers = {} if seen is None else {key: number for of_rank in seen.values() for key, number in of_rank.items()}
    return sorted(found, key=lambda one: (*one[:2], numbers.get(one[2], len(numbers))))


class History:
    """What all home ranks have sent to ranks of other nodes: a dictionary of each thread and owner rank."""

    def __init__(self, group, shards):
        self._nodes, self._shards, self.sent = group.nodes.numbers, shards, defaultdict(lambda: defaultdict(dict))

    def copy(self):
        """{(home, thread): {owner rank: {key: number}}} as it is now."""
        return {who: {owner: dict(keys) for owner, keys in of_owners.items()} for who, of_owners in self.sent.items()}

    def learn(self, batch, ranks):
        """Remember what is asked of owners on other nodes, in the order in which keys first appear."""
        for home in range(ranks):
            share = share_of(batch, home, ranks)
            for _, j in occurrences_of(share):
                owner, thread = divmod(owner_of(share.keys[j], ranks * self._shards), self._shards)
                if self._nodes[owner] != self._nodes[home]:
                    keys = self.sent[home, thread][owner]
                    keys.setdefault(int(share.keys[j]), len(keys))


def check_home(routed, batch, share, group, shards, history):
    """What this rank's threads know of its own samples; returns the keys they ask of other ranks."""
    requests, away = routed.requests, 0
    assert requests.asking.shape == requests.asked.shape == (group.size, shards)
    for s, home in enumerate(requests.home):
        asking = requests_of(share, group.size, shards, s, history.get((group.rank, s)))
        assert home.unique == len(asking)
        assert requests.asking[:, s].tolist() == [sum(one[0] == r for one in asking) for r in range(group.size)]
        mine = [(i, j) for i, j in occurrences_of(share) if owner_of(share.keys[j], group.size * shards) % shards == s]
        assert np.diff(home.offsets).tolist() == [sum(i == sample for i, _ in mine) for sample in range(len(share))]
        assert [asking[place][2] for place in home.occurrences] == [int(share.keys[j]) for _, j in mine]
        if batch.values is None:
            assert home.values is None
        else:
            assert np.array_equal(home.values, share.values[[j for _, j in mine]])
        away += sum(one[0] != group.rank for one in asking)
    return away


def check_owner(routed, batch, group, shards, history):
    """What this rank's shards are asked for, home rank by home rank."""
    for s, owned in enumerate(routed.shards):
        asked = [
            [
                one
                for one in requests_of(share_of(batch, home, group.size), group.size, shards, s, history.get((home, s)))
                if one[0] == group.rank
            ]
            for home in range(group.size)
        ]
        assert routed.requests.asked[:, s].tolist() == [len(one) for one in asked]
        assert owned.keys.tolist() == [key for one in asked for _, _, key in one]
        assert owned.fields.tolist() == [field for one in asked for _, field, _ in one]
        assert owned.weighted == (batch.values is not None)
        assert (owned.offsets, owned.occurrences, owned.values) == (None, None, None)


@pytest.mark.parametrize("weighted", [0, 1, 2])
@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("kind", [BroadcastRequests, RoutedRequests])
def test_owners_are_asked_for_the_keys_of_every_share(world, monkeypatch, kind, shards, weighted):
    """With two threads on several nodes."""
    if shards == 2:
        pretend(monkeypatch, "in turns")
    group, backend = Group(world), open_backend("cpu", shards)
    routing = kind(backend, group, KeyPartition(group.size, shards), N_FIELDS, RowExchange)
    before, sent, history = None, 0, History(group, shards)
    numbered = kind is RoutedRequests and len(group.nodes.members) > 1
    for batch in awkward_batches(41, steps=12, weighted=weighted):
        known = history.copy()
        if numbered:
            history.learn(batch, group.size)
        share = share_of(batch, group.rank, group.size)
        routed = routing.route(batch if routing.reads_whole_batch else share, "forward")().wait()
        for one, (routed_one, batch_one, share_one, known_one) in enumerate(([] if before is None else [before]) + [(routed, batch, share, known)]):
            assert (routed_one.step, routed_one.samples) == (batch_one.step, len(batch_one)), one
            assert np.array_equal(routed_one.labels, share_one.labels)
            assert np.array_equal(routed_one.dense, share_one.dense)
            away = check_home(routed_one, batch_one, share_one, group, shards, known_one)
            check_owner(routed_one, batch_one, group, shards, known_one)
        before = routed, batch, share, known
        if numbered:
            continue  # bytes: `test_routing`, `steps/`
        sent += 8 * away + 4 * shards * N_FIELDS * (group.size - 1)
        assert group.ledger.of() == (sent if kind is RoutedRequests else 0)
    assert group.ledger.of(operator="batch", kind="keys", direction="forward") == group.ledger.of()
    backend.close()
    group.free()


@pytest.mark.parametrize("shards", [1, 2])
def test_both_ways_agree(world, shards):
    """Array for array: the rows of either come home in the same order."""
    group, backend = Group(world), open_backend("cpu", shards)
    partition = KeyPartition(group.size, shards)
    ways = [kind(backend, group, partition, N_FIELDS, RowExchange) for kind in (BroadcastRequests, RoutedRequests)]
    for batch in awkward_batches(42):
        broadcast, routed = (
            way.route(share_of(batch, group.rank, group.size, way.reads_whole_batch), "eval")().wait() for way in ways
        )
        pairs = [(broadcast.requests, routed.requests)]
        pairs += list(zip(broadcast.shards + broadcast.requests.home, routed.shards + routed.requests.home, strict=True))
        for one, other in pairs:
            for array, same in zip(parts(one), parts(other), strict=True):
                assert np.array_equal(array, same)
    backend.close()
    group.free()


def parts(thing):
    """The arrays and numbers of a dataclass; of Requests the two tables."""
    return [part for part in (getattr(thing, name) for name in thing.__dataclass_fields__) if not isinstance(part, list)]
