"""What keys take that travel between nodes, in the mean step of a run, in expectation; see `backend.cpu.key_numbers`.

At first no key has a number.  D keys have one once a home has seen samples with D distinct keys; the next local batch has as many keys
without a number as it adds to them.  In every epoch of shuffled rows a home has other ones.  Where the dictionary is full, the keys of
the samples that filled it keep their numbers, and no others get any.
"""

import math
from bisect import bisect_left

from deshpc.route.key_numbers import most_of_pair

_LOOKED_AT = 24  # steps of a run, at most


def whole_and_short(distinct, rows, batch, ranks, dictionaries, epochs=1, shuffles=True):
    """(share of the keys between nodes that travel whole, bytes of the numbers of the others in all messages of a home to an owner).

    distinct : function of samples, their distinct keys
    rows : of an epoch;  batch : samples of a global batch
    dictionaries : of a rank
    shuffles : whether an epoch's rows are dealt out anew
    """
    pairs, share = ranks * dictionaries, batch / ranks
    of_epoch = max(1, -(-rows // batch))
    steps, own, most = of_epoch * max(1, epochs), distinct(share), pairs * most_of_pair(ranks, dictionaries)
    left = 1 - 1 / ranks if shuffles else 0.0  # of the rows that a home has not had, those that it has not after another epoch

    def seen(step):
        """Samples that a home has had before a step."""
        epoch, more = divmod(step, of_epoch)
        return rows * (1 - left**epoch + left**epoch * more / of_epoch / ranks) if shuffles or epoch == 0 else rows / ranks

    filled_by = _samples_of(distinct, most, seen(steps))
    full = bisect_left(range(steps), filled_by, key=seen)
    later = min(steps, (full // of_epoch + 1) * of_epoch)  # the epoch after the one that fills the dictionary
    had = filled_by / (rows if shuffles else rows / ranks)  # of a later epoch's rows at a home, those that filled it

    def unknown(step):
        """Keys of a local batch without a number, once the dictionary is full."""
        others = share * (left ** (full // of_epoch) if step < later else 1 - had)
        return distinct(filled_by + others) - distinct(filled_by)

    whole = distinct(filled_by)
    if full < steps:
        whole += (later - full) * unknown(full) + (steps - later) * unknown(later)
    looked_at = sorted({int((i + 0.5) * steps / _LOOKED_AT) for i in range(_LOOKED_AT)})

    def code_bytes(step):
        held = distinct(min(seen(step), filled_by))
        fresh = distinct(seen(step + 1)) - held if step < full else unknown(step)
        return _code_bytes((own - max(0.0, fresh)) / pairs, held / pairs)

    return min(1.0, whole / steps / max(own, 1e-9)), dictionaries * sum(map(code_bytes, looked_at)) / len(looked_at)


def _samples_of(distinct, keys, most):
    """How many samples have so many distinct keys, at most `most`."""
    if distinct(most) <= keys:
        return most
    low, high = 0.0, float(most)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if distinct(middle) < keys else (low, middle)
    return high


def _code_bytes(known, held):
    """Of the numbers of so many keys among those that have one."""
    known = min(known, held)
    if known < 0.5:
        return 0.0
    low = max(0, math.ceil(math.log2(max(held - known, 1e-9) / known)) - 1)
    return (known * (low + 1) + (held - known) / 2**low) / 8 + 3.5  # filled up to 8
