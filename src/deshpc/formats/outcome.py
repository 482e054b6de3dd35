"""Columns that are outcomes, as the label is: known only after what a model is to predict, and so no fields of it.

They are known by what they say of the label in a sample, or by their names.  A model that learns from one looks excellent, until it is used.
"""

import re
from collections import Counter

import numpy as np

from deshpc.formats.sample import is_number

_RANKS = 0.95  # AUC of a column alone
_SURE, _OPEN = 0.95, 0.9  # share of positives, or of negatives, where a column has an unusual value, and at most in all rows
_LEAST_ROWS, _LEAST_UNUSUAL = 200, 20
_ACTION = re.compile(
    r"(is|has|was|did)?_?(long_?)?(click|like|dislike|hate|follow|unfollow|comment|share|forward|repost|retweet|reply|favou?rite|collect|save"
    r"|(add_?to_?)?cart|purchase|order|buy|bought|pay|paid|conversion|convert|install|download|subscribe|view|watch|finish|complete|profile_enter"
    r"|install|skip)(e?d|s)?",
    re.IGNORECASE,
)
_DURATION = re.compile(r"(^|_)(play|watch|dwell|stay|view|listen|reading)(ing)?_?(time|duration|ratio|percent|sec|seconds|ms)(_|$)", re.IGNORECASE)


def outcome(name, cells, positive):
    """Why a column looks like an outcome, in words, or an empty text.

    cells    : of a sample's rows as texts, empty where they are missing
    positive : (rows) bool, whether the row's label is the positive one
    """
    if _DURATION.search(name):
        return "its name is that of a time which is known afterwards"
    counts = Counter(cells)
    if _ACTION.fullmatch(name) and len(counts.keys() - {""}) <= 2:
        return "its name is that of something which happens afterwards"
    if len(cells) < _LEAST_ROWS or positive.all() or not positive.any():
        return ""
    if all(is_number(cell) for cell in counts if cell) and (ranks := _alone(cells, positive)) >= _RANKS:
        return f"alone it ranks the label with an AUC of {ranks:.2f}"
    usual = counts.most_common(1)[0][0]
    unusual = np.array([cell not in (usual, "") for cell in cells])
    if _LEAST_UNUSUAL <= unusual.sum() <= len(cells) / 2:
        for truth, words in ((positive, "the positive one"), (~positive, "not the positive one")):
            if truth[unusual].mean() >= _SURE and truth.mean() <= _OPEN:
                return f"where it is not {repr(usual) if usual else 'missing'}, the label is nearly always {words}"
    return ""


def _alone(cells, positive):
    """AUC of a column's numbers, the greater or the smaller ones as the better; missing ones below all others."""
    numbers = np.array([float(cell) if cell else -np.inf for cell in cells])
    values, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - (counts - 1) / 2)[place]  # mean rank of equal ones
    n = int(positive.sum())
    area = (middle[positive].sum() - n * (n + 1) / 2) / (n * (len(cells) - n))
    return max(area, 1 - area)
