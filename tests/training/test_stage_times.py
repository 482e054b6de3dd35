"""Seconds of stages against a clock that a test turns."""

from deshpc.training.stage_times import StageTimes


def test_what_lies_between_begin_and_end_counts():
    now = [0.0]

    def after(seconds, call, *arguments):
        now[0] += seconds
        return call(*arguments)

    times = StageTimes(lambda: now[0])
    after(1, times.enter, "load")  # before training
    after(2, times.begin, "read")
    after(3, times.enter, "learn")
    after(4, times.enter, "read")
    after(5, times.end)
    assert after(100, times.take) == {"read": 8, "learn": 4}
    after(1, times.enter, "learn")  # an evaluation has stages of the same names
    after(1, times.enter, "read")
    after(1, times.begin, "learn")
    assert after(6, times.take) == {"learn": 6}  # it goes on
    after(7, times.enter, "read")
    after(8, times.end)
    assert times.take() == {"learn": 7, "read": 8} and times.take() == {}
