"""Docstrings as reStructuredText: lines `name : meaning` become a list of definitions, and single backquotes code."""

import re

_ITEM = re.compile(r"(\w+(?:, \w+)*)\s+: (.+)")
_WIDTH = 100  # a line that is shorter, and would have had room for the next word, ends its paragraph


def as_restructured_text(app, what, name, thing, options, lines):
    """Rewrite the lines of a docstring in place; Sphinx calls it for each."""
    lines[:] = [text for block in _blocks(lines) for text in (*_block(block), "")]


def _blocks(lines):
    """The paragraphs, items and pieces of code of a docstring: lists of lines."""
    block = []
    for line in lines:
        if block and _begins(block[-1], line):
            yield block
            block = []
        if line.strip():
            block.append(line)
    if block:
        yield block


def _begins(before, line):
    """Whether `line` goes on with something else than the line before it."""
    if not line.strip() or _ITEM.match(line) or line.startswith(" ") != before.startswith(" "):
        return True
    return line[0].isupper() and not before.startswith(" ") and len(before) + len(line.split()[0]) < _WIDTH


def _block(block):
    if block[0].startswith("  "):
        return ["::", "", *("    " + line for line in block)]
    if item := _ITEM.match(block[0]):
        names = ", ".join(f"``{name}``" for name in item[1].split(", "))
        return [names, *("    " + _marked(line.strip()) for line in [item[2], *block[1:]])]
    return [_marked(line) for line in block]


def _marked(line):
    """A line whose text between backquotes is code, and whose other characters mean themselves."""
    parts = line.replace("``", "`").split("`")
    return "".join(f"``{part}``" if i % 2 else re.sub(r"([*|_\\])", r"\\\1", part) for i, part in enumerate(parts))
