"""The result of compare.py as text: the machine, every contestant's figures, and what was reached."""

import statistics


def text(result):
    """All of it, in lines of Markdown."""
    lines = [*head(result), ""]
    for race in result["races"]:
        lines += [f"### {race['name']}", "", *contestants(race), ""]
    return "\n".join([*lines, "### What was reached", "", *comparisons(result)])


def head(result):
    known, runs = result["machine"], all_runs(result)
    shares = [run["passes"][0]["others_share"] for run in runs if run["passes"][0]["others_share"] is not None]
    caches = ", ".join(f"{name} {size}" for name, size in known["caches"].items())
    again, still = sum(run["tries"] - 1 for run in runs), sum(run["disturbed"] for run in runs)
    return [
        f"{known['processor']}, {known['cores']} cores, {caches}, {known.get('memory_gib', '?')} GiB; {known['system']}",
        "deshpc: " + ", ".join(f"{name} {value}" for name, value in result["versions"].items()),
        "peers: " + ", ".join(f"{name} {value}" for name, value in result["peers"].items()),
        f"{result['rows']:,} rows, {result['repeats']} repeats; load before {result['load_before'][0]:.1f}; {again} disturbed runs "
        f"repeated, {still} of {len(runs)} runs disturbed even so; others' largest share {max(shares, default=0):.1%}",
        *(f"without {module}: {reason}" for module, reason in result["missing"].items()),
    ]


def all_runs(result):
    return [run for race in result["races"] for one in race["contestants"].values() for run in one.get("runs", [])]


def contestants(race):
    yield f"| | k samples/s, median (range) | {'whole process' if race['whole_process'] else 'second pass'} | test AUC |"
    yield "|---|---|---|---|"
    for name, one in race["contestants"].items():
        if not one.get("runs"):
            yield f"| {name} | left out: {one.get('left_out', 'no runs')} | | |"
            continue
        first, second = ([rate(run, number) for run in one["runs"] if number < len(run["passes"])] for number in (0, 1))
        if race["whole_process"]:
            second = [run["samples"] / run["process_s"] for run in one["runs"]]
        beside = thousands(statistics.median(second)) if second else ""
        middle, low, high = map(thousands, (statistics.median(first), min(first), max(first)))
        yield f"| {name} | {middle} ({low} - {high}) | {beside} | {auc(one['test_auc'])} |"


def comparisons(result):
    yield "| work | peer | ours, k samples/s | peer's | ratio (paired) | at least | then | |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in (row for race in result["races"] for row in race["comparisons"]):
        targets = " | ".join(f"{value:g}x" if value else "" for value in (row["at_least"], row["then"]))
        if "ratio" not in row:
            yield f"| {row['work']} | {row['peer']} | | | left out | {targets} | |"
            continue
        verdict = {None: "", True: "met", False: "**not met**"}[row["met"]]
        if row["met"] and row["then"] and row["ratio"] >= row["then"]:
            verdict = "met, both"
        yield (
            f"| {row['work']} | {row['peer']} | {thousands(row['our_samples_per_s'])} ({row['ours']}) | "
            f"{thousands(row['peer_samples_per_s'])} | {row['ratio']:.2f} ({row['paired_ratio']:.2f}) | {targets} | {verdict} |"
        )


def rate(run, number):
    """Samples/s of a pass of a run."""
    return run["samples"] / run["passes"][number]["seconds"]


def thousands(rate):
    return f"{rate / 1e3:,.0f}"


def auc(value):
    return "" if value is None else f"{value:.4f}"
