"""The forms in which kernels are compiled: of each file, the constants that the backend may ask for.

Not every product of them, but every value of each constant, with those it changes most.
"""

_TYPES = [  # NUMBER, COMPUTE, SUM: of `train.precision` and `train.accumulate`
    ("float", "float", "float"),
    ("float", "double", "double"),
    ("float", "double", "int64"),
    ("double", "double", "double"),
    ("double", "double", "int64"),
]
_FLOAT, _FIXED, _DOUBLE = _TYPES[0], _TYPES[2], _TYPES[3]
_RULES = {"Sgd": 0, "Adagrad": 1, "RowwiseAdagrad": 2, "Adam": 3, "Ftrl": 4}
_PLANES = {"Sgd": 0, "Adagrad": 1, "RowwiseAdagrad": 1, "Adam": 2, "Ftrl": 2}


def _typed(types, **others):
    return {**dict(zip(("NUMBER", "COMPUTE", "SUM"), types, strict=True)), **others}


def _fm():
    yield from (_typed(types, DIM=16, VALUES=0) for types in _TYPES)
    yield from (_typed(types, DIM=128, VALUES=0) for types in (_FLOAT, _FIXED, _DOUBLE))
    yield from (_typed(_FLOAT, DIM=dim, VALUES=0) for dim in (4, 5, 8, 10, 64))
    yield from (_typed(_FLOAT, DIM=16, VALUES=values) for values in (1, 2))
    yield from (_typed(_FIXED, DIM=dim, VALUES=2) for dim in (5, 10, 64))


def _linear():
    yield from (_typed(types, VALUES=0) for types in _TYPES)
    yield from (_typed(types, VALUES=values) for types in (_FLOAT, _FIXED) for values in (1, 2))


def _loss():
    for _, compute, sums in (_FLOAT, _FIXED, _DOUBLE):
        yield {"COMPUTE": compute, "SUM": sums, "VALUES": 0}
    yield from ({"COMPUTE": "double", "SUM": "double", "VALUES": values} for values in (1, 2))


def _sums():
    for _, compute, sums in (_FLOAT, _FIXED, _DOUBLE):
        yield from ({"COMPUTE": compute, "SUM": sums, "DIM": dim, "VALUES": 0} for dim in (0, 16, 128))
    yield from ({"COMPUTE": "float", "SUM": "float", "DIM": dim, "VALUES": 2} for dim in (4, 5, 8, 10, 64))
    yield {"COMPUTE": "double", "SUM": "int64", "DIM": 16, "VALUES": 1}


def _rows():
    yield from (_typed(types, DIM=dim) for types in (_FLOAT, _DOUBLE) for dim in (1, 16))
    yield from ({"NUMBER": "float", "COMPUTE": "float", "SUM": sums, "DIM": 16} for sums in ("double", "int64"))


def _table():
    yield {"NUMBER": "float", "SCALARS": 0, "DIM": 0, "STATE_WIDTH": 0, "PLANES": 0}
    yield {"NUMBER": "double", "SCALARS": 0, "DIM": 0, "STATE_WIDTH": 0, "PLANES": 0}
    for number, scalars, dim, rule in (
        ("float", 1, 0, "Ftrl"), ("float", 1, 5, "Sgd"), ("float", 1, 10, "Adagrad"), ("float", 1, 16, "Adagrad"),
        ("float", 1, 16, "RowwiseAdagrad"), ("float", 0, 64, "Adam"), ("float", 1, 128, "Ftrl"), ("double", 1, 16, "Adam"),
    ):  # fmt: skip
        width = 1 if rule == "RowwiseAdagrad" else dim
        yield {"NUMBER": number, "SCALARS": scalars, "DIM": dim, "STATE_WIDTH": width, "PLANES": _PLANES[rule]}


def _update():
    def form(types, dim, rule, scalars=1):
        return _typed(types, DIM=dim, VALUES=0, SCALARS=scalars, RULE=_RULES[rule])

    for rule in _RULES:
        yield from (form(types, 16, rule) for types in (_FLOAT, _FIXED))
    yield form(_DOUBLE, 16, "Adagrad")
    yield from (form(_FLOAT, dim, "Adagrad") for dim in (0, 4, 5, 8, 10, 64))
    yield from (form(_FLOAT, 128, rule) for rule in ("Sgd", "RowwiseAdagrad", "Ftrl"))
    yield from (form(_FIXED, dim, "Adam") for dim in (0, 10, 128))
    yield form(_DOUBLE, 128, "Ftrl")
    yield form(_FLOAT, 16, "Adagrad", scalars=0)


VARIANTS = {
    "lookup.cu": [{}],
    "scan.cu": [{}],
    "norm.cu": [{}],
    "sort.cu": [{}],
    "rows.cu": list(_rows()),
    "routing.cu": [{"VALUES": values} for values in (0, 1, 2)],
    "loss.cu": list(_loss()),
    "linear.cu": list(_linear()),
    "fm.cu": list(_fm()),
    "sums.cu": list(_sums()),
    "table.cu": list(_table()),
    "update.cu": list(_update()),
}
"""{file: [constants]}"""


def representative(file):
    """Two forms at most of a file, for what need not be checked on all."""
    first, *others = VARIANTS[file]
    return [first, *others[-1:]]
