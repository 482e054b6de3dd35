"""The occurrences of some fields of a batch beside a list comprehension: samples that lie anywhere, values of every kind."""

import numpy as np
import pytest
from synthetic_batches import N_FIELDS, awkward_batches

from deshpc.backend.open import open_backend
from deshpc.exchange.with_replicated import state_places
from deshpc.route.selection import FieldSelection


@pytest.mark.parametrize("weighted", [0, 1, 2])
@pytest.mark.parametrize("threads", [1, 3])
def test_occurrences_of_wanted_fields(threads, weighted):
    backend, rng = open_backend("cpu", threads), np.random.default_rng(1)
    for wanted in (np.array([0, 1, 0, 0, 1, 1], bool), np.zeros(N_FIELDS, bool), np.ones(N_FIELDS, bool)):
        selection, found = FieldSelection(backend, wanted), []
        for batch in awkward_batches(3, 6, weighted):
            order = rng.permutation(len(batch))  # samples in any order, as a shuffled epoch gives them
            batch = batch.__class__(**{**vars(batch), "begins": batch.begins[order], "ends": batch.ends[order]})
            found = [*found[-1:], (batch, selection.of(batch))]
            for source, one in found:  # the one before stays
                assert one.dense is source.dense and one.labels is source.labels and one.step == source.step
                assert (one.values is None) == (weighted == 0)
                for i in range(len(source)):
                    at = [j for j in range(source.begins[i], source.ends[i]) if wanted[source.fields[j]]]
                    own = slice(one.begins[i], one.ends[i])
                    assert one.keys[own].tolist() == source.keys[at].tolist()
                    assert one.fields[own].tolist() == source.fields[at].tolist()
                    assert weighted == 0 or one.values[own].tolist() == source.values[at].tolist()
    backend.close()


@pytest.mark.parametrize("fields", ["000000", "100000", "000001", "010010", "111111"])
@pytest.mark.parametrize("first", [0, 1])
def test_columns_of_a_whole_state(first, fields):
    replicated, dim = np.array([one == "1" for one in fields]), 3
    place, expected = first, {}
    for c in range(first):
        expected[c] = c
    for f in range(len(fields)):
        for c in range(dim):
            expected[first + f * dim + c] = None if replicated[f] else place + c
        place += 0 if replicated[f] else dim
    found = {}
    for begin, end, source in state_places(replicated, first, dim):
        found |= {c: None if source is None else source + c - begin for c in range(begin, end)}
    assert found == expected
