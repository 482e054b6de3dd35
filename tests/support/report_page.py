"""A page about runs, as a reader of it sees it: its tables, and the numbers that its curves show."""

import re
from html.parser import HTMLParser

import numpy as np


class Page(HTMLParser):
    """What a browser would see.

    links : attributes by which elements load or lead somewhere;  tags : of all elements
    tables : rows of texts of each table, by the heading before it
    points : {id of a curve: (n, 2) places on the page};  ticks : {id: [(x, y, number)]} of the figure that a curve is in
    """

    def __init__(self, text):
        super().__init__()
        self.links, self.tags, self.tables, self.points, self.ticks = [], [], {}, {}, {}
        self._heading, self._mark, self._figure_ticks, self._figure_curves, self._open = "", None, [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [attributes[name] for name in ("href", "src", "srcset", "action", "data", "poster") if name in attributes]
        self.links += re.findall(r"url\(([^)]*)\)", " ".join(filter(None, attributes.values())))
        if tag == "svg":
            self._figure_ticks, self._figure_curves = [], []
        elif tag == "use":
            self._mark = float(attributes["x"]), float(attributes["y"])
        elif tag == "path" and self._open and self._open[-1] == "curve":
            numbers = re.findall(r"[ML] (\S+) (\S+)", attributes["d"])
            self.points.setdefault(self._figure_curves[-1], np.array(numbers, float))
        elif tag == "tr":
            self.tables.setdefault(self._heading, []).append([])
        elif tag in ("td", "th"):
            self.tables[self._heading][-1].append("")
        elif tag == "h2":
            self._heading = ""
        if tag == "g" and re.fullmatch(r"[a-z_\d-]+-\d+", attributes.get("id", "")):
            self._figure_curves.append(attributes["id"])
            self._open.append("curve")
        elif tag not in ("meta", "use", "path") or tag == "path":
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in ("meta", "use"):
            self._open.pop()

    def handle_endtag(self, tag):
        if self._open:
            self._open.pop()
        if tag == "svg":
            self.ticks |= dict.fromkeys(self._figure_curves, self._figure_ticks)

    def handle_data(self, data):
        inside = self._open[-1] if self._open else ""
        if inside == "h2":
            self._heading += data
        elif inside in ("td", "th", "span") and self.tables.get(self._heading):
            self.tables[self._heading][-1][-1] += data
        elif inside == "text":
            number = data.strip().replace("\u2212", "-")
            if re.fullmatch(r"-?[\d.]+", number):
                self._figure_ticks.append((*self._mark, float(number)))

    def curve(self, name):
        """(n, 2) of the numbers that a curve shows, by the labels at its figure's axes."""
        ticks = np.array(self.ticks[name])
        bottom, left = ticks[:, 1].max(), ticks[:, 0].min()
        axes = (ticks[ticks[:, 1] == bottom][:, [0, 2]], ticks[ticks[:, 0] == left][:, [1, 2]])
        fits = [np.polyfit(*axis.T, 1) for axis in axes]
        return np.stack([np.polyval(fit, places) for fit, places in zip(fits, self.points[name].T, strict=True)], axis=1)

    def rows(self, heading):
        """{first cell: the others} of a table."""
        return {row[0]: row[1:] for row in self.tables[heading]}
