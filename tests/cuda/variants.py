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
    fm, pool, bi_interaction = ({"SCALARS": 1, "ADJOINT": adjoint} for adjoint in range(3))
    for types in (_FLOAT, _FIXED, _DOUBLE):
        yield from (_typed(types, DIM=dim, VALUES=0, **fm) for dim in (0, 16, 128))
        yield from (_typed(types, DIM=16, VALUES=0, **adjoint) for adjoint in (pool, bi_interaction))
    yield from (_typed(_FLOAT, DIM=dim, VALUES=2, **fm) for dim in (4, 5, 8, 10, 64))
    yield _typed(_FIXED, DIM=16, VALUES=1, **fm)
    yield from (_typed(_FLOAT, DIM=dim, VALUES=1, SCALARS=0, ADJOINT=1) for dim in (5, 16, 128))
    yield from (_typed(types, DIM=16, VALUES=0, SCALARS=0, ADJOINT=1) for types in (_FLOAT, _FIXED))
    yield _typed(_FIXED, DIM=128, VALUES=2, **bi_interaction)
    yield from (_typed(types, DIM=16, VALUES=values, SCALARS=0, ADJOINT=3) for types, values in ((_FLOAT, 0), (_FIXED, 1)))


_OF_STATES = [("float", "float"), ("double", "double"), ("float", "int64")]  # COMPUTE, SUM: of kernels that see no rows


def _pool():
    def form(types, dim, values, linear, squares, seated=0):
        return _typed(types, DIM=dim, VALUES=values, LINEAR=linear, SQUARES=squares, SEATED=seated)

    for linear, squares in ((0, 0), (1, 1)):
        yield from (form(types, 16, 0, linear, squares) for types in _TYPES)
    yield from (form(types, 16, 0, 1, 0) for types in _TYPES[:3])
    yield from (form(("float", *types), 1, 0, 0, 0) for types in _OF_STATES)
    yield from (form(_FLOAT, dim, 1, 1, 0) for dim in (4, 5, 10, 64, 128))
    yield from (form(types, 128, 2, 1, 1) for types in (_FIXED, _DOUBLE))
    yield from (form(types, 16, values, 0, 0, 1) for types, values in ((_FLOAT, 0), (_FIXED, 1)))


def _bi_interaction():
    yield from (_typed(types, DIM=16, VALUES=0) for types in _TYPES)
    yield from (_typed(_FLOAT, DIM=dim, VALUES=1) for dim in (4, 5, 10, 64, 128))
    yield from (_typed(types, DIM=128, VALUES=2) for types in (_FIXED, _DOUBLE))


def _rows():
    yield from (_typed(types, DIM=dim, SCALARS=1) for types in (_FLOAT, _DOUBLE) for dim in (1, 16))
    yield from (_typed(("float", "float", sums), DIM=16, SCALARS=1) for sums in ("double", "int64"))
    yield _typed(_FLOAT, DIM=16, SCALARS=0)


def _table():
    yield {"NUMBER": "float", "SCALARS": 0, "DIM": 0, "STATE_WIDTH": 0, "PLANES": 0}
    yield {"NUMBER": "double", "SCALARS": 0, "DIM": 0, "STATE_WIDTH": 0, "PLANES": 0}
    for number, scalars, dim, rule in (
        ("float", 1, 0, "Ftrl"), ("float", 1, 5, "Sgd"), ("float", 1, 10, "Adagrad"), ("float", 1, 16, "Adagrad"),
        ("float", 1, 16, "RowwiseAdagrad"), ("float", 0, 16, "Adagrad"), ("float", 0, 64, "Adam"), ("float", 1, 128, "Ftrl"), ("double", 1, 16, "Adam"),
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
    yield from (form(types, 16, "Adagrad", scalars=0) for types in (_FLOAT, _FIXED))
    yield from (form(_FLOAT, dim, rule) for dim, rule in ((156, "Adagrad"), (624, "Adagrad"), (624, "RowwiseAdagrad")))
    yield form(_DOUBLE, 104, "Adagrad")


def _field_aware():
    def form(types, dim, fields, values=0, scalars=1):
        return _typed(types, DIM=dim, FIELDS=fields, VALUES=values, SCALARS=scalars)

    yield from (form(_FLOAT, dim, 39) for dim in (4, 16))
    yield from (form(_FLOAT, *one) for one in ((4, 39, 2, 0), (5, 6, 1, 1)))
    yield from (form(types, 4, 26, 1, scalars) for types, scalars in ((_TYPES[1], 0), (_DOUBLE, 1)))


def _tower():
    yield from ({"COMPUTE": compute, "ACTIVATION": activation} for compute in ("float", "double") for activation in range(4))


def _interaction():
    yield from ({"COMPUTE": "float", "DIM": dim} for dim in (16, 1, 10, 128, 512))
    yield {"COMPUTE": "double", "DIM": 16}


def _dots():
    for compute, dim, fields in (
        ("float", 1, 1), ("float", 10, 39), ("float", 16, 26), ("float", 64, 26), ("float", 128, 64), ("float", 128, 80),
        ("double", 5, 3), ("double", 16, 26), ("double", 128, 64),
    ):  # fmt: skip
        yield {"COMPUTE": compute, "DIM": dim, "FIELDS": fields}


def _statistics(compute, statistic):
    return {"COMPUTE": compute, "STATISTIC": statistic}


VARIANTS = {
    "cin.cu": [{"COMPUTE": "float"}, {"COMPUTE": "double"}],
    "admission.cu": [{}],
    "history.cu": [{"NUMBER": "float"}, {"NUMBER": "double"}],
    "lookup.cu": [{}],
    "scan.cu": [{}],
    "self_attention.cu": [{"COMPUTE": "float"}, {"COMPUTE": "double"}],
    "attention.cu": [{"COMPUTE": "float"}, {"COMPUTE": "double"}],
    "tasks.cu": [{"COMPUTE": "float"}, {"COMPUTE": "double"}],
    "norm.cu": [{}],
    "sort.cu": [{}],
    "rows.cu": list(_rows()),
    "routing.cu": [{"VALUES": values} for values in (0, 1, 2)],
    "rank_sums.cu": [{"SUM": sums} for sums in ("float", "double", "int64")],
    "loss.cu": list(_loss()),
    "linear.cu": list(_linear()),
    "fm.cu": list(_fm()),
    "pool.cu": list(_pool()),
    "bi_interaction.cu": list(_bi_interaction()),
    "ffm.cu": list(_field_aware()),
    "field_sums.cu": list(_field_aware()),
    "sums.cu": list(_sums()),
    "table.cu": list(_table()),
    "update.cu": list(_update()),
    "columns.cu": [{"COMPUTE": "float"}, {"COMPUTE": "double"}],
    "cross.cu": [{"COMPUTE": "float"}, {"COMPUTE": "double"}],
    "tower.cu": list(_tower()),
    "interaction.cu": list(_interaction()),
    "dots.cu": list(_dots()),
    "normalisation.cu": [_statistics("float", "double"), _statistics("float", "float"), _statistics("double", "double")],
    "arrays.cu": [{"COMPUTE": compute, "SOURCE": source} for source, compute in (("float",) * 2, ("float", "double"), ("double",) * 2)],
}
"""{file: [constants]}"""


def representative(file):
    """Two forms at most of a file, for what need not be checked on all."""
    first, *others = VARIANTS[file]
    return [first, *others[-1:]]
