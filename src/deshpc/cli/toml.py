"""A resolved configuration as TOML."""

import json


def to_toml(tree, path=()):
    """The TOML text of nested dictionaries, such as `config.resolved` gives; `path` names the section they are in."""
    plain = {name: value for name, value in tree.items() if not _is_section(value)}
    lines = [f"[{'.'.join(path)}]"] if path and plain else []
    lines += [f"{name} = {toml_value(value)}" for name, value in plain.items()]
    for name, value in tree.items():
        if isinstance(value, dict):
            lines += ["", to_toml(value, (*path, name))] if lines else [to_toml(value, (*path, name))]
        elif _is_section(value):
            for one in value:
                own = (f"{key} = {toml_value(item)}" for key, item in one.items())
                lines += ["", f"[[{'.'.join((*path, name))}]]", *own]
    return "\n".join(lines)


def toml_value(value):
    """Strings, numbers, booleans and lists look alike in JSON and TOML; but TOML has no pairs of surrogates, no DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_section(value):
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))
