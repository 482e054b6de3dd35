"""What kernels take together.  Named tuples: they are types to Numba, and their fields cost nothing inside a kernel."""

from typing import Any, NamedTuple


class Occurrences(NamedTuple):
    """A batch's keys at one shard: the occurrences that it owns, sample by sample, and where their rows are.

    offsets : (n + 1) int64, sample i has the occurrences offsets[i] .. offsets[i + 1];  None where they have stayed at home
    local : (nnz) int32, each one's row among the distinct ones
    values : of the occurrences, see `backend.values`
    addresses : (distinct) int64, of the rows' records
    fields : (distinct) uint16, of the rows;  None where no operator asks
    seats : (nnz) uint16, which embedding of its sample's state each occurrence is added to; None: that of its row's field
    in_order : rows are numbered as they first appear in `local`
    grouping : occurrences by row, of `lookup.group`, where the backend adds them up so
    """

    offsets: Any
    local: Any
    values: Any
    addresses: Any
    fields: Any = None
    in_order: bool = False
    grouping: Any = None
    seats: Any = None


class Sums(NamedTuple):
    """Sums of the gradients of rows, of the accumulation type, each None where there are none.

    scalar : (distinct) sum g xl, of linear weights
    vector : (distinct, k) sum x dE, of embeddings
    square : (distinct) sum g x^2, of which an embedding's gradient has the term - v square
    """

    scalar: Any
    vector: Any
    square: Any


class Terms(NamedTuple):
    """The occurrences of whole samples at all shards of a rank, sample by sample.

    offsets : (n + 1) int64, sample i has the terms offsets[i] .. offsets[i + 1]
    addresses : (nnz) int64, of the rows' embeddings
    fields : (nnz) uint16
    values : of the occurrences, see `backend.values`
    """

    offsets: Any
    addresses: Any
    fields: Any
    values: Any


class Vectors(NamedTuple):
    """Rows of several vectors: `WeightForm` of one, and of FOUR side by side.

    one, four : of numbers of the compute type in registers; those of `one` are stored as rows store them
    """

    one: Any
    four: Any


class Room(NamedTuple):
    """The sums S_f of one sample, of fields f below G, see `backend.cpu.ffm`: x times what lies at an address.

    counts : (G) int32, occurrences that each field has
    fields : (G) int64, those that are there come first
    addresses : (G) int64;  of a field that is not there, where there are zeros
    factors : (G, k), x, as often as a vector has numbers, of the compute type
    sums : (G + 1, G k), where fields of several keys are added up, of the compute type;  the last are zeros
    """

    counts: Any
    fields: Any
    addresses: Any
    factors: Any
    sums: Any


class Parts(NamedTuple):
    """Some of the parts of a batch that sums are taken by: see `nn.parts`.

    edges : (parts + 1) int64, part p is the samples edges[p] .. edges[p + 1]
    begin, end : the parts begin .. end
    """

    edges: Any
    begin: int
    end: int


class SparseFeatures(NamedTuple):
    """The occurrences of samples, which lie anywhere in shared arrays.

    begins, ends : (n) int64, sample i has the occurrences begins[i] .. ends[i]
    keys : uint64
    fields : uint16
    values : see `backend.values`
    """

    begins: Any
    ends: Any
    keys: Any
    fields: Any
    values: Any


class Waiting(NamedTuple):
    """Keys without rows, whose sights are counted; see `backend.cpu.admission`.

    buckets : (8 n) uint64, mask = n - 1
    entries : of `admission.new_entries`, keys that are there, and those of them that have got rows;  limit : the most keys
    seed : uint64
    after : sights from which on a key may get its row
    threshold : uint64, of 2^32: the chance that it does
    """

    buckets: Any
    mask: int
    entries: Any
    limit: int
    seed: Any
    after: int
    threshold: Any


class Decay(NamedTuple):
    """The counts of sights that decay, as an update takes them; see `table.decay`.

    place : of the count (float32) in a record
    sight : float32, what a sight at the update's step counts
    """

    place: int
    sight: Any


class Rounding(NamedTuple):
    """How an update rounds embeddings in bfloat16; see `backend.cpu.rounding`.

    state : uint64, of seed and step
    first_column : number of v_1 among the columns of the whole embedding
    """

    state: Any
    first_column: int


class Search(NamedTuple):
    """A look-up under way at one shard; see `backend.cpu.lookup`.

    insert : give unseen keys rows, instead of place 0
    new : what a new row holds, as `table.write_new_record` takes it last
    step : uint32, of the insertion
    progress : (PROGRESS) int64, zeros (without `insert` DISTINCT is 1: place 0 is taken)
    local : int32, each key's place among the distinct keys
    addresses : int64, of their records; room for one more of both
    fresh : (SCRATCH) int64, scratch
    waiting : Waiting, of keys that do not get a row at first sight; they get place 0, and DISTINCT is 1;  None where all do, and without `insert`
    """

    insert: bool
    new: Any
    step: Any
    progress: Any
    local: Any
    addresses: Any
    fresh: Any
    waiting: Any = None


class Picked(NamedTuple):
    """What `lookup.look_up_own` picks out of samples.

    offsets : (n + 1) int64, the owner's occurrences of each sample
    values : theirs, and room for one more
    keys : (2 BLOCK) uint64, scratch that stays between calls
    """

    offsets: Any
    values: Any
    keys: Any


class KeyLists(NamedTuple):
    """An owner's lists of keys, one of each part of the global batch, in their order; see `backend.cpu.lists`.

    keys, ends : (parts) int64, addresses of the lists, and of the ends of their samples
    samples : (parts) int64, of each part
    room : occurrences that a list has room for: behind them are its values
    """

    keys: Any
    ends: Any
    samples: Any
    room: int


class UniqueKeys(NamedTuple):
    """The distinct keys of some samples, in order of first appearance.

    keys, fields, ranks : (unique) uint64, uint16 and int32, key, field and owner rank of each
    offsets : (n + 1) int64, the occurrences of each sample
    occurrences : (nnz) int32, each one's distinct key
    values : of the occurrences, or None
    """

    keys: Any
    fields: Any
    ranks: Any
    offsets: Any
    occurrences: Any
    values: Any


class MessageValues(NamedTuple):
    """Values as numbers of tables, one a message; see `backend.cpu.value_tables`.

    distinct : (N) int64, values in each message's table, 0 where they travel as they are
    tables : (N FEW_VALUES) uint64, the bits of each message's distinct values; where messages are read, nothing
    numbers : (nnz) uint8, of every occurrence, that which its value has; where messages are read, nothing
    """

    distinct: Any
    tables: Any
    numbers: Any


class Messages(NamedTuple):
    """Keys that travel between one rank and all others; the format is fixed in `backend.cpu.routing`.

    bytes : uint8, the messages one after another
    header : (N, F + 1) int32, of each: unique keys of each field, then occurrences
    sections : (N, 4) int64, of each: bytes of keys, of occurrences, of values, and of the whole, with the counts of samples
    samples : (N) int64, of the home rank of each
    narrow : whether occurrences have no more bits than they need
    keys : (N) int64, addresses of the keys of each, where `key_numbers` writes and reads them; None: they are its first section, whole
    values : MessageValues; None: all values travel as they are
    """

    bytes: Any
    header: Any
    sections: Any
    samples: Any
    narrow: bool
    keys: Any = None
    values: Any = None


class SentKeys(NamedTuple):
    """The keys that have numbers at their home, of one thread; see `backend.cpu.key_numbers`.

    buckets : (8 n) uint64, a hash table: keys and, behind the four of a bucket, their numbers, uint32
    counts : (N) int64, numbers that there are for each rank
    marked : (N most / 64) uint64, a bit for each number, set for keys of the batch between `number` and `write`
    local : (N, most) int32, of those which distinct key of the batch it is
    """

    buckets: Any
    counts: Any
    marked: Any
    local: Any


class ReceivedKeys(NamedTuple):
    """The keys that have numbers at their owner, of one shard.

    counts : (N) int64, numbers that there are for each rank;  keys : (N, most) uint64, by number
    """

    counts: Any
    keys: Any


class Unpacked(NamedTuple):
    """What one shard keeps of the messages of all home ranks.

    keys, fields : uint64 and uint16, and room for one more
    offsets : (B + 1) int64, the occurrences of each sample of the global batch, in global order
    occurrences : int32, which of the keys each one is
    values : of the occurrences, or None
    """

    keys: Any
    fields: Any
    offsets: Any
    occurrences: Any
    values: Any


class Matrix(NamedTuple):
    """Numbers in rows and columns, anywhere in memory.

    address : of the first number
    row, column : bytes from one row, or column, to the next
    """

    address: int
    row: int
    column: int

    @classmethod
    def of(cls, array):
        """Of an array of two dimensions in host memory."""
        return cls(array.ctypes.data, *array.strides)
