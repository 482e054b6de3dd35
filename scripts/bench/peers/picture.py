"""The result of compare.py as a picture: bars of samples/s with their ranges, race by race, as SVG."""

import statistics
from html import escape

from peers.report import rate, thousands

WIDTH, LABELS, BARS, ROW, HEAD = 860, 320, 400, 22, 40
OURS, THEIRS, INK = "#1f6f8b", "#b9c3c9", "#222222"


def picture(result):
    """The SVG text."""
    parts, y = [], 16
    for race in result["races"]:
        found = [
            (name, [rate(run, 0) for run in one["runs"]])
            for name, one in race["contestants"].items()
            if one.get("runs")
        ]
        if not found:
            continue
        largest = max(max(rates) for _, rates in found)
        parts.append(label(12, y + 14, race["name"] + ", k samples/s", "start", ' font-weight="bold"'))
        y += HEAD - 14
        for name, rates in sorted(found, key=lambda one: -statistics.median(one[1])):
            parts += bar(y, name, rates, BARS / largest)
            y += ROW
        y += 18
    known = result["machine"]
    parts.append(
        label(
            12,
            y + 8,
            f"{known['processor']}, {known['cores']} cores; medians of {result['repeats']} and ranges",
            "start",
        )
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 24}" viewBox="0 0 {WIDTH} {y + 24}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def bar(y, name, rates, scale):
    """One contestant's label, bar, range and figure."""
    middle, low, high = (scale * value for value in (statistics.median(rates), min(rates), max(rates)))
    colour, line = OURS if name.startswith("deshpc") else THEIRS, y + ROW / 2 - 2
    yield label(LABELS - 8, line + 4, name, "end")
    yield f'<rect x="{LABELS}" y="{y}" width="{middle:.1f}" height="{ROW - 5}" fill="{colour}"/>'
    yield f'<path d="M{LABELS + low:.1f} {line:.1f} H{LABELS + high:.1f}" stroke="{INK}" stroke-width="1.5"/>'
    yield label(LABELS + max(middle, high) + 8, line + 4, thousands(statistics.median(rates)), "start")


def label(x, y, text, anchor, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}"{more}>{escape(text)}</text>'
