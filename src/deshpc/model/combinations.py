"""Which models, splits, exchanges, routings, types, rules and backends go together: one table, and what is refused with its reason.

    split    first layer   models                                          exchanges
    key      pooled        all but fm under tower; lr, fm                  allreduce, reduce_scatter, rows
    key      pushed_down   wide_deep, deepfm, dcn                          allreduce, reduce_scatter
    key      pooled        din                                             rows
    field    pooled        lr, fm, nfm                                     allreduce, reduce_scatter, rows
                           din                                             rows
                           all others                                      pooled, rows
    field    pushed_down   wide_deep, deepfm, dcn                          allreduce, reduce_scatter
                           dcnv2 of low rank                               the same; broadcast routing
    column   pushed_down   fm, ffm, fwfm, wide_deep, deepfm, dcn, dlrm, xdeepfm,      allreduce, reduce_scatter; broadcast routing
                           dcnv2 of low rank

Fields with embedding dimensions of their own (model.fields) go with wide_deep, dcn, dcnv2 and models of several labels of the first line,
which take all embeddings as one vector.

Every rule goes with every line, but for rowwise_adagrad, whose one number a row column split would tear apart.  Fixed point
(train.accumulate = "int64") goes with every pooled line, but for ffm.  Where ranks share the work on a tower, by any exchange but allreduce, their
number has to divide the parts of a batch (`nn.parts.PARTS`).

Exchanges of two levels (train.levels) go with everything but compute.transport = "cuda-aware" and "nccl".

Numbers of half the bytes on their way (train.wire) go with everything in float32, but for compute.transport = "cuda-aware" and "nccl".

Embeddings of half the bytes in memory (train.precision = "bfloat16") go with all models but lr, which has none, and ffm.

Models of several labels (shared_bottom, mmoe, ple, esmm) are in the pooled lines where wide_deep is.

A device does not run such embeddings, column split, replicated fields, dimensions of single fields, and pushed-down layers under field split, whose
ranks have parameters of their own.

Admission and eviction ([table]) go with every line; under column split rows of zeros (table.zero_age_steps) are not
looked for, since every rank sees a part of each row.

Replicated fields (model.fields) go with the pooled lines of models that take embeddings field by field: all but lr, fm, nfm, ffm and din.
Under allreduce they need broadcast routing, since every rank pools them for all samples; they do not go with fixed point,
nor with dimensions of their own.

Sequences with a target (model.fields) go with din alone, whose rows move.

Fields that share rows (data.fields.share) go with every line of lr, fm and nfm, which add up all fields alike.  The other models need to
be told which field an occurrence stands in, which its key does not say: by exchange rows, where occurrences stay at home, or by broadcast
routing, where every rank has them.  Complete embeddings of fields (pooled), and layers that field split pushes down, are a rank's that does
not have the shared rows.  They are not replicated yet.
"""

from deshpc.config.attended import attended, targets_of
from deshpc.config.field_dims import field_dims, has_field_dims
from deshpc.config.precision import row_type
from deshpc.errors import ConfigError
from deshpc.exchange.kinds import EXCHANGES
from deshpc.model.definitions import definition_class
from deshpc.nn.parts import PARTS

SUMS = ("lr", "fm", "nfm")
"""Models whose partials are sums over all fields: nobody's partial is complete under field split."""


def has_whole_samples(config):
    """Whether ranks compute the pairs of an ffm from rows that they have of whole samples, all columns or some: not from partials of fields."""
    by_columns = config.train.split == "column"
    return config.model.name == "ffm" and (by_columns or exchange_name(config) == "rows")


def is_deep(config):
    """Whether a model has a tower: all but lr and fm, fm under column split, and ffm where partials of its fields travel."""
    if config.model.name == "ffm":
        return not has_whole_samples(config)
    return config.model.name not in ("lr", "fm") or (config.model.name == "fm" and config.train.split == "column")


def is_pushed_down(config):
    """Whether owners compute a part of the tower."""
    return config.train.split == "column" or config.model.first_layer == "pushed_down"


def replicates(config):
    """Whether rows of some fields are on all ranks."""
    return any(field.replicated for field in config.model.fields)


def attends(config):
    """Whether values of a sequence are weighed one by one."""
    return any(field.target for field in config.model.fields)


def shares_rows(config):
    """Whether a Config says of a field that it has the keys of another."""
    return any(one.share for one in config.data.fields)


def takes_by_field(config):
    """Whether a model wants every field's embeddings for themselves."""
    return is_deep(config) and definition_class(config.model.name).operator == "pool"


def exchange_name(config):
    """What `train.exchange` means, where it is auto."""
    model, train = config.model, config.train
    if train.exchange != "auto":
        return train.exchange
    if model.name == "ffm":
        return "reduce_scatter" if train.split == "column" else "rows"
    if attends(config):
        return "rows"
    of_one_rank = train.split == "field" or train.routing == "routed"
    if shares_rows(config) and of_one_rank and takes_by_field(config) and not is_pushed_down(config):
        return "rows"  # where a key's field is known at the samples alone
    pooled_by_field = is_deep(config) and train.split == "field" and model.name not in SUMS
    if model.name in ("lr", "fm") or (train.accumulate == "int64" and not pooled_by_field):
        return "allreduce"
    if is_pushed_down(config):
        return "reduce_scatter"
    return "pooled" if pooled_by_field else "rows"


def levels_name(config):
    """What `train.levels` means, where it is auto: arrays that stay on devices have one level."""
    train, direct = config.train, config.compute.transport in ("cuda-aware", "nccl")
    return "one" if direct and train.levels == "auto" else train.levels


def exchange_kind(config, ranks):
    """The class of the exchange of a configuration.  One rank has all rows and all samples: nothing to exchange."""
    return EXCHANGES["allreduce" if ranks == 1 else exchange_name(config)]


def is_open(config):
    """Whether a Config leaves it to a plan how rows are divided, how keys reach them, or, by what a machine takes, whether they have numbers."""
    train = config.train
    return "auto" in (train.split, train.routing) or bool(train.machine) and train.key_numbers == "auto"


def require_valid(config, backend, ranks=1, field_names=None, key_fields=()):
    """ConfigError, with the reason, where options do not go together (see the module).

    ranks : on which the model is to be
    field_names : (F) of the fields that become keys, where they are known
    key_fields : their FieldConfigs, where these are known
    """
    model, train = config.model, config.train
    if is_open(config):
        raise ConfigError("train.split or train.routing = 'auto', and train.key_numbers = 'auto' with train.machine, are planned where a run begins to train; name one of the others here")
    name, split, exchange = model.name, train.split, exchange_name(config)
    if is_deep(config):
        _require_deep(config, definition_class(name), exchange)
        if train.accumulate == "int64":
            _require_fixed_tower(config, exchange, ranks)
    elif model.first_layer == "pushed_down":
        raise ConfigError(f"model.first_layer = 'pushed_down': model.name = {name!r} has no dense layer")
    if name == "ffm":
        _require_ffm(config, exchange)
    if split == "column":
        _require_column(config, name, ranks)
    if backend.name != "cpu":
        _require_of_device(config, backend.name)
    if field_names is not None:
        field_dims(model.dim, {one.name: one.dim for one in model.fields}, field_names)
    if has_field_dims(model):
        _require_field_dims(config)
    if replicates(config):
        _require_replicated(config, name, exchange)
    _require_attended(config, name, exchange, ranks)
    if key_fields:
        attended(targets_of(model), key_fields)
        if any(one.share for one in key_fields):
            _require_shared(config, exchange, ranks, key_fields)
    if levels_name(config) == "two" and config.compute.transport in ("cuda-aware", "nccl"):
        raise ConfigError(
            f"train.levels = 'two' goes through host memory, compute.transport = {config.compute.transport!r} does not; choose "
            "train.levels = 'one', or compute.transport = 'host'"
        )
    if train.wire != "full":
        _require_wire(config)
    if train.precision == "bfloat16" and name == "lr":
        raise ConfigError("train.precision = 'bfloat16' is of embeddings, and model.name = 'lr' has none; choose 'float32'")
    if exchange == "pooled" and (split != "field" or is_pushed_down(config) or name in SUMS):
        raise ConfigError(
            f"train.exchange = 'pooled' moves complete embeddings of fields: it needs train.split = 'field' and a model that takes "
            f"them field by field with model.first_layer = 'pooled', not train.split = {split!r} and model.name = {name!r}"
        )


def _require_ffm(config, exchange):
    train = config.train
    if train.accumulate == "int64":
        raise ConfigError(
            "train.accumulate = 'int64' does not go with model.name = 'ffm': its pairs are products of sums of rows, which are not added up "
            "as integers; choose another train.accumulate"
        )
    if train.precision == "bfloat16":
        raise ConfigError("train.precision = 'bfloat16' does not go with model.name = 'ffm', whose pairs read rows as they lie; choose 'float32'")
    if train.split == "column" and exchange not in ("allreduce", "reduce_scatter"):
        raise ConfigError(
            f"train.exchange = {exchange!r}: under train.split = 'column' every rank has the pairs of its columns, which have to be added up; "
            "choose 'reduce_scatter' or 'allreduce'"
        )


def _require_wire(config):
    """What travels as halves is float32, and is rounded in host memory."""
    train, transport, why = config.train, config.compute.transport, None
    if row_type(train.precision) != "float32" or train.accumulate not in ("", "float32"):
        why = f"train.precision = {train.precision!r} with train.accumulate = {train.accumulate!r} asks for more digits than it keeps; choose 'full'"
    elif transport in ("cuda-aware", "nccl"):
        why = f"compute.transport = {transport!r} does not go through host memory, where numbers are rounded; choose compute.transport = 'host', or 'full'"
    if why:
        raise ConfigError(f"train.wire = {train.wire!r}: {why}")


def _require_of_device(config, backend):
    """What only the CPU has, and why."""
    train, why = config.train, None
    if train.split == "column":
        why = "train.split = 'column': a new row's columns are drawn by the CPU alone"
    elif train.precision == "bfloat16":
        why = "train.precision = 'bfloat16': embeddings are rounded at random by the CPU alone"
    elif replicates(config):
        why = "model.fields: the occurrences of replicated fields are picked out by the CPU alone"
    elif has_field_dims(config.model):
        why = "model.fields: a device has one table, for embeddings of one dimension"
    elif train.split == "field" and is_pushed_down(config):
        why = "model.first_layer = 'pushed_down' with train.split = 'field': rows of dense parameters that are a single rank's are the CPU's"
    if why:
        raise ConfigError(f"{why}; compute.backend = {backend!r} cannot do it yet, choose 'cpu'")


def _require_deep(config, definition, exchange):
    model, train = config.model, config.train
    name, split, pushed_down = model.name, train.split, is_pushed_down(config)
    if pushed_down and split not in definition.pushed_down:
        possible = ", ".join(map(repr, definition.pushed_down)) or "none"
        raise ConfigError(
            f"model.name = {name!r} cannot be computed in part by owners under train.split = {split!r} (possible: {possible}); "
            "choose train.split = 'key' and model.first_layer = 'pooled'"
        )
    if pushed_down and name == "dcnv2" and not model.cross_rank:
        raise ConfigError(
            "model.cross_rank = 0: a full cross layer needs the whole of x; owners can do layers of low rank, such as 32, or choose "
            "train.split = 'key'"
        )
    if pushed_down and definition.owners_take_dense and train.routing != "broadcast":
        raise ConfigError(
            f"model.name = {name!r} with train.split = {split!r} needs train.routing = 'broadcast': owners need all samples' dense "
            "features"
        )
    if pushed_down and exchange not in ("allreduce", "reduce_scatter"):
        raise ConfigError(
            f"train.exchange = {exchange!r}: what owners compute has to be added up; choose 'reduce_scatter' or 'allreduce'"
        )
    if split == "field" and not pushed_down and name not in SUMS and exchange not in ("pooled", "rows"):
        raise ConfigError(
            f"train.exchange = {exchange!r} would add zeros to embeddings that are complete at their owners under "
            "train.split = 'field'; choose 'pooled'"
        )


def _require_fixed_tower(config, exchange, ranks):
    """Blocks of samples, and so matrix products, have to be the same on any number of ranks."""
    if is_pushed_down(config):
        what = "train.split = 'column'" if config.train.split == "column" else "model.first_layer = 'pushed_down'"
        raise ConfigError(
            f"train.accumulate = 'int64' does not go with {what}: owners multiply what their own rows add up to, and on another number "
            "of ranks these are other rows, so products round differently; choose train.split = 'key' and model.first_layer = 'pooled'"
        )
    if exchange != "allreduce" and PARTS % ranks:
        possible = ", ".join(str(n) for n in range(1, PARTS + 1) if PARTS % n == 0)
        otherwise = "train.exchange = 'allreduce'" + (" with train.routing = 'broadcast'" if shares_rows(config) else "")
        raise ConfigError(
            f"train.accumulate = 'int64' with model.name = {config.model.name!r} and train.exchange = {exchange!r}: ranks share the "
            f"{PARTS} parts of a batch, on which dense layers round alike on any ranks, and {ranks} ranks do not divide them; choose one "
            f"of {possible} ranks, or {otherwise}"
        )


def _require_field_dims(config):
    model, train, why = config.model, config.train, "model.fields gives fields embeddings of different dimensions"
    if not (is_deep(config) and definition_class(model.name).field_dims):
        raise ConfigError(
            f"{why}: model.name = {model.name!r} has no use for them, or multiplies or adds up embeddings of different fields, which "
            "have to be of one dimension; choose 'wide_deep', 'dcn' or 'dcnv2', or a model of several labels"
        )
    if train.split != "key":
        raise ConfigError(f"{why}: train.split = {train.split!r} does not know their tables; choose 'key'")
    if model.first_layer == "pushed_down":
        raise ConfigError(f"{why}: owners cannot compute a part of a model with several tables; choose model.first_layer = 'pooled'")


def _require_attended(config, name, exchange, ranks):
    if not attends(config):
        if name == "din":
            raise ConfigError(
                "model.name = 'din' weighs the values of a sequence by their likeness to another field's: name both, as [[model.fields]] "
                "name = 'history', target = 'item'"
            )
        return
    if not (is_deep(config) and definition_class(name).sequences):
        raise ConfigError(f"model.fields: model.name = {name!r} has no use for a target; choose 'din', or leave it out: a sequence is then added up")
    if exchange != "rows" and ranks > 1:
        raise ConfigError(
            f"train.exchange = {exchange!r} adds up what rows give, and model.name = {name!r} needs the values of a sequence one by one: "
            "their rows have to come to the samples; choose 'rows'"
        )


def _require_shared(config, exchange, ranks, key_fields):
    if config.model.name == "ffm":
        raise ConfigError("data.fields: fields that share rows do not go with model.name = 'ffm', whose rows have a vector for what their own field meets")
    model, train, dims = config.model, config.train, {one.name: one.dim or config.model.dim for one in config.model.fields}
    for one in key_fields:
        dim, other = (dims.get(name, model.dim) for name in (one.name, one.share or one.name))
        if dim != other:
            raise ConfigError(f"data.fields: {one.name!r} shares the rows of {one.share!r}, so model.fields cannot give them {dim} and {other} numbers")
    if replicates(config):
        raise ConfigError("data.fields: fields that share rows do not go with replicated fields (model.fields) yet")
    if not takes_by_field(config) or ranks == 1:
        return
    why = None
    if exchange == "pooled" or (train.split == "field" and is_pushed_down(config)):
        why = f"train.split = 'field' with train.exchange = {exchange!r}: the rank that computes for a field does not have rows that are another's"
    elif exchange != "rows" and train.routing != "broadcast":
        why = f"train.exchange = {exchange!r} with train.routing = 'routed': what travels does not say in which of the fields a key stands"
    if why:
        raise ConfigError(f"data.fields: fields that share rows do not go with {why}; choose train.exchange = 'rows', or train.routing = 'broadcast' under another split")


def _require_column(config, name, ranks):
    train = config.train
    if name == "lr":
        raise ConfigError("train.split = 'column': model.name = 'lr' has no embeddings to split")
    if train.routing != "broadcast":
        raise ConfigError("train.split = 'column' needs train.routing = 'broadcast': every rank needs all keys")
    if config.optimizer.name == "rowwise_adagrad":
        raise ConfigError(
            "optimizer.name = 'rowwise_adagrad' keeps one number for a whole row, of which train.split = 'column' gives every rank "
            "a part; choose 'adagrad'"
        )
    if config.model.dim < ranks:
        raise ConfigError(f"model.dim = {config.model.dim}: train.split = 'column' needs a column for each of {ranks} ranks")
    if config.table.zero_age_steps:
        raise ConfigError(
            f"table.zero_age_steps = {config.table.zero_age_steps}: under train.split = 'column' every rank sees a part of each row, and "
            "not whether the whole is 0; choose train.split = 'key'"
        )
    if name == "dlrm" and config.model.normalisation == "batch":
        raise ConfigError(
            "model.normalisation = 'batch' with model.name = 'dlrm' does not go with train.split = 'column', where the bottom "
            "network runs at owners and at home"
        )


def _require_replicated(config, name, exchange):
    train = config.train
    if name in (*SUMS, "ffm"):
        raise ConfigError(
            f"model.fields: replicated fields are pooled beside those that travel; model.name = {name!r} adds up all fields in one sum: "
            "choose a model that takes embeddings field by field"
        )
    if attends(config):
        raise ConfigError(
            "model.fields: replicated fields do not go with a target: embeddings that are pooled beside those that travel have no place beside the "
            "values of a sequence yet; choose replicated = false"
        )
    if is_pushed_down(config):
        what = "train.split = 'column'" if train.split == "column" else "model.first_layer = 'pushed_down'"
        raise ConfigError(
            f"model.fields: replicated fields do not go with {what}, where owners compute a part of the model; "
            "choose train.split = 'key' and model.first_layer = 'pooled'"
        )
    if has_field_dims(config.model):
        raise ConfigError("model.fields: replicated fields do not go with embedding dimensions of single fields yet")
    if train.accumulate == "int64":
        raise ConfigError(
            "model.fields: replicated fields do not go with train.accumulate = 'int64', which bounds the sums of rows that have one "
            "owner; choose another train.accumulate, or replicated = false"
        )
    if exchange == "allreduce" and train.routing != "broadcast":
        raise ConfigError(
            "model.fields: replicated fields with train.exchange = 'allreduce' need train.routing = 'broadcast': every rank works on "
            "all samples, and their keys do not travel; choose another exchange, or train.routing = 'broadcast'"
        )
