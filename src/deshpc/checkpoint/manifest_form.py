"""What a manifest has to say, so that whoever goes by it opens files that are named, and asks for no more than they hold."""

from deshpc.config.schema import WIDEST_ROW, TrainConfig, choices
from deshpc.storage.json_form import COUNT, require

_ENTRIES = {
    "deshpc": str, "run": str, "hash": str, "steps": COUNT, "ranks": COUNT, "config": dict, "source": dict, "model": dict, "dense": list,
    "rows": [COUNT], "files": {str: dict}, "progress": (dict, None), "random": {"seed": COUNT, "step": COUNT}, "crc32": COUNT,
}  # fmt: skip
_BASE = {"run": str, "steps": COUNT, "crc32": COUNT}
_FILE = {"bytes": COUNT, "end": str}
_MODEL = {
    "operator": str, "split": str, "scalars": COUNT, "dim": COUNT, "planes": COUNT, "precision": str, "optimizer": str,
    "dense_optimizer": str, "scalar_state": COUNT, "vector_state": COUNT,
}  # fmt: skip
STATE = {"sgd": (0, ()), "adagrad": (1, (0,)), "rowwise_adagrad": (1, (0,)), "adam": (2, (1,)), "ftrl": (2, (1,))}
"""Of every update rule: how many numbers it keeps for a weight, and of which of them it takes square roots."""

_DIMS = {"dims": [COUNT]}
"""Of a model whose fields have dimensions of their own."""

_VECTORS = {"vectors": COUNT}
"""Of a model whose embeddings consist of several vectors."""

_PROGRESS = {
    **dict.fromkeys(("epoch", "batch", "position", "block", "row", "steps", "samples", "train_rows", "first_step"), COUNT),
    "best_step": (COUNT, None), "best_run": (str, None), "stopping": (dict, None), "by_files": bool,
    "stream": ({"file": str, "row": COUNT, "done": bool, "mean_weight": float, "field_keys": [float], "piece_bytes": COUNT, "bytes": COUNT}, None),
}  # fmt: skip
_STOPPING = {"best": (float, None), "without_gain": COUNT}
_MOST_STEPS, _MOST_NUMBERS = 2**32 - 1, 2**40


def require_form(manifest, names_of):
    """ValueError, saying what is wrong, unless a manifest is one.

    names_of : function of a number of ranks that yields the names of the files of a model which so many have written
    """
    _require_some(manifest, _ENTRIES, "")
    _require_some(manifest["model"], _MODEL, "model.")
    _require_some(manifest["model"], _DIMS if "dims" in manifest["model"] else {}, "model.")
    _require_some(manifest["model"], _VECTORS if "vectors" in manifest["model"] else {}, "model.")
    _require_model(manifest["model"])
    if "base" in manifest:
        require(manifest["base"], _BASE, "'base'")
        if manifest["base"]["steps"] > manifest["steps"]:
            raise ValueError(f"'base.steps' is {manifest['base']['steps']}, but 'steps' {manifest['steps']}")
    ranks, rows = manifest["ranks"], manifest["rows"]
    if not 0 < manifest["steps"] + 1 <= _MOST_STEPS:
        raise ValueError(f"'steps' is {manifest['steps']}")
    for name, file in manifest["files"].items():
        _require_some(file, _FILE, f"files.{name}.")
    missing = next((name for name in names_of(ranks) if name not in manifest["files"]), None)
    if missing is not None:
        raise ValueError(f"'files' names no file {missing!r}")
    if len(rows) != ranks or ranks < 1:
        raise ValueError(f"'rows' has {len(rows)} numbers; expected one of each of 'ranks' = {ranks}")
    if manifest["model"]["split"] == "column" and len(set(rows)) > 1:
        raise ValueError(f"'rows' differ, although ranks have columns of the same rows: {rows[:8]}")
    _require_dense(manifest["dense"])
    progress = manifest["progress"]
    if progress is not None:
        progress = {"first_step": 0, "stream": None, "by_files": False, **progress}  # runs of version 0.8 begin at 0, and follow nothing
        if isinstance(progress["stream"], dict):
            progress["stream"] = {"piece_bytes": 0, "bytes": 0, **progress["stream"]}  # one process has read for all before there were pieces
        require(progress, _PROGRESS, "'progress'")
        require(progress["stopping"], (_STOPPING, None), "'progress.stopping'")
        if progress["first_step"] > progress["steps"]:
            raise ValueError(f"'progress.first_step' is {progress['first_step']}, but 'progress.steps' {progress['steps']}")
        if progress["steps"] != manifest["steps"]:
            raise ValueError(f"'progress.steps' is {progress['steps']}, but 'steps' {manifest['steps']}")


def _require_some(tree, forms, where):
    """As `require`, of a dictionary that may have other names, too."""
    for name, form in forms.items():
        if name not in tree:
            raise ValueError(f"'{where}{name}' is missing")
        require(tree[name], form, f"'{where}{name}'")


def _require_model(model):
    if any(model[name] not in choices(TrainConfig, name) for name in ("precision", "split")):
        raise ValueError(f"'model' has precision {model['precision']!r} and split {model['split']!r}")
    if model["optimizer"] not in STATE or model["dense_optimizer"] not in STATE:
        raise ValueError(f"'model' has the update rules {model['optimizer']!r} and {model['dense_optimizer']!r}"[:200])
    width, planes = model["scalars"] + model["dim"], model["planes"]
    vectors = model.get("vectors", 1)
    if not 0 < vectors <= max(1, model["dim"]) or model["dim"] % vectors:
        raise ValueError(f"'model' has {vectors} vectors of {model['dim']} numbers together")
    if model["scalars"] > 1 or width > WIDEST_ROW or planes > 2 or max(model.get("dims", [0]), default=0) > model["dim"]:
        raise ValueError("'model' describes rows that no model has")
    of_planes = planes * model["scalars"], planes * model["dim"]
    row_wise = min(model["scalars"], planes), min(model["dim"], planes)
    state = model["scalar_state"], model["vector_state"]
    if max(state) > 2 * width or state not in (of_planes, row_wise):
        raise ValueError(f"'model' has {state} numbers of state, which {planes} for every weight are not")


def _require_dense(dense):
    total, names = 0, set()
    for one in dense:
        require(one, list, "'dense'")
        if len(one) != 2:
            raise ValueError(f"'dense' has an entry of {len(one)}; expected name and shape")
        require(one[0], str, "'dense', a name")
        require(one[1], [COUNT], "'dense', a shape")
        size = 1
        for extent in one[1]:
            size *= max(1, extent)
        total += size
        if one[0] in names or total > _MOST_NUMBERS or len(one[1]) > 8:
            raise ValueError(f"'dense' has {one[0][:60]!r} twice, or too large")
        names.add(one[0])
