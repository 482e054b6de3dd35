"""`deshpc plan`: how to split a configuration over ranks, before any of them is there; `deshpc probe`, which measures those that are."""

import json
from dataclasses import asdict
from pathlib import Path

from deshpc.cli.tables import columns
from deshpc.config import load
from deshpc.errors import ConfigError
from deshpc.storage.strict_json import json_text

_SHOWN = 12


def plan(target, ranks, nodes, machine, profile, as_json, overrides, allow_import=()):
    """The ways to run a configuration, the best first, as text or JSON.

    machine : path of a file that `deshpc probe` has written, or None: then bytes decide
    profile : path of a file that `deshpc profile --json` has written, or None: then the training part is looked at
    """
    from deshpc.planner.machine import Machine
    from deshpc.planner.plan import plan as planned

    if ranks < 1 or not 1 <= nodes <= ranks:
        raise ConfigError(f"--ranks {ranks} --nodes {nodes}: there has to be a rank at least, and no more nodes than ranks")
    config, known = load(target, overrides, allow_import), machine and Machine.from_file(machine)
    workload = workload_of(config, profile)
    found = planned(config, workload, ranks, nodes, known)
    curve = [] if known is None else [(n, m, planned(config, workload, n, m, known).best) for n, m in _growing(ranks, nodes)]
    if as_json:
        return json_text({"why": found.why, "options": [_tree(one) for one in found.options], "curve": [_point(*one) for one in curve]}, indent=1)
    return "\n".join(_text(config, workload, found, ranks, nodes, known) + _curve(config, curve))


def workload_of(config, profile=None):
    """The Workload of a configuration's training part: from a file, from the generator's rules, or by reading the part."""
    from deshpc.data.profiles import describe
    from deshpc.formats.schema import Schema
    from deshpc.planner.workload import Workload

    if profile is None and config.data.format == "synthetic":
        return Workload.of_synthetic(describe(config.data.synthetic))
    if profile is not None:
        try:
            tree = json.loads(Path(profile).read_text(encoding="utf-8"))
            schema = None if config.data.format == "synthetic" else Schema.from_config(config.data)
            return Workload.from_profile(tree, *((schema.value_width, schema.keyed_fields) if schema else (0,)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"--profile {profile}: is not what deshpc profile --json prints: {error!r}") from None
    from deshpc.data.input import open_input, require
    from deshpc.data.statistics import profile_of

    source = open_input(config.data)
    require(source, "train", "a plan")
    return Workload.from_profile(profile_of(source, "train"), source.schema.value_width, source.schema.keyed_fields)


def paper(as_json):
    """What substitution saves in theory, see `planner.paper`."""
    from deshpc.planner.paper import compare

    comparison = compare()
    found = comparison.savings
    if as_json:
        return json_text([{**asdict(one), "over_rows": one.over_rows, "over_server": one.over_server} for one in found], indent=1)
    lines = [
        "Bytes that a rank sends for a sample of its own (b = 1,024, k = 16, hidden 256-128), and what substitution saves of those of",
        "a parameter server and of de-duplicated rows.  Below 0 it loses.", "",
    ]  # fmt: skip
    rows = [("data", "model", "N", "keys", "substitution", "rows", "server", "saved over rows", "over server", "split first-layer exchange routing levels")]
    rows += [
        (one.profile, one.model, f"{one.ranks}", "counted" if one.with_keys else "-", *(f"{x:,.0f}" for x in (one.substitution, one.rows, one.server)),
         *(f"{100 * x:.2f} %" for x in (one.over_rows, one.over_server)), one.choice)
        for one in found
    ]  # fmt: skip
    left_out = [f"left out: {model}: {why}" for model, why in comparison.left_out.items()]
    return "\n".join([*lines, *columns(rows), "", *left_out])


def write_probe(comm, out, name, threads=None):
    """Measure, and write the Machine from rank 0; returns 0.  Collective; DeshpcError on all ranks where it cannot be written."""
    from deshpc.comm.group import Group
    from deshpc.launch.console import say
    from deshpc.storage.whole_file import write_text
    from deshpc.training.probe import probe

    found, group = probe(comm, name, threads), Group(comm)

    def write():
        try:
            write_text(Path(out), json_text(found.to_json(), indent=1) + "\n")
        except OSError as error:
            raise ConfigError(f"--out {out}: cannot be written: {error.strerror or error}") from None
        say(f"deshpc: {found.name}, {found.ranks} rank{'s' * (found.ranks > 1)} on {found.nodes} node{'s' * (found.nodes > 1)}: {out}; deshpc plan CONFIG.toml --machine {out}\n")

    group.together(write if comm.rank == 0 else lambda: None)
    group.free()
    return 0


def _growing(ranks, nodes):
    """[(ranks, nodes)] from one node to all of them, doubling, with the same ranks on each."""
    sizes, per_node = [], ranks // nodes
    count = 1
    while count < nodes:
        sizes.append((count * per_node, count))
        count *= 2
    return [*sizes, (ranks, nodes)]


def _text(config, workload, found, ranks, nodes, machine):
    batch = config.train.global_batch_samples
    head = [
        f"{config.model.name} on {ranks} ranks of {nodes} node{'s' * (nodes > 1)}, {batch:,} samples a step; m = {workload.keys_per_sample:.1f} keys a "
        f"sample, u = {workload.distinct(batch / ranks) / max(1, batch / ranks):.2f} distinct in a local batch",
        "", "bytes a sample and rank, MiB a rank" + ("" if machine is None else f"; milliseconds a step on {machine.name}, predicted"), "",
    ]  # fmt: skip
    threads = config.compute.threads_per_rank
    if machine and threads not in (0, machine.threads_per_rank):
        head.insert(3, f"the seconds are those of {machine.threads_per_rank} threads a rank, not of {threads}: deshpc probe --threads {threads}")
    kinds = sorted({kind for one in found.options for kind in one.bytes_per_sample()})
    parts = [] if machine is None else ["node", "link"]
    table = [("split first-layer exchange routing levels", *(["ms"] if parts else []), *parts, "bytes", *kinds, "MiB")]
    for one in found.options[:_SHOWN]:
        sent = one.bytes_per_sample()
        times = [f"{1e3 * one.step_s:.2f}", *(f"{1e3 * one.seconds[part]:.2f}" for part in parts)] if parts else []
        table.append(
            (str(one.choice), *times, f"{sum(sent.values()):,.1f}", *(f"{sent.get(kind, 0):,.1f}" for kind in kinds), f"{one.memory / 2**20:,.0f}")
        )
    left = len(found.options) - _SHOWN
    chosen, key_numbers = found.best.choice, found.best.key_numbers
    return [
        *head, *columns(table), *([f"and {left} more, with --json"] if left > 0 else []), "", f"choice: {found.why}", "",
        "[train]", *(f'{name} = "{getattr(chosen, name)}"' for name in ("split", "exchange", "routing", "levels")),
        *([f'key_numbers = "{key_numbers}"'] if nodes > 1 and chosen.routing == "routed" else []),
        *(["[model]", f'first_layer = "{chosen.first_layer}"'] if chosen.first_layer != "pooled" else []),
    ]  # fmt: skip


def _curve(config, curve):
    """Lines of throughput over the number of ranks."""
    if len(curve) < 2:
        return []
    rates = [config.train.global_batch_samples / best.step_s for _, _, best in curve]
    table = [("ranks", "nodes", "samples/s", "", "split first-layer exchange routing levels")]
    table += [
        (f"{n}", f"{m}", f"{rate:,.0f}", "#" * max(1, round(40 * rate / max(rates))), str(best.choice))
        for (n, m, best), rate in zip(curve, rates, strict=True)
    ]
    return ["", "over the number of ranks, predicted", *columns(table)]


def _tree(option):
    return {
        "choice": option.choice._asdict(), "key_numbers": option.key_numbers, "bytes_per_sample": option.bytes_per_sample(), "between": option.bytes_per_sample("between"),
        "memory": option.need.memory, "seconds": option.seconds,
    }  # fmt: skip


def _point(ranks, nodes, best):
    return {"ranks": ranks, "nodes": nodes, "choice": best.choice._asdict(), "step_s": best.step_s}
