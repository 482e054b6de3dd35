"""What a JSON value has to look like, for text that anybody may have written.

A form is a type, where int is no bool and float is a finite number; COUNT, an integer from 0 on; None, null; a tuple of forms, any of
them; [form], a list; {str: form}, a dictionary by names; or a dictionary {name: form} of exactly these names.
"""

import json
import math
import reprlib

COUNT = "an integer from 0 on"
_LARGEST = 2**63 - 1
_WORDS = {int: "an integer", float: "a finite number", bool: "true or false", str: "a string", dict: "an object", list: "a list"}


class _Short(reprlib.Repr):
    """Values as text that fits into a message."""

    def __init__(self):
        super().__init__()
        self.maxstring = self.maxother = 60


_SHORT = _Short()


def parse(text):
    """The value of a JSON text, bytes; ValueError for one that is none, or has NaN, infinities, half characters or too many levels."""
    try:
        value = json.loads(text, parse_constant=_constant)
        if b"\\ud" in text or b"\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def require(value, form, name):
    """ValueError, which begins with `name`, where a JSON value has not this form."""
    if isinstance(form, list):
        _require_type(value, list, name)
        for i, one in enumerate(value):
            require(one, form[0], f"{name}[{i}]")
    elif isinstance(form, dict):
        _require_type(value, dict, name)
        if list(form) == [str]:
            form = dict.fromkeys(value, form[str])
        if set(value) != set(form):
            odd = sorted(map(str, set(value) ^ set(form)))
            raise ValueError(f"{name} has the names {_shown(list(value))}; {_shown(odd)} are missing or not known")
        for one in form:
            require(value[one], form[one], f"{name}.{_shown(one)[1:-1]}")
    elif isinstance(form, tuple):
        if not any(_is(value, one) for one in form):
            for one in form:
                if isinstance(value, type(one)) and isinstance(one, (dict, list)):
                    return require(value, one, name)
            raise ValueError(f"{name} is {_shown(value)}; expected {' or '.join(map(_word, form))}")
    else:
        _require_type(value, form, name)


def _is(value, form):
    try:
        require(value, form, "")
    except ValueError:
        return False
    return True


def _require_type(value, form, name):
    if form is None:
        fits = value is None
    elif form == COUNT:
        fits = type(value) is int and 0 <= value <= _LARGEST
    elif form is float:
        fits = type(value) in (int, float) and _is_finite(value)
    elif form is int:
        fits = type(value) is int and -_LARGEST <= value <= _LARGEST
    else:
        fits = type(value) is form
    if not fits:
        raise ValueError(f"{name} is {_shown(value)}; expected {_word(form)}")


def _is_finite(number):
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond float64
        return False


def _word(form):
    return "null" if form is None else form if form == COUNT else _WORDS[form if isinstance(form, type) else type(form)]


def _shown(value):
    return _SHORT.repr(value)


def _constant(name):
    raise ValueError(f"{name} is no JSON")
