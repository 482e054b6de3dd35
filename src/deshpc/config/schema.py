"""Every option of a run, its default and its meaning.  A TOML section is a dataclass, a key is a field.

`option(default, text, ...)` declares a field with its help text and, where there is one, the set of valid
choices or the smallest valid value; `load` checks them, `deshpc info --options` prints them.  Whatever else lists the
choices is compared with them in `tests/test_names_agree.py`.  A name that is a word of Python has an underscore behind it,
which the option has not (`options_of`): `from_` is `train.from`.
"""

from dataclasses import dataclass, field, fields
from typing import ClassVar

AUTO_TRANSPORT = "host"
"""What `compute.transport = "auto"` means: right with every MPI library, and with any number of ranks a device."""

SEPARATED_FORMATS = ("csv", "tsv")
"""Text whose rows have cells between delimiters."""

NAMED_FORMATS = (*SEPARATED_FORMATS, "parquet", "table")
"""Formats whose columns have names, of which data.fields chooses."""

LISTS = ("multi", "sequence")
"""Kinds of fields of which a sample has any number of keys."""

OF_VALUES = ("categorical", *LISTS)
"""Kinds of fields whose keys are hashes of values, which fields can share."""

WIDEST_EMBEDDING = 1024
"""Kernels hold an embedding as one vector.  Compiling them takes seconds up to 64, most of a minute at 1024, and minutes above."""

WIDEST_ROW = 1 << 20
"""Weights of a row, of several vectors too: a model on disk that says more is damaged."""


METRICS_OF_LOSS = {
    "log": ("auc", "pr_auc", "grouped_auc", "log_loss", "normalized_entropy", "calibration", "calibration_error"),
    "squared": ("mean_squared_error", "mean_absolute_error"),
    "poisson": ("mean_deviance",),
}
"""By which metrics a run may stop early, by `train.loss`."""


TASK_MODELS = ("shared_bottom", "mmoe", "ple", "esmm")
"""Models of several labels."""


def option(
    default, text, choices=(), minimum=None, maximum=None, above=None, below=None, importable=False, arithmetic=None, of_tasks=False
):
    """A dataclass field with a default, its documentation and what values are valid.

    minimum, maximum : the smallest and largest valid value
    above, below : the value must be greater, or less, than this.
    importable : package.module:Name is valid beside the choices
    of_tasks : NAME.choice is valid beside the choices, NAME being that of a task
    arithmetic : where kernels take the value as a number, its type's name in `precision.number_types`
    """
    metadata = {
        "text": text, "choices": choices, "minimum": minimum, "maximum": maximum, "above": above, "below": below, "importable": importable,
        "arithmetic": arithmetic, "of_tasks": of_tasks,
    }  # fmt: skip
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def options_of(section):
    """{name of an option: its dataclass field} of a section, a dataclass or an object of one."""
    return {one.name.rstrip("_"): one for one in fields(section)}


def choices(section, name):
    """The valid choices of an option of a section, a dataclass; empty where it has any value."""
    return section.__dataclass_fields__[name].metadata["choices"]


@dataclass(frozen=True)
class FieldConfig:
    """One input column, `[[data.fields]]`."""

    name: str = option("", "name in the header; also part of every key's hash")
    kind: str = option(
        "categorical",
        "categorical: one key; multi: several keys in one cell; sequence: several keys in their order; dense: a number, "
        "sign(x) log(1 + |x|), standardised on the training rows; bucket: a number that becomes a categorical bucket",
        choices=("categorical", "multi", "sequence", "dense", "bucket"),
    )
    separator: str = option("|", "multi, sequence: the character between values of one cell; Parquet has lists instead")
    weight_separator: str = option(
        "", "multi: the character between a value and its weight, as in a:0.5|b:2; empty: values have no weights"
    )
    pooling: str = option(
        "sum",
        "multi, sequence: sum takes every value with its weight (1 where it has none), mean divides that by the values that are taken",
        choices=("sum", "mean"),
    )
    linear_pooling: str = option(
        "", "multi, sequence: pooling of the linear weights, where it is not that of the embeddings", choices=("", "sum", "mean")
    )
    share: str = option(
        "", "categorical, multi, sequence: the name of another such field: its keys are this one's, too, so equal values have one row, "
        "one embedding and one linear weight"
    )  # fmt: skip
    length: int = option(50, "sequence: the most values of a sample that are taken, its newest ones", minimum=1, maximum=1 << 14)
    newest: str = option("last", "sequence: which end of a cell has the newest value", choices=("last", "first"))
    recency: float = option(
        1.0, "sequence: the weight of a value over that of the next newer one; the newest has weight 1", above=0.0, maximum=1.0
    )
    buckets: int = option(32, "bucket: number of quantile buckets, fitted on the training rows", minimum=2, maximum=1 << 20)
    boundaries: tuple[float, ...] = option((), "bucket: increasing boundaries to use instead of fitted quantiles")
    transform: str = option(
        "signed_log",
        "dense: what becomes of a number x: signed_log: sign(x) log(1 + |x|); log: log(1 + x), of a negative x as of 0; square_root: "
        "sign(x) sqrt(|x|); none: x",
        choices=("signed_log", "log", "square_root", "none"),
    )
    clip: tuple[float, ...] = option((), "dense: [low, high]: a number below or above counts as that end, before the transform; empty: any number")
    standardise: bool = option(True, "dense: the transformed number less its mean, divided by its standard deviation, both of the training rows")


@dataclass(frozen=True)
class CrossConfig:
    """A field whose keys are all combinations of other fields' keys, `[[data.crosses]]`."""

    kind: ClassVar[str] = "cross"
    share: ClassVar[str] = ""

    fields: tuple[str, ...] = option(
        (), "two fields that become keys, or more: a sample has a key for each combination of their values, whose value is the product of theirs"
    )
    name: str = option("", "name of the cross, by which model.fields knows it; empty: its fields' names with ' x ' between them")


@dataclass(frozen=True)
class SyntheticConfig:
    """Generated data with a known true model, `[data.synthetic]`."""

    profile: str = option(
        "small",
        "small: 12 one-hot fields, learnt in a minute; criteo, industrial, history: the profiles of docs/synthetic.md",
        choices=("small", "criteo", "industrial", "history"),
    )
    train_rows: int = option(1_000_000, "number of training samples", minimum=1)
    valid_rows: int = option(0, "number of validation samples", minimum=0)
    test_rows: int = option(100_000, "number of test samples", minimum=0)
    seed: int = option(1, "seed of the true model and of the samples", minimum=0)
    numeric: str = option(
        "dense", "criteo: the 13 numeric features as dense features or as 13 bucket fields", choices=("dense", "bucket")
    )


@dataclass(frozen=True)
class DataConfig:
    """Where samples come from, `[data]`.  Relative paths are seen from the configuration file, those of a command line from where it is given."""

    format: str = option(
        "csv",
        "csv, tsv; criteo, libsvm, libffm: text without a header (all text also .gz and .zst); parquet; table: given in Python; "
        "cache: what deshpc convert has written; synthetic",
        choices=("csv", "tsv", "criteo", "libsvm", "libffm", "parquet", "table", "cache", "synthetic"),
    )
    train: tuple[str, ...] = option((), "training files: paths, patterns such as day_*.gz, or folders; with follow a folder that grows, or -, too")
    valid: tuple[str, ...] = option((), "validation files, evaluated after every epoch")
    test: tuple[str, ...] = option((), "test files, evaluated once at the end")
    label: str | tuple[str, ...] = option(
        "label",
        "column of the label: 0 or 1, -1 or 1, true or false, yes or no, or what data.positive says; numbers with another train.loss than log; "
        "several columns in a list: one for each task of a model of several tasks, docs/tasks.md",
    )
    positive: str = option("", "csv, tsv, parquet, table: the label of a positive, such as clicked; all others have to be one other value")
    weight: str = option(
        "", "csv, tsv, parquet, table: column of what each sample counts in training and in metrics, a number of at least 0; empty: 1"
    )
    delimiter: str = option("", "csv, tsv: the character between cells, such as ; or |; empty: that of the format")
    header: bool = option(True, "csv, tsv: whether every file begins with a line of its columns' names")
    columns: tuple[str, ...] = option((), "csv, tsv without a header: the names of the columns, in their order")
    missing: tuple[str, ...] = option(
        (), "csv, tsv, parquet, table: cells that count as empty, such as NA or \\N; of a multi field, the whole cell"
    )
    fields: tuple[FieldConfig, ...] = option(
        (), "the input columns, in order; criteo, libsvm, libffm and cache know theirs"
    )
    crosses: tuple[CrossConfig, ...] = option((), "combinations of fields that become keys of their own, docs/data.md; a cache knows its own")
    criteo_numeric: str = option(
        "dense", "criteo: the 13 integers as dense features or as bucket fields", choices=("dense", "bucket")
    )
    libffm_fields: int = option(0, "libffm: number of fields; they are numbered from 0", minimum=0)
    normalise_samples: bool = option(
        False,
        "whether each sample's values, those beside its keys and its dense features, are divided by their norm, the root of the sum of their squares, "
        "as libffm and xLearn do unless told otherwise: long samples then count no more than short ones",
    )
    on_bad_row: str = option(
        "error", "a row that cannot be read: error ends the run, skip leaves it out and counts it", choices=("error", "skip")
    )
    in_memory: str = option(
        "auto",
        "on: the training part is read once, into the memory of every node; off: block by block in every epoch, ahead of the steps, in "
        "bounded memory; auto: off where its files would take more than half of the memory that is free; docs/streams.md",
        choices=("auto", "on", "off"),
    )
    follow: bool = option(
        False,
        "text, parquet: rows are learnt from as they come, once, in bounded memory: of files, of one folder, which may grow, or of -, standard input, "
        "of text; docs/streams.md",
    )
    follow_end: str = option("_END", "follow: a file of this name in the folder says that no file comes any more")
    follow_silence_s: float = option(0.0, "follow: seconds without a new file in the folder after which the run ends, too; 0: never", minimum=0.0)
    fit_rows: int = option(
        0, "follow: first rows of the first file to which dense and bucket fields are fitted; they wait in memory; 0: the whole file, which is read twice",
        minimum=0,
    )
    synthetic: SyntheticConfig = option(SyntheticConfig, "the generator, where format = synthetic")

    @property
    def labels(self):
        """Columns of all labels."""
        return (self.label,) if isinstance(self.label, str) else self.label


@dataclass(frozen=True)
class ModelFieldConfig:
    """What one field has of its own, `[[model.fields]]`."""

    name: str = option("", "a field that becomes keys: its name in data.fields, or that which the format gives it")
    dim: int = option(0, "embedding dimension of its keys; 0: model.dim", minimum=0, maximum=WIDEST_EMBEDDING)
    target: str = option(
        "", "din: this field is a sequence, whose values are weighed by their likeness to the value of that field, and added up"
    )
    replicated: bool = option(
        False,
        "deep models: every rank has all rows of this field: none of its keys or embeddings travels, only its rows' gradients do, "
        "to all ranks; for fields of few keys",
    )


@dataclass(frozen=True)
class ModelTaskConfig:
    """What one of several tasks has of its own, `[[model.tasks]]`."""

    name: str = option("", "one of the columns in data.label")
    loss: str = option("", "what is made small, as in train.loss: log, squared or poisson; empty: train.loss", choices=("", "log", "squared", "poisson"))
    weight: float = option(1.0, "what its loss counts in the sum over all tasks", minimum=1e-6, maximum=1e6)


@dataclass(frozen=True)
class ModelConfig:
    """The model, `[model]`."""

    name: str = option(
        "fm",
        "lr: linear; fm: factorization machine; ffm, fwfm, fmfm: field-aware, field-weighted, field-matrixed; wide_deep, deepfm, nfm, dcn, dcnv2, dlrm, xdeepfm, din, autoint: deep models, docs/models.md; "
        "shared_bottom, mmoe, ple, esmm: deep models of several labels, docs/tasks.md; "
        "package.module:Class: a definition of your own, which --allow-import has to name, too",
        choices=("lr", "fm", "ffm", "fwfm", "fmfm", "wide_deep", "deepfm", "nfm", "dcn", "dcnv2", "dlrm", "xdeepfm", "din", "autoint", *TASK_MODELS),
        importable=True,
    )
    dim: int = option(16, "embedding dimension k", minimum=1, maximum=WIDEST_EMBEDDING)
    fields: tuple[ModelFieldConfig, ...] = option(
        (),
        "fields that have something of their own: another dimension than model.dim (wide_deep, dcn, dcnv2, and models of several labels), "
        "a target (din), or rows on every rank (deep models)",
    )
    linear: bool = option(True, "ffm: whether keys and dense features have linear weights, too; libffm's have none")
    tasks: tuple[ModelTaskConfig, ...] = option((), "tasks, columns in data.label, whose loss is not train.loss, or counts another weight than 1")
    hidden: tuple[int, ...] = option(
        (400, 400, 400),
        "deep models: widths of the network's hidden layers; dlrm: of the top one's; mmoe, ple: of each expert's; esmm: of each task's",
    )
    task_hidden: tuple[int, ...] = option((64,), "shared_bottom, mmoe, ple: widths of the layers that each task has of its own")
    experts: int = option(4, "mmoe: number of experts; ple: of the experts that tasks share, on each level", minimum=1, maximum=1000)
    task_experts: int = option(2, "ple: number of experts that each task has of its own, on each level", minimum=1, maximum=1000)
    expert_levels: int = option(2, "ple: levels of experts, each of which sees what the one below makes", minimum=1, maximum=100)
    bottom_hidden: tuple[int, ...] = option((512, 256), "dlrm: widths of the bottom network's layers before the last, which has dim")
    activation: str = option("relu", "deep models: of hidden layers", choices=("relu", "tanh", "sigmoid"))
    normalisation: str = option(
        "none",
        "deep models: before each hidden activation: layer: over a sample's units; batch: over the global batch, running "
        "statistics in evaluation",
        choices=("none", "layer", "batch"),
    )
    dropout: float = option(
        0.0, "deep models: chance of a hidden unit to be zero in training; the same units on any number of ranks",
        minimum=0.0, below=1.0,
    )  # fmt: skip
    first_layer: str = option(
        "pooled",
        "deep models: pooled: embeddings come to the samples, where the network is; pushed_down: owners multiply them by the first "
        "layer\'s weights, and the products are added up (wide_deep, deepfm, dcn)",
        choices=("pooled", "pushed_down"),
    )
    cross_layers: int = option(3, "dcn, dcnv2: number of cross layers", minimum=1, maximum=1000)
    cross_rank: int = option(0, "dcnv2: rank of the cross layers' matrices; 0: full", minimum=0)
    cin_layers: tuple[int, ...] = option((100, 100), "xdeepfm: feature maps of the interaction network's layers")
    attention_hidden: tuple[int, ...] = option((36,), "din: widths of the layers that weigh a value of a sequence")
    attention_weights: str = option(
        "plain",
        "din: plain: a value's weight is what the network says, as in the paper; softmax: those of a sample's values are made positive, "
        "and add up to 1",
        choices=("plain", "softmax"),
    )
    attention_layers: tuple[int, ...] = option((32, 32, 32), "autoint: numbers of a field after each layer of attention, over all heads")
    attention_heads: int = option(2, "autoint: heads of each layer; they divide its numbers", minimum=1)
    initial_bias: str = option(
        "base_rate",
        "where the bias of a new model starts: base_rate: the log-odds of the training part's positives (squared: the mean of its labels; "
        "poisson: the logarithm of that), so that predictions are calibrated from the first step on; zero",
        choices=("base_rate", "zero"),
    )
    expected_rows: int = option(
        0,
        "rows of the whole run's table for which memory is set aside before training, so that no step waits for the system; "
        "0: memory comes as rows do; tables grow beyond it either way",
        minimum=0,
    )
    init_std: float = option(0.01, "standard deviation of a new embedding's uniform initial weights", minimum=0.0, arithmetic="start")


@dataclass(frozen=True)
class OptimizerConfig:
    """The update rule of table rows and dense parameters, `[optimizer]`.  See docs/optimizers.md."""

    name: str = option(
        "adagrad",
        "sgd; adagrad: one accumulator per weight; rowwise_adagrad: one for a row's linear weight, one for its "
        "embedding; adam: lazy, moments of the keys present only; ftrl: FTRL-proximal",
        choices=("sgd", "adagrad", "rowwise_adagrad", "adam", "ftrl"),
    )
    learning_rate: float = option(0.05, "step size; alpha of ftrl", above=0.0, arithmetic="compute")
    dense_name: str = option(
        "", "rule of dense parameters: sgd, adagrad or adam; empty: that of rows, adagrad where that is rowwise_adagrad",
        choices=("", "sgd", "adagrad", "adam"),
    )  # fmt: skip
    dense_learning_rate: float = option(0.0, "step size of dense parameters; 0: learning_rate", minimum=0.0, arithmetic="compute")
    reduction: str = option(
        "auto",
        "gradient of the batch's mean or summed loss; auto: sum for adagrad, rowwise_adagrad and ftrl, whose steps "
        "then hardly depend on the batch size, mean for sgd and adam",
        choices=("auto", "mean", "sum"),
    )
    initial_accumulator: float = option(
        1.0, "adagrad, rowwise_adagrad, ftrl: start of each sum of squared gradients", minimum=0.0, arithmetic="weights"
    )
    epsilon: float = option(1e-8, "adagrad, rowwise_adagrad, adam: added to the square root", minimum=0.0, arithmetic="compute")
    beta1: float = option(0.9, "adam: what the mean of gradients keeps each step", minimum=0.0, below=1.0, arithmetic="compute")
    beta2: float = option(0.999, "adam: what the mean of squared gradients keeps each step", minimum=0.0, below=1.0, arithmetic="compute")
    beta: float = option(1.0, "ftrl: added to the square root of the sum of squared gradients", minimum=0.0, arithmetic="compute")
    l1: float = option(0.0, "ftrl: L1 of rows; weights become exactly 0", minimum=0.0, arithmetic="compute")
    l2: float = option(
        0.0, "L2 of rows: l2 times the weight is added to the gradient of each key of a batch; ftrl: in its formula", minimum=0.0,
        arithmetic="compute",
    )
    clip_norm: float = option(
        0.0, "largest norm of a step's gradient over all rows and dense parameters, L2 not counted; 0: any", minimum=0.0,
        arithmetic="compute",
    )
    warmup_steps: int = option(0, "steps in which the learning rate grows linearly from 0 to its value", minimum=0)
    decay: str = option(
        "none",
        "how the learning rate falls after the warm-up: none, linear, cosine, or inverse_sqrt: "
        "1 / sqrt(1 + step / decay_steps)",
        choices=("none", "linear", "cosine", "inverse_sqrt"),
    )
    decay_steps: int = option(0, "length of the decay in steps; 0: the rest of the run", minimum=0)
    final_rate_fraction: float = option(
        0.0, "linear, cosine: what is left of the learning rate after the decay", minimum=0.0, below=1.0
    )


@dataclass(frozen=True)
class TrainConfig:
    """The training loop, `[train]`."""

    loss: str = option(
        "log",
        "what is made small, and what a prediction is of the model's sum z: log: log-loss of two classes, the probability 1 / (1 + exp(-z)); "
        "squared: (z - y)^2 / 2 of any numbers y, z itself; poisson: exp(z) - y z of numbers y >= 0, such as counts, exp(z); docs/losses.md",
        choices=("log", "squared", "poisson"),
    )
    from_: str = option(
        "",
        "start from this model instead of a new one: a run's folder, a model or a checkpoint, seen from where the run is started; its rows, "
        "dense parameters and fitted transforms, as far as this model has them; docs/daily.md",
    )
    from_state: str = option(
        "keep",
        "what becomes of the optimizer's state of train.from: keep: learning goes on as if it had not ended, and steps are counted on; "
        "fresh: only weights are taken, and steps begin at 0",
        choices=("keep", "fresh"),
    )
    global_batch_samples: int = option(8192, "samples of one step, over all ranks", minimum=1, maximum=1 << 30)
    epochs: int = option(1, "passes over the training rows", minimum=0)
    seed: int = option(1, "seed of the shuffle and of new rows", minimum=0)
    class_weights: tuple[float, ...] = option(
        (), "[negatives, positives]: what a sample counts is multiplied by that of its class, in training and in metrics; empty: by 1"
    )
    negative_sampling: float = option(
        1.0, "chance of a negative of the training part to be learnt from, the same ones in every epoch; 1: all", above=0.0, maximum=1.0
    )
    sampling_correction: str = option(
        "bias",
        "how predictions stay calibrated where negatives are left out: bias: -log(negative_sampling) is added to the logit while "
        "the model learns, and never elsewhere; weights: a negative that is kept counts 1 / negative_sampling",
        choices=("bias", "weights"),
    )
    shuffle: bool = option(True, "new order every epoch: blocks permuted, runs permuted inside their block")
    shuffle_block_rows: int = option(65_536, "rows of one shuffle block", minimum=1)
    shuffle_run_rows: int = option(
        8, "rows that stay together, in their order; 1: every row for itself, read from memory one by one", minimum=1
    )
    exchange: str = option(
        "auto",
        "auto: allreduce for lr and fm; rows for ffm (reduce_scatter under column split), for din, and for others that take embeddings by field where fields share rows under "
        "routed keys or field split; others: pooled under field split, reduce_scatter where owners compute a part, else rows; "
        "allreduce: partials are added up on all ranks, which all repeat the top; reduce_scatter: each rank gets its own "
        "samples' sums, gradients are all-gathered; rows: rows travel to the samples, gradients back; "
        "pooled: complete embeddings of fields travel to the samples (field split)",
        choices=("auto", "allreduce", "reduce_scatter", "rows", "pooled"),
    )
    split: str = option(
        "key",
        "how rows are divided: key: by the key\'s hash; field: every field\'s rows on one rank; column: every rank has some columns "
        "of all embeddings, and computes its own part of the model; docs/models.md has the valid combinations; auto: planned at the start",
        choices=("key", "field", "column", "auto"),
    )
    routing: str = option(
        "routed",
        "routed: a sample's home rank sends each key to its owner; broadcast: every rank reads the whole batch; "
        "auto: planned at the start",
        choices=("routed", "broadcast", "auto"),
    )
    machine: str = option(
        "",
        "what deshpc probe has measured, a file seen from where the run is started, for plans of seconds: key_numbers, split, routing and, beside one of them, exchange = auto; "
        "without it the fewest bytes between ranks, or between nodes, are chosen",
    )
    key_numbers: str = option(
        "auto",
        "on: keys that home and owner both know travel between nodes as short numbers; off: as they are, 8 bytes each, which takes the "
        "processors less time; auto: what takes less time by train.machine, and on where there is none; the result is the same",
        choices=("auto", "on", "off"),
    )
    levels: str = option(
        "auto",
        "two: sums and gathers go through each node's shared memory first, and every number crosses between two nodes once; one: every "
        "rank sends to every other alike; auto: two where ranks are on several nodes, and more than one on some",
        choices=("auto", "one", "two"),
    )
    wire: str = option(
        "full",
        "in what numbers float32 rows, partial results and their gradients travel: full: as they are; bfloat16, float16: half the bytes, "
        "rounded on the way, while sums stay float32; inside a node, sums of two levels are not rounded",
        choices=("full", "bfloat16", "float16"),
    )
    overlap: str = option(
        "auto",
        "on: the next batch is read and looked up while partials travel, and its keys travel a step ahead of that; off: after the update; auto: on where ranks "
        "are on several nodes, and with a device; the result is the same",
        choices=("auto", "on", "off"),
    )
    precision: str = option(
        "float32",
        "type of weights and optimizer state; bfloat16: embeddings alone have 2 bytes a number, rounded at random so that their mean is right, "
        "and all else is float32: fewer cache lines a row, and the same bits on any number of ranks where sums are; docs/performance.md",
        choices=("float32", "float64", "bfloat16"),
    )
    accumulate: str = option(
        "",
        "type of partial sums and gradient sums; empty: as precision, or float32; int64: fixed point, the same bits on any number "
        "of ranks (deep models: that divides 16, or by allreduce), at twice the bytes; docs/method.md",
        choices=("", "float32", "float64", "int64"),
    )
    evaluate_every_steps: int = option(
        0, "steps between evaluations of the validation part; 0: after every epoch", minimum=0
    )
    stop_metric: str = option(
        "none",
        "auc, pr_auc, grouped_auc (of metrics.group): larger is better; log_loss, normalized_entropy, calibration_error: smaller; calibration: "
        "nearer to 1; with train.loss = 'squared': mean_squared_error, mean_absolute_error; with 'poisson': mean_deviance: smaller: stop "
        "early by this metric of the validation part, and keep the best model; none: train to the end; of several tasks auc and log_loss are "
        "means by the tasks' weights, and NAME.auc, NAME.log_loss ... of one task",
        choices=(
            "none", "auc", "pr_auc", "grouped_auc", "log_loss", "normalized_entropy", "calibration", "calibration_error", "mean_squared_error",
            "mean_absolute_error", "mean_deviance",
        ),
        of_tasks=True,
    )
    stop_patience: int = option(3, "evaluations in a row without a gain after which training stops", minimum=1)
    stop_minimum_gain: float = option(0.0, "what an evaluation has to gain on the best before it by more than", minimum=0.0)
    watchdog_s: float = option(
        600.0, "seconds without progress on any rank after which the run is ended, naming ranks and stages; 0: never", minimum=0.0
    )


@dataclass(frozen=True)
class TableConfig:
    """Which keys get rows, and which rows are given up again, `[table]`.  See docs/living-tables.md."""

    admit_after: int = option(1, "sights after which a key gets a row; a sight is a step whose global batch has the key", minimum=1)
    admit_probability: float = option(
        1.0, "chance of a key to get a row at each sight from the admit_after-th on, by a hash of seed, key and its number of sights",
        above=0.0, maximum=1.0,
    )  # fmt: skip
    max_waiting_keys: int = option(
        0, "keys without a row whose sights are counted, of all ranks; those that were seen last longest ago are forgotten; 0: any number",
        minimum=0,
    )
    max_age_steps: int = option(
        0, "steps after which a row that no batch has had is given up, and the sights of a key without one are forgotten; 0: never",
        minimum=0, maximum=1 << 31,
    )  # fmt: skip
    half_life_steps: int = option(
        0, "steps in which the decayed count of a row's sights halves; 0: none is kept, and budgets keep the rows that were seen last",
        minimum=0, maximum=1 << 22,
    )  # fmt: skip
    min_decayed_count: float = option(0.0, "decayed count below which a row is given up; needs half_life_steps", minimum=0.0)
    max_rows: int = option(
        0, "rows of all ranks: those of the smallest decayed counts, or those seen last longest ago, are given up; 0: any number", minimum=0
    )
    max_bytes_per_rank: int = option(
        0, "bytes of rows and their index at each rank, as max_rows; which rows go then depends on the number of ranks; 0: any number",
        minimum=0,
    )
    zero_age_steps: int = option(
        0, "ftrl: steps after which a row whose weights are all exactly 0 and that no batch has had is given up; 0: never",
        minimum=0, maximum=1 << 31,
    )  # fmt: skip
    evict_every_steps: int = option(
        1000, "steps between two looks at all rows; limits hold after each, and rows of new keys come on top until the next", minimum=1
    )

    @property
    def admits_all(self):
        """Whether every key gets a row at its first sight."""
        return self.admit_after == 1 and self.admit_probability == 1.0

    @property
    def evicts(self):
        """Whether rows or waiting keys are ever given up."""
        return any((self.max_waiting_keys, self.max_age_steps, self.min_decayed_count, self.max_rows, self.max_bytes_per_rank, self.zero_age_steps))

    @property
    def lives(self):
        """Whether any option here changes what training does."""
        return self.evicts or not self.admits_all


@dataclass(frozen=True)
class SliceConfig:
    """A field by whose values metrics are shown, `[[metrics.slices]]`."""

    field: str = option("", "name of a categorical or bucket field of data.fields")
    values: tuple[str, ...] = option((), "values, as the files have them; of a bucket field numbers of buckets; empty: the most frequent ones")
    most: int = option(20, "most frequent values, where none are named", minimum=1, maximum=1000)


@dataclass(frozen=True)
class MetricsConfig:
    """What evaluations find beside AUC, precision-recall AUC, log-loss, normalized entropy and calibration, `[metrics]`.  See docs/metrics.md."""

    group: str = option(
        "", "a categorical field, such as user_id: also find the mean of the AUCs of its values' rows (grouped AUC); empty: none"
    )
    calibration_bins: int = option(10, "rows of the calibration table; 0: none", minimum=0, maximum=1000)
    slices: tuple[SliceConfig, ...] = option((), "fields by whose values metrics are shown after training and by deshpc eval")


@dataclass(frozen=True)
class CheckpointConfig:
    """What a run can go on from, `[checkpoint]`: run.directory/checkpoints.  See docs/checkpoints.md."""

    every_steps: int = option(0, "steps between checkpoints; 0: none by steps", minimum=0)
    every_minutes: float = option(0.0, "minutes between checkpoints, by rank 0's clock, beside every_steps; 0: none by time", minimum=0.0)
    keep: int = option(3, "number of newest checkpoints that are kept", minimum=1)
    full_every: int = option(
        1, "every so many-th checkpoint has all rows, those between only rows that have changed since, and keys whose rows are gone; 1: all "
        "have all", minimum=1,
    )  # fmt: skip
    background: bool = option(
        True, "write while training goes on, from a copy of the rows in memory; false: training waits, and no copy is made"
    )
    stop_signal: str = option(
        "SIGUSR1",
        "a signal to any rank after which the run writes a checkpoint and ends with exit code 75, as SIGTERM and Ctrl-C do while it trains; "
        "docs/long-runs.md",
        choices=("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGXCPU"),
    )
    walltime_s: float = option(
        0.0, "seconds from its start within which the run writes a checkpoint and ends with exit code 75; 0: until the end of its Slurm job, where it "
        "is in one", minimum=0.0,
    )  # fmt: skip
    margin_s: float = option(
        120.0, "seconds before the end of walltime_s, or of the Slurm job, at which it does so; at most a tenth of the time", minimum=0.0
    )


@dataclass(frozen=True)
class ExportConfig:
    """What a run exports for servers while it trains, `[export]`: run.directory/exports.  See docs/serving.md."""

    deltas: bool = option(
        False, "export the model whole, then deltas of what has changed since the export before: of checkpoints, and of the trained model; "
        "with --days of each day's, in place of whole ones",
    )  # fmt: skip
    every_checkpoints: int = option(1, "of every so many-th checkpoint an export is written", minimum=1)
    full_every: int = option(0, "every so many-th export is a whole model, for servers that begin; 1: all are; 0: the first alone", minimum=0)
    keep: int = option(0, "number of newest whole models that are kept, with the deltas behind them; 0: all", minimum=0)
    directory: str = option("", "folder of the exports, seen from where the run is started; empty: run.directory/exports")


@dataclass(frozen=True)
class ComputeConfig:
    """What computes, `[compute]`."""

    backend: str = option("auto", "auto (the same as cpu), cpu or cuda", choices=("auto", "cpu", "cuda"))
    threads_per_rank: int = option(0, "0: the cores of this node divided by its ranks; with cuda a rank has one", minimum=0, maximum=1024)
    cuda_sums: str = option(
        "ordered", "how a device adds up a row's gradients: ordered (the same bits every time) or atomic (in any order)",
        choices=("ordered", "atomic"),
    )
    transport: str = option(
        "auto",
        "how arrays of a device travel between ranks: host (through pinned memory, right with every MPI), cuda-aware (an MPI library "
        "that takes arrays of a device), nccl, or auto (host); the result is the same; docs/cuda.md",
        choices=("auto", "host", "cuda-aware", "nccl"),
    )
    matrix_products: str = option(
        "auto",
        "what multiplies matrices of deep models.  On a CPU: library (NumPy's BLAS), tiles (Intel AMX: float32 as three bfloat16 "
        "parts, as exact as float32) or auto (tiles where the processor has them).  On a device: library or auto (cuBLAS in float32), "
        "or faster and coarser: tf32 (10 bits of each factor) or bfloat16 (7 bits)",
        choices=("auto", "library", "tiles", "tf32", "bfloat16"),
    )


@dataclass(frozen=True)
class RunConfig:
    """Where results go, `[run]`."""

    directory: str = option(
        "", "folder of the record (record.jsonl) and the model, seen from where the run is started; empty: a new one, "
        "runs/DATE-TIME, to which runs/latest leads",
    )  # fmt: skip
    report_interval_s: float = option(5.0, "seconds between progress reports", above=0.0)
    save_model: bool = option(True, "write the trained model to the run's folder")
    tensorboard: bool = option(
        False, "write TensorBoard's event files into the run's folder, tensorboard/; needs deshpc[tensorboard]"
    )


@dataclass(frozen=True)
class Config:
    """A whole run."""

    data: DataConfig = option(DataConfig, "samples")
    model: ModelConfig = option(ModelConfig, "model")
    optimizer: OptimizerConfig = option(OptimizerConfig, "update rule")
    train: TrainConfig = option(TrainConfig, "loop")
    table: TableConfig = option(TableConfig, "which keys have rows")
    metrics: MetricsConfig = option(MetricsConfig, "what evaluations find")
    checkpoint: CheckpointConfig = option(CheckpointConfig, "what a run can go on from")
    export: ExportConfig = option(ExportConfig, "what servers get while it trains")
    compute: ComputeConfig = option(ComputeConfig, "backend and threads")
    run: RunConfig = option(RunConfig, "results")
