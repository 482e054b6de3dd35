"""Results as text."""


def training_table(result):
    """A TrainResult as lines of `name  value`."""
    lines = [
        ("ranks x threads", f"{result.ranks} x {result.threads_per_rank}"),
        ("steps, samples", f"{result.steps:,}{_since(result.resumed_from)}, {result.samples:,}"),
        *_model(result),
        ("table rows", f"{result.rows:,} ({', '.join(f'{n:,}' for n in result.rows_per_rank)})"),
        ("set-up, compilation", f"{result.setup_s:.1f} s, {result.compile_s:.1f} s"),
        ("samples/s", f"{result.samples_per_s:,.0f}"),
        ("keys a sample", f"m = {result.keys_per_sample:.2f}{_unique(result.unique_keys_per_sample)}"),
    ]
    for name, metrics in (("valid", result.valid), ("test", result.test)):
        if metrics is not None:
            lines += [(f"{name} {title}", text) for title, text in _metrics(metrics)]
    return "\n".join([aligned(lines), *_traffic(result)])


def _model(result):
    """Lines about which model was kept, where that is not the one of the last epoch's end."""
    kept = [("best step", f"{result.best_step:,}: the model is that of this step")] if result.best_step != result.steps else []
    return kept + ([("stopped early", result.stopped)] if result.stopped else [])


def _since(step):
    return "" if step is None else f" (from the checkpoint after {step:,})"


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
    """Metrics as lines of `name  value`."""
    return aligned(_metrics(metrics))


def _metrics(metrics):
    numbers = metrics.numbers()
    positive = f", {metrics.positives:,}" if "positives" in numbers else ""
    shown = [(title, numbers[name], digits) for title, name, digits in metrics.TITLES if numbers[name] is not None or name not in _WHERE_ASKED]
    why = "undefined (one class only)" if positive else "undefined (all labels are equal)"
    return [
        (f"rows{', positive' if positive else ''}", f"{metrics.rows:,}{positive}"),
        *((title, why if number is None else f"{number:.{digits}f}") for title, number, digits in shown),
    ]


def aligned(lines):
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)
