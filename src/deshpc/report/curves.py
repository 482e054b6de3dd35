"""Curves of several runs over steps, as SVG that loads nothing: matplotlib draws, without a display."""

import io
import re

from deshpc.errors import ConfigError

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
"""Of runs, in their order, and again from the first on."""

_FEW_POINTS = 60
_SETTINGS = {
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "deshpc",  # the same curves are the same bytes
    "path.simplify": False,  # every point of the record is there
}


def require_matplotlib():
    """ConfigError where it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError("deshpc report draws with matplotlib: pip install 'deshpc[report]'") from None


def curves(name, label, lines, across="step", diagonal=False):
    """<svg> of a figure: a line for each run that has points, in its colour.

    name : begins the id of each line's group, NAME-RUN with the run's place from 0 on
    label : of the vertical axis
    lines : for each run its [(step, number)]
    across : label of the horizontal axis, where it is another
    diagonal : whether to draw where both numbers are equal
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(6, 3.2), layout="constrained")
        axes = figure.subplots()
        for run, points in enumerate(lines):
            if points:
                (line,) = axes.plot(*zip(*points, strict=True), color=COLOURS[run % len(COLOURS)], linewidth=1.5)
                line.set_gid(f"{name}-{run}")
                if len(points) <= _FEW_POINTS:
                    line.set_marker(".")
        if diagonal:
            axes.axline((0, 0), slope=1, color="#bbbbbb", linewidth=1)
        axes.set_xlabel(across)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.ticklabel_format(useOffset=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _inline(text.getvalue())


def _inline(svg):
    """A file's text as an element of a page, where names of namespaces are not needed and ids of several figures meet."""
    svg = svg[svg.index("<svg ") :].strip()
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    return re.sub(r' id="[\w.]+_\d+"', "", svg)
