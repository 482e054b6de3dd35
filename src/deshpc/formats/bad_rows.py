"""What becomes of a row that cannot be read: an error, or it is skipped and counted."""

from deshpc.errors import DataError

_MESSAGES_KEPT = 3


class BadRows:
    """Told of every bad row of one reading.

    policy : "error" or "skip"
    count  : rows skipped so far
    examples : the first few complaints
    """

    def __init__(self, policy, count=0, examples=()):
        self.skips = policy == "skip"
        self.count, self.examples = count, list(examples)

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


def merged(several):
    """The BadRows of several parts of the same files, in their order, as those of all of them."""
    examples = [example for one in several for example in one.examples]
    return BadRows("skip" if several[0].skips else "error", sum(one.count for one in several), examples[:_MESSAGES_KEPT])
