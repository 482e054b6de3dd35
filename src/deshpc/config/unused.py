"""Options that the rest of a configuration leaves without effect."""

from dataclasses import fields

from deshpc.config.schema import NAMED_FORMATS, SEPARATED_FORMATS, ModelConfig, choices
from deshpc.config.tasks import tasks_of

_DEEP = "only deep models have layers"
_WITHOUT_LAYERS = ("lr", "fm", "ffm", "fwfm", "fmfm")
_EMBEDDING_MODELS = tuple(name for name in choices(ModelConfig, "name") if name != "lr")
_DEEP_MODELS = tuple(name for name in choices(ModelConfig, "name") if name not in _WITHOUT_LAYERS)
_MODELS = {  # option of [model]: (models that read it, why others do not)
    "linear": (("ffm",), "only ffm may be without linear weights"),
    **dict.fromkeys(("dim", "init_std"), (_EMBEDDING_MODELS, "a linear model has no embeddings")),
    **dict.fromkeys(("hidden", "activation", "normalisation", "dropout"), (_DEEP_MODELS, _DEEP)),
    "bottom_hidden": (("dlrm",), "only dlrm has a bottom network"),
    "cross_layers": (("dcn", "dcnv2"), "only dcn and dcnv2 have cross layers"),
    "cross_rank": (("dcnv2",), "only dcnv2 has matrices in its cross layers"),
    "cin_layers": (("xdeepfm",), "only xdeepfm has an interaction network"),
    **dict.fromkeys(("attention_hidden", "attention_weights"), (("din",), "only din weighs the values of a sequence")),
    **dict.fromkeys(("attention_layers", "attention_heads"), (("autoint",), "only autoint has attention between fields")),
    "task_hidden": (("shared_bottom", "mmoe", "ple"), "only shared_bottom, mmoe and ple have a part below the tasks' own layers"),
    "experts": (("mmoe", "ple"), "only mmoe and ple have experts"),
    **dict.fromkeys(("task_experts", "expert_levels"), (("ple",), "only ple has levels of experts")),
}
_RULES = {  # option of [optimizer]: rules that read it
    "initial_accumulator": ("adagrad", "rowwise_adagrad", "ftrl"),
    "epsilon": ("adagrad", "rowwise_adagrad", "adam"),
    "beta1": ("adam",),
    "beta2": ("adam",),
    "beta": ("ftrl",),
}
_FORMATS = {  # option of [data]: formats that read it
    "criteo_numeric": ("criteo",),
    "libffm_fields": ("libffm",),
    "positive": NAMED_FORMATS,
    "missing": NAMED_FORMATS,
    "weight": NAMED_FORMATS,
    "delimiter": SEPARATED_FORMATS,
    "header": SEPARATED_FORMATS,
    "columns": SEPARATED_FORMATS,
}


def unused_options(config):
    """[(name, why)] of options of a Config that differ from their defaults, and that nothing reads."""
    model, rule = config.model.name, config.optimizer.name
    found = [(f"model.{name}", f"{why} (model.name = {model!r})") for name, why in _of_model(config.model) if ":" not in model]
    for name, rules in _RULES.items():
        if _given(config.optimizer, name) and rule not in rules and config.optimizer.dense_name not in rules:
            found.append((f"optimizer.{name}", f"optimizer.name = {rule!r} has no such number"))
    for name, formats in _FORMATS.items():
        if _given(config.data, name) and config.data.format not in formats:
            found.append((f"data.{name}", f"data.format = {config.data.format!r} does not read it"))
    losses = {task.loss for task in tasks_of(config)} or {config.train.loss}
    if _given(config.metrics, "calibration_bins") and "log" not in losses:
        found.append(("metrics.calibration_bins", f"train.loss = {config.train.loss!r} predicts no probabilities"))
    for name in ("group", "slices"):
        if _given(config.metrics, name) and "log" not in losses:
            found.append((f"metrics.{name}", f"it is for AUC, and train.loss = {config.train.loss!r} has none"))
    for name in ("follow_end", "follow_silence_s", "fit_rows"):
        if _given(config.data, name) and not config.data.follow:
            found.append((f"data.{name}", "data.follow = false reads what is there"))
    if _given(config.data, "in_memory") and config.data.follow:
        found.append(("data.in_memory", "data.follow = true reads block by block in any case"))
    if _given(config.train, "from_state") and not config.train.from_:
        found.append(("train.from_state", "train.from names no model to start from"))
    for name in ("every_checkpoints", "full_every", "keep", "directory"):
        if _given(config.export, name) and not config.export.deltas:
            found.append((f"export.{name}", "export.deltas = false writes no exports"))
    if _given(config.checkpoint, "full_every") and not (config.checkpoint.every_steps or config.checkpoint.every_minutes):
        found.append(("checkpoint.full_every", "checkpoint.every_steps = 0 and checkpoint.every_minutes = 0 write none"))
    if _given(config.train, "stop_patience") and config.train.stop_metric == "none":
        found.append(("train.stop_patience", "train.stop_metric = 'none' never stops early"))
    if _given(config.train, "sampling_correction") and config.train.negative_sampling == 1:
        found.append(("train.sampling_correction", "train.negative_sampling = 1 leaves no row out"))
    if _given(config.train, "evaluate_every_steps") and not (config.data.valid or config.data.format == "synthetic"):
        found.append(("train.evaluate_every_steps", "data.valid names no files to evaluate"))
    return found


def _of_model(model):
    return [(name, why) for name, (models, why) in _MODELS.items() if _given(model, name) and model.name not in models]


def _given(section, name):
    """Whether an option has another value than its default."""
    default = next(one for one in fields(section) if one.name == name)
    return getattr(section, name) != default.default
