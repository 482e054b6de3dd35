"""Batches on their way to a device while the ones before are worked on."""


def gathered_ahead(backend, batches):
    """Yield batches, each after the next one has been started on its way to where the backend computes.

    batches : Batches, of which two more must be valid than `backend.batches_ahead` and the one that is worked on
    """
    if not backend.batches_ahead:
        yield from batches
        return
    waiting = None
    for batch in batches:
        batch.start_on(backend)
        if waiting is not None:
            yield waiting
        waiting = batch
    if waiting is not None:
        yield waiting
