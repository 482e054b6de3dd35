"""What is made from the program itself: every option, from its schema, every command, from its parser; and lists of pages."""

import argparse
import re
import textwrap
from pathlib import Path

from deshpc.cli.main import parser
from deshpc.cli.toml import toml_value
from deshpc.config.options import options as every_option


def fill(app, page, source):
    """Put what is generated in place of the comment that asks for it; Sphinx calls it for each page."""
    root, listed = Path(app.srcdir), source[0].splitlines()
    others = {
        "notebooks": [f"../examples/{path.stem}" for path in root.glob("examples/*.ipynb")],
        "other pages": [path.stem for path in root.glob("docs/*.md") if path.stem != "index"],
    }
    makers = {"options": options, "commands": commands}
    makers |= {name: lambda pages=pages: "\n".join(sorted(set(pages) - set(listed))) for name, pages in others.items()}
    for name, text in makers.items():
        mark = f"<!-- generated: {name} -->"
        if mark in source[0]:
            source[0] = source[0].replace(mark, text())


def options():
    """Markdown of every option: a section of the page for one of the configuration."""
    lines, section = [], None
    for option in every_option():
        if option.path[:-1] != section:
            section = option.path[:-1]
            title = f"[{'.'.join(section)}]"
            lines += [f"## `{f'[{title}]' if option.in_list else title}`", "", _text(option.section.__doc__), ""]
        lines += _option(option)
    return "\n".join(lines)


def _option(option):
    kinds = {str: "text", int: "whole number", float: "number", bool: "true or false", str | tuple[str, ...]: "text or texts"}
    kind = kinds[option.kind] + "s" * option.several
    default = f"`{toml_value(option.default)}`" if option.default not in ("", []) else "empty"
    facts = "; ".join([f"{kind}, {default} by default", *_limits(option.metadata)])
    anchor = "-".join(option.path)
    return [f"(option-{anchor})=", "", f"**`{option.name}`**", f": {_text(option.metadata['text'])}", "", f"  *{facts}*", ""]


def _limits(metadata):
    words = {"minimum": "at least", "maximum": "at most", "above": "more than", "below": "less than"}
    found = [f"{word} {metadata[name]:,}" for name, word in words.items() if metadata[name] is not None]
    named = ", ".join(f"`{toml_value(choice)}`" for choice in metadata["choices"])
    return found + ([f"one of {named}"] if named else [])


def commands():
    """Markdown of every command: its line, what it does, its arguments."""
    whole = parser()
    (subparsers,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help for action in subparsers._choices_actions}
    lines = [_text(whole.description), ""]
    for name, command in subparsers.choices.items():
        usage = textwrap.fill(" ".join(command.format_usage().split()).removeprefix("usage: "), 84, subsequent_indent="    ", break_on_hyphens=False)
        lines += [f"## `deshpc {name}`", "", f"{_text(helps[name])[0].upper()}{_text(helps[name])[1:]}.", "", "```text", usage, "```", ""]
        for action in command._actions:
            if action.dest != "help":
                lines += [f"`{_called(action)}`", f": {_text(action.help)}", ""]
    return "\n".join(lines)


def _called(action):
    value = action.metavar or ("|".join(action.choices) if action.choices else "")
    return f"{', '.join(action.option_strings)} {value}".strip()


def _text(text):
    """Plain text, in which backquotes hold code, as Markdown."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if i % 2 else re.sub(r"([*_\[\]<>|#\\])", r"\\\1", part) for i, part in enumerate(parts))
