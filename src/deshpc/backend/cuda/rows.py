"""Rows that travel, on a device: the operations of `backend.cpu.rows`.  See kernels/rows.cu."""

import numpy as np

from deshpc.backend.cuda.buffers import Buffers
from deshpc.backend.cuda.kinds import kind
from deshpc.backend.cuda.sending import begins_of, sent_together

_ALIGNMENT = 16  # of an embedding, and so of a record


class RowsOperations:
    """Counts are host arrays, since both sides of a message need them; everything else is on the device."""

    def __init__(self, kernels, prefix):
        self._kernels, self._prefix, self._device = kernels, prefix, kernels.device
        self._routing, self._scratch = kernels("routing.cu", VALUES=0), Buffers(kernels.device)

    def group_requests(self, unique_keys, unique_fields, unique_ranks, counts, places, begins, message):
        """Write every key at its place in its owner rank's request, which begins at byte begins[r] of `message`.

        places : (unique) int32, each key's place in the whole list
        """
        n, (ranks, fields) = unique_keys.size, counts.shape
        in_request = self._scratch.array("in request", n, np.int32)
        groups = self._groups(unique_fields, unique_ranks, counts.shape)
        _, order = self._prefix.sort(groups, n, (ranks * fields - 1).bit_length(), self._scratch, "groups")
        of_ranks = counts.sum(axis=1, dtype=np.int64)
        firsts, starts = self._send("firsts", begins_of(of_ranks), begins)
        self._routing.pack_keys(n, order, n, unique_keys, unique_ranks, firsts, starts, in_request, message)
        self._rows(np.float32(0)).place_in_list(n, in_request, unique_ranks, n, firsts, places)

    def requested_fields(self, counts, fields):
        """fields (unique) uint16 : of all requested keys, in their order; counts (N, F) int32."""
        (groups,) = self._send("group begins", begins_of(counts.ravel().astype(np.int64)))
        self._routing.fields_of_groups(fields.size, fields.size, groups, *counts.shape, fields)

    def read_requests(self, message, begins, counts, keys, fields):
        """Copy the requests of all home ranks to one shard out, home by home; begins (N) bytes, counts (N, F) int32."""
        ranks, n_fields = counts.shape
        of_groups, n = counts.ravel().astype(np.int64), int(counts.sum())
        (groups,) = self._send("group begins", begins_of(of_groups))
        (starts,) = self._send("starts", begins)
        self._routing.unpack_keys(n, message, n, groups, ranks, n_fields, starts, keys, fields)

    def segment_addresses(self, message, begins, counts, stride, addresses):
        """addresses[u] = where element u lies that belongs to rank r's stretch: begins[r] + stride * place."""
        n, counts = int(counts.sum()), counts.astype(np.int64)
        firsts, starts = self._send("firsts", begins_of(counts), begins)
        self._rows(np.float32(0)).segment_addresses(
            n, self._device.address(message), firsts, starts, len(counts), n, stride, addresses
        )

    def home_addresses(self, layout, places, buffers):
        """Addresses of records whose weights are those that have come at `places`: copied, for aligned embeddings."""
        n, stride = places.size, -(-layout.weights_end // _ALIGNMENT) * _ALIGNMENT
        records, addresses = buffers.array("home records", n * stride, np.uint8), buffers.array("home addresses", n, np.int64)
        self._rows(layout.number).place_rows(
            n * layout.weights, places, n, self._device.address(records), stride, layout.first_weight, layout.weights, addresses
        )
        return addresses

    def send_rows(self, number, offset, width, lines, local, addresses, targets):
        """Copy the `width` weights, from byte `offset` of the record on, of every requested key to its place."""
        self._rows(number).send_rows(local.size * width, local, local.size, addresses, offset, width, targets)

    def send_gradients(self, dim, scalar_sums, vector_sums, square_sums, send_squares, targets):
        """Write each unique row's sums to its place (scalar, vector, then square if send_squares) and leave the sums zero."""
        n, numbers = targets.size, dim + (scalar_sums is not None)
        self._sums(dim, scalar_sums, vector_sums).send_gradients(
            n * (numbers + 1), targets, n, numbers + bool(send_squares), scalar_sums, vector_sums, square_sums
        )

    def subtract_squares(self, form, addresses, vector_sums, square_sums):
        """vector_sums[c] -= v square_sums[c], floating point only: the gradient of v; addresses : of the rows' records."""
        zero = kind(form.zero)
        kernels = self._kernels("rows.cu", NUMBER=kind(form.number), COMPUTE=zero, SUM=zero, DIM=form.dim, SCALARS=1)
        kernels.subtract_squares(addresses.size * form.dim, addresses, addresses.size, vector_sums, square_sums)

    def add_gradients(self, sources, dim, local, scalar_sums, vector_sums, square_sums):
        """Add the gradient sums that came for every requested key to its row's, request by request: in home-rank order."""
        n = local.size
        places = self._scratch.array("places", n, np.uint32)
        self._device.copy(local.view(np.uint32), places)
        rows = len(vector_sums if scalar_sums is None else scalar_sums)
        places, order = self._prefix.sort(places, n, rows.bit_length(), self._scratch, "requests")
        self._sums(dim, scalar_sums, vector_sums).add_gradients(
            n * (dim + (scalar_sums is not None) + 1), places, order, n, sources, scalar_sums, vector_sums, square_sums
        )

    def _rows(self, number):
        """The kernels that know only the storage type."""
        return self._kernels("rows.cu", NUMBER=kind(number), COMPUTE="float", SUM="float", DIM=1, SCALARS=1)

    def _sums(self, dim, scalar_sums, vector_sums):
        """The kernels for gradients of a table with these sums, either of which may be None."""
        scalars, like = (0, vector_sums) if scalar_sums is None else (1, scalar_sums)
        return self._kernels("rows.cu", NUMBER="float", COMPUTE="float", SUM=kind(like), DIM=dim, SCALARS=scalars)

    def _groups(self, unique_fields, unique_ranks, shape):
        """Number rank F + field of each key's group."""
        n, (_, fields) = unique_fields.size, shape
        groups = self._scratch.array("groups", n, np.uint32)
        self._routing.number_groups(n, unique_fields, unique_ranks, n, fields, groups)
        return groups

    def _send(self, name, *rows):
        return sent_together(self._device, self._scratch, name, *rows)
