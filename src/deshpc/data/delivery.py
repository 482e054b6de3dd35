"""Blocks that one rank has read, to all ranks: held once in the memory of a node, or sent where ranks are on several.

    take        collective: a rank's block lies in a slot of the node's memory, which all ranks read in place
    release     each rank by itself: it reads the block no more

A slot is written again by a later `take`.  All ranks take and release in one order, and a take begins when all are there: so they agree
without a word on which slots are free.  A block that is smaller than a batch is copied into batches in any case, and is a copy of its own: a batch
may be made of any number of them.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from deshpc.comm.group import attempted
from deshpc.comm.ledger import Traffic
from deshpc.data.block import Block
from deshpc.data.dataset import ARRAYS, Dataset

_TRAFFIC = Traffic("batch", "samples", "setup")
_ALIGNED = 64  # bytes
_ROOM = 1.25  # of a slot, by its first block


class _Part(NamedTuple):
    """Where an array of samples lies in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    begin: int
    end: int

    def of(self, memory):
        """The array in (..) uint8."""
        return memory[self.begin : self.end].view(self.dtype).reshape(self.shape)


class _Header(NamedTuple):
    """thing : a Block without its samples, or what else was taken;  parts : _Parts of the samples"""

    thing: Any
    parts: tuple[_Part, ...] = ()


class Delivery:
    """Delivers Blocks among the ranks of `group`; node : this rank's.

    small_rows : rows below which a block is copied
    working : function of a task that does it, as `Session.working` does
    """

    def __init__(self, group, node, small_rows, working=lambda task: task()):
        self._group, self._node, self._small_rows, self._working = group, node, small_rows, working
        self._one_node = node.size == group.size
        self._free, self._taken = [], {}

    def take(self, root, task):
        """task() of rank `root`, a Block or something small, on all ranks; its errors are raised on all.  Collective."""
        here = self._group.rank == root
        thing, error = attempted(lambda: self._working(task)) if here else (None, None)
        self._node.sleep_until_all_are_here()
        self._group.agree(error)
        if self._group.size == 1:
            return thing
        header = self._group.gather(_header(thing) if here else None)[root]
        if not header.parts:
            return header.thing
        memory, slot = self._received(thing.samples if here else None, header, root)
        if here:
            thing.give_back()
        arrays = {part.name: part.of(memory) for part in header.parts}
        block = replace(header.thing, samples=Dataset(**{name: arrays.get(name) for name in ARRAYS}))
        if slot is not None:
            self._taken[id(block)] = slot
        return block

    def release(self, block):
        """This rank reads a block no more that it has taken."""
        block.give_back()
        slot = self._taken.pop(id(block), None)
        if slot is not None:
            self._free.append(slot)

    def keep(self, block):
        """The same block, which stays as it is, whoever releases it."""
        self._taken.pop(id(block), None)
        return replace(block, room=None)

    def _received(self, samples, header, root):
        """(bytes of samples, which this rank has itself or not; the slot that they lie in, or None).  Collective."""
        nbytes = header.parts[-1].end
        if not self._one_node:
            memory, message = np.empty(nbytes, np.uint8), np.empty(0 if samples is None else nbytes, np.uint8)
            counts = np.where(np.arange(self._group.size) == root, nbytes, 0)
            return self._group.gather_bytes(_packed(samples, header.parts, message), counts, memory, _TRAFFIC).wait(), None
        slot = self._slot(nbytes)
        memory = slot[:nbytes]
        _, error = attempted(lambda: None if samples is None else _packed(samples, header.parts, self._node.taken(memory)))
        self._node.sleep_until_all_are_here()
        self._group.agree(error)
        if header.parts[0].shape[0] - 1 < self._small_rows:
            self._free.append(slot)
            return memory.copy(), None
        return memory, slot

    def _slot(self, nbytes):
        """A free slot of so many bytes at least.  Collective on the node."""
        for slot in self._free:
            if len(slot) >= nbytes:
                self._free = [one for one in self._free if one is not slot]
                return slot
        self._group.together(lambda: self._node.require(int(_ROOM * nbytes)))
        return self._node.allocate(int(_ROOM * nbytes), np.uint8)


def _header(thing):
    if not isinstance(thing, Block) or thing.samples is None:
        return _Header(thing)
    parts, begin = [], 0
    for name in ARRAYS:
        array = getattr(thing.samples, name)
        if array is not None:
            parts.append(_Part(name, array.shape, array.dtype.str, begin, begin + array.nbytes))
            begin += -(-array.nbytes // _ALIGNED) * _ALIGNED
    return _Header(replace(thing, samples=None, room=None), tuple(parts))


def _packed(samples, parts, memory):
    """Bytes, in which the arrays of samples have been put, if there are some."""
    for part in parts if samples is not None else ():
        part.of(memory)[...] = getattr(samples, part.name)
    return memory
