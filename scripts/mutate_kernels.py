"""Break the CUDA kernels in many small ways, one at a time, and see that a test fails.

    python scripts/mutate_kernels.py [--sample 150] [--seed 1] [--files fm.cu ...] [--jobs 2] [--json FILE]

A mutant is a copy of kernels/ with one edit: another comparison or operation, a constant off by one, a condition the other
way round, a statement left out, an atomic operation taken apart, arguments swapped, an index shifted.  It is run by the
tests that launch what was edited, cheapest first, until one fails, on the executor with its checks, on two schedules.
What does not compile is not counted; what does not end has been noticed.

--operators narrow: 32 bits where a kernel has 64.  Many of these change nothing, where a contract keeps numbers below 2^31,
so they are made only when they are asked for.

The mutants that survive are printed as differences.  Those that nothing could notice are listed in
tests/cuda/mutants.toml, with the reason, and are not run unless --all.  --list prints the mutants and runs none.

Exit code 1 if less than 85 % of the others are noticed.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

from kernel_coverage import ROOT, TEXTS, Run, function_of, run_tests
from kernel_mutants import chosen, listed

SCHEDULES = ["reversed", "random-5"]
LEAST = 0.85
COMPILING_S = 1.0  # what a variant costs, beside the seconds of tests
ENDS_WITHIN_S = 900
SURVIVED, KILLED, NOT_COMPILED, BROKEN = 0, 10, 11, 12  # exit codes of the process of a mutant


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=150, help="mutants, spread over the files; 0: all there are")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", nargs="*", default=list(TEXTS), metavar="FILE")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=200.0, help="of tests that a mutant is run by at most")
    parser.add_argument("--lines", nargs="*", type=int, help="of one file: the mutants of these lines")
    parser.add_argument("--operators", nargs="*", help="mutants of these kinds alone, as narrow: 32 bits instead of 64")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--watched", type=Path, help="what tests launch, so that the next run need not find out: a file")
    parser.add_argument("--all", action="store_true", help="run those that are listed, too")
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    options = parser.parse_args()
    mutants = chosen(options)
    if options.list:
        for mutant in mutants:
            print(mutant.difference())
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trial = Trial(mutants, {} if options.all else listed(), options.jobs, Path(folder), options.seconds, options.watched)
        run_tests([Run(SCHEDULES), trial], "-s", "--tb=line")
    if trial.verdicts is None:
        return 1
    figures = summary(trial, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(figures["killed"] < LEAST * (figures["killed"] + figures["survived"]))


# ---------------------------------------------------------------------- trial


class Trial:
    """A plug-in of pytest that runs the collected tests against every mutant instead of once.

    Everything is imported and collected once; each mutant has a process of its own, forked from this one.
    verdicts {mutant: (outcome, the test that failed, or the reason)}; None if there was none
    """

    def __init__(self, mutants, reasons, jobs, folder, most_seconds, known=None):
        self._mutants, self._reasons, self._jobs, self._folder = mutants, reasons, jobs, folder
        self._most_seconds, self._known = most_seconds, known
        self.verdicts = None

    def pytest_runtestloop(self, session):
        from executor import compile as compiling

        from deshpc.backend.cuda import source

        self._compiling, self._source = compiling, source
        compiling.runtime()
        source.FOLDER = self._folder / "kernels"
        write_kernels(source.FOLDER, TEXTS)
        self._items, began = session.items, time.monotonic()
        self._of_tests = self._watch()
        print(f"{len(self._of_tests)} tests watched in {time.monotonic() - began:.0f} s")
        self._order_of = cache(self._order)
        self.verdicts = self._try_all()
        return True

    # -------------------------------------------------- what tests do

    def _watch(self):
        """{item: (seconds, launched {(file, kernel)}, compiled {(file, form)})} of the tests that pass unbroken kernels."""
        digests = {item: digest_of(item.path) + item.nodeid for item in self._items}
        known = json.loads(self._known.read_text()) if self._known and self._known.exists() else {}
        missing = [item for item in self._items if digests[item] not in known]
        parts = [missing[part :: self._jobs] for part in range(self._jobs)]
        files = [self._folder / f"watched {part}" for part in range(self._jobs)]
        children = [fork(lambda part=part, file=file: self._watch_part(part, file)) for part, file in zip(parts, files, strict=True)]
        codes = [os.waitpid(child, 0)[1] for child in children]
        if any(codes):
            raise RuntimeError(f"the tests end with {codes} without any mutant")
        for part, file in zip(parts, files, strict=True):
            known.update({digests[item]: watched for item, watched in zip(part, json.loads(file.read_text()), strict=True)})
        found = {}
        for item in self._items:
            failed, seconds, launched, compiled = known[digests[item]]
            if failed:
                print(f"not used, since it fails: {item.nodeid}")
                del known[digests[item]]
            else:
                found[item] = seconds, set(map(tuple, launched)), set(map(tuple, compiled))
        if self._known:
            self._known.write_text(json.dumps(known))
        return found

    def _watch_part(self, items, file):
        from executor.device import ExecutorDevice

        launch, compile_ = ExecutorDevice.launch, ExecutorDevice.compile
        launched, compiled = set(), set()

        def launch_it(device, function, *rest, **options):
            launched.add((function.module.name, function.name))
            return launch(device, function, *rest, **options)

        def compile_it(device, name, source, constants):
            compiled.add((name, repr(sorted(constants.items()))))
            return compile_(device, name, source, constants)

        ExecutorDevice.launch, ExecutorDevice.compile = launch_it, compile_it
        watched = []
        for item in items:
            launched.clear(), compiled.clear()
            began = time.process_time()
            failed = fails(item)
            watched.append((failed, time.process_time() - began, list(launched), list(compiled)))
        file.write_text(json.dumps(watched))
        return SURVIVED

    def _order(self, file, kernel):
        """Tests that use the file, of which `kernel` is launched if it is one: cheap ones first, like ones late."""
        users = {name for name in TEXTS if file in included(name)}
        costs = {}
        for item, (seconds, launched, compiled) in self._of_tests.items():
            wanted = (file, kernel) in launched if kernel else any(name in users for name, _ in launched)
            if wanted:
                costs[item] = seconds, {form for form in compiled if form[0] in users}
        order, ready, seen, total = [], set(), Counter(), 0.0
        while costs and total < self._most_seconds:
            best = min(costs, key=lambda item: (costs[item][0] + COMPILING_S * len(costs[item][1] - ready) + 0.05) * (1 + seen[item.originalname]))
            seconds, forms = costs.pop(best)
            ready |= forms
            seen[best.originalname] += 1
            order.append((best, seconds))
            total += seconds
        return order

    # -------------------------------------------------- mutants

    def _try_all(self):
        verdicts, running, waiting = {}, {}, []
        for number, mutant in enumerate(self._mutants):
            reason = self._reasons.get((mutant.file, *mutant.lines()))
            if reason:
                verdicts[mutant] = "listed", reason
            else:
                waiting.append((number, mutant))
        total = len(waiting)
        while waiting or running:
            while waiting and len(running) < self._jobs:
                number, mutant = waiting.pop(0)
                self._order_of(mutant.file, kernel_at(mutant))  # here, not in every process anew
                folder = self._folder / f"{number}"
                child = fork(lambda mutant=mutant, folder=folder: self._try(mutant, folder))
                running[child] = mutant, folder, time.monotonic()
            time.sleep(0.02)
            for child in list(running):
                mutant, folder, began = running[child]
                done, status = os.waitpid(child, os.WNOHANG)
                if not done and time.monotonic() - began < ENDS_WITHIN_S:
                    continue
                if not done:
                    os.kill(child, signal.SIGKILL)
                    _, status = os.waitpid(child, 0)
                del running[child]
                verdicts[mutant] = outcome, why = verdict_of(status, folder)
                shutil.rmtree(folder)
                print(f"{len(verdicts)} of {total}, {time.monotonic() - began:.0f} s: {outcome}, {why}\n{mutant.difference()}", flush=True)
        return {mutant: verdicts[mutant] for mutant in self._mutants}

    def _try(self, mutant, folder):
        """In the process of the mutant: the exit code."""
        kernels, modules = folder / "kernels", folder / "modules"
        write_kernels(kernels, {**TEXTS, mutant.file: mutant.whole()})
        modules.mkdir()
        for module in self._compiling.cache_directory().iterdir():  # what is not broken need not be compiled
            if module.is_file():
                (modules / module.name).symlink_to(module)
        self._compiling.cache_directory = lambda: modules
        self._source.FOLDER = kernels
        self._source.text_of.cache_clear()
        compile_kernels = self._compiling.compile_kernels

        def compile_or_leave(*arguments):
            try:
                return compile_kernels(*arguments)
            except Exception:
                os._exit(NOT_COMPILED)

        self._compiling.compile_kernels = compile_or_leave
        for item, seconds in self._order_of(mutant.file, kernel_at(mutant)):
            (folder / "test").write_text(item.nodeid)
            limit = int(time.process_time() + 20 + 10 * seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            if fails(item):
                return KILLED
        return SURVIVED


def fork(work):
    """The process that does `work` and exits with what it returns."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code, errors, nowhere = BROKEN, os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1), os.dup2(nowhere, 2)
    try:
        code = work()
    except BaseException:
        os.write(errors, traceback.format_exc().encode())
    finally:
        os._exit(code)


@cache
def digest_of(test):
    """Of what the outcome of the tests in a file depends on."""
    parts = [test, *ROOT.glob("tests/*.py"), *ROOT.glob("tests/cuda/conftest.py"), *ROOT.glob("src/deshpc/backend/*/*.py")]
    texts = [path.read_text(encoding="utf-8") for path in sorted(parts)]
    return hashlib.sha256(repr((texts, TEXTS)).encode()).hexdigest()


def fails(item):
    from _pytest.runner import runtestprotocol

    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def verdict_of(status, folder):
    test = (folder / "test").read_text() if (folder / "test").exists() else "no test"
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return ("timed out" if name in ("SIGXCPU", "SIGKILL") else "killed"), f"{name} in {test}"
    outcomes = {SURVIVED: "survived", KILLED: "killed", NOT_COMPILED: "not compiled"}
    outcome = outcomes.get(os.WEXITSTATUS(status), "broken")
    return outcome, "all tests pass" if outcome == "survived" else test


def write_kernels(folder, texts):
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


@cache
def included(name):
    """The file and all that it includes."""
    inner = re.findall(r'^#include "([^"]+)"$', TEXTS[name], flags=re.MULTILINE)
    return {name}.union(*(included(one) for one in inner))


def kernel_at(mutant):
    """The kernel that the mutant is in, None outside of kernels."""
    function = function_of(mutant.file, mutant.line)
    header = function and re.search(rf"__global__ [^\n]*\b{function[0]}\(", TEXTS[mutant.file])
    return function[0] if header else None


# ---------------------------------------------------------------------- figures


def summary(trial, options):
    of_file, survivors = defaultdict(Counter), []
    for mutant, (outcome, why) in trial.verdicts.items():
        of_file[mutant.file][outcome] += 1
        if outcome in ("survived", "listed", "broken"):
            before, after = mutant.lines()
            survivors.append(
                {"file": mutant.file, "line": mutant.line, "before": before, "after": after, "outcome": outcome, "why": why}
            )
    total = sum(of_file.values(), Counter())
    outcomes = ["killed", "timed out", "survived", "listed", "not compiled", "broken"]
    print(f"\n{'file':16}" + "".join(f"{one:>13}" for one in outcomes))
    for file, counts in [*sorted(of_file.items()), ("all", total)]:
        print(f"{file:16}" + "".join(f"{counts[one]:13}" for one in outcomes))
    for one in survivors:
        print(f"{one['outcome']}: {one['file']}:{one['line']}: {one['why']}\n  - {one['before']}\n  + {one['after']}")
    killed, counted = total["killed"] + total["timed out"], total["killed"] + total["timed out"] + total["survived"]
    print(f"{killed} of {counted} killed: {100.0 * killed / max(counted, 1):.1f} %")
    command = f"scripts/mutate_kernels.py --sample {options.sample} --seed {options.seed}"
    return {
        "command": command, "killed": killed, "survived": total["survived"], "listed": total["listed"],
        "not compiled": total["not compiled"], "files": {file: dict(counts) for file, counts in sorted(of_file.items())},
        "survivors": survivors,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
