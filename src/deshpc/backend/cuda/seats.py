"""Where in a sample's state each occurrence is added: found by the host, which has the batch, and sent.  See `backend.cpu.seats`."""

import numpy as np

from deshpc.backend.cpu import seats as on_host


class SeatOperations:
    """Samples lie in host memory, seats on the device."""

    def __init__(self, device):
        self._device = device

    def of_occurrences(self, sparse, partition, modulus, residue, first, counts, seats):
        found = np.empty(seats.size, np.uint16)
        count = on_host.of_occurrences(sparse, partition, modulus, residue, first, counts, found)
        self._device.to_device(found[:count], seats[:count])
        return count

    def count_values(self, sparse, wanted, most, counts):
        on_host.count_values(sparse, wanted, most, counts)
