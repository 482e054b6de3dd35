"""Arrays of a device travel through pinned memory: copied to it, exchanged by the host, and copied back.  Right with every MPI."""

import numpy as np

from deshpc.comm.rooms import Rooms, part_of
from deshpc.comm.turns import Turns


class StagedTransport:
    """Pinned memory is used again when the device has read what was sent back from it.

    An array is copied to the host on a stream of its own, behind what has filled it.  The host waits for that copy alone, and not
    before MPI is to have it; see `turns.py`.
    """

    def __init__(self, device, host, turns=None):
        """host : the transport of the pinned memory
        turns : of another transport of the same ranks, in whose order collectives begin; None: nobody else's
        """
        self._device, self._host, self.turns = device, host, turns or Turns(device)
        self._pinned = Rooms(lambda nbytes: device.host_memory((nbytes,), np.uint8), device.passed)

    def sum_samples(self, array, counts):
        """See `Transport`."""
        memory, host, point = self._out(array)
        asked = self.turns.ask(point, lambda: self._host.sum_samples(host, counts), array)
        return asked.then(lambda whole: self._back(whole, array, memory))

    def reduce_samples(self, array, counts):
        """See `Transport`."""
        memory, host, point = self._out(array)

        def finish(share):
            self._pinned.give(memory)
            result = self._device.empty(share.shape, share.dtype)
            self._device.to_device(share, result)
            return result

        return self.turns.ask(point, lambda: self._host.reduce_samples(host, counts), array).then(finish)

    def all_gather(self, own, counts, whole):
        """See `Transport`."""
        return self._travel(own, whole, lambda sent, room: self._host.all_gather(sent, counts, room))

    def all_to_all(self, send, send_counts, receive, receive_counts):
        """See `Transport`."""
        return self._travel(send, receive, lambda sent, room: self._host.all_to_all(sent, send_counts, room, receive_counts))

    def begin_all(self):
        """Begin what has been asked for, before another collective.  Collective."""
        self.turns.begin_all()

    def close(self):
        """Nothing: pinned memory goes with the transport."""

    def _travel(self, send, receive, begin):
        """Handle of `receive`; begin(pinned copy of `send`, pinned room) -> Handle of the room"""
        memory, sent, point = self._out(send)
        taken, room = self._room(receive)

        def finish(filled):
            self._pinned.give(memory)
            return self._back(filled, receive, taken)

        return self.turns.ask(point, lambda: begin(sent, room), send).then(finish)

    def _out(self, array):
        """(pinned memory, what is to be a copy of the array in it, point behind the copy)"""
        memory, host = self._room(array)
        return memory, host, self._device.copy_out(array, host)

    def _room(self, array):
        memory = self._pinned.take(array.nbytes)
        return memory, part_of(memory, array.shape, array.dtype, array.nbytes)

    def _back(self, host, array, memory):
        """The array, with what `host` holds, which lies in `memory`."""
        self._device.to_device(host, array)
        self._pinned.give(memory, self._device.mark())
        return array
