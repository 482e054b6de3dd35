"""Forms of JSON values, against values that are written down beside them."""

import pytest

from deshpc.storage.json_form import COUNT, parse, require

RIGHT = [
    (3, int), (-3, int), (3, COUNT), (0, COUNT), (1.5, float), (2, float), ("", str), (True, bool), ([], [int]), ([1, 2], [COUNT]),
    ({"a": 1}, {str: int}), ({"a": 1, "b": ["x"]}, {"a": int, "b": [str]}), (None, (int, None)), ({"x": 1}, ({"x": int}, None)), ({}, dict),
]  # fmt: skip
WRONG = [
    (True, int), (True, COUNT), (-1, COUNT), (2**63, COUNT), (10**400, float), ("1", int), (1.0, int), (None, str), ([1, "x"], [int]),
    ({"a": 1}, {"b": int}), ({"a": 1, "b": 2}, {"a": int}), ({}, {"a": int}), (1, (str, None)), ({"x": "1"}, ({"x": int}, None)), ([], dict),
]  # fmt: skip


@pytest.mark.parametrize(("value", "form"), RIGHT)
def test_what_fits(value, form):
    require(value, form, "it")


@pytest.mark.parametrize(("value", "form"), WRONG)
def test_what_does_not_fit_is_named(value, form):
    with pytest.raises(ValueError, match="^it"):
        require(value, form, "it")


def test_the_name_of_what_is_wrong_leads_to_it():
    with pytest.raises(ValueError, match=r"^it.b\[1\].c is 'x'; expected an integer"):
        require({"a": 1, "b": [{"c": 1}, {"c": "x"}]}, {"a": int, "b": [{"c": int}]}, "it")


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"[1, Infinity]", b'"\\ud800"', b"\xff", b"[" * 100_000 + b"]" * 100_000, b"1" * 5000])
def test_what_is_no_json(text):
    with pytest.raises(ValueError):
        parse(text)


def test_characters_of_all_planes():
    assert parse(b'"\\ud83d\\ude00 \xc3\xa9"') == "\U0001f600 \xe9"
