"""Which samples every step of a run has learnt, in their order: rows have a field `id`, whose values are 0, 1, 2, ..."""

from deshpc.hashing.key import key
from deshpc.training import loop


def noted_samples(monkeypatch):
    """A list that gets (step, samples of all ranks, keys of the ids of this rank's) of every batch that is learnt."""
    found, steps = [], loop.steps

    def recorded(model, batches, *arguments):
        def noted():
            for batch in batches:
                found.append((batch.step, batch.global_samples, [int(one) for one in batch.keys[batch.begins]]))
                yield batch

        yield from steps(model, noted(), *arguments)

    monkeypatch.setattr(loop, "steps", recorded)
    return found


def learnt(world, seen, ids):
    """[(step, ids of its samples, in their order)], of all ranks.  ids : how many there are.  Collective."""
    names, steps = {key(0, "id", str(i)): i for i in range(ids)}, []
    for parts in zip(*world.allgather(seen), strict=True):
        assert len({step for step, _, _ in parts}) == 1
        steps.append((parts[0][0], [names[one] for _, _, keys in parts for one in keys]))
        assert len(steps[-1][1]) == parts[0][1]
    return steps
