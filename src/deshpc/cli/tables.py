"""Results as text."""


def training_table(result):
    """A TrainResult as lines of `name  value`."""
    lines = [
        ("ranks x threads", f"{result.ranks} x {result.threads_per_rank}"),
        ("steps, samples", f"{result.steps:,}{_since(result)}, {result.samples:,}"),
        *_model(result),
        ("table rows", f"{result.rows:,} ({', '.join(f'{n:,}' for n in result.rows_per_rank)})"),
        *_living(result),
        ("set-up, compilation", f"{result.setup_s:.1f} s, {result.compile_s:.1f} s"),
        ("samples/s", f"{result.samples_per_s:,.0f}"),
        *_checkpoints(result),
        ("keys a sample", f"m = {result.keys_per_sample:.2f}{_unique(result.unique_keys_per_sample)}"),
    ]
    for name, metrics in (("valid", result.valid), ("test", result.test)):
        if metrics is not None:
            lines += [(f"{name} {title}", text) for title, text in _metrics(metrics)]
    parts = [(name, metrics) for name in ("valid", "test") if (metrics := getattr(result, name))]
    parts += [(f"{name} {task}", one) for name, metrics in parts for task, one in _of_tasks(metrics)]
    sliced = [table for name, metrics in parts for table in _tables(f"{name} ", metrics, "slices")]
    failed = [f"exports: {result.failed_exports:,} models could not be exported; the warnings above say why"] if result.failed_exports else []
    return "\n\n".join(["\n".join([aligned(lines), *_traffic(result)]), *sliced, *failed])


def _checkpoints(result):
    """A line about checkpoints, where some were written."""
    waited = f"{result.checkpoints:,}; training has waited {result.checkpoint_stall_s:.3f} s for them, {result.longest_stall_s:.3f} s at most"
    return [("checkpoints", waited)] if result.checkpoints else []


def _living(result):
    """Lines of keys that wait for a row, and rows that were given up, where there are some."""
    return [(name, f"{number:,}") for name, number in (("keys that wait", result.waiting_keys), ("rows given up", result.evicted)) if number]


def days_table(chain):
    """A Chain as lines, one a day; metrics are those before the day was learnt."""
    metrics = [(title, name, digits) for title, name, digits in _OF_DAYS if any(day.before and name in day.before for day in chain.days)]
    heads = ("day", "rows", *(title for title, _, _ in metrics), "table rows", "seconds")
    lines = [
        (day.day, f"{day.rows:,}", *(_short((day.before or {}).get(name), digits) for _, name, digits in metrics), f"{day.table_rows:,}", f"{day.seconds:.1f}")
        for day in chain.days
    ]  # fmt: skip
    if len(chain.days) > 1:
        means = (_short(chain.mean(name), digits) for _, name, digits in metrics)
        lines.append(("all", f"{sum(day.rows for day in chain.days):,}", *means, "", f"{sum(day.seconds for day in chain.days):.1f}"))
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    shown = ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths, strict=True))) for line in (heads, *lines)]
    return "\n".join([*shown, f"{chain.directory}: {len(chain.days)} days; metrics of each are from before it was learnt"])


_OF_DAYS = (
    ("AUC", "auc", 5), ("log-loss", "log_loss", 5), ("NE", "normalized_entropy", 4), ("calibration", "calibration", 4),
    ("mean squared error", "mean_squared_error", 6), ("mean deviance", "mean_deviance", 6),
)


def _model(result):
    """Lines about which model was kept, where that is not the one of the last epoch's end."""
    kept = [("best step", f"{result.best_step:,}: the model is that of this step")] if result.best_step != result.steps else []
    return kept + ([("stopped early", result.stopped)] if result.stopped else [])


def _since(result):
    if result.resumed_from is not None:
        return f" (from the checkpoint after {result.resumed_from:,})"
    return f" (from a model after {result.first_step:,})" if result.first_step else ""


def _unique(u):
    return "" if u is None else f", u = {u:.2f} distinct in a local batch"


def _traffic(result):
    """Lines of the bytes that training has sent, by the ledger and by the formula; none where nothing has travelled."""
    rows = [("bytes/sample and rank", "ledger", "formula")] if result.traffic else []
    for row in result.traffic:
        ledger, *bounds = (
            f"{count / result.ranks / result.samples:,.2f}" for count in (row.sent_bytes, row.low_bytes, row.high_bytes)
        )
        formula = " to ".join(dict.fromkeys(bounds)) + ("" if row.agrees else "  DIFFERENT")
        rows.append((f"{row.operator} {row.kind}, {row.direction}", ledger, formula))
    title_width, ledger_width = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
    return [f"{title:<{title_width}}  {ledger:>{ledger_width}} | {formula}" for title, ledger, formula in rows]


_WHERE_ASKED = ("best_auc", "grouped_auc", "calibration_error")
"""Metrics that are left out where they are not known."""


def metrics_table(metrics):
    """Metrics as lines of `name  value`, and tables of what is more than a number."""
    of_tasks = [table for name, one in _of_tasks(metrics) for table in _tables(f"{name} ", one, *one.TABLES)]
    return "\n\n".join([aligned(_metrics(metrics)), *_tables("", metrics, *metrics.TABLES), *of_tasks])


def _metrics(metrics):
    numbers = metrics.numbers()
    positive = f", {metrics.positives:,}" if "positives" in numbers else ""
    why = "undefined (one class only)" if positive else "undefined (all labels are equal)"
    lines = [(f"rows{', positive' if positive else ''}", f"{metrics.rows:,}{positive}")]
    if metrics.weight is not None:
        lines.append(("sum of weights", f"{metrics.weight:,.6g}"))
    for title, name, digits in metrics.TITLES:
        groups = f" ({metrics.groups:,} groups; {metrics.groups_left_out:,} of one class)" if name == "grouped_auc" and metrics.groups is not None else ""
        if numbers[name] is not None or groups or name not in _WHERE_ASKED:
            lines.append((title, (why if numbers[name] is None else f"{numbers[name]:.{digits}f}") + groups))
    lines += [(f"{name} {title}", text) for name, one in _of_tasks(metrics) for title, text in _metrics(one)]
    return lines + ([("unseen keys", _most_unseen(metrics.unseen))] if metrics.unseen else [])


def _of_tasks(metrics):
    """[(name, metrics)] of each task, where there are several."""
    return [*getattr(metrics, "tasks", {}).items()]  # of `metrics.tasks`, which needs NumPy


def _most_unseen(unseen):
    """A line about the fields with the largest shares of keys that training has never had."""
    most = sorted((one for one in unseen if one.unseen_distinct), key=lambda one: -one.share)
    shown = ", ".join(f"{one.field} {100 * one.share:.1f} %" for one in most[:_FIELDS_SHOWN])
    return (shown + (f", and of {len(most) - _FIELDS_SHOWN} fields more" if len(most) > _FIELDS_SHOWN else "")) or "none"


def _tables(part, metrics, *names):
    """Texts of those tables of Metrics that are there and not empty."""
    return [f"{part}{_HEADS[name][0]}\n{_table(name, rows)}" for name in names if name in metrics.TABLES and (rows := getattr(metrics, name))]


def _table(name, rows):
    heads, cells = _HEADS[name][1:]
    lines = [heads, *(cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if i < _HEADS_LEFT[name] else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def _short(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


_FIELDS_SHOWN = 3
_HEADS_LEFT = {"slices": 2, "calibration_bins": 0, "unseen": 1}  # columns of texts
_HEADS = {  # name: (title, heads, cells of a row)
    "slices": (
        "slices", ("field", "value", "rows", "positive", "AUC", "log-loss", "NE", "calibration"),
        lambda one: (
            one.field, one.value or "(empty)", f"{one.rows:,}", f"{one.positives:,}", _short(one.auc, 5), _short(one.log_loss, 5),
            _short(one.normalized_entropy, 4), _short(one.calibration, 4),
        ),
    ),
    "calibration_bins": (
        "calibration, from low predictions to high ones", ("rows", "prediction", "label"),
        lambda one: (f"{one.rows:,}", _short(one.prediction, 6), _short(one.label, 6)),
    ),
    "unseen": (
        "keys that training never had", ("field", "keys", "unseen", "", "occurrences", "unseen", ""),
        lambda one: (
            one.field, f"{one.distinct:,}", f"{one.unseen_distinct:,}", f"{100 * one.share:.1f} %", f"{one.occurrences:,}",
            f"{one.unseen_occurrences:,}", f"{100 * one.unseen_occurrences / max(1, one.occurrences):.1f} %",
        ),
    ),
}  # fmt: skip


def aligned(lines):
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def columns(table):
    """Rows of texts as lines; columns are right-aligned, but for the first and those of words."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    words = [any(text[:1].isalpha() or text[:1] == "#" for text in column[1:]) for column in zip(*table, strict=True)]
    place = [str.ljust if i == 0 or of_words else str.rjust for i, of_words in enumerate(words)]
    return ["  ".join(put(text, width) for put, text, width in zip(place, row, widths, strict=True)).rstrip() for row in table]
