"""How a batch's keys travel, on a device: the operations of `backend.cpu.routing`.  See kernels/routing.cu.

The wire format is fixed in `backend.cpu.routing`, which also computes the sections of messages, on the host.
"""

import numpy as np

from deshpc.backend.cpu.routing import MOST_IN_SAMPLE, section_bytes
from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.sending import begins_of, sent_together
from deshpc.backend.values import value_width

_BUCKET_SLOTS, _LOAD_LIMIT = 4, 0.6
_NOBODY = 0xFFFFFFFF


class RoutingOperations:
    """What `backend.cpu.routing` offers; the host waits in `deduplicate`, for all counts at once."""

    MOST_IN_SAMPLE = MOST_IN_SAMPLE
    section_bytes = staticmethod(section_bytes)

    def __init__(self, kernels, prefix, lookup):
        self._kernels, self._prefix, self._lookup, self._device = kernels, prefix, lookup, kernels.device
        self._scratch = Buffers(kernels.device)
        self._counted = None  # what `deduplicate` has found for `pack`: group of each key, rank of each occurrence, longest sample

    def deduplicate(self, sparse, partition, modulus, residue, buckets, unique, header, whole):
        """Number and count the distinct keys: as on the CPU; occurrences are always counted.  Reads the device."""
        device, keys, fields, array = self._device, sparse.keys, sparse.fields, self._scratch.array
        n = keys.size
        groups, ranks = array("groups", n, np.uint32), array("ranks", n, np.uint32)
        if modulus > 1:
            keys, fields, _ = self._lookup.pick(
                sparse, partition, modulus, residue, unique.offsets, unique.values, self._scratch
            )
        else:
            self._lookup.take_all(sparse, unique.offsets, unique.values)
        count = buckets.size // 8
        if n > count * _BUCKET_SLOTS * _LOAD_LIMIT:
            return -1, 0
        if n == 0:
            header[...], self._counted = 0, (groups, ranks, 0)
            return 0, 0
        firsts, tiles, counts, total = self._lookup.unique(keys, n, buckets, count - 1)
        owners, of_field = self._lookup.owners_of(partition)
        numbers = array("numbers", n, np.int32)
        kernels = self._kernels("routing.cu", VALUES=0)
        kernels.collect.blocks(
            tiles, firsts, n, counts, keys, fields, owners, of_field, partition.shards, numbers, unique.keys, unique.fields,
            unique.ranks,
        )  # fmt: skip
        kernels.follow(n, firsts, n, numbers, unique.occurrences)
        n_fields, samples = header.shape[1] - 1, unique.offsets.size - 1
        counted = array("counted", header.size + 1, np.int32)  # the header, and the occurrences of the longest sample
        counted.fill(0)
        kernels.count_keys(n, unique.fields, unique.ranks, n, total, n_fields, counted, groups)
        kernels.count_occurrences(n, unique.occurrences, unique.ranks, n, n_fields, counted, ranks)
        if whole:
            kernels.longest_sample(samples, unique.offsets, samples, counted[header.size :])
        *found, longest = device.to_host(counted)
        header[...] = np.reshape(found, header.shape)
        self._counted = groups, ranks, longest
        return int(header[:, :-1].sum()), int(header[:, -1].sum())

    def pack(self, sparse, unique, places, messages):
        """Write the messages: as on the CPU, after `deduplicate` of the same batch.

        Reads the device, and waits for it, only where a sample may have too many keys.
        """
        begins, values, message, header, sections = sparse.begins, sparse.values, messages.bytes, messages.header, messages.sections
        ranks, fields = header.shape[0], header.shape[1] - 1
        count, n, samples = unique.keys.size, unique.occurrences.size, begins.size
        array, kernels = self._scratch.array, self._kernels("routing.cu", VALUES=value_width(values))
        keys_begin = begins_of(sections[:, 3])
        occurrences_begin = keys_begin + sections[:, 0]
        values_begin = occurrences_begin + sections[:, 1]
        counts_begin = values_begin + sections[:, 2]
        begin = self._send("begins", keys_begin, occurrences_begin, values_begin, counts_begin, _bits_of(messages))
        firsts = self._send("firsts", begins_of(header[:, :fields].sum(axis=1)), begins_of(header[:, fields]))
        message.fill(0)
        groups, of_occurrences, longest = self._counted
        _, order = self._prefix.sort(groups, count, (ranks * fields - 1).bit_length(), self._scratch, "groups")
        kernels.pack_keys(count, order, count, unique.keys, unique.ranks, firsts[0], begin[0], places, message)
        by_rank = array("by rank", n, np.uint32)
        self._device.copy(of_occurrences, by_rank)
        sorted_ranks, order = self._prefix.sort(by_rank, n, (ranks - 1).bit_length(), self._scratch, "ranks")
        kernels.pack_occurrences(
            n, order, sorted_ranks, n, unique.occurrences, places, values, firsts[1], begin[1], begin[2], begin[4], message
        )
        too_many = array("too many", 1, np.uint32)
        too_many.fill(_NOBODY)
        kernels.pack_counts(samples * ranks, begins, samples, of_occurrences, ranks, begin[3], message, too_many)
        if longest <= MOST_IN_SAMPLE:
            return -1
        sample = int(self._device.to_host(too_many)[0])
        return -1 if sample == _NOBODY else sample

    def unpack(self, messages, partition, owner, places, unique_fields, kept):
        """Read the messages of all home ranks, of which every key is this rank's: it has one shard.

        The keys are in the order of the messages.  Returns the numbers of keys and of occurrences.
        """
        message, header, sections, samples, *_ = messages
        ranks, fields = header.shape[0], header.shape[1] - 1
        counts = header[:, :fields].astype(np.int64)
        n_keys, n, total = int(counts.sum()), int(header[:, fields].sum()), int(samples.sum())
        kernels = self._kernels("routing.cu", VALUES=value_width(kept.values))
        keys_begin = begins_of(sections[:, 3])
        occurrences_begin = keys_begin + sections[:, 0]
        values_begin = occurrences_begin + sections[:, 1]
        begin = self._send("begins", keys_begin, occurrences_begin, values_begin, values_begin + sections[:, 2], _bits_of(messages))
        firsts = self._send("firsts", begins_of(header[:, fields]), begins_of(counts.sum(axis=1)), begins_of(samples))
        (groups,) = self._send("group begins", begins_of(counts.ravel()))
        kernels.unpack_keys(n_keys, message, n_keys, groups, ranks, fields, begin[0], kept.keys, kept.fields)
        kernels.unpack_occurrences(
            n, message, n, firsts[0], firsts[1], ranks, begin[1], begin[2], begin[4], kept.occurrences, kept.values
        )
        offsets = kept.offsets.view(np.uint64)
        kernels.unpack_counts(total, message, total, firsts[2], ranks, begin[3], offsets)
        self._prefix.sum(offsets, total, offsets[total:])
        return n_keys, n

    def through(self, occurrences, local):
        """occurrences[j] = local[occurrences[j]]."""
        self._kernels("routing.cu", VALUES=0).through(occurrences.size, occurrences, occurrences.size, local)

    def _send(self, name, *rows):
        return sent_together(self._device, self._scratch, name, *rows)


def _bits_of(messages):
    """(N) int64, of an occurrence in each message: see `cpu.routing.bits_of`."""
    unique = (messages.sections[:, 0] // 8).tolist()
    return np.array([max(0, one - 1).bit_length() if messages.narrow else 32 for one in unique], np.int64)
