"""In which order the threads of a launch run."""

from dataclasses import dataclass

ORDERS = ("in order", "reversed", "random")  # the numbers that native/scheduler.h gives them


@dataclass(frozen=True)
class Schedule:
    """`order`: blocks and threads ascending, descending, or drawn with `seed`.

    Resident blocks take turns where threads wait.  A random order also switches threads with probability
    `preemption` at every atomic, volatile access and fence, and in check mode at every access to memory.

    `first_block`: blocks below it do not run, so that a test can have the last blocks of a grid of billions.

    `budget`: after so many such places with no thread finishing, the launch is a livelock.
    """

    order: str = "in order"
    seed: int = 0
    preemption: float = 0.05
    resident_blocks: int = 4
    budget: int = 20_000_000
    first_block: int = 0

    def __post_init__(self):
        if self.order not in ORDERS:
            raise ValueError(f"order {self.order!r}: expected one of {', '.join(ORDERS)}")


def schedules(seeds=8, **options):
    """In order, reversed, and `seeds` random ones: what a kernel should pass."""
    drawn = [Schedule("random", seed=seed, **options) for seed in range(seeds)]
    return [Schedule("in order", **options), Schedule("reversed", **options), *drawn]
