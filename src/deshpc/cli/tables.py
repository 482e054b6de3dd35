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


def metrics_table(metrics):
    """Metrics as lines of `name  value`."""
    return aligned(_metrics(metrics))


def _metrics(metrics):
    lines = [("rows, positive", f"{metrics.rows:,}, {metrics.positives:,}"), ("AUC", _number(metrics.auc, 5))]
    if metrics.best_auc is not None:
        lines.append(("best possible AUC", _number(metrics.best_auc, 5)))
    return lines + [
        ("log-loss", _number(metrics.log_loss, 5)),
        ("normalized entropy", _number(metrics.normalized_entropy, 4)),
        ("calibration", _number(metrics.calibration, 4)),
    ]


def _number(value, digits):
    return "undefined (one class only)" if value is None else f"{value:.{digits}f}"


def aligned(lines):
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)


def columns(table):
    """Rows of texts as lines; columns are right-aligned, but for the first and those of words."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    words = [any(text[:1].isalpha() or text[:1] == "#" for text in column[1:]) for column in zip(*table, strict=True)]
    place = [str.ljust if i == 0 or of_words else str.rjust for i, of_words in enumerate(words)]
    return ["  ".join(put(text, width) for put, text, width in zip(place, row, widths, strict=True)).rstrip() for row in table]
