"""What a manifest has to say, so that whoever goes by it opens files that are named, and asks for no more than they hold."""

from deshpc.storage.json_form import COUNT, require

_ENTRIES = {
    "deshpc": str, "run": str, "hash": str, "steps": COUNT, "ranks": COUNT, "config": dict, "source": dict, "model": dict, "dense": list,
    "rows": [COUNT], "files": {str: dict}, "progress": (dict, None), "random": {"seed": COUNT, "step": COUNT}, "crc32": COUNT,
}  # fmt: skip
_FILE = {"bytes": COUNT, "end": str}
_MODEL = {
    "operator": str, "scalars": COUNT, "dim": COUNT, "precision": str, "optimizer": str, "scalar_state": COUNT, "vector_state": COUNT,
}  # fmt: skip
_LATER = {"dense_optimizer": str, "split": str, "planes": COUNT, "dims": [COUNT]}
"""Of a model, where they are: versions before had none."""

_PROGRESS = {
    **dict.fromkeys(("epoch", "batch", "position", "block", "row", "steps", "samples", "train_rows"), COUNT),
    "best_step": (COUNT, None), "best_run": (str, None), "stopping": (dict, None),
}  # fmt: skip
_STOPPING = {"best": (float, None), "without_gain": COUNT}
_MOST_STEPS, _MOST_NUMBERS = 2**32 - 1, 2**40


def require_form(manifest, names_of):
    """ValueError, saying what is wrong, unless a manifest is one.

    names_of : function of a number of ranks that yields the names of the files of a model which so many have written
    """
    _require_some(manifest, _ENTRIES, "")
    _require_some(manifest["model"], _MODEL, "model.")
    _require_some(manifest["model"], {name: form for name, form in _LATER.items() if name in manifest["model"]}, "model.")
    _require_model(manifest["model"])
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
    if manifest["model"].get("split") == "column" and len(set(rows)) > 1:
        raise ValueError(f"'rows' differ, although ranks have columns of the same rows: {rows[:8]}")
    _require_dense(manifest["dense"])
    progress = manifest["progress"]
    if progress is not None:
        require(progress, _PROGRESS, "'progress'")
        require(progress["stopping"], (_STOPPING, None), "'progress.stopping'")
        if progress["steps"] != manifest["steps"]:
            raise ValueError(f"'progress.steps' is {progress['steps']}, but 'steps' {manifest['steps']}")


def _require_some(tree, forms, where):
    """As `require`, of a dictionary that may have other names, too."""
    for name, form in forms.items():
        if name not in tree:
            raise ValueError(f"'{where}{name}' is missing")
        require(tree[name], form, f"'{where}{name}'")


def _require_model(model):
    if model["precision"] not in ("float32", "float64") or model.get("split", "key") not in ("key", "field", "column"):
        raise ValueError(f"'model' has precision {model['precision']!r} and split {model.get('split')!r}")
    width = model["scalars"] + model["dim"]
    if model["scalars"] > 1 or width > 2**20 or model.get("planes", 0) > 2 or max(model.get("dims", [0]), default=0) > model["dim"]:
        raise ValueError("'model' describes rows that no model has")
    planes = model.get("planes")
    if model.get("split") == "column" and planes is None:
        raise ValueError("'model.planes' is missing")
    of_planes = None if planes is None else (planes * model["scalars"], planes * model["dim"])
    row_wise = min(model["scalars"], planes or 0), min(model["dim"], planes or 0)
    state = model["scalar_state"], model["vector_state"]
    if max(state) > 2 * width or (planes is not None and state not in (of_planes, row_wise)):
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
