"""The gradients of dense parameters, summed over ranks: one collective a step at most.

    top              its own samples' gradients are     owners' gradients, from own rows
    of all samples   complete: every rank has them      added up over ranks
    of own samples   added up over ranks                added up over ranks, in the same buffer

Rows of a parameter that belong to one rank alone (`local`: a first layer's weights under field and column split) travel where a
model is saved, and never in a step.
"""

import numpy as np

from deshpc.comm.handle import done
from deshpc.comm.ledger import Traffic

_TRAFFIC, _SAVED = Traffic("dense", "dense", "backward"), Traffic("dense", "dense", "save")


class DenseSums:
    """Takes the sums of `Parameters` and completes them.

    whole_top : whether the top works on all samples
    owner_names : parameters of the owners' part, in the order of their sums
    local : numbers of the first of these that belong to single ranks
    own_rows : slice or numbers of the rows that are this rank's
    """

    def __init__(self, group, parameters, whole_top, owner_names=(), local=0, own_rows=slice(0)):
        self._group, self._parameters, self._whole_top = group, parameters, whole_top
        self.owner_names, self.local, self._own_rows = owner_names, local, own_rows
        begin = parameters.place(owner_names[0])[0] if local else 0
        self._own, self._travelling = (begin, begin + local), None

    @property
    def sent(self):
        """Numbers that are added up over ranks in a step."""
        if not self._whole_top:
            return len(self._parameters.gradient) - self.local
        return sum(b - a for a, b in map(self._parameters.place, self.owner_names)) - self.local

    def start(self):
        """Start the sums of a step, which the top has made, unless owners have yet to add theirs.  Collective."""
        self._travelling = None if self.owner_names else self._start()

    def wait(self):
        """The complete sums (n); owners have added theirs.  Collective."""
        return (self._travelling or self._start()).wait()

    def _start(self):
        sums = self._parameters.take_sums()
        if not self.owner_names:
            return done(sums) if self._whole_top else self._group.sum_samples(sums, _TRAFFIC)
        owner = self._parameters.take_owner_sums()
        if self._whole_top:
            shared = self._group.sum_samples(owner[self.local :], _TRAFFIC) if self.sent else done(None)
            return shared.then(lambda _: self._parameters.add_to(sums, self.owner_names, owner))
        self._parameters.add_to(sums, self.owner_names, owner)
        if not self.local:
            return self._group.sum_samples(sums, _TRAFFIC)
        begin, end = self._own
        travelling = np.concatenate([sums[:begin], sums[end:]])
        return self._group.sum_samples(travelling, _TRAFFIC).then(lambda complete: self._put(sums, complete))

    def square_norm(self):
        """Squared norm of the whole gradient, which is set.  Collective, where rows belong to single ranks."""
        norm = self._parameters.square_norm
        if not self.local:
            return norm()
        begin, end = self._own
        shared, own = norm(0, begin) + norm(end), norm(begin, end)  # the shared part's bits are those of all ranks
        return shared + float(self._group.sum(own, Traffic("batch", "control", "backward"))[0])

    def whole_arrays(self):
        """`Parameters.arrays`, with the rows of single ranks as these have them.  Collective, where there are such rows.

        The ranks' bits are added to zeros as integers, so numbers stay as they are, -0.0 too.
        """
        arrays = self._parameters.arrays()
        if not self.local:
            return arrays
        begin, end = self._own
        state = arrays["state"].reshape(-1, len(self._parameters.gradient))
        planes = np.stack([plane[begin:end] for plane in (arrays["values"], *state)])
        of_rows = planes.reshape(len(planes), -1, self._parameters[self.owner_names[0]].shape[1])
        own = np.zeros_like(of_rows)
        own[:, self._own_rows] = of_rows[:, self._own_rows]
        bits = self._group.sum_samples(own.reshape(-1).view(f"i{own.itemsize}"), _SAVED).wait()
        whole = bits.view(own.dtype).reshape(planes.shape)
        arrays["values"][begin:end], state[:, begin:end] = whole[0], whole[1:]
        return arrays

    def _put(self, sums, complete):
        begin, end = self._own
        sums[:begin], sums[end:] = complete[:begin], complete[begin:]
        return sums
