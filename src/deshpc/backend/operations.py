"""What a backend offers: groups of operations, each an attribute of the backend by the name in GROUPS.

On the CPU a group is a module of Numba kernels (`backend/cpu/NAME.py`), on a device an object that launches kernels
(`backend/cuda/NAME.py`).  Arrays are the backend's own; arguments that go together are those of `backend.arguments`.  The CPU's docstrings have shapes, types and formulas; here is what there is.
`tests/backend/test_operations.py` lists what a backend lacks.
"""

from typing import Protocol


class Loss(Protocol):
    """Losses and their gradients."""

    def begin_logit(self, logit, bias):
        """logit (n) = the bias, a 0-dimensional array."""

    def slopes(self, loss, zero, logit, labels, weights, scale, gradient, sums, beyond, parts):
        """gradient[i] = slope of the loss at logit[i] + loss.shift, times scale and weight i; the sum of the losses of each of some
        Parts, as `backend.exact_sum` has it.  loss : of `backend.losses`;  weights : (n) float32, or None.
        """

    def count_scores(self, logit, labels, counts):
        """counts[label from one half on, bin of the logit] += 1; a logit that is NaN counts in the first, a label that is NaN not at all."""

    def sum_gradient(self, gradient, scale, sums, parts):
        """sums[p] = sum of the gradients of part p, in order: the bias's.  sums : (parts) of the accumulation type."""

    def largest_values(self, begins, ends, values, dense, largest):
        """largest[i] = the largest |value| of sample i, of either kind (1 where values is None), or |dense feature|."""


class Update(Protocol):
    """One update of every distinct key's row and of dense parameters.  The rules' formulas are those of `rules.py`."""

    def rows(self, rule, form, linear_state, tail, lines, addresses, sums, inverse_scale, step, clip, l2, decay, rounding):
        """Apply `rule` to the row of every distinct key, with gradient  clip sum + l2 weight; the sums become zero again.

        decay : of counts of sights, None where none are kept
        rounding : of embeddings in bfloat16, None of others
        """

    def square_norms(self, form, addresses, sums, inverse_scale, norms):
        """Fill norms (n) float64: squared norm of each row's gradient, before clipping and l2; 0 where there is no row.  The sums stay."""

    def add_exactly(self, numbers, terms):
        """Add numbers (n) float64, none negative, to terms (TERMS) int64 of `backend.exact_norm`."""

    def sum_parts(self, sums, total):
        """total (n) = sums (parts, ...) over all parts, added in order; they become zero."""

    def set_numbers(self, sums, inverse_scale, numbers):
        """numbers = the values of sums, which are fixed point of this inverse scale unless they are of the same type."""

    def add_rounded(self, numbers, scale, sums):
        """sums (n) int64 += numbers (n) times scale, each rounded to an integer: the sums' inverse scale is 1 / scale."""

    def largest(self, numbers):
        """The largest |number|, NaN if there is one; 0 of none."""

    def square_norm(self, numbers):
        """Sum of squares, float64."""

    def dense(self, rule, lanes, zero, values, state, gradient, clip, begin, end):
        """Apply `rule` to the flat dense parameters begin .. end, with gradient  clip gradient."""


class TableOperations(Protocol):
    """The rows of one shard and their hash index: new records, entering rows in an index, reading rows out and in."""

    def new_counters(self):
        """Counters of a shard without rows."""

    def forget_marks(self, buckets):
        """Set every mark to 0, so that tickets may start at 1 again."""

    def index_rows(self, keys, rows, marks, buckets, mask):
        """Enter (key, row, mark) into an index that holds none of these keys and has room."""

    def new_move(self):
        """State of the moves of rows from index to index: none is under way."""

    def move_rows(self, old, buckets, mask, move, most):
        """Enter rows of the index `old` into one with more buckets, which was empty: about `most` buckets' from where the last call has ended,
        or all.  Returns whether rows are left.
        """

    def indexed_rows(self, buckets, keys, rows, marks):
        """Write every (key, row, mark) of the index, in slot order; returns their number."""

    def read_records(self, rows, chunks, record_bytes, tail, places, number, fields, counts, steps, numbers):
        """Copy records out: fields, counts, last steps and numbers (n, weights and state) of `rows`."""

    def write_records(self, addresses, tail, places, keys, fields, counts, steps, numbers):
        """Fill the records at `addresses` (n) int64: the inverse of `read_records`."""


class Admission(Protocol):
    """Keys without rows, whose sights are counted as they are looked up."""

    def new_entries(self):
        """Counts of keys of empty buckets: those that are there, and those of them that have got rows."""

    def move_sights(self, old, buckets, mask):
        """Enter the keys of `old` that have got no row into empty buckets that have room."""

    def forget(self, keys, buckets, mask):
        """Take keys (n) uint64 that are there out of the buckets."""


class HistoryOperations(Protocol):
    """What rows have been through, and what an eviction does with them."""

    def histories(self, chunks, record_bytes, tail, place, last_steps, worths):
        """Write of the rows 0 .. n: last step, and what it is worth; of free rows anything."""

    def count_digits(self, worths, stays, above, shift, bits, counts):
        """counts (2^bits) int64 += the rows that stay, by a digit of their worths."""

    def ties(self, rows, chunks, record_bytes, hashes):
        """hashes (n) uint64 of the keys of rows (n) int64."""

    def are_zero(self, rows, chunks, record_bytes, places, number, zeros):
        """zeros (n) bool: whether every one of the numbers of a row that lie at `places` is 0."""

    def shrink_decayed(self, buckets, chunks, record_bytes, place, factor, least):
        """Multiply the decayed counts of all rows of an index; what is less then is 0."""

    def read_decayed(self, rows, chunks, record_bytes, place, decayed):
        """decayed (n) float32: the decayed counts of rows, as they lie."""

    def write_decayed(self, addresses, place, decayed):
        """Set the decayed counts (n) float32 of the records at `addresses` (n) int64."""

    def free_rows(self, buckets, mask, rows, chunks, record_bytes, place):
        """Take rows (n) int64 out of an index, and set their decayed counts to 0."""


class LookUp(Protocol):
    """Find a batch's keys in the index of one shard: where their rows are, and which of them are the same."""

    def group(self, offsets, local, addresses, buffers):
        """Occurrences by distinct key, for sums per key: none, they are added in the order in which they come."""

    def row_fields(self, addresses, tail, fields):
        """fields (distinct) uint16 of the rows whose records are at these addresses; tail : of the `RecordLayout`."""

    def look_up_listed(self, index, search, keys, fields):
        """Look up keys (n) uint64 of fields (n) uint16."""

    def look_up_own(self, index, search, sparse, partition, owner, picked):
        """Look up those keys of some samples that `owner` owns."""


class RoutingOperations(Protocol):
    """How a batch's keys travel: packed at home, unpacked at the owner."""

    def deduplicate(self, sparse, partition, modulus, residue, buckets, unique, header, whole):
        """Number the distinct keys whose owner is `residue` modulo `modulus`, and count them, in header (N, F + 1) int32: those of each
        owner rank and field, and, if `whole`, occurrences.  Returns (how many there are, occurrences), or (-1, 0) where there are
        too many for the buckets.
        """

    def section_bytes(self, header, samples, width, narrow, sections):
        """Fill sections (N, 4) int64: bytes of keys, of occurrences, of values, and of the whole message, counts of samples included."""

    def pack(self, sparse, unique, places, messages):
        """Write the messages to all owner ranks.  Returns -1, or a sample with too many keys."""

    def unpack(self, messages, partition, owner, places, unique_fields, kept):
        """Read the messages from all home ranks, keeping what shard `owner` owns; returns the numbers of keys and occurrences
        kept.
        """

    def through(self, occurrences, local):
        """occurrences[j] = local[occurrences[j]]: from keys of the messages to distinct keys of the batch."""


class KeyNumbers(Protocol):
    """Short numbers for keys that home and owner both know."""

    def key_bytes(self, unique, far, known, held, found):
        """Fill found (N) int64: bytes of the keys of each message."""

    def grow(self, buckets, larger):
        """Put all keys of a hash table into a larger one, which is zero."""

    def number(self, keys, ranks, far, admit, sent, numbers, known):
        """Look up the numbers of a batch's distinct keys, and mark them; give the others numbers from now on, if `admit`."""

    def write(self, unique, counts, far, sent, numbers, known, held, firsts, begins, places, message):
        """Write the keys of all messages, after `number`, whose marks are cleared."""

    def read(self, message, begins, counts, far, known, admit, received, keys, fields):
        """Read the keys of all messages, and remember them, if `admit`."""


class ValueTables(Protocol):
    """Values as numbers of a table, where a message has few distinct ones."""

    def number_values(self, sparse, unique, wanted, slots, numbered):
        """Number the distinct values of all messages, as far as they are few."""

    def value_bytes(self, occurrences, width, distinct, found):
        """Fill found (N) int64: bytes of the values of each message."""

    def keep_shorter(self, occurrences, width, distinct):
        """Set distinct (N) to 0 where a table makes the message no shorter."""


class Lists(Protocol):
    """Keys between the ranks and threads of one node, in lists of their owners."""

    def divide(self, sparse, partition, lists, ends, room, counts):
        """Write the occurrences of some samples to the lists of their owners; 0, or how much room each list needs."""

    def look_up_lists(self, index, search, lists, offsets, values):
        """Look up the keys of an owner's lists, and fill offsets and values; returns as `look_up_listed`."""


class RowsOperations(Protocol):
    """Rows that travel: requests of unique keys from home to owner, rows back, gradients of rows out."""

    def group_requests(self, unique_keys, unique_fields, unique_ranks, counts, places, begins, message):
        """Write every key at its place in its owner rank's request, which begins at byte begins[r] of `message`."""

    def requested_fields(self, counts, fields):
        """fields (unique) uint16 : of all requested keys, in their order; counts (N, F) int32."""

    def read_requests(self, message, begins, counts, keys, fields):
        """Copy the requests of all home ranks to one shard out, home by home; begins (N) bytes, counts (N, F) int32."""

    def segment_addresses(self, message, begins, counts, stride, addresses):
        """addresses[u] = where element u lies that belongs to rank r's stretch: begins[r] + stride * place."""

    def home_addresses(self, layout, places, buffers):
        """Addresses of records whose weights are those that have come, side by side, at `places`: they are read there."""

    def send_rows(self, number, offset, width, lines, local, addresses, targets):
        """Copy the `width` weights, from byte `offset` of the record on, of every requested key to its place (int64 addresses)."""

    def send_gradients(self, dim, scalar_sums, vector_sums, square_sums, send_squares, targets):
        """Write each unique row's sums to its place (scalar, vector, then square if send_squares) and leave the sums zero."""

    def subtract_squares(self, form, addresses, vector_sums, square_sums):
        """vector_sums[c] -= v square_sums[c], floating point only: the gradient of v; addresses : of the rows' records."""

    def add_gradients(self, sources, dim, local, scalar_sums, vector_sums, square_sums):
        """Add the gradient sums that came for every requested key to its row's, request by request: in home-rank order."""


class Selection(Protocol):
    """The occurrences of some fields of a batch, side by side; and the keys of rows that are known by their records."""

    def count_wanted(self, sparse, wanted, counts, begin, end):
        """counts (n) int64 of samples begin .. end: their occurrences of wanted fields."""

    def take_wanted(self, sparse, wanted, taken, begin, end):
        """Copy the wanted occurrences of samples begin .. end to where SparseFeatures `taken` of the same samples say."""

    def row_keys(self, addresses, keys):
        """keys (distinct) uint64 of the rows whose records are at these addresses."""


class Linear(Protocol):
    """Linear term: partial sum_j w_j x_j; adjoint dw_j = g x_j, x the `linear_value`."""

    def partial(self, form, occurrences, weights, state, column, scale):
        """state[i, column] = sum over sample i's own occurrences of w x."""

    def finish(self, form, state, column, dense, weights, logit, begin, end):
        """logit[i] += state[i, column] + dense_i . weights for samples begin .. end.  weights : (n_dense)."""

    def finish_adjoint(self, form, state, column, dense, gradient, weight_sums, scale, parts):
        """state[i, column] = gradient[i]; weight_sums[p] (n_dense) += sum of gradient[i] dense_i over part p of the samples."""

    def partial_adjoint(self, form, occurrences, state, column, sums, scale):
        """scalar[c] += x g of the Sums for every own occurrence of distinct key c."""

    def magnitude(self, form, occurrences):
        """(largest sum of |w x| over the own occurrences of a sample, that sample); the first NaN wins."""

    def largest_term(self, gradient, largest_values, begin, end):
        """(largest |term| of the sums of gradients over samples begin .. end, that sample); the first NaN wins."""


class FM(Protocol):
    """Factorization machine: partial (A, c), adjoint by sums per key."""

    def partial(self, form, occurrences, state, column, scale):
        """A_i = sum v x and c_i = sum (w xl - |v|^2 x^2 / 2) over sample i's own occurrences."""

    def finish(self, form, state, column, dense, weights, factors, logit, begin, end):
        """logit[i] += c + |A|^2 / 2 with the dense features' own terms added to A and c, samples begin .. end."""

    def finish_adjoint(self, form, state, column, dense, factors, gradient, weight_sums, factor_sums, scale, parts):
        """Turn the state into its gradient (g A, g) and add up the dense features' gradients, for some Parts of the samples."""

    def partial_adjoint(self, form, occurrences, state, column, sums, scale):
        """For every own occurrence of distinct key c: scalar[c] += g xl, vector[c] += g x A, square[c] += g x^2 of the Sums."""

    def magnitude(self, form, occurrences):
        """(largest sum of |terms| of a sample's partial over the own occurrences, that sample); the first NaN wins."""

    def largest_term(self, form, state, column, gradient, factors, largest_values, begin, end):
        """(bound of the |terms| of the sums of gradients over samples begin .. end, that sample); the first NaN wins."""


class FFM(Protocol):
    """Field-aware factorization machine: a sample's pairs from rows that are all here, and their gradients."""

    FOUR: int
    """Vectors that are worked on at once."""

    def new_terms(self, vectors, fields, n_dense, linear, shards, samples, buffers):
        """(Terms of all shards' Occurrences for `collect` to fill, where each sample's begin), in scratch arrays of these buffers."""

    def collect(self, vectors, linear, occurrences, terms, places, state, begin, end):
        """Write the own occurrences of samples begin .. end to Terms; state[i] += their linear terms."""

    def partial(self, vectors, terms, dense, factors, room, state, begin, end):
        """state[i] += the pairs of samples begin .. end."""

    def partial_adjoint(self, vectors, occurrences, terms, dense, factors, room, state, sums):
        """Add the gradients of the own rows, from those by the logits, to their Sums."""

    def factors_adjoint(self, vectors, terms, dense, factors, room, state, sums, begin, end):
        """sums (n_dense, G k), zeros before, are the gradients of the dense features' vectors, of samples begin .. end."""


class FieldSums(Protocol):
    """Sums of a field-aware factorization machine that travel, and the pairs of complete ones."""

    FOUR: int
    """Vectors that are worked on at once."""

    def partial(self, pair, vectors, linear, occurrences, columns, state, begin, end, cleared):
        """S_f += sum v x, c += own terms, over own occurrences of samples begin .. end."""

    def partial_adjoint(self, pair, vectors, occurrences, columns, state, sums):
        """Add the gradients of the own rows, from those of the states, to their Sums."""

    def pairs(self, vectors, sums, dense, factors, room, result):
        """result (n) = the pairs of complete sums."""

    def pairs_adjoint(self, vectors, sums, dense, factors, room, upstream, gradient, fresh, factor_sums):
        """gradient (+)= that by the sums;  factor_sums = that by the factors."""


class Pool(Protocol):
    """Embeddings of a sample added up field by field."""

    def clear(self, state, columns, begin, end):
        """Set the first `columns` numbers of samples begin .. end to zero."""

    def partial(self, form, linear, squares, occurrences, columns, state, scale, begin, end, cleared):
        """E_f += sum v x, c += sum (w xl if linear, - |v|^2 x^2 / 2 if squares) over own occurrences of samples begin .. end."""

    def partial_adjoint(self, form, occurrences, columns, state, sums, scale):
        """For every own occurrence of distinct key c: vector[c] += x dE_f, scalar[c] += g xl, square[c] += g x^2 of the Sums."""

    def magnitude(self, form, linear, squares, n_fields, occurrences):
        """(largest sum of |terms| of a sample's partial over the own occurrences, that sample); the first NaN wins."""

    def largest_term(self, gradient, width, largest_values, begin, end):
        """(bound of the |terms| of the sums of gradients over samples begin .. end, that sample); the first NaN wins."""


class BiInteraction(Protocol):
    """Sums and sums of squares of a sample's embeddings, coordinate by coordinate."""

    def partial(self, form, occurrences, state, scale, begin, end):
        """c += sum w xl, A += sum v x, Q += sum v^2 x^2 over own occurrences of samples begin .. end."""

    def partial_adjoint(self, form, occurrences, state, sums, scale):
        """vector[c] += x dA + 2 x^2 v dQ, scalar[c] += g xl of the Sums, for every own occurrence of distinct key c."""

    def magnitude(self, form, occurrences):
        """(largest sum of |terms| of a sample's partial over the own occurrences, that sample); the first NaN wins."""


class Repeated(Protocol):
    """Products of rows that repeat in a batch: made once a row, added to each sample that has the row."""

    def count_rows(self, fields, counts):
        """counts (F) += the distinct rows of each field."""

    def take_rows(self, form, fields, addresses, next_slot, slots, rows):
        """rows[slot] (k) = the embedding of each row of a chosen field; next_slot (F) counts on from a field's slots, -1: not
        chosen.
        """

    def add_products(self, wide, narrow, zero, occurrences, slots, products, begin, y):
        """y_i += sum of x products[slot] over the occurrences of sample begin + i whose rows repeat; y (n, h), products (R, h)."""

    def add_gradients(self, wide, narrow, zero, occurrences, slots, gradient, begin, sums):
        """Adjoint of `add_products`: sums[slot] (R, h) += x gradient_i for the same occurrences; gradient (n, h)."""

    def add_to_rows(self, lanes, dim, slots, gradient, sums):
        """sums[c] += gradient[slot of c] (R, k) for the rows that repeat; sums (distinct, k)."""


class Dense(Protocol):
    """What surrounds the matrix products of dense layers: bias and activation, and their adjoints."""

    def bias_activation(self, y, bias, activation):
        """y = f(y + bias), in place; bias (h)."""

    def activation_adjoint(self, gradient, y, activation, bias_sum):
        """gradient *= f'(z), in place, from y = f(z); bias_sum (h) = the sum of that over samples."""

    def drop(self, numbers, seed, first_sample, threshold, scale):
        """Set each number (n, h) to zero where its 16 random bits are below `threshold`, else multiply it by `scale`."""

    def outer(self, column, row, out, add):
        """out (m, n) = column row^T, or += with `add`."""


class Interaction(Protocol):
    """Interactions of embeddings that lie side by side in a sample's row."""

    def sum_fields(self, form, n_fields, x, total):
        """total (n, k) += the sum of the n_fields embeddings of each row of the Matrix x."""

    def half_squares(self, form, total, result):
        """result (n) += |total_i|^2 / 2, of total (n, k)."""

    def add_to_fields(self, form, n_fields, upstream, fresh, gradient):
        """gradient_if = (or +=, unless fresh) upstream_i for each of the n_fields embeddings; upstream (n, k)."""

    def dots(self, side, n_fields, x, last, by_coordinate, result, column):
        """result[i, column ..] = <e_f, e_h> for all pairs f > h of n_fields + 1 vectors: those of x, and `last` (n, k)."""

    def dots_adjoint(self, form, n_fields, x, last, upstream, column, gradient, fresh, last_gradient):
        """Adjoint of `dots`: gradient_f (+)= sum_h u_fh e_h for the vectors of x, last_gradient (n, k) += that of `last`."""

    def cross(self, side, x0, x, z, bias, result):
        """z += bias;  result = x0 z + x, of d columns each.  z, result (n, d)."""

    def cross_adjoint(self, side, x0, z, upstream, bias_sum, gradient, columns, fresh):
        """gradient (+)= upstream z, of the first `columns` columns;  z = upstream x0, bias_sum (d) = its sum over samples."""

    def cross_constants(self, weights, biases, sums, constants):
        """sums (L + 1, d) = B_0 .. B_L, sums of the biases (L, d) before each layer;  constants (L + 1) = B_l . w_l."""

    def cross_scalars(self, zero, products, constants, scalars, logit):
        """DCN-v1 from s_l = x_0 . w_l: scalars[i, l] = a_l and logit[i] = a_L s_out + B_L . w_out."""

    def cross_scalars_adjoint(self, zero, products, scalars, upstream, slopes, constant_sums):
        """slopes (n, L + 1) = the gradient by products;  constant_sums (L + 1) = that by constants."""

    def cross_weights_adjoint(self, sums, constant_sums, of_weights):
        """of_weights (d, L + 1) = the gradient by weights of `cross_constants`."""

    def cross_biases_adjoint(self, weights, constant_sums, of_biases):
        """of_biases (L, d) = the gradient by biases of `cross_constants`."""

    def half_difference(self, total, squares):
        """squares = (total^2 - squares) / 2, number by number."""


class CIN(Protocol):
    """xDeepFM's compressed interaction network, but for its matrix products: rows are coordinates of samples."""

    def by_coordinate(self, embeddings, first):
        """first (n k, F) = embeddings (n, F k), turned."""

    def by_field(self, first, embeddings, add):
        """embeddings (n, F k) = first (n k, F) turned back, or += with `add`."""

    def products(self, maps, first, out):
        """out (r, H F) = every map times every field."""

    def products_adjoint(self, upstream, maps, first, of_maps, of_first):
        """of_maps (r, H) = sum_f upstream first_f;  of_first (r, F) += sum_h upstream maps_h;  upstream (r, H F)."""

    def sum_coordinates(self, maps, out):
        """out (n, H) = the sum of each sample's rows of maps (n k, H)."""

    def spread_coordinates(self, gradient, of_maps, add):
        """Adjoint of `sum_coordinates`: each sample's rows of of_maps (n k, H) = gradient (n, H), or += with `add`."""


class Seats(Protocol):
    """Which embedding of its sample's state an occurrence is added to, where its key's field does not say it."""

    def of_occurrences(self, sparse, partition, modulus, residue, first, counts, seats):
        """Fill seats of the occurrences whose owner is `residue` modulo `modulus`, in their order; returns how many there are."""

    def count_values(self, sparse, wanted, most, counts):
        """counts (n, S) = how many values of each wanted field a sample has, at most so many."""


class Attention(Protocol):
    """Values of sequences, of which each sample has any number: M = lengths.sum() in all, side by side.

    What others take as `lengths` is what `of_sequence` gives.
    """

    def of_sequence(self, lengths, column):
        """How many values each sample has of one sequence, of lengths (n, S) int32 in host memory."""

    def samples(self, lengths):
        """n."""

    def count(self, lengths):
        """M."""

    def take(self, seats, lengths, values):
        """values (M, k) = those of seats (n, L k) that are there."""

    def give_back(self, gradient, lengths, seats):
        """seats += gradient (M, k): the adjoint of `take`."""

    def pair(self, values, targets, lengths, pairs):
        """pairs (M, 4 k) = e, t, e - t, e * t of each value e and its sample's target t; targets (n, k)."""

    def pair_adjoint(self, gradient, pairs, lengths, of_values, of_targets):
        """of_values (M, k), of_targets (n, k) += those of `pair`."""

    def softmax(self, numbers, lengths, weights):
        """weights (M, 1) = exp(number) over the sum of a sample's."""

    def weighted_sum(self, weights, values, lengths, result):
        """result (n, k) = sum of a sample's weight times value."""

    def weighted_sum_adjoint(self, gradient, weights, values, lengths, through_softmax, of_numbers, of_values):
        """of_values (M, k), of_numbers (M, 1) += those of `weighted_sum`, and of `softmax` if weights are its."""


class SelfAttention(Protocol):
    """Attention between the fields of a sample, head by head."""

    def attend(self, queries, keys, values, heads, shares, result):
        """shares (n, heads, F, F) = softmax over the last of <q_i, k_j>;  result (n F, d) = sum_j share v_j, head by head."""

    def attend_adjoint(self, gradient, queries, keys, values, heads, shares, of_queries, of_keys, of_values):
        """The gradients (n F, d) of `attend` by its inputs."""


class Normalisation(Protocol):
    """Layer and batch normalisation; a batch's sums are one array, [n, h sums, h other sums] in float64."""

    def layer(self, x, gain, shift, epsilon, inverse, normal, y):
        """normal = (x - mean) inverse, inverse (n, 1) = 1 / sqrt(variance + epsilon), of each sample;  y = gain normal + shift."""

    def layer_adjoint(self, gradient, normal, inverse, gain):
        """gradient = that by x, from that by y."""

    def moments(self, x, sums):
        """sums = [n, sum x, sum x^2]."""

    def statistics(self, sums, mean, variance):
        """mean and variance (h) float64 of the samples whose moments these are; zeros without samples."""

    def keep(self, sums, mean, variance, momentum, kept_mean, kept_variance):
        """Move the kept statistics, of the compute type, towards these by a share of the way; the variance is made unbiased."""

    def standardise(self, x, mean, variance, epsilon, gain, shift, inverse, normal, y):
        """normal = (x - mean) inverse, inverse (h) = 1 / sqrt(variance + epsilon);  y = gain normal + shift."""

    def adjoint_sums(self, gradient, normal, of_shift, of_gain, sums):
        """of_shift (h) = sum gradient, of_gain (h) = sum gradient normal;  sums = [n, of_shift, of_gain]."""

    def batch_adjoint(self, gradient, normal, inverse, gain, sums):
        """gradient = that by x, from that by y, with the sums over the batch."""


class Tasks(Protocol):
    """Several labels of a sample."""

    def of_task(self, logit, labels, task, weight, weights):
        """One task's (logit (n), labels (n), 0 where one is not known, what samples count (n), 0 there, room for slopes (n))."""

    def softmax(self, gate, p):
        """p (n, e) = exp(gate) over its sum, of each sample."""

    def both_happen(self, logits, both, parts):
        """both (n, 2) = the first logit, and that of both events;  parts (n, 3) for the adjoint."""

    def both_happen_adjoint(self, gradient, parts, slopes):
        """slopes (n, 2) by the logits, from those by `both`."""


class Arrays(Protocol):
    """Arithmetic on whole arrays of numbers: (n, h), whose rows may lie apart, or vectors, unless something else is said."""

    def fill(self, target, number):
        """Every number of target = number."""

    def put(self, source, target, add=False, factor=1.0):
        """target = factor source, or += with `add`; source may be of a narrower type."""

    def add_rows(self, source, rows, target):
        """target[rows] += source; rows (r) int64, each once; source and target (r or n, h), or (r) and (n)."""

    def multiply(self, a, b, out):
        """out = a b, number by number; b (n, h), or (n, 1) for a factor of each row, or (h) for one of each column."""

    def subtract_product(self, a, b, out):
        """out -= a b; a (n, h) or (n, 1)."""

    def column_sums(self, x, out, weights=None):
        """out (h) = sum_i x_i, times weights (n, h) or (n, 1) if there are any."""

    def row_products(self, a, b, out, factor=1.0):
        """out (n, 1) = factor sum_j a_ij b_ij."""


GROUPS = {
    "loss": Loss,
    "update": Update,
    "table": TableOperations,
    "admission": Admission,
    "history": HistoryOperations,
    "lookup": LookUp,
    "routing": RoutingOperations,
    "key_numbers": KeyNumbers,
    "value_tables": ValueTables,
    "lists": Lists,
    "rows": RowsOperations,
    "selection": Selection,
    "linear": Linear,
    "fm": FM,
    "ffm": FFM,
    "field_sums": FieldSums,
    "pool": Pool,
    "bi_interaction": BiInteraction,
    "repeated": Repeated,
    "dense": Dense,
    "interaction": Interaction,
    "cin": CIN,
    "normalisation": Normalisation,
    "seats": Seats,
    "attention": Attention,
    "self_attention": SelfAttention,
    "tasks": Tasks,
    "arrays": Arrays,
}
