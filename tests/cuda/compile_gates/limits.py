"""What each kernel may take, and what it must have.

Registers: as many as leave as many threads resident as now.  A multiprocessor holds 2048 threads of 32 registers, 1536 of
40, 1280 of 48, 1024 of 64 (compute capability 8.0, 9.0, 10.0); one of 7.5 holds 1024 threads in all.  A kernel that comes
to need more than its budget is to be looked at before the budget grows.
"""

_TURING = 75

FULL = 32
"""Registers of a kernel that is not listed."""

_BUDGETS = {  # the first whose constants all fit
    ("sort.cu", "scatter"): [({}, 64)],
    ("routing.cu", "pick_own"): [({}, 48)],
    ("linear.cu", "magnitude"): [({}, 40)],
    ("linear.cu", "sum_dense"): [({"SUM": "double"}, 40)],
    ("fm.cu", "partial"): [
        ({"SUM": "float", "DIM": 16, "VALUES": 0}, 32), ({"SUM": "float"}, 40), ({"SUM": "double"}, 48), ({}, 64),
    ],
    ("fm.cu", "finish"): [({"COMPUTE": "double"}, 48)],
    ("fm.cu", "sum_dense"): [({"SUM": "float"}, 48), ({}, 64)],
    ("fm.cu", "magnitude"): [({}, 48)],
    ("pool.cu", "partial"): [({"SUM": "float"}, 48), ({}, 64)],
    ("pool.cu", "magnitude"): [({}, 48)],
    ("bi_interaction.cu", "partial"): [({"SUM": "float"}, 40), ({}, 64)],
    ("bi_interaction.cu", "magnitude"): [({}, 48)],
    ("sums.cu", "sum_tiles"): [({"SUM": "float"}, 40), ({"DIM": 128, "ADJOINT": 2}, 72), ({"ADJOINT": 2}, 56), ({}, 48)],
    ("sums.cu", "sum_spans"): [({}, 40)],
    ("ffm.cu", "partial"): [({"COMPUTE": "float"}, 48), ({}, 64)],
    ("ffm.cu", "collect"): [({"COMPUTE": "double"}, 40)],
    ("ffm.cu", "sum_tiles"): [({}, 56)],
    ("ffm.cu", "sum_spans"): [({}, 40)],
    ("ffm.cu", "factors_adjoint"): [({}, 40)],
    ("field_sums.cu", "partial"): [({}, 40)],
    ("field_sums.cu", "pairs"): [({"COMPUTE": "float"}, 40), ({}, 48)],
    ("field_sums.cu", "sum_tiles"): [({}, 64)],
    ("field_sums.cu", "sum_spans"): [({}, 40)],
    ("sums.cu", "add_atomically"): [({"DIM": 128, "ADJOINT": 2}, 40)],
    ("update.cu", "rows"): [
        *(({"DIM": dim}, 48) for dim in (156, 624)), ({"DIM": 104}, 56),
        ({"SUM": "float", "RULE": 0}, 32), ({"SUM": "float", "RULE": 1}, 32), ({"SUM": "float"}, 40), ({"RULE": 0}, 32),
        ({"RULE": 1}, 48), ({"RULE": 2}, 48), ({}, 64),
    ],
    ("attention.cu", "softmax"): [({"COMPUTE": "double"}, 48)],
    ("attention.cu", "pair_adjoint"): [({}, 48)],
    ("attention.cu", "weighted_sum_adjoint"): [({}, 48)],
    ("self_attention.cu", "attend"): [({"COMPUTE": "float"}, 40), ({}, 56)],
    ("self_attention.cu", "ask_adjoint"): [({"COMPUTE": "float"}, 40), ({}, 48)],
    ("self_attention.cu", "told_adjoint"): [({"COMPUTE": "float"}, 48), ({}, 56)],
    ("tasks.cu", "both_happen"): [({"COMPUTE": "double"}, 40)],
    ("tower.cu", "bias_activation"): [({"COMPUTE": "double", "ACTIVATION": 3}, 40)],
    ("cross.cu", "cross"): [({"COMPUTE": "double"}, 40)],
    ("cross.cu", "cross_adjoint"): [({"COMPUTE": "float"}, 40), ({}, 48)],
    ("cross.cu", "cross_constants"): [({"COMPUTE": "double"}, 40)],
    ("normalisation.cu", "layer_adjoint"): [({"COMPUTE": "double"}, 40)],
    ("normalisation.cu", "batch_adjoint"): [({"COMPUTE": "double"}, 40)],
    ("dots.cu", "dots"): [({"DIM": 128}, 48), ({}, 40)],
    ("dots.cu", "dots_adjoint"): [({"DIM": 128}, 48), ({}, 40)],
}  # fmt: skip

_TURING_FULL = 64
_TURING_BUDGETS = {("fm.cu", "partial"): [({"SUM": "int64"}, 72)], ("fm.cu", "sum_dense"): [({"SUM": "double"}, 72)]}


def registers(file, kernel, constants, capability):
    """The most registers that a thread of the kernel may take."""
    budget = _fitting(_BUDGETS, (file, kernel), constants, FULL)
    if capability == _TURING:
        budget = max(budget, _fitting(_TURING_BUDGETS, (file, kernel), constants, _TURING_FULL))
    return budget


def wide_accesses(file, kernel, constants):
    """(loads, stores) of 16 bytes that the head of the file promises, at least."""
    promise = _PROMISES.get((file, kernel))
    return (0, 0) if promise is None else promise(constants)


def promises(file, constants):
    """Whether anything is promised of a form of a file, so that its instructions have to be looked at."""
    return any(of == file and (any(promise(constants)) or loads_in_a_row(of, kernel)) for (of, kernel), promise in _PROMISES.items())


def _fitting(budgets, kernel, constants, otherwise):
    for condition, budget in budgets.get(kernel, ()):
        if condition.items() <= constants.items():
            return budget
    return otherwise


def _is_wide(constants):
    return constants["NUMBER"] == "float" and constants["DIM"] > 0 and constants["DIM"] % 4 == 0


def _updated_rows(constants):
    """Weights, their state, and sums, which are two loads where they have 8 bytes."""
    if not _is_wide(constants):
        return 0, 0
    planes = (0, 1, 0, 2, 2)[constants["RULE"]]  # of the embedding: row-wise Adagrad has one number a row
    moved = 1 + planes + (1 if constants["SUM"] == "float" else 2)
    return moved, moved


_PROMISES = {
    ("pool.cu", "partial"): lambda constants: (4 if _is_wide(constants) else 0, 0),
    ("bi_interaction.cu", "partial"): lambda constants: (1 if _is_wide(constants) else 0, 0),
    ("ffm.cu", "partial"): lambda constants: (1 if _is_wide(constants) else 0, 0),
    ("field_sums.cu", "partial"): lambda constants: (1 if _is_wide(constants) else 0, 0),
    ("lookup.cu", "find"): lambda constants: (2, 0),
    ("fm.cu", "partial"): lambda constants: (1 if _is_wide(constants) else 0, 0),
    ("update.cu", "rows"): _updated_rows,
    ("table.cu", "write_new"): lambda constants: (0, 1),
    ("table.cu", "forget_marks"): lambda constants: (0, 1),
}
_IN_A_ROW = {("lookup.cu", "find"): 2}


def loads_in_a_row(file, kernel):
    """Loads of 16 bytes of which none waits for another."""
    return _IN_A_ROW.get((file, kernel), 0)


PROMISING = tuple(_PROMISES)
"""(file, kernel) of which something is promised."""
