"""What is rewritten in a `.cu` source before a C++ compiler sees it, and what is read from it."""

import re

from executor.errors import ExecutorError

_SKIPPED = r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\""
_ALIGNED = r"(?:(?:__align__|alignas)\s*\([^)]*\)\s*)?"
_TYPE = r"(?:[\w:*]|<[^;>]*>|\s)+?"
_THEN = r"(?:\s+|(?<=\*))"
_SHARED = re.compile(
    rf"(?P<skipped>{_SKIPPED})"
    rf"|\bextern\s+{_ALIGNED}__shared__\s+{_ALIGNED}(?P<open>{_TYPE}){_THEN}(?P<open_name>\w+)\s*\[\s*\]\s*;"
    rf"|(?P<volatile>\bvolatile\s+)?\b__shared__\s+{_ALIGNED}(?P<type>{_TYPE}){_THEN}(?P<name>\w+)\s*(?P<bounds>(?:\[[^\]]*\]\s*)*);",
    re.DOTALL,
)
_KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s+)?void\s+(?:__launch_bounds__\s*\([^)]*\)\s+)?(\w+)\s*\(")
_TEMPLATE = re.compile(r"template\s*<[^;{}]*>\s*(?:static\s+)?$")


def without_comments(text):
    """The text with comments and strings blanked, of the same length."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    return re.sub(_SKIPPED, blank, text, flags=re.DOTALL)


def with_block_memory(text):
    """`__shared__` variables become references to the memory of the running block; lines keep their numbers."""

    def replace(match):
        if match["skipped"]:
            return match.group()
        lines = "\n" * match.group().count("\n")
        if match["open_name"]:
            type_, name = " ".join(match["open"].split()), match["open_name"]
            return f"{type_}* {name} = ({type_}*)executor_dynamic_shared();{lines}"
        type_ = (match["volatile"] or "") + " ".join(match["type"].split())
        name, bounds = match["name"], " ".join(match["bounds"].split())
        return (
            f"typedef {type_} {name}_shared {bounds}; static char {name}_declaration; {name}_shared& {name} = "
            f'*({name}_shared*)executor_shared(&{name}_declaration, sizeof({name}_shared), "{name}");{lines}'
        )

    result = _SHARED.sub(replace, text)
    left = re.search(r"^.*\b__shared__\b.*$", without_comments(result), re.MULTILINE)
    if left:
        raise ExecutorError(f"declare one __shared__ variable a statement, without initialiser: {left.group().strip()}")
    return result


def kernels(text):
    """{name: [names of the parameters]} of the kernels that are not templates."""
    text = without_comments(text)
    found = {}
    for match in _KERNEL.finditer(text):
        before = re.sub(r"extern\s*$", "", text[: match.start()])
        if _TEMPLATE.search(before.rstrip()):
            continue
        depth, at = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        found[match[1]] = _parameter_names(text[match.end() : at - 1])
    return found


def _parameter_names(parameters):
    while re.search(r"<[^<>]*>", parameters):  # commas of template arguments do not separate parameters
        parameters = re.sub(r"<[^<>]*>", "", parameters)
    names = [re.findall(r"\w+", parameter) for parameter in parameters.split(",")]
    return [words[-1] for words in names if words]
