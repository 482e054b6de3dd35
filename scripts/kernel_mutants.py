"""Mutants of kernels/: copies with one edit, found in the text of a file, and those that nothing could notice."""

import difflib
import random
import re
from dataclasses import dataclass
from functools import cache

from kernel_coverage import ROOT, TEXTS

LISTED = ROOT / "tests" / "cuda" / "mutants.toml"


@dataclass(frozen=True)
class Mutant:
    """TEXTS[file][begin:end] becomes `text`."""

    file: str
    begin: int
    end: int
    text: str
    operator: str

    @property
    def line(self):
        return TEXTS[self.file].count("\n", 0, self.begin) + 1

    def whole(self):
        text = TEXTS[self.file]
        return text[: self.begin] + self.text + text[self.end :]

    def lines(self):
        """(before, after) the lines that differ, without indentation."""
        pair = [TEXTS[self.file].splitlines(), self.whole().splitlines()]
        parts = [code for code in difflib.SequenceMatcher(None, *pair, autojunk=False).get_opcodes() if code[0] != "equal"]
        return tuple(
            " ".join(line.strip() for _, *places in parts for line in one[slice(*places[2 * i : 2 * i + 2])])
            for i, one in enumerate(pair)
        )

    def difference(self):
        before, after = self.lines()
        return f"{self.file}:{self.line} {self.operator}\n  - {before}\n  + {after}"


def chosen(options):
    """The mutants of this run: as many of every file as its share, three at least.

    options : sample, seed, files, lines, operators, as scripts/mutate_kernels.py has them
    """
    chance, found = random.Random(options.seed), {file: mutants_of(file) for file in options.files}
    found = {file: [one for one in mutants if wanted(one, options.operators)] for file, mutants in found.items()}
    if options.lines:
        return [one for mutants in found.values() for one in mutants if one.line in options.lines]
    total, result = sum(map(len, found.values())), []
    for file in sorted(found):
        share = -(-options.sample * len(found[file]) // total) if options.sample else total
        picked = chance.sample(found[file], min(len(found[file]), max(3, share)))
        result += sorted(picked, key=lambda one: (one.begin, one.text))
    return result


def wanted(mutant, operators):
    """Whether its operator is one of these; if none are named, one that is not narrow."""
    return mutant.operator in operators if operators else mutant.operator != "narrow"


_TYPES = r"(?:const |unsigned )*(?:bool|float|double|int|u?int\d+|uint4|ulonglong2|SUM|COMPUTE|NUMBER|T|S|Sums|Embedding|Bits|Rule|Start)\b"
_DECLARATION = re.compile(rf"(?:constexpr|typedef|union|struct|return|__shared__|{_TYPES}\*? \w|(?:const )?Vector\b)")
_SYMMETRIC = {"at", "fold", "fmax", "fmin", "least"}
_FACTORS = {"multiply_add": 0, "combine": 0, "__fmaf_rn": 0, "__fma_rn": 0, "add_fused": 1, "add_product": 1}  # the first of two
_CONTROL = {"if", "for", "while", "switch", "sizeof", "return"}
_OTHER = {
    "<": ["<=", ">="], "<=": ["<", ">"], ">": [">=", "<="], ">=": [">", "<"], "==": ["!="], "!=": ["=="], "&&": ["||"],
    "||": ["&&"], "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["/"], "<<": [">>"], ">>": ["<<"], "&": ["|"],
    "|": ["&"], "^": ["|"], "+=": ["-=", "="], "-=": ["+="], "*=": ["/="],
}  # fmt: skip
_NAMES = [
    ("low.", "high."), (".x ==", ".y =="), (".first", ".second"), (".slope", ".jump"), ("fmax", "fmin"), ("true", "false"),
    ("blockIdx.x", "threadIdx.x"), ("gridDim.x", "blockDim.x"), ("begin", "end"), ("heads", "tails"),
]  # fmt: skip
_APART = {
    "atomicAdd": "[](auto* place, auto more) { auto held = *place; *place = held + more; return held; }",
    "atomicMax": "[](auto* place, auto other) { auto held = *place; if (held < other) *place = other; return held; }",
    "atomicMin": "[](auto* place, auto other) { auto held = *place; if (other < held) *place = other; return held; }",
    "atomicCAS": "[](auto* place, auto old, auto other) { auto held = *place; if (held == old) *place = other; return held; }",
}


@cache
def mutants_of(file):
    """All mutants of a file, in the order of its text."""
    code, text = code_of(TEXTS[file]), TEXTS[file]
    found = []

    def add(operator, begin, end, new):
        if new != text[begin:end]:
            found.append(Mutant(file, begin, end, new, operator))

    for match in re.finditer(r"(?<= )(<=|>=|==|!=|&&|\|\||<<|>>|[-+*]=|[-<>+*/%&|^])(?= )", code):
        for other in _OTHER[match[1]]:
            add("operation", *match.span(), other)
    for match in re.finditer(r"(?<=[ (])-(?=[\w(*])", code):
        add("sign", *match.span(), "")
    for match in re.finditer(r"(\w+)\+\+", code):
        add("increment", *match.span(), f"{match[1]} += 2")
    for match in re.finditer(r"(?<![\w.])(\d+)(u|ull)?(?![\w.])", code):
        declares = code[match.start() - 1] == "[" and _DECLARATION.match(line_before(code, match.start()))
        for number in {int(match[1]) + 1, abs(int(match[1]) - 1)}:
            if declares and number > int(match[1]):
                continue  # room that nobody uses
            add("constant", *match.span(), f"{number}{match[2] or ''}")
    for match in re.finditer(r"(?<![\w.])(\d+\.\d+)(f?)(?![\w.])", code):
        add("constant", *match.span(), f"{float(match[1]) * 2 or 1.0}{match[2]}")
    for match in re.finditer(r"\b0x([0-9a-fA-F]+?)([0-9a-fA-F])(u|ull)?\b", code):
        add("constant", *match.span(), f"0x{match[1]}{int(match[2], 16) ^ 1:x}{match[3] or ''}")
    for match in re.finditer(r"\b(?:if|while) \(", code):
        end = closing(code, match.end() - 1)
        add("condition", match.end(), end, f"!({text[match.end() : end]})")
    for match in re.finditer(r" \? ", code):
        swap_results(code, text, match, add)
    for begin, end in statements(code):
        add("statement", begin, end, ";")
    for name, plain in _APART.items():
        for match in re.finditer(rf"\b{name}\b", code):
            add("atomic", *match.span(), plain)
    for match in re.finditer(r"\b(u?)int64\b", code):
        add("narrow", *match.span(), f"{match[1]}int32")
    for match in re.finditer(r"(?<![\w.])(\d+)ull\b", code):
        add("narrow", *match.span(), f"{match[1]}u")
    for match in re.finditer(r"\bvolatile ", code):
        add("volatile", *match.span(), "")
    for match in re.finditer(r"\bfabs\b", code):
        add("fabs", *match.span(), "")
    for match in re.finditer(r"\b(\w+) *\(", code):
        swap_arguments(code, text, match, add)
    for match in re.finditer(r"\w\[(?!\])", code):
        end, line = closing(code, match.end() - 1), line_before(code, match.start())
        inside = text[match.end() : end]
        if not (_DECLARATION.match(line) and re.fullmatch(r"[A-Z_0-9 */]+", inside)):
            for shift in ("+", "-"):
                add("index", match.end(), end, f"({inside}) {shift} 1")
    for pair in _NAMES:
        for one, other in (pair, pair[::-1]):
            for match in re.finditer(rf"(?<![\w]){re.escape(one)}(?!\w)" if one[0] != "." else re.escape(one) + r"(?!\w)", code):
                add("name", *match.span(), other)
    return sorted(set(found), key=lambda one: (one.begin, one.end, one.text, one.operator))


def code_of(text):
    """The text with everything blank that is no statement: comments, directives, headers of functions, structures."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    text = re.sub(r"//[^\n]*|^#[^\n]*", blank, text, flags=re.MULTILINE)
    text = re.sub(r"(?:template <[^;{}]*?>\s*)?struct [^{;]*\{[^}]*\};|^template <[^;{}\n]*>$", blank, text, flags=re.MULTILINE)
    text = re.sub(r'^(?:extern "C" __global__|(?:__host__ )?__device__)[^{;]*', blank, text, flags=re.MULTILINE)
    return re.sub(r"(?<=\w)<[^<>;&|\n]*>|typedef [^\n]*", blank, text)


def line_before(code, place):
    return code[code.rfind("\n", 0, place) + 1 : place].strip()


def closing(code, begin):
    """Where the bracket closes that opens at `begin`."""
    depth = 0
    for place in range(begin, len(code)):
        depth += (code[place] in "([{") - (code[place] in ")]}")
        if depth == 0:
            return place
    raise ValueError(code[begin : begin + 80])


def end_of_part(code, begin, ends):
    """The first of the characters `ends` behind `begin` that is in no brackets of its own, or the bracket around it."""
    place = begin
    while code[place] not in ends and code[place] not in ")]}":
        place = closing(code, place) + 1 if code[place] in "([{" else place + 1
    return place


def swap_results(code, text, match, add):
    middle = match.end()
    while not code.startswith(" : ", middle):
        middle = closing(code, middle) + 1 if code[middle] in "([{" else middle + 1
        if code[middle] in ";?":
            return
    end = end_of_part(code, middle + 3, ";,?")
    if code[end] != "?":
        add("condition", match.end(), end, f"{text[middle + 3 : end]} : {text[match.end() : middle]}")


def swap_arguments(code, text, match, add):
    if match[1] in _CONTROL | _SYMMETRIC:
        return
    ends, end = [match.end() - 1], closing(code, match.end() - 1)
    while ends[-1] < end:
        ends.append(end_of_part(code, ends[-1] + 1, ",;"))
        if code[ends[-1]] == ";":
            return
    parts = [text[a + 1 : b] for a, b in zip(ends, ends[1:], strict=False)]
    for i in range(len(parts) - 1):
        one, other = (part.strip() for part in parts[i : i + 2])
        if one != other and _FACTORS.get(match[1]) != i:
            add("arguments", ends[i] + 1, ends[i + 2], f"{other}, {one}")


def statements(code):
    """(begin, end) of the statements that can be left out: what is assigned or called, and jumps."""
    for match in re.finditer(r"^[ ]+(?=\S)", code, flags=re.MULTILINE):
        place = match.end()
        while place < len(code) and code[place] not in "{}\n":
            head = re.compile(r"(?:else )?(?:if|for|while) \(|else ").match(code, place)
            if head:
                place = closing(code, head.end() - 1) + 1 if head.group().endswith("(") else head.end()
                place += re.compile(r"\s*").match(code, place).end() - place
                continue
            end = place
            while code[end] not in ";{}":
                end = closing(code, end) + 1 if code[end] in "([" else end + 1
            if code[end] != ";":
                break
            statement = code[place:end]
            if not _DECLARATION.match(statement) and re.search(r" [-+*]?= |\w\(|\+\+|^(break|continue)$", statement) or statement == "return":
                yield place, end + 1
            place = end + 1
            while code[place] == " ":
                place += 1


def listed():
    """{(file, before, after): reason} of mutants that nothing could notice."""
    if not LISTED.exists():
        return {}
    try:
        import tomllib
    except ImportError:
        import tomli as tomllib
    entries = tomllib.loads(LISTED.read_text(encoding="utf-8"))["mutant"]
    return {(one["file"], one["before"], one["after"]): one["reason"] for one in entries}
