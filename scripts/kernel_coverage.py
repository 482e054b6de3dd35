"""How much of the CUDA kernels' text the tests run: on the executor, every line counted by gcov.

    python scripts/kernel_coverage.py [--least 95] [--worst 10] [--json FILE] [--tests=-k=scan]

Runs tests/cuda with every executor in coverage mode, on one schedule.  A file is compiled once for each set of constants
that the tests ask for (a variant), and a line counts for each of them.  A variant answers for the functions that run in
it: the host code launches some kernels of a file in one variant, others in another.  A file answers for all its lines,
each of which must run in some variant.

Needs g++ and gcov.  Exit code 1 if a variant or a file is below --least percent, or a test fails.
"""

import argparse
import json
import os
import re
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "kernels"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(KERNELS.glob("*.cu*"))}
"""As they are when the tests begin."""
NOT_OF_KERNELS = ("test_executor", "test_compile")
"""Tests that run no kernel of ours: those of the executor itself, and of compilers for devices."""

# Lines that cannot run in some variants: how they begin, and whether they can where the constants are c.
CAN_RUN = {
    "numbers.cuh": {  # more than 32 vectors in a row
        "for (int e = (count + 1) / 2;": lambda c: has_many_vectors(c),
        "for (int c = 0; c < WIDTH; c++) number[e - (count": lambda c: has_many_vectors(c),
    },
    "table.cu": {  # a new number that is no weight; of the embedding's state; of its first plane; that depends on the weight
        "i -= DIM;": lambda c: c["PLANES"] > 0,
        "if (i >= VECTOR_STATE)": lambda c: c["PLANES"] > 0,
        "if (i >= STATE_WIDTH)": lambda c: c["STATE_WIDTH"] > 0,
        "if (start.slope == 0.0": lambda c: c["STATE_WIDTH"] > 0,
        "const double weight = (double)first_weight": lambda c: c["STATE_WIDTH"] > 0 and c["PLANES"] == 2,
        "const double sign = (double)(weight": lambda c: c["STATE_WIDTH"] > 0 and c["PLANES"] == 2,
        "return (NUMBER)(start.first + start.slope": lambda c: c["STATE_WIDTH"] > 0 and c["PLANES"] == 2,
    },
}


def has_many_vectors(constants):
    """Whether a row has more vectors than a warp has lanes."""
    dim = constants.get("DIM", 0)
    return dim > 32 * vector_width(constants.get("NUMBER", constants.get("COMPUTE")), dim)


def vector_width(number, dim):
    """As in numbers.cuh."""
    return 4 if number == "float" and dim % 4 == 0 else 2 if dim % 2 == 0 else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--least", type=float, default=95.0, help="percent of the lines that must run")
    parser.add_argument("--worst", type=int, default=10, help="variants to print")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--tests", nargs="*", default=(), help="options of pytest, as -k=name")
    options = parser.parse_args()
    modules, run = Modules(), Run(["random-5"])
    failed = run_tests([modules, run], *options.tests)
    variants = [Variant(name, constants, module.coverage()) for name, constants, module in modules.found.values()]
    files = per_file(variants)
    report(files, variants, options)
    if options.json:
        options.json.write_text(json.dumps(summary(files, variants), indent=1) + "\n", encoding="utf-8")
    below = [one for one in (*files, *variants) if one.percent < options.least]
    if failed:
        print("some tests fail")
    return int(failed or bool(below))


# ---------------------------------------------------------------------- tests


def run_tests(plugins, *options):
    """Whether one fails.  In this process: plugins see every test and every device."""
    import pytest

    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT / "tests"))
    files = [str(path) for path in sorted(ROOT.glob("tests/cuda/test_*.py")) if not path.name.startswith(NOT_OF_KERNELS)]
    return pytest.main(["-q", "-p", "no:cacheprovider", *options, *files], plugins=plugins) != 0


class Run:
    """Keeps the tests on these schedules, named as tests/cuda/conftest.py names them, and those that have none."""

    def __init__(self, schedules):
        self._schedules = schedules

    def pytest_collection_modifyitems(self, config, items):
        kept = [item for item in items if self._wanted(item)]
        config.hook.pytest_deselected(items=[item for item in items if not self._wanted(item)])
        items[:] = kept

    def _wanted(self, item):
        given = getattr(item, "callspec", None)
        if given is None or not {"device", "few"} & given.params.keys():
            return True
        return any(name in given.id for name in self._schedules)


class Modules:
    """Every module that a device has compiled: {library: (file, constants, module)}.  Puts devices in coverage mode."""

    def __init__(self):
        self.found = {}

    def pytest_sessionstart(self):
        from executor.device import ExecutorDevice

        opened, compiled = ExecutorDevice.__init__, ExecutorDevice.compile

        def open_it(device, schedule=None, mode="check", initialised=True):
            opened(device, schedule, "coverage", initialised)

        def compile_it(device, name, source, constants):
            module = compiled(device, name, source, constants)
            if name in TEXTS:
                self.found.setdefault(module.compiled.library, (name, dict(constants), module))
            return module

        ExecutorDevice.__init__, ExecutorDevice.compile = open_it, compile_it


# ---------------------------------------------------------------------- figures


class Lines:
    """{(file, line): count} of lines with code, and what they are called."""

    def __init__(self, name, counts):
        self.name, self.counts = name, counts
        self.run = sum(count > 0 for count in counts.values())
        self.percent = 100.0 * self.run / len(counts) if counts else 100.0

    @property
    def missing(self):
        return sorted(place for place, count in self.counts.items() if count == 0)

    def figures(self):
        return {"lines": len(self.counts), "run": self.run, "missing": [f"{file}:{line}" for file, line in self.missing]}


class Variant(Lines):
    """A file with its constants: the lines that can run of those functions that have been entered."""

    def __init__(self, file, constants, counts):
        counts = {place: n for place, n in counts.items() if can_run(*place, constants)}
        entered = {function_of(*place) for place, count in counts.items() if count > 0}
        self.file, self.all_counts = file, counts
        self.kernels = sorted(name for name, _ in entered)
        form = " ".join(f"{key}={value}" for key, value in constants.items())
        super().__init__(f"{file} {form}".strip(), {place: n for place, n in counts.items() if function_of(*place) in entered})


def per_file(variants):
    """The Lines of every .cu and .cuh file, over all variants; one that nobody has compiled has a line that has not run."""
    total = defaultdict(Counter, {file: Counter({(file, 1): 0}) for file in TEXTS})
    for variant in variants:
        for (file, line), count in variant.all_counts.items():
            total[file][file, line] += count
    for file, counts in total.items():
        if len(counts) > 1:
            del counts[file, 1]
    return [Lines(file, counts) for file, counts in sorted(total.items())]


def can_run(file, line, constants):
    text = TEXTS[file].splitlines()[line - 1].strip()
    return all(test(constants) for begin, test in CAN_RUN.get(file, {}).items() if text.startswith(begin))


def function_of(file, line):
    """(name, first line) of the function that a line belongs to."""
    return functions(file)[line - 1]


@cache
def functions(file):
    """For each line of a file the (name, first line) of the function around it, or None."""
    result, depth, function, head = [], 0, None, ""
    for number, line in enumerate(TEXTS[file].splitlines(), 1):
        code = line.split("//")[0]
        if depth == 0 and function is None:
            head = head + " " + code if not code.startswith("#") else ""
            found = re.search(r"(\w+)\(", re.sub(r"__\w+__\s*\(\d+\)", "", head))
            if found and re.search(r"__(device|global)__", head):
                function = (found[1], number)
            elif ";" in code or "}" in code:
                head = ""
        result.append(function)
        depth += code.count("{") - code.count("}")
        if function and depth == 0 and "}" in code:
            function, head = None, ""
    return result


def report(files, variants, options):
    print(f"\n{'file':16} {'lines':>6} {'run':>6} {'%':>7}  variants")
    compiled = Counter(variant.file for variant in variants)
    for file in files:
        print(f"{file.name:16} {len(file.counts):6} {file.run:6} {file.percent:7.2f}  {compiled.get(file.name, '')}")
        for place in file.missing:
            print(f"    never run: {text_at(*place)}")
    lines, run = sum(len(one.counts) for one in variants), sum(one.run for one in variants)
    print(f"{len(variants)} variants, {run} of {lines} lines of variants: {100.0 * run / max(lines, 1):.2f} %; the worst:")
    for variant in sorted(variants, key=lambda one: one.percent)[: options.worst]:
        print(f"{variant.percent:7.2f} %  {variant.name}")
    for variant in variants:
        if variant.percent < options.least:
            print(f"below {options.least} %: {variant.name}")
            for place in variant.missing:
                print(f"    never run: {text_at(*place)}")


def text_at(file, line):
    return f"{file}:{line}: {TEXTS[file].splitlines()[line - 1].strip()}"


def summary(files, variants):
    return {
        "files": {file.name: file.figures() for file in files},
        "variants": {one.name: {**one.figures(), "functions": one.kernels} for one in variants},
    }


if __name__ == "__main__":
    sys.exit(main())
