"""Training whose keys travel as numbers, on ranks of several nodes: the bits of ranks that share one, where they travel whole; fewer bytes, as
the formula says; and a dictionary that is full changes nothing but bytes."""

from functools import cache

import pytest
from pretended_nodes import pretend
from small_training import small_config, train_on
from synthetic_batches import awkward_batches

from deshpc.route import key_numbers

pytestmark = pytest.mark.mpi


@cache
def batches():
    return awkward_batches(7, 20, 1)


def trained(world, exchange, key_numbers="auto"):
    """(digest, bytes of keys that all ranks sent)"""
    config = small_config("fm", precision="float32", exchange=exchange, routing="routed", levels="one", key_numbers=key_numbers)
    found = train_on(world, batches(), config, threads=2)
    return found.digest(), sum(world.allgather(sum(one["sent_bytes"] for one in found.ledger if one["kind"] == "keys")))


@pytest.mark.parametrize("exchange", ["allreduce", "rows"])
def test_numbers_change_bytes_alone(world, monkeypatch, exchange):
    digest, whole = trained(world, exchange)
    if world.size == 1:
        assert whole == 0
        return
    pretend(monkeypatch, "in turns" if world.size > 2 else "each alone")
    numbered, off = trained(world, exchange), trained(world, exchange, "off")
    monkeypatch.setattr(key_numbers, "MOST_KEYS", 1)  # 64 of a pair
    full = trained(world, exchange)
    assert numbered[0] == full[0] == off[0] == digest
    assert numbered[1] < full[1] < off[1]
    assert off[1] == whole if exchange == "rows" else off[1] < whole  # what occurrences are is shorter between nodes
