"""Cells that are carried along and wait for the lines of their rows."""


class CarriedCells:
    """Takes Carried of a file in order, and gives the cells of its rows in order, each once."""

    def __init__(self, columns):
        """columns : their number"""
        self._columns, self._waiting = columns, []

    def add(self, carried):
        """Take a Carried whose rows come after all before."""
        self._waiting.append(carried)

    def take(self, begin, end):
        """For each column a list of pieces, which follow each other over the rows begin .. end of the file: values, or the number of
        rows that have none."""
        pieces, at = [[] for _ in range(self._columns)], begin
        for carried in self._waiting:
            first, last = max(at, carried.first), min(end, carried.first + len(carried))
            if first >= last:
                continue
            for own, column in zip(pieces, carried.columns, strict=True):
                if first > at:
                    own.append(first - at)
                own.append(column[first - carried.first : last - carried.first])
            at = last
        if end > at:
            for own in pieces:
                own.append(end - at)
        self._waiting = [carried for carried in self._waiting if carried.first + len(carried) > end]
        return pieces

    def end_file(self):
        """The next Carried is of another file."""
        self._waiting = []
