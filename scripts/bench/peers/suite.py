"""Who runs against whom, and what deshpc has to reach.  A further model is a further Race; its workers say how each is set up.

A worker gets its contestant's job as JSON, completed by "data" (the folder of `data.written`), "rows" (of training, for
deshpc's synthetic data) and "test" (whether to evaluate), and prints the report of `samples.report`.
"""

from dataclasses import dataclass, field

# glibc gives freed arrays back to the system and asks for them again; PyTorch's advice is another allocator.  This has its
# effect: half as much again in samples/s.
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_TOP_PAD_": "268435456",
}  # fmt: skip


@dataclass(frozen=True)
class Contestant:
    """peer : its module in the peers' environment, empty for deshpc;  ranks : under mpiexec, deshpc only"""

    name: str
    worker: str
    job: dict = field(default_factory=dict)
    peer: str = ""
    ranks: int = 1
    variables: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """The best of `ours` (contestants' names) beside a peer: which ratio is to be reached, and which is to come then.

    whole : of whole processes, instead of the first pass
    second : of the second pass, beside the peer's, or beside its only one: a peer's tables have all rows from the start, so its passes are alike
    """

    work: str
    ours: tuple[str, ...]
    peer: str
    at_least: float | None = None
    then: float | None = None
    whole: bool = False
    second: bool = False


@dataclass(frozen=True)
class Race:
    """Contestants that take turns;  whole_process : whether the time of whole processes says something, too."""

    name: str
    contestants: tuple[Contestant, ...]
    comparisons: tuple[Comparison, ...]
    whole_process: bool = False


def in_memory(name, ranks, *overrides, set_aside=True):
    """deshpc on its synthetic data in memory: two passes, of which the first inserts every row.

    set_aside : memory for the rows is set aside before the clock starts, as the peers' tables are
    """
    job = {"passes": 2, "set_aside": set_aside, "overrides": [f"compute.threads_per_rank={2 // ranks}", *overrides]}
    return Contestant(name, "step_worker.py", job, ranks=ranks)


def from_text(name, ranks, *overrides, loads=False):
    """loads : kernels are loaded in the call that is timed, so that the whole process does nothing twice"""
    overrides = [f"compute.threads_per_rank={2 // ranks}", *overrides]
    return Contestant(name, "peers/deshpc_text_worker.py", {"overrides": overrides, "loads": loads}, ranks=ranks)


def peer(name, module, worker, kept_memory=False, **job):
    return Contestant(name, f"peers/{worker}_worker.py", job, module, variables=KEPT_MEMORY if kept_memory else {})


ONCE = "data.follow=true", "data.fit_rows=50000", "train.shuffle_block_rows=16384"  # trained while it is read
LR, ROWWISE, BROADCAST = "model.name=lr", "optimizer.name=rowwise_adagrad", "train.routing=broadcast"
THREADS, RANKS = "deshpc, 1 rank x 2 threads", "deshpc, 2 ranks"
ADAGRAD = "deshpc Adagrad, 1 rank x 2 threads", "deshpc Adagrad, 2 ranks, broadcast", "deshpc Adagrad, 2 ranks, routed"
GROWING, WHILE_READ, PROCESS = ", nothing set aside", ", while it is read", ", while it is read, whole process"
DENSE_RATE = "optimizer.dense_learning_rate=0.01"  # that of torch_deep_models.py


def deep(name, model, hidden, at_least, then, *overrides, exchange=False, torchrec=False, compiled=True):
    """The race of a deep model in memory; the peers' models are those of torch_deep_models.py.

    hidden : widths of the hidden layers;  exchange : deshpc on 2 ranks as well, between which rows travel
    compiled : what is PyTorch's is compiled in FBGEMM's model, and in PyTorch's as a further peer
    Peers with an accumulator a weight are set beside deshpc with the same, those with one a row beside both.  Where the processor
    has tiles (compute.matrix_products), deshpc without them says what another one would do.
    """
    job = {"model": model, "hidden": hidden}
    chosen = [f"model.name={model}", f"model.hidden={hidden}", DENSE_RATE, *overrides]
    adagrad = [in_memory("deshpc Adagrad, 1 rank x 2 threads", 1, *chosen)]
    if exchange:
        adagrad.append(in_memory("deshpc Adagrad, 2 ranks, routed rows", 2, "train.exchange=rows", *chosen))
    rowwise = [in_memory("deshpc row-wise Adagrad, 1 rank x 2 threads", 1, ROWWISE, *chosen)]
    library = in_memory("deshpc row-wise Adagrad, BLAS, 1 rank x 2 threads", 1, ROWWISE, "compute.matrix_products=library", *chosen)
    adagrad_peers = [peer("PyTorch sparse Adagrad", "torch", "torch", True, **job, optimizer="adagrad")]
    rowwise_peers = [peer("FBGEMM", "fbgemm_gpu", "fbgemm", True, **job)]
    if compiled:
        job_compiled = job | {"compiled": True}
        adagrad_peers += [
            peer("PyTorch sparse Adagrad, compiled", "torch", "torch", True, **job_compiled, optimizer="adagrad")
        ]
        rowwise_peers = [peer("FBGEMM, compiled", "fbgemm_gpu", "fbgemm", True, **job_compiled)]
    if torchrec:
        rowwise_peers += [
            peer("torchrec, 1 process", "torchrec", "torchrec", True, **job, ranks=1),
            peer("torchrec, 2 processes", "torchrec", "torchrec", True, **job, ranks=2),
        ]
    beside = [(adagrad, one) for one in adagrad_peers + rowwise_peers] + [(rowwise, one) for one in rowwise_peers]
    return Race(
        name,
        (*adagrad, *rowwise, library, *adagrad_peers, *rowwise_peers),
        (
            *(Comparison(name, tuple(our.name for our in ours), one.name, at_least, then) for ours, one in beside),
            *(Comparison(f"{name}, BLAS", (library.name,), one.name) for one in rowwise_peers),
        ),
    )


RACES = (
    Race(
        "LR in memory",
        (
            in_memory(THREADS, 1, LR),
            in_memory(RANKS, 2, LR),
            in_memory(RANKS + GROWING, 2, LR, set_aside=False),
            in_memory(RANKS + ", broadcast", 2, LR, BROADCAST),
            peer("xLearn", "xlearn", "xlearn", model="lr", source="memory"),
            peer("scikit-learn SGD", "sklearn", "sklearn"),
            peer("PyTorch sparse SGD", "torch", "torch", True, model="lr", optimizer="sgd"),
            peer("PyTorch sparse Adagrad", "torch", "torch", True, model="lr", optimizer="adagrad"),
        ),
        (
            Comparison("LR in memory", (THREADS, RANKS), "xLearn", 1.5, 2.5),
            Comparison("LR in memory, second pass", (THREADS, RANKS), "xLearn", 2, second=True),
            Comparison("LR in memory" + GROWING, (RANKS + GROWING,), "xLearn"),
            Comparison("LR in memory", (THREADS, RANKS), "scikit-learn SGD"),
            Comparison("LR in memory", (THREADS, RANKS), "PyTorch sparse SGD"),
            Comparison("LR in memory", (THREADS, RANKS), "PyTorch sparse Adagrad"),
        ),
    ),
    Race(
        "FM in memory",
        (
            in_memory("deshpc Adagrad, 1 rank x 2 threads", 1),
            in_memory("deshpc row-wise Adagrad, 1 rank x 2 threads", 1, ROWWISE),
            in_memory("deshpc Adagrad, 2 ranks, broadcast", 2, BROADCAST),
            in_memory("deshpc Adagrad, 2 ranks, broadcast" + GROWING, 2, BROADCAST, set_aside=False),
            in_memory("deshpc row-wise Adagrad, 2 ranks, broadcast", 2, BROADCAST, ROWWISE),
            in_memory("deshpc Adagrad, 2 ranks, routed", 2),
            peer("xLearn", "xlearn", "xlearn", model="fm", source="memory"),
            peer("FBGEMM", "fbgemm_gpu", "fbgemm"),
            peer("FBGEMM, memory kept", "fbgemm_gpu", "fbgemm", True),
            peer("PyTorch sparse Adagrad", "torch", "torch", True, model="fm", optimizer="adagrad"),
            peer("torchrec, 2 processes", "torchrec", "torchrec"),
            peer("torchrec, 2 processes, memory kept", "torchrec", "torchrec", True),
            peer("PyTorch DDP Adagrad, 2 processes", "torch", "torch_ddp", True, model="fm", optimizer="adagrad"),
        ),
        (
            Comparison("FM in memory", ADAGRAD, "xLearn", 3.5, 5),
            Comparison("FM in memory, second pass", ADAGRAD, "xLearn", 5, second=True),
            Comparison("FM in memory" + GROWING, ("deshpc Adagrad, 2 ranks, broadcast" + GROWING,), "xLearn"),
            *(
                Comparison(
                    "FM in memory", (f"deshpc {rule}, 1 rank x 2 threads", f"deshpc {rule}, 2 ranks, broadcast"), name, 7
                )
                for rule in ("row-wise Adagrad", "Adagrad")
                for name in ("FBGEMM", "FBGEMM, memory kept")
            ),
            Comparison("FM in memory", ADAGRAD, "PyTorch sparse Adagrad"),
            *(
                Comparison(f"FM, 2 ranks, {routing}", (f"deshpc Adagrad, 2 ranks, {routing}",), name, at_least, then)
                for routing, over_xlearn, over_torchrec in (("broadcast", 3, 15), ("routed", 2.5, 10))
                for name, at_least, then in (
                    ("xLearn", over_xlearn, None), ("FBGEMM, memory kept", 7 if routing == "broadcast" else None, None),
                    ("torchrec, 2 processes", over_torchrec, None),
                    ("torchrec, 2 processes, memory kept", 10, over_torchrec if over_torchrec > 10 else None),
                    ("PyTorch DDP Adagrad, 2 processes", None, None),
                )
            ),
        ),
    ),
    Race(
        "LR from text",
        (
            from_text(THREADS, 1, LR),
            from_text(RANKS, 2, LR, BROADCAST),
            from_text(THREADS + WHILE_READ, 1, LR, *ONCE),
            from_text(RANKS + WHILE_READ, 2, LR, BROADCAST, *ONCE),
            from_text(THREADS + PROCESS, 1, LR, *ONCE, loads=True),
            peer("Vowpal Wabbit", "vowpalwabbit", "vowpal"),
            peer("xLearn", "xlearn", "xlearn", model="lr", source="text"),
        ),
        (
            Comparison("LR from text", (THREADS, RANKS, THREADS + WHILE_READ, RANKS + WHILE_READ), "Vowpal Wabbit", 4, 6),
            Comparison("LR from text, whole process", (THREADS + PROCESS,), "Vowpal Wabbit", 3, whole=True),
            Comparison("LR from text", (THREADS, RANKS, THREADS + WHILE_READ, RANKS + WHILE_READ), "xLearn"),
        ),
        whole_process=True,
    ),
    Race(
        "FM from text",
        (
            from_text(THREADS, 1),
            from_text(RANKS, 2, BROADCAST),
            from_text(THREADS + WHILE_READ, 1, *ONCE),
            from_text(RANKS + WHILE_READ, 2, BROADCAST, *ONCE),
            from_text(THREADS + PROCESS, 1, *ONCE, loads=True),
            peer("xLearn", "xlearn", "xlearn", model="fm", source="text"),
        ),
        (
            Comparison("FM from text", (THREADS, RANKS, THREADS + WHILE_READ, RANKS + WHILE_READ), "xLearn", 8, 12),
            Comparison("FM from text, whole process", (THREADS + PROCESS,), "xLearn", 6, whole=True),
        ),
        whole_process=True,
    ),
    deep("DeepFM 400-400-400", "deepfm", [400, 400, 400], 1.4, 1.6, exchange=True, torchrec=True),
    deep("DeepFM 256-128", "deepfm", [256, 128], 1.5, 2, exchange=True, torchrec=True),
    deep("Wide & Deep 400-400-400", "wide_deep", [400, 400, 400], 1.4, 1.6),
    deep("DCN 400-400-400", "dcn", [400, 400, 400], 1.4, 1.6, "model.cross_layers=3"),
    deep("DCN-v2 400-400-400", "dcnv2", [400, 400, 400], 1.2, None, "model.cross_layers=3", "model.cross_rank=0"),
    deep("DLRM", "dlrm", [512, 256], 1.4, 1.6, "model.bottom_hidden=[512, 256]", torchrec=True, compiled=False),
)  # fmt: skip
