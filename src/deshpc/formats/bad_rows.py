"""What becomes of a row that cannot be read: an error, or it is skipped and counted."""

from deshpc.errors import DataError

_MESSAGES_KEPT = 3


class BadRows:
    """Told of every bad row of one reading, and of what is to be said of good ones.

    policy : "error" or "skip"
    count  : rows skipped so far
    examples : the first few complaints
    notes    : {subject: what a person should know of it}
    """

    def __init__(self, policy, count=0, examples=()):
        self.skips = policy == "skip"
        self.count, self.examples, self.notes = count, list(examples), {}
        self._negatives = {}  # column: (label that is not positive, where)

    def found(self, complaint):
        """A row cannot be read: DataError with `complaint`, which names file, line, field and what was expected, or a count."""
        if not self.skips:
            raise DataError(complaint)
        self.count += 1
        if len(self.examples) < _MESSAGES_KEPT:
            self.examples.append(complaint)

    def found_all(self, count, complaint):
        """So many rows after another cannot be read: `found` of complaint(0), complaint(1), ..., of which few are asked for."""
        asked = min(count, _MESSAGES_KEPT)
        for i in range(asked):
            self.found(complaint(i))
        self.count += count - asked

    def negative_label(self, name, where, complain, column):
        """Some label is not positive, and says `name`: DataError where another one of its column says something else, whatever the policy.

        complain : what is wrong -> the DataError's message
        """
        first, _ = self._negatives.setdefault(column, (name, where))
        if name != first:
            raise DataError(complain(_second(first)))

    def take(self, other):
        """Be told of all that `other`, of the part after this one, was told."""
        self.count += other.count
        self.examples = (self.examples + other.examples)[:_MESSAGES_KEPT]
        self.notes = {**other.notes, **self.notes}
        for column, (name, where) in other._negatives.items():
            self.negative_label(name, where, lambda problem, name=name, where=where: f"{where}: {name!r} {problem}", column)


def _second(first):
    return (
        f"is a second label that is not positive, beside {first!r}; expected two labels in all. data.positive names the positive one; "
        "unknown ones are bad rows if data.missing names them"
    )


def merged(several):
    """The BadRows of several parts of the same files, in their order, as those of all of them; DataError as `negative_label`."""
    whole = BadRows("skip" if several[0].skips else "error")
    for one in several:
        whole.take(one)
    return whole
