"""JSON text as the standard has it: it knows no NaN and no infinity, so such a number is null."""

import json
import math


def json_text(thing, **how):
    """`thing` as JSON text.  how : of json.dumps"""
    try:
        return json.dumps(thing, allow_nan=False, **how)
    except ValueError:
        return json.dumps(_with_null(thing), allow_nan=False, **how)


def _with_null(thing):
    if isinstance(thing, dict):
        return {name: _with_null(one) for name, one in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [_with_null(one) for one in thing]
    return None if isinstance(thing, float) and not math.isfinite(thing) else thing
