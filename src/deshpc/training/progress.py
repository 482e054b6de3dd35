"""What a person sees while a run trains: a bar on a terminal, otherwise a line per interval.

All ranks count, since what is shown is of all of them; rank 0 says when, and shows it.
"""

import sys
import time

from deshpc.launch.console import say


class Progress:
    """Counts steps and samples of an epoch; shows rate, mean loss, AUC and time left, at most every `interval_s`.

    shows : whether this rank is the one that does;  report(samples_per_s, loss, auc, samples, total_samples) is called at
    each interval, for the record.
    total_samples : None: of a stream, nobody knows
    done : samples of the epoch that were trained before, by the run that this one goes on from
    take_auc : function that gives the AUC since its last call, or None; see `nn.scores`
    """

    def __init__(self, title, total_samples, interval_s, report, stream=None, done=0, take_auc=lambda: None, shows=True):
        self._take_auc, self._shows = take_auc, shows
        self._title, self._total, self._interval_s, self._report = title, total_samples, interval_s, report
        self._say = say if stream is None else stream.write
        stream = stream or sys.stderr
        self._bar = shows and stream is not None and stream.isatty()
        self._begin = self._last = time.perf_counter()
        self._done, self._loss, self._weight = done, 0.0, 0.0
        self._before = self._last_done = done
        self._last_loss, self._last_weight, self._paused = 0.0, 0.0, None

    @property
    def mean_loss(self):
        """Of the samples that were counted, by weight."""
        return _mean(self._loss, self._weight)

    def due(self):
        """Whether an interval has passed; never where nothing is shown."""
        interval = min(self._interval_s, 0.2) if self._bar else self._interval_s
        return self._shows and time.perf_counter() - self._last >= interval

    def pause(self):
        """From now on nothing is trained: this time counts in no rate."""
        self._paused = time.perf_counter()

    def resume(self):
        """Training goes on."""
        if self._paused is not None:
            away = time.perf_counter() - self._paused
            self._begin, self._last, self._paused = self._begin + away, self._last + away, None

    def advance(self, samples, loss, weight, report):
        """Count a step of some samples.  Collective with `report`, where `take_auc` is.

        loss : theirs, each times its weight, added up
        weight : theirs, added up
        """
        self._done += samples
        self._loss += loss
        self._weight += weight
        if report:
            self._show(time.perf_counter())

    def finish(self):
        """Show the last state and leave the line.  Collective, where `take_auc` is."""
        if self._done > self._last_done:
            self._show(time.perf_counter() if self._paused is None else self._paused)
        if self._bar:
            self._say("\n")

    def tell(self, text):
        """Show a line of its own, in place of a bar that is not finished."""
        if self._shows:
            self._say(f"\r\x1b[K{text}\n" if self._bar else f"{text}\n")

    def _show(self, now):
        samples = self._done - self._last_done
        rate = samples / max(1e-9, now - self._last)
        loss = _mean(self._loss - self._last_loss, self._weight - self._last_weight)
        auc = self._take_auc()
        if self._shows:
            self._write(now, rate, loss, auc)
        self._last, self._last_done, self._last_loss, self._last_weight = now, self._done, self._loss, self._weight

    def _write(self, now, rate, loss, auc):
        done, left = f"{self._done:,} samples", ""
        if self._total is not None:
            left_s = (self._total - self._done) * (now - self._begin) / max(1, self._done - self._before)
            done, left = f"{100 * self._done / max(1, self._total):3.0f} %", f"{left_s:.0f} s left"
        text = f"{self._title}  {done}  {rate / 1000:,.0f} k samples/s  loss {loss:.4f}  {'' if auc is None else f'AUC {auc:.4f}  '}{left}".rstrip()
        if self._bar and self._total is None:
            self._say(f"\r{text} ")
        elif self._bar:
            width = 24
            filled = width * self._done // max(1, self._total)
            self._say(f"\r[{'#' * filled}{'.' * (width - filled)}] {text} ")
        else:
            self._say(text + "\n")
        self._report(samples_per_s=round(rate), loss=loss, auc=auc, samples=self._done, total_samples=self._total)


def _mean(loss, weight):
    """A mean loss by weight; 0 where nothing counts."""
    return loss / weight if weight > 0 else 0.0
