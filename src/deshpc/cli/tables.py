"""Results as text."""


def training_table(result):
    """A TrainResult as lines of `name  value`."""
    lines = [
        ("ranks x threads", f"{result.ranks} x {result.threads_per_rank}"),
        ("steps, samples", f"{result.steps:,}, {result.samples:,}"),
        ("table rows", f"{result.rows:,} ({', '.join(f'{n:,}' for n in result.rows_per_rank)})"),
        ("set-up, compilation", f"{result.setup_s:.1f} s, {result.compile_s:.1f} s"),
        ("samples/s", f"{result.samples_per_s:,.0f}"),
    ]
    for name, metrics in (("valid", result.valid), ("test", result.test)):
        if metrics is not None:
            lines += [(f"{name} {title}", text) for title, text in _metrics(metrics)]
    for kind, count in result.bytes_per_sample.items():
        lines.append((f"bytes/sample, {kind}", f"{count:.1f} sent per rank"))
    return _aligned(lines)


def metrics_table(metrics):
    """Metrics as lines of `name  value`."""
    return _aligned(_metrics(metrics))


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


def _aligned(lines):
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)
