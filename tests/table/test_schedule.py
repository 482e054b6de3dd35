"""Learning rates against closed forms and numbers worked out by hand."""

import math

import pytest

from deshpc.config import OptimizerConfig
from deshpc.errors import ConfigError
from deshpc.table.optimizer import open_optimizer
from deshpc.table.schedule import Schedule


def rates(schedule, steps):
    return [schedule.rate(step) for step in range(steps)]


def test_without_warm_up_and_decay_the_rate_is_constant():
    assert rates(Schedule(0.3), 50) == [0.3] * 50


def test_warm_up_is_linear_and_never_zero():
    assert rates(Schedule(0.8, warmup_steps=4), 7) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8])
    assert Schedule(0.8, warmup_steps=1).rate(0) == 0.8


@pytest.mark.parametrize("fraction", [0.0, 0.25])
@pytest.mark.parametrize("warmup", [0, 3])
def test_linear_and_cosine_decay(warmup, fraction):
    for decay in ("linear", "cosine"):
        schedule = Schedule(2.0, warmup, decay, 8, fraction)
        assert [schedule.rate(step) for step in range(warmup)] == pytest.approx([2 / 3, 4 / 3, 2.0][:warmup])
        for i in range(12):
            p = min(i, 8) / 8
            left = 1 - p if decay == "linear" else math.cos(math.pi * p / 2) ** 2  # (1 + cos(2 a)) / 2 = cos(a)^2
            assert schedule.rate(warmup + i) == pytest.approx(2.0 * (fraction + (1 - fraction) * left), abs=1e-15)
        assert schedule.rate(warmup) == 2.0
        assert schedule.rate(warmup + 4) == pytest.approx(2.0 * (1 + fraction) / 2)  # both are half-way then
        assert schedule.rate(warmup + 8) == schedule.rate(10**9) == pytest.approx(2.0 * fraction, abs=1e-15)


def test_inverse_sqrt_decay():
    schedule = Schedule(1.0, 2, "inverse_sqrt", 10)
    assert rates(schedule, 3) == [0.5, 1.0, 1.0]
    assert schedule.rate(2 + 30) == 0.5  # 1 / sqrt(1 + 3)
    assert schedule.rate(2 + 990) == pytest.approx(0.1)


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_decay_over_the_rest_of_the_run(decay):
    whole, given = Schedule(1.0, 5, decay, 0, 0.1, total_steps=25), Schedule(1.0, 5, decay, 20, 0.1)
    assert rates(whole, 40) == rates(given, 40)
    assert rates(Schedule(1.0, 5, decay, total_steps=3), 5) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])  # no more than that
    unknown = Schedule(1.0, 5, decay)
    assert unknown.rate(4) == 1.0
    with pytest.raises(ConfigError, match="decay_steps = 0"):
        unknown.rate(5)


def test_the_options_reach_the_schedule():
    config = OptimizerConfig(
        learning_rate=0.5, warmup_steps=3, decay="cosine", decay_steps=7, final_rate_fraction=0.2
    )  # fmt: skip
    assert open_optimizer(config).schedule == Schedule(0.5, 3, "cosine", 7, 0.2)
    assert open_optimizer(config, 99).schedule == Schedule(0.5, 3, "cosine", 7, 0.2, 99)
    assert open_optimizer(OptimizerConfig(learning_rate=0.5)).schedule == Schedule(0.5)
