"""Which fields a rank has: as many as any other rank, with as many keys, as far as whole fields allow."""

import numpy as np
import pytest

from deshpc.hashing.partition import FieldPartition


def dealt(keys, ranks, shards=1, replicated=None):
    """[fields of each rank]"""
    partition = FieldPartition.of(ranks, shards, len(keys), replicated, np.array(keys, np.float64))
    return [partition.fields_of(rank).tolist() for rank in range(ranks)]


@pytest.mark.parametrize(("ranks", "bags", "single"), [(2, 6, (4, 4)), (3, 4, (2, 3)), (4, 3, (2, 2)), (5, 2, (1, 2))])
def test_bags_and_single_keys(ranks, bags, single):
    """8 fields of one key before 12 of about 83: every rank has as many of both as any other, or one more or less."""
    keys = [1.0] * 8 + (83 + np.random.default_rng(ranks).random(12)).tolist()
    found = dealt(keys, ranks)
    assert sorted(sum(found, [])) == list(range(20))
    of_bags = [sum(field >= 8 for field in own) for own in found]
    assert min(of_bags) == bags and max(of_bags) == -(-12 // ranks)
    of_single = [sum(field < 8 for field in own) for own in found]
    assert min(of_single) >= single[0] and max(of_single) <= single[1]


@pytest.mark.parametrize("ranks", [2, 3, 4, 7])
def test_no_rank_has_more_keys_than_the_mean_and_two_large_fields(ranks):
    generator = np.random.default_rng(ranks)
    for _ in range(50):
        keys = np.exp(generator.uniform(0, 5, 40))
        loads = [keys[own].sum() for own in dealt(keys, ranks)]
        assert sum(loads) == pytest.approx(keys.sum()) and max(loads) <= keys.sum() / ranks + 2 * keys.max()


def test_a_field_that_is_left_goes_to_the_fewest_keys():
    assert dealt([100.0, 10, 1], 2) == [[0], [1, 2]]
    assert dealt([1.0, 10, 100, 10, 1], 3) == [[2], [0, 1], [3, 4]]


def test_neighbours_stay_together_where_fields_are_alike():
    assert dealt([1.0] * 10, 3) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert dealt([0.0] * 2, 3) == [[0], [1], []]
    assert dealt([], 2) == [[], []]


def test_threads_share_a_ranks_fields():
    partition = FieldPartition.of(2, 2, 6, None, np.array([1, 1, 50, 50, 50, 50.0]))
    assert np.bincount(partition.owner_of_field[2:], minlength=4).tolist() == [1, 1, 1, 1]
    assert sorted(partition.owner_of_field[:2] // 2) == [0, 1]


def test_replicated_fields_do_not_count():
    replicated = np.array([False, True, False, True, False, False])
    found = dealt([60.0, 900, 60, 900, 1, 1], 2, 1, replicated)
    assert [sorted(set(own) - {1, 3}) for own in found] == [[0, 4], [2, 5]]
