"""Make the pictures of docs/network.md: what travels, how fast, and how near a plan is.

    python scripts/network_pictures.py [--check docs/measured/plan_check.json] [--machines examples/machines] [--out docs/images]

network_bytes.svg       planned bytes of a sample by kind, of each way on 4 ranks: the best that moves rows, and the best that does not
network_nodes.svg       planned samples/s over nodes of 4 ranks, on the machines of a folder
network_caps.svg        measured samples/s over the cap of the links: the best that moves rows, and the best that does not
network_predicted.svg   predicted seconds of a step beside measured ones

The last two come from what plan_check.py --out has written, and are left out where there is no such file.  Needs deshpc[report].
"""

import argparse
import json
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  after its settings
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
WIDE_DEEP = {"name": "wide_deep", "hidden": [256, 128]}
CASES = {  # name: (profile, model)
    "LR, criteo": ("criteo", {"name": "lr"}),
    "FM, criteo": ("criteo", {"name": "fm"}),
    "FM, industrial": ("industrial", {"name": "fm"}),
    "Wide & Deep, history": ("history", WIDE_DEEP),
}
RANKS, BATCH = 4, 1024  # of a node; samples of a rank
NODES = (1, 2, 4, 8, 16)
ROUTINGS = ("broadcast", "routed")
KINDS = {  # kind: colour
    "partials": "#1f6f8b", "pooled": "#5aa9c4", "rows": "#b5483a", "gradients": "#e0907f", "keys": "#d8b13f", "dense": "#7a6f9b",
    "labels": "#9aa7a0", "control": "#d0d0d0",
}  # fmt: skip
SUBSTITUTION, ROWS = "#1f6f8b", "#b5483a"
PLAIN = FuncFormatter(lambda value, _: f"{value:,.12g}")
WAYS = {False: ("substitution", SUBSTITUTION), True: ("rows travel", ROWS)}
BAR_NAMES = {True: "rows", False: "substi-\ntution"}
LINES = ("-", "--", "-.", ":")
SETTINGS = {"svg.hashsalt": "deshpc", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.constrained_layout.use": True}


def planned(case, ranks, nodes=1, machine=None):
    """The options of a plan, the best first."""
    from deshpc.config.load import build
    from deshpc.data.profiles import describe
    from deshpc.planner.plan import plan
    from deshpc.planner.workload import Workload

    profile, model = CASES[case]
    config = build(
        {
            "data": {"format": "synthetic", "synthetic": {"profile": profile}},
            "model": {"dim": 16, **model}, "train": {"global_batch_samples": BATCH * ranks},
        }
    )  # fmt: skip
    return plan(config, Workload.of_synthetic(describe(config.data.synthetic)), ranks, nodes, machine).options


def first(options, wanted):
    return next((one for one in options if wanted(one)), None)


def bytes_by_kind():
    """A bar for each case, routing, and whether rows travel."""
    figure, panes = plt.subplots(1, len(CASES), figsize=(11, 3.4))
    used = set()
    for pane, case in zip(panes, CASES, strict=True):
        options, names = planned(case, RANKS), []
        for routing, moves in product(ROUTINGS, (True, False)):
            one = first(options, lambda one, r=routing, m=moves: one.choice.routing == r and one.need.run.moves_rows == m)
            if one is None:
                continue
            sent, bottom = one.bytes_per_sample(), 0.0
            for kind, colour in KINDS.items():
                if sent.get(kind):
                    pane.bar(len(names), sent[kind], bottom=bottom, color=colour, width=0.7)
                    bottom += sent[kind]
                    used.add(kind)
            pane.annotate(f"{bottom:,.0f}", (len(names), bottom), ha="center", va="bottom", fontsize=7)
            names.append(f"{BAR_NAMES[moves]}\n{routing}")
        pane.set_xticks(range(len(names)), names, fontsize=7)
        pane.yaxis.set_major_formatter(PLAIN)
        pane.set_ylim(0, 1.1 * pane.get_ylim()[1])
        pane.set_title(case, fontsize=9)
    panes[0].set_ylabel("bytes a sample and rank, planned")
    figure.legend([plt.Rectangle((0, 0), 1, 1, color=KINDS[kind]) for kind in KINDS if kind in used], [kind for kind in KINDS if kind in used], loc="outside lower center", ncols=8)
    return figure


def over_nodes(machines):
    """A pane for each case, a line for each machine and whether rows travel."""
    figure, panes = plt.subplots(1, len(CASES), figsize=(11, 3.4))
    for pane, case in zip(panes, CASES, strict=True):
        for (name, machine), style in zip(machines.items(), LINES, strict=False):
            found = {n: planned(case, n * RANKS, n, machine) for n in NODES}
            for moves, (way, colour) in WAYS.items():
                steps = [first(found[n], lambda one, m=moves: one.need.run.moves_rows == m).step_s for n in NODES]
                pane.plot(NODES, [n * RANKS * BATCH / step / 1e3 for n, step in zip(NODES, steps, strict=True)], style, color=colour, label=f"{name}, {way}", marker=".")
        pane.set_xscale("log")
        _finish(pane, case, f"nodes of {RANKS} ranks", NODES, NODES)
    panes[0].set_ylabel("thousand samples/s, predicted")
    figure.legend(*panes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
    return figure


def over_caps(rows):
    """A pane for each case, a line for each routing and whether rows travel; no cap is the last point."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    caps = sorted({row["mbit"] for row in rows}, key=lambda cap: cap or float("inf"))
    figure, panes = plt.subplots(1, len(cases), figsize=(11, 3.4), squeeze=False)
    for pane, case in zip(panes[0], cases, strict=True):
        for (moves, (way, colour)), (routing, style) in product(WAYS.items(), zip(ROUTINGS, LINES, strict=False)):
            best = [
                max((_rate(row) for row in rows if (row["case"], row["mbit"], row["moves_rows"], row["choice"]["routing"]) == (case, cap, moves, routing)), default=None)
                for cap in caps
            ]  # fmt: skip
            known = [(at, rate / 1e3) for at, rate in enumerate(best) if rate]
            if known:
                pane.plot(*zip(*known, strict=True), style, color=colour, label=f"{way}, {routing}", marker=".")
        _finish(pane, case, "cap of each link, Mbit/s", range(len(caps)), [cap or "none" for cap in caps])
    panes[0][0].set_ylabel("thousand samples/s, measured")
    figure.legend(*panes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _rate(row):
    return BATCH * row["hosts"] * row["ranks_per_host"] / row["measured_s"]


def predicted(rows):
    """A point for each way that was run; between the lines a prediction is within 20 %."""
    figure, pane = plt.subplots(figsize=(5.2, 4.6))
    for (case, own), marker in zip(groupby(sorted(rows, key=itemgetter("case")), itemgetter("case")), "os^Dvx*", strict=False):
        own = list(own)
        pane.scatter([1e3 * row["measured_s"] for row in own], [1e3 * row["predicted_s"] for row in own], s=18, marker=marker, label=case, alpha=0.8)
    ends = [f(1e3 * row[name] for row in rows for name in ("measured_s", "predicted_s")) for f in (min, max)]
    pane.plot(ends, ends, color="#888888", linewidth=0.8)
    pane.fill_between(ends, [0.8 * end for end in ends], [1.2 * end for end in ends], color="#888888", alpha=0.15, linewidth=0)
    near = sum(abs(row["predicted_s"] / row["measured_s"] - 1) <= 0.2 for row in rows)
    pane.set(xscale="log", yscale="log", xlabel="measured ms a step", ylabel="predicted ms a step", title=f"within 20 %: {near} of {len(rows)} ways")
    pane.legend(fontsize=8)
    return figure


def _finish(pane, title, below, ticks, names):
    """A logarithmic axis of samples/s, in plain numbers."""
    pane.set_yscale("log")
    pane.set_xticks(ticks, names)
    pane.xaxis.set_minor_locator(NullLocator())
    pane.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    pane.yaxis.set_minor_locator(NullLocator())
    pane.yaxis.set_major_formatter(PLAIN)
    pane.set_xlabel(below)
    pane.set_title(title, fontsize=9)


def main():
    from deshpc.planner.machine import Machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", type=Path, default=ROOT / "docs/measured/plan_check.json")
    parser.add_argument("--machines", type=Path, default=ROOT / "examples/machines")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(SETTINGS):
        machines = {path.stem: Machine.from_file(path) for path in sorted(options.machines.glob("*.json"))}
        figures = {"network_bytes": bytes_by_kind(), "network_nodes": over_nodes(machines)}
        if options.check.exists():
            rows = json.loads(options.check.read_text(encoding="utf-8"))
            figures |= {"network_caps": over_caps(rows), "network_predicted": predicted(rows)}
        for name, figure in figures.items():
            path = options.out / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
