"""The table and the one JSON file of gpu_check.sh, from what its parts have written.

    python scripts/bench/gpu_report.py PARTS_FOLDER OUT_FOLDER

PARTS_FOLDER holds NAME.json of a part, NAME.txt (what it printed) and status.tsv: name, exit code, seconds and limit of each.
Exit code: 0 if every part has succeeded, else 1.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import gpu_kernels
import gpu_steps
import gpu_tests

OVER_TIME = (124, 137)  # exit codes of timeout
ABSENT = gpu_steps.ABSENT  # exit code of a part whose tool is not there
MEASURED = {"kernels": gpu_kernels, "steps": gpu_steps, "peers": gpu_steps}


class Aim(NamedTuple):
    """What is aimed at on an H100.  part, name, size : of the result;  figure : which of its numbers;  at_least or at most"""

    text: str
    part: str
    name: str
    figure: str
    aim: float
    at_least: bool
    unit: str
    lookups: int = 0


AIMS = (
    Aim("find, hit", "kernels", "find, hit", "g_per_s", 6, True, "G keys/s"),
    Aim("find, miss", "kernels", "find, miss", "g_per_s", 6, True, "G keys/s"),
    Aim("find or insert, misses", "kernels", "look-up of new keys", "g_per_s", 2, True, "G keys/s"),
    Aim("find and gather, k = 16", "kernels", "find and FM partial, k = 16", "g_per_s", 4, True, "G rows/s"),
    Aim("FM partial forward, k = 16", "kernels", "FM partial, k = 16, zipf", "g_per_s", 15, True, "G features/s"),
    Aim("Adagrad update, k = 16", "kernels", "update, adagrad, k = 16", "g_per_s", 4, True, "G rows/s"),
    Aim("table pass, SGD, k = 128", "kernels", "table pass, sgd, k = 128", "ms", 0.96, False, "ms"),
    Aim("table pass, Adam, k = 128", "kernels", "table pass, adam, k = 128", "ms", 1.35, False, "ms"),
    Aim("pooled table pass, SGD, k = 128", "kernels", "pooled table pass, sgd, k = 128", "ms", 0.96, False, "ms"),
    Aim("pooled table pass, Adam, k = 128", "kernels", "pooled table pass, adam, k = 128", "ms", 1.35, False, "ms"),
    Aim("whole FM step, k = 16", "steps", "FM, ordered", "ms", 1.0, False, "ms", 2**20 // 26 * 26),
    Aim("whole FM step, k = 16, atomic sums", "steps", "FM, atomic", "ms", 1.0, False, "ms", 2**20 // 26 * 26),
)


def aims(parts):
    """[{"text", "measured" (None: nothing), "aim", "unit", "reached"}] of what parts have measured."""
    found = []
    for aim in AIMS:
        results = (parts.get(aim.part) or {}).get("results", [])
        of = [r for r in results if r["name"] == aim.name and "error" not in r and aim.lookups in (0, r.get("lookups"))]
        measured = of[0][aim.figure] if of else None
        reached = None if measured is None else measured >= aim.aim if aim.at_least else measured <= aim.aim
        found.append({
            "text": aim.text, "measured": measured, "aim": aim.aim, "at_least": aim.at_least, "unit": aim.unit,
            "reached": reached,
        })  # fmt: skip
    return found


def verdict(status):
    """What became of a part, in words."""
    if status["code"] == 0:
        return "done"
    if status["code"] in OVER_TIME:
        return f"ENDED: over its {status['limit']} s; what it had measured is below"
    if status["code"] == ABSENT:
        return "not there: left out"
    return f"FAILED (exit code {status['code']})"


def report(folder):
    """(everything, text) of a folder of parts."""
    status = {}
    for line in Path(folder, "status.tsv").read_text(encoding="utf-8").splitlines():
        name, code, seconds, limit = line.split("\t")
        status[name] = {"code": int(code), "seconds": int(seconds), "limit": int(limit)}
    parts = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.json"))}
    sanitizer = {path.stem: path.read_text(encoding="utf-8", errors="replace") for path in sorted(Path(folder).glob("sanitizer-*.txt"))}
    measured = all((parts.get(name) or {}).get("environment", {}).get("driver_cuda") for name in MEASURED if name in parts)
    known = parts.get("environment") or {}
    ok = bool(status) and all(one["code"] in (0, ABSENT) for one in status.values())
    results = {name: (parts.get(name) or {}).get("results", []) for name in MEASURED}
    ok = ok and not any("error" in result for those in results.values() for result in those)
    beside = gpu_steps.beside_peers(results["steps"] + results["peers"]) if measured else []
    everything = {
        "ok": ok, "status": status, **parts, "sanitizer": sanitizer, "aims": aims(parts) if measured else [], "beside peers": beside,
    }  # fmt: skip
    text = ["Parts"]
    text += [f"  {name:<24}{one['seconds']:>5} s of {one['limit']:>4} s   {verdict(one)}" for name, one in status.items()]
    text += ["", "Environment", *(f"  {name:<24}{value}" for name, value in known.items())]
    if "tests" in parts:
        text += ["", "Tests", *(f"  {line}" for line in gpu_tests.lines(parts["tests"]))]
    for name, output in sanitizer.items():
        text += ["", name, *(f"  {line}" for line in summary(output))]
    for name, module in MEASURED.items():
        if name in parts:
            text += ["", name.capitalize(), *(f"  {module.line(result, measured)}" for result in results[name])]
    if beside:
        text += ["", "Steps beside those of others", *(f"  {_beside(one)}" for one in beside)]
    if everything["aims"]:
        text += ["", "Aims (those for an H100)", *(f"  {_aim(one)}" for one in everything["aims"])]
    text += ["", "ALL IS WELL" if ok else "NOT ALL IS WELL"]
    return everything, "\n".join(text) + "\n"


def summary(output):
    """The lines of compute-sanitizer's output that count."""
    own = [line.strip("= \n") for line in output.splitlines() if line.startswith("=========")]
    last = [line for line in own if "SUMMARY" in line]
    return [*own[:24], *(["..."] if len(own) > 24 else []), *last] if last else output.splitlines()[-12:]


def _beside(one):
    others = "".join(f"{peer:>10} {ms:9.3f} ms, {ms / one['ms']:5.2f} times" for peer, ms in one["peers"].items())
    return f"{one['name']:<30}{one['lookups']:>10,} look-ups{one['ms']:>9.3f} ms{others}"


def _aim(one):
    sign = ">=" if one["at_least"] else "<="
    measured = "not measured" if one["measured"] is None else f"{one['measured']:.3f}"
    reached = {None: "", True: "reached", False: "NOT REACHED"}[one["reached"]]
    return f"{one['text']:<40}{measured:>14} {one['unit']:<14}aim {sign} {one['aim']:<6} {reached}"


def main(folder, out):
    everything, text = report(folder)
    Path(out).mkdir(parents=True, exist_ok=True)
    Path(out, "gpu_check.json").write_text(json.dumps(everything, indent=1), encoding="utf-8")
    Path(out, "gpu_check.txt").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0 if everything["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
