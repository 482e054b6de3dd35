"""One page about one or several runs: HTML that is complete in itself.  Texts of records are escaped, wherever they stand."""

from html import escape
from itertools import product

from deshpc.report.curves import COLOURS, curves

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 82em; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; }
table { border-collapse: collapse; } th, td { padding: .15em .9em .15em 0; text-align: left; vertical-align: top; }
td { font-variant-numeric: tabular-nums; } tr + tr { border-top: 1px solid #e5e5e5; }
.figures { display: flex; flex-wrap: wrap; gap: 1em; } figure { margin: 0; } figcaption { font-weight: 600; }
svg { max-width: 100%; height: auto; }
.run { display: inline-block; width: .8em; height: .8em; border-radius: .2em; margin-right: .4em; }
.bar { height: .7em; background: #9dbfdd; } .wide { overflow-x: auto; } .different { color: #b00; }
"""
_NOTHING = "default-src 'none'; style-src 'unsafe-inline'"  # a browser asks nobody for anything
_UNMATCHED, _PARTS = object(), ("valid", "test")

_METRICS = (
    ("AUC", "auc", 5), ("best possible AUC", "best_auc", 5), ("grouped AUC", "grouped_auc", 5), ("precision-recall AUC", "pr_auc", 5),
    ("log-loss", "log_loss", 5), ("normalized entropy", "normalized_entropy", 4), ("calibration", "calibration", 4),
    ("calibration error", "calibration_error", 5), ("mean squared error", "mean_squared_error", 6),
    ("root of it", "root_mean_squared_error", 6), ("mean absolute error", "mean_absolute_error", 6), ("R^2", "r2", 5),
    ("mean deviance", "mean_deviance", 6), ("deviance explained, D^2", "d2", 5), ("mean label", "mean_label", 6),
)  # fmt: skip
_OF_CLASSES = ("auc", "log_loss", "normalized_entropy", "calibration")  # undefined, where a run of log-loss has none


def page(runs):
    """The text of a page about RecordedRuns, side by side where they are several."""
    title = "deshpc: " + (runs[0].name if len(runs) == 1 else f"{len(runs)} runs")
    parts = [
        f"<h1>{escape(title)}</h1>",
        _section("Results", _table(_heads(runs), _results(runs))),
        _section("Days, by the model of the day before", _days(runs)),
        *(_section(f"Days: {run.name}", _day_rows(run)) for run in runs),
        _section("Warnings", _list(_warnings(runs))),
        _section("Options that differ", _table(_heads(runs), _differing(runs))),
        _section("Curves", _figures(runs)),
        *(_section(f"Calibration of the {part} part{_comma(task)}", _calibration(runs, part, task)) for part in _PARTS for task in ("", *_tasks(runs))),
        *(_section(f"Slices of the {part} part{_comma(task)}: {run.name}", _slices(run, part, task)) for run in runs for part in _PARTS for task in ("", *_tasks(runs))),
        *(_section(f"Keys of the {part} part that training never had: {run.name}", _unseen(run, part)) for run in runs for part in _PARTS),
        _section("Time of a step by stage, on rank 0", _table(_heads(runs), _stages(runs))),
        *(_section(f"Bytes sent per sample and rank: {run.name}", _bytes(run)) for run in runs),
        *(_section(f"Options: {run.name}", _options(run)) for run in runs),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{_NOTHING}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(filter(None, parts)) + "\n</body>\n</html>\n"
    )


def _section(title, body):
    return f"<h2>{escape(title)}</h2>\n{body}" if body else ""


def _table(heads, rows):
    """A table whose cells are HTML; none without rows."""
    if not rows:
        return ""
    lines = ["".join(f"<th>{head}</th>" for head in heads), *("".join(f"<td>{cell}</td>" for cell in row) for row in rows)]
    return '<div class="wide"><table>\n' + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table></div>"


def _list(items):
    return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in items) + "\n</ul>" if items else ""


def _heads(runs):
    return ["", *(f"{_mark(i)}{escape(run.name)}" for i, run in enumerate(runs))]


def _mark(run):
    return f'<span class="run" style="background: {COLOURS[run % len(COLOURS)]}"></span>'


def _results(runs):
    """Rows of what runs have come to; rows that no run has are left out."""
    rows = [
        ("model", [run.options.get("model.name") for run in runs]),
        ("ended", [_end(run) for run in runs]),
        ("steps, samples", [_of(run, lambda result: f"{result['steps']:,}, {result['samples']:,}") for run in runs]),
        ("best step", [_of(run, lambda result: f"{result['best_step']:,}") for run in runs]),
    ]
    for part, task in product(_PARTS, ("", *_tasks(runs))):
        for title, name, digits in _METRICS:
            rows.append((f"{part} {escape(_named(task, title))}", [_metric(run, part, task, name, digits) for run in runs]))
    rows += [
        ("samples/s", [_of(run, lambda result: f"{result['samples_per_s']:,.0f}") for run in runs]),
        ("set-up, compilation", [_of(run, lambda result: f"{result['setup_s']:.1f} s, {result['compile_s']:.1f} s") for run in runs]),
        ("table rows", [_of(run, lambda result: f"{result['rows']:,}") for run in runs]),
        ("keys a sample", [_of(run, lambda result: f"{result['keys_per_sample']:.2f}") for run in runs]),
        ("ranks x threads, backend", [f"{run.start['ranks']} x {run.start['threads_per_rank']}, {run.start['backend']}" for run in runs]),
        ("deshpc", [run.start["version"] for run in runs]),
    ]
    return [(title, *map(_text, cells)) for title, cells in rows if any(cell is not None for cell in cells)]


def _tasks(runs):
    """Names of the tasks that metrics of runs tell apart: none where each run has one label."""
    of_parts = [run.result[part] for run in runs if run.result for part in _PARTS] + [line for run in runs for line in run.valid]
    of_parts += [day["before"] for run in runs for day in run.days]
    return list(dict.fromkeys(task for entries in of_parts for task in (entries and entries["tasks"]) or {}))


def _of_task(entries, task):
    """Metrics of a task; of a whole part, which are means over its tasks, where `task` is empty.  None where there are none."""
    return entries if not task or entries is None else (entries["tasks"] or {}).get(task)


def _number(entries, task, name):
    found = _of_task(entries, task)
    return None if found is None else found[name]


def _named(task, title):
    return f"{task} {title}" if task else title


def _comma(task):
    return f", {task}" if task else ""


def _of(run, shown):
    return None if run.result is None else shown(run.result)


def _end(run):
    if run.days and run.result:
        return f"after {len(run.days)} days, the last of them {run.days[-1]['day']}"
    if run.stopped:
        return f"stopped early: {run.stopped['why']}"
    return "after its last epoch" if run.result else f"not yet, or broken off; {run.steps:,} steps reported"


def _days(runs):
    """Curves of metrics over the days of chains, from the first on that was scored."""
    drawn, tasks = [], _tasks(runs)
    for (title, name, _), task in product(_METRICS, ("", *tasks)):
        if name not in (*_OF_CLASSES, "mean_squared_error", "mean_deviance"):
            continue
        points = [[(i, _number(day["before"], task, name)) for i, day in enumerate(run.days, 1)] for run in runs]
        lines = [[(i, number) for i, number in of_run if number is not None] for of_run in points]
        if any(lines):
            drawn.append(_figure(f"days-{name}", title, lines, task, tasks, "day"))
    return '<div class="figures">\n' + "\n".join(drawn) + "\n</div>" if drawn else ""


def _day_rows(run):
    """A table of a chain's days."""
    shown = [
        (task, *one) for task, one in product(("", *_tasks([run])), _METRICS) if any(_number(day["before"], task, one[1]) is not None for day in run.days)
    ]
    rows = [
        (
            escape(day["day"]), f"{day['rows']:,}", *(_digits(_number(day["before"], task, name), digits) for task, _, name, digits in shown),
            f"{day['table_rows']:,}", f"{day['seconds']:.1f} s",
        )
        for day in run.days
    ]  # fmt: skip
    return _table(("day", "rows", *(escape(_named(task, title)) for task, title, _, _ in shown), "table rows", "time"), rows)


def _learns_numbers(run):
    return run.options.get("train.loss", "log") != "log"


def _metric(run, part, task, name, digits):
    metrics = _of_task(run.result and run.result[part], task)
    if metrics is None or (metrics[name] is None and (metrics["positives"] is None or name not in _OF_CLASSES)):
        return None
    return "undefined" if metrics[name] is None else f"{metrics[name]:.{digits}f}"


def _warnings(runs):
    several = len(runs) > 1
    return [
        f"{f'{_mark(i)}{escape(run.name)}: ' if several else ''}{escape(one['subject'])}: {escape(one['text'])}"
        for i, run in enumerate(runs)
        for one in run.warnings
    ]


def _differing(runs):
    """Rows of the options that are not the same in all runs, but for the folder's name."""
    names = sorted({name for run in runs for name in run.options} - {"run.directory"})
    rows = [(name, [run.options.get(name, _UNMATCHED) for run in runs]) for name in names]
    return [(escape(name), *map(_option, values)) for name, values in rows if any(value != values[0] for value in values)]


def _option(value):
    return "" if value is _UNMATCHED else escape(str(value).lower() if isinstance(value, bool) else str(value))


def _figures(runs):
    figures = [
        ("training loss" if any(map(_learns_numbers, runs)) else "training log-loss", "training-loss", "progress", "loss"),
        ("training AUC", "training-auc", "progress", "auc"),
        ("validation log-loss", "valid-loss", "valid", "log_loss"),
        ("validation AUC", "valid-auc", "valid", "auc"),
        ("validation precision-recall AUC", "valid-pr-auc", "valid", "pr_auc"),
        ("validation grouped AUC", "valid-grouped-auc", "valid", "grouped_auc"),
        ("validation normalized entropy", "valid-entropy", "valid", "normalized_entropy"),
        ("validation mean squared error", "valid-squared-error", "valid", "mean_squared_error"),
        ("validation mean deviance", "valid-deviance", "valid", "mean_deviance"),
        ("validation calibration", "valid-calibration", "valid", "calibration"),
        ("samples/s", "samples-per-s", "progress", "samples_per_s"),
    ]
    drawn, tasks = [], _tasks(runs)
    for (title, name, lines, entry), task in product(figures, ("", *tasks)):
        if task and lines != "valid":
            continue
        found = [[(line["step"], _number(line, task, entry)) for line in getattr(run, lines)] for run in runs]
        points = [[(step, number) for step, number in of_run if number is not None] for of_run in found]
        if any(points):
            drawn.append(_figure(name, title, points, task, tasks))
    return '<div class="figures">\n' + "\n".join(drawn) + "\n</div>" if drawn else ""


def _figure(name, title, lines, task, tasks, across="step"):
    """Curves of runs with their title; of one of the tasks, if `task` is not empty."""
    own = f"{name}-task-{tasks.index(task)}" if task else name
    return f"<figure><figcaption>{title}{escape(_comma(task))}</figcaption>{curves(own, title, lines, across)}</figure>"


def _rows_of(run, part, name, task=""):
    """A table of a part's metrics, or of those of a task; [] where there is none."""
    metrics = _of_task(run.result and run.result[part], task)
    return metrics[name] if metrics else []


def _calibration(runs, part, task):
    """A figure of mean labels over mean predictions, and the numbers of each run."""
    bins = [[one for one in _rows_of(run, part, "calibration_bins", task) if one["label"] is not None] for run in runs]
    if not any(bins):
        return ""
    points = [[(one["prediction"], one["label"]) for one in of_run] for of_run in bins]
    name = f"{part}-bins-task-{_tasks(runs).index(task)}" if task else f"{part}-bins"
    drawn = curves(name, "mean label", points, "mean prediction", diagonal=True)
    tables = [
        _table((f"{_mark(i)}rows", "mean prediction", "mean label"), [_bin(one) for one in of_run]) for i, of_run in enumerate(bins)
    ]
    return f'<div class="figures">\n<figure>{drawn}</figure>' + "\n".join(tables) + "\n</div>"


def _bin(one):
    return f"{one['rows']:,}", _digits(one["prediction"], 6), _digits(one["label"], 6)


def _slices(run, part, task):
    rows = [
        (
            escape(one["field"]), escape(one["value"]) or "(empty)", f"{one['rows']:,}", f"{one['positives']:,}", _digits(one["auc"], 5),
            _digits(one["log_loss"], 5), _digits(one["normalized_entropy"], 4), _digits(one["calibration"], 4),
        )
        for one in _rows_of(run, part, "slices", task)
    ]  # fmt: skip
    return _table(("field", "value", "rows", "positive", "AUC", "log-loss", "normalized entropy", "calibration"), rows)


def _unseen(run, part):
    rows = [
        (escape(one["field"]), *_of_all(one["unseen_distinct"], one["distinct"]), *_of_all(one["unseen_occurrences"], one["occurrences"]))
        for one in _rows_of(run, part, "unseen")
    ]
    return _table(("field", "keys", "unseen", "", "occurrences", "unseen", ""), rows)


def _of_all(some, whole):
    return f"{whole:,}", f"{some:,}", f"{100 * some / max(1, whole):.1f} %"


def _digits(number, digits):
    return "" if number is None else f"{number:.{digits}f}"


def _stages(runs):
    """Rows of stages in the order in which steps enter them."""
    times = [run.stage_s for run in runs]
    stages = list(dict.fromkeys(stage for of_run in times for stage in of_run))
    rows = [(escape(stage), *(_share(run, of_run, stage) for run, of_run in zip(runs, times, strict=True))) for stage in stages]
    return rows and [*rows, ("all", *(_text(_per_step(run, sum(of_run.values()))) for run, of_run in zip(runs, times, strict=True)))]


def _share(run, times, stage):
    whole = sum(times.values())
    if stage not in times or not whole:
        return ""
    percent = 100 * times[stage] / whole
    return f'{_per_step(run, times[stage])}, {percent:.1f} %<div class="bar" style="width: {percent:.1f}%"></div>'


def _per_step(run, seconds):
    return f"{1000 * seconds / run.steps:.3f} ms" if run.steps else None


def _bytes(run):
    """A table of the bytes that training has sent, by the ledger and by the formula."""
    if run.result is None or not run.result["samples"] or not run.result["traffic"]:
        return ""
    shares, rows = run.start["ranks"] * run.result["samples"], []
    for one in run.result["traffic"]:
        low, sent, high = (one[name] for name in ("low_bytes", "sent_bytes", "high_bytes"))
        formula = " to ".join(dict.fromkeys(f"{bound / shares:,.2f}" for bound in (low, high)))
        agrees = "" if low <= sent <= high else '<span class="different">different</span>'
        rows.append((*(escape(one[name]) for name in ("operator", "kind", "direction", "level")), f"{sent / shares:,.2f}", formula, agrees))
    return _table(("operator", "kind", "direction", "level", "ledger", "formula", ""), rows)


def _options(run):
    rows = [(escape(name), _option(value)) for name, value in sorted(run.options.items())]
    return f"<details><summary>all {len(rows)}</summary>\n{_table(('option', 'value'), rows)}\n</details>"


def _text(cell):
    return "" if cell is None else escape(str(cell))
