"""What a run stands on: the ranks and their nodes, the backend, data held once a node, a model, compiled kernels."""

from contextlib import ExitStack, contextmanager

import numpy as np

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.comm.node import Node
from deshpc.comm.workers import Workers
from deshpc.config import resolved
from deshpc.config.tasks import losses_of
from deshpc.data.class_weights import weighted_by_class
from deshpc.data.input import open_input
from deshpc.errors import DeshpcError, LaunchError
from deshpc.formats.label_kinds import kinds_of
from deshpc.hashing.key_fields import fields_of
from deshpc.jit import cache_directory, cache_problem, compilations, nothing_kept
from deshpc.launch.console import say
from deshpc.launch.place import WAIT, nowhere
from deshpc.launch.watchdog import Watchdog
from deshpc.metrics.fields import wanted_fields
from deshpc.model.build import build_model
from deshpc.model.combinations import is_open, levels_name, require_valid
from deshpc.training.stage_times import StageTimes
from deshpc.training.warm_up import warm_up

_LOOKED_AT = 8192  # samples whose keys are counted by field


class Session:
    """Ranks, threads, input and model of one configuration.  Creating one is collective on `comm`.

    Options that do not go together are a ConfigError on every rank, before anything is loaded or compiled.
    A context manager: after a block that ends well, or by an error on which all ranks agreed, everything is given back, so that
    the process can begin another; any other error ends the job.
    """

    def __init__(self, config, comm, enter=nowhere, tables=None):
        """enter : function that is told the name of each stage of the run, where no Watchdog is

        tables : {part: pyarrow.Table} of data.format = "table", the same on every rank
        """
        self.config, self.backend, self.model, self._enter = config, None, None, enter
        self.stage_times = StageTimes()
        self.skipped = {}  # {part: {"count", "examples"}} of rows that could not be read
        self._noted = set()  # subjects of notes on what was read
        self._tables, self._at_end = tables, ExitStack()
        self.group, self.node = Group(comm, levels_name(config), config.train.wire), Node(comm)
        try:
            self._begin()
        except DeshpcError as error:
            self.__exit__(type(error), error, None)
            raise

    def _begin(self):
        self._same_on_all_ranks()
        threads = self._threads()
        self.backend = self.group.together(lambda: self._open_backend(threads))
        self.group.take_arrays_of(self.backend, self.config.compute.transport)
        self.input = self.group.together(lambda: open_input(self.config.data, kinds_of(losses_of(self.config)), self._tables))
        names = _field_names(self.input)
        self.group.together(lambda: wanted_fields(self.config.metrics, self.input.schema))
        if not is_open(self.config):
            self.group.together(lambda: require_valid(self.config, self.backend, self.group.size, names, self.input.schema.keyed_fields))
        self._nothing_compiled = self.node.from_first(nothing_kept("deshpc.formats", "deshpc.data"))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self._at_end.close()
        if error is None or (isinstance(error, DeshpcError) and error.agreed == self.group.size):
            self.close()

    def at_end(self, close):
        """Have close(), which calls no MPI, called when the block ends, by an error, too: threads that read are not left behind."""
        self._at_end.callback(close)

    def enter(self, stage, works=False):
        """This rank begins a stage: see `Watchdog.enter`."""
        self._enter(stage, works)
        self.stage_times.enter(stage)

    def load(self, part):
        """The Dataset of a part; weights are multiplied by `train.class_weights`.  Collective.

        A cache is mapped by every rank, and verified by each node's ranks together; anything else is read by all threads of a
        node's ranks, each a part of it, and held once in the node's memory.  Where nothing has been compiled yet, each node's
        first rank compiles what reads rows; the others then load it.
        Rows that were skipped are counted in self.skipped and told on stderr, as is that something has to be compiled.
        """
        with self._telling_of_compilation(f"what reads {self.config.data.format} data"):
            dataset = self._load(part)
            if self.config.train.class_weights:
                dataset = weighted_by_class(dataset, *self.config.train.class_weights, self.workers())
        self.count_skipped(part)
        return dataset

    def _load(self, part):
        if self.input.mapped:
            dataset = self.group.together(lambda: self.working("load", lambda: self.input.load(part)))
            verified = self.node.share(np.zeros(len(dataset.starts) - 1, np.uint8))
            dataset.share_verification(self.node.rank, self.node.size, verified)
        else:
            if self._nothing_compiled:
                self.node.first_then_others(lambda: self.working("compile", lambda: self.input.compile(part)), self.group)
                self._nothing_compiled = False
            dataset = self.input.load(part, self.workers())
        return dataset

    def workers(self):
        """The threads of this node's ranks as Workers."""
        return Workers(self.node, self.group, self._load_on_threads, self.backend.threads)

    @contextmanager
    def _telling_of_compilation(self, what):
        """Context in which rank 0 says of what it compiles functions, if it has to, and in the end how many, and how long it took."""
        speaks = self.group.rank == 0
        text = f"deshpc: compiling {what}, once on this machine with this version: about a minute\n"
        with compilations((lambda: say(text)) if speaks else lambda: None) as compiled:
            yield
        if compiled.count and speaks:
            say(f"deshpc: compiled {compiled.count} functions in {compiled.seconds:.0f} s; they are kept in {cache_directory()}\n")

    def working(self, stage, task):
        """Return task(), which calls no MPI: for the watchdog, this rank moves as long as it uses a processor."""
        self.enter(stage, works=True)
        try:
            return task()
        finally:
            self.enter(WAIT)

    def tell_once(self, notes):
        """Say {subject: what a person should know of it} on stderr, each subject once.  Rank 0 speaks.  Not collective."""
        if self.group.rank == 0:
            for subject in sorted(notes.keys() - self._noted):
                say(f"deshpc: note: {subject}: {notes[subject]}\n")
                self._noted.add(subject)

    def _load_on_threads(self, task, arguments):
        return self.working("load", lambda: self.backend.each(task, arguments))

    def reads_on_threads(self, task, arguments):
        """[task(*one)] of some arguments, one a thread: for the watchdog, this rank reads."""
        return self.working("read", lambda: self.backend.each(task, arguments))

    def count_skipped(self, part):
        """Put what rank 0 has skipped of a part into self.skipped on all ranks, and warn.  Collective."""
        bad_rows = self.input.bad_rows.get(part)
        self.tell_once(bad_rows.notes if bad_rows else {})
        count, examples = self.group.from_first((bad_rows.count, bad_rows.examples) if bad_rows else (0, []))
        if not count:
            return
        self.skipped[part] = {"count": count, "examples": examples}
        if self.group.rank == 0:
            text = "".join(f"\n  {example}" for example in examples)
            say(f"deshpc: warning: data.{part}: {count} bad rows were skipped, such as:{text}\n")

    def build(self, sample, total_steps=None, mean_weight=1.0, first_step=0, field_keys=None):
        """Make the model, set its expected rows aside, and compile every kernel on rows of `sample`.  Collective.

        first_step, total_steps : where the run begins and ends, for a learning rate that falls until its end
        mean_weight : of the samples that are learnt from
        field_keys : (F) float64, keys a sample of each field, by which fields are dealt to ranks where rows are split by them; None: those of
        the first samples

        Each node's first rank compiles and fills the cache on disk; the others then load from it.
        """
        with self._telling_of_compilation(f"the kernels of {self.config.model.name}"):
            self.node.first_then_others(
                lambda: self.working("compile", lambda: warm_up(self.config, sample, self.backend, self.input, self.group.nodes)), self.group
            )
        self._tell_cache_problem()
        if self.config.train.split == "field" and field_keys is None:
            field_keys = self.group.from_first(self.group.together(lambda: keys_of_fields(sample, self.input.n_fields)))
        self.model = self.group.together(
            lambda: build_model(
                self.config, self.backend, self.group, self.input.n_fields, self.input.n_dense, total_steps,
                several_nodes=self.node.size < self.group.size, field_names=_field_names(self.input), enter=self.enter,
                mean_weight=mean_weight, first_step=first_step, field_keys=field_keys, key_fields=self.input.schema.keyed_fields,
            )
        )  # fmt: skip
        if self.config.model.expected_rows:
            self.working("set aside", lambda: self.model.table.reserve(self.config.model.expected_rows))
        return self.model

    def take(self, config):
        """Go on by a Config in which what was left to a plan has been chosen, before the model is built.  Collective."""
        self.group.together(lambda: require_valid(config, self.backend, self.group.size, _field_names(self.input), self.input.schema.keyed_fields))
        self.config = config

    def _tell_cache_problem(self):
        """Warn once where compiled kernels cannot be kept.  Collective."""
        problems = [(rank, text) for rank, text in enumerate(self.group.gather(cache_problem())) if text]
        if problems and self.group.rank == 0:
            rank, text = problems[0]
            say(
                f"deshpc: warning: compiled kernels cannot be kept (rank {rank}: {text}), so every start compiles them again; "
                "set XDG_CACHE_HOME to a folder with room\n"
            )

    @contextmanager
    def watched(self):
        """Run a block under the Watchdog of train.watchdog_s, which learns of the session's stages; gives it.  Collective."""
        with Watchdog(self.group.comm, self.config.train.watchdog_s) as watchdog:
            before, self._enter = self._enter, watchdog.enter
            yield watchdog
        self._enter = before

    def input_state(self):
        """What the input has to store, from rank 0, which has read the text.  Collective."""
        return self.group.from_first(self.input.state() if self.group.rank == 0 else None)

    def close(self):
        """Give back threads, shared memory and communicators.  Collective."""
        if self.backend:
            self.backend.close()
        self.node.free()
        self.group.free()

    def _open_backend(self, threads):
        compute = self.config.compute
        return open_backend(compute.backend, threads, self.node.rank, compute.cuda_sums == "atomic", compute.matrix_products)

    def _threads(self):
        wanted = self.config.compute.threads_per_rank or self.node.threads_per_rank()
        return min(self.group.gather(wanted))  # owners are numbered alike on all ranks

    def _same_on_all_ranks(self):
        trees = self.group.gather(resolved(self.config))
        odd = [rank for rank, tree in enumerate(trees) if tree != trees[0]]
        if odd:
            self.group.agree(LaunchError(f"ranks {odd} were started with another configuration than rank 0"))


def _field_names(source):
    """Names of the fields of an input that become keys."""
    return [field.name for field in source.schema.keyed_fields]


def keys_of_fields(sample, n_fields):
    """(F) float64: keys a sample of each field, in the first samples of a Dataset."""
    few = sample.head(min(len(sample), _LOOKED_AT))
    return np.bincount(fields_of(few.keys), minlength=n_fields) / max(1, len(few))
