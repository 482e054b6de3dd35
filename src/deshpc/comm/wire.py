"""Numbers of fewer bits, in which float32 travels (`train.wire`): rounded where they leave, sums are float32.

    full        as they are
    bfloat16    8 bits of a number, float32's range
    float16     11 bits of a number, at most 65,504: larger ones become infinite, which ends a run
"""

import numpy as np

from deshpc.backend.cpu.halves import from_bfloat16, to_bfloat16

KINDS = ("partials", "layers", "pooled", "rows", "gradients")
"""What travels so: `Traffic.kind`."""

DIRECTIONS = ("forward", "backward")
"""When: `Traffic.direction`.  What is evaluated or predicted is not rounded: it is the same on any number of ranks."""


class Bfloat16:
    """Packs float32 arrays, without gaps, as halves."""

    def pack(self, numbers):
        """(n) uint16 of float32 numbers of any shape, a new array."""
        halves = np.empty(numbers.size, np.uint16)
        to_bfloat16(numbers.reshape(-1).view(np.uint32), halves)
        return halves

    def unpack(self, halves, numbers):
        """Fill numbers, float32 of any shape, from halves (n) uint16; returns them."""
        from_bfloat16(halves, numbers.reshape(-1).view(np.uint32))
        return numbers


class Float16:
    """As Bfloat16."""

    def pack(self, numbers):
        """See `Bfloat16`."""
        with np.errstate(over="ignore"):
            return numbers.reshape(-1).astype(np.float16).view(np.uint16)

    def unpack(self, halves, numbers):
        """See `Bfloat16`."""
        numbers.reshape(-1)[...] = halves.view(np.float16)
        return numbers


WIRES = {"bfloat16": Bfloat16, "float16": Float16}


def open_wire(name):
    """The wire of `train.wire`; None where numbers travel as they are."""
    return None if name == "full" else WIRES[name]()
