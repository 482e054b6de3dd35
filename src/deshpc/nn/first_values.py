"""Dense parameters of a tower as its layers declare them: names, shapes and first values."""

import math
import zlib

import numpy as np

from deshpc.backend.room import require_room


class FirstValues:
    """Collects the parameters of a model's layers.

    Random first values depend on the run's seed and the parameter's name alone, so they are the same on every rank, and adding
    a layer does not change another one's.
    """

    def __init__(self, seed):
        self._seed, self._values, self.statistics = seed, {}, {}

    @property
    def shapes(self):
        """{name: shape}, in the order of declaration."""
        return {name: value.shape for name, value in self._values.items()}

    def zeros(self, name, *shape):
        """Declare a parameter that starts at zero; returns its name."""
        self._require_room(name, shape)
        return self._declare(name, np.zeros(shape))

    def ones(self, name, *shape):
        """Declare a parameter that starts at one."""
        self._require_room(name, shape)
        return self._declare(name, np.ones(shape))

    def uniform(self, name, bound, *shape):
        """Declare a parameter that starts uniform in +-bound."""
        self._require_room(name, shape)
        words = np.random.SeedSequence([self._seed, zlib.crc32(name.encode())])
        generator = np.random.Generator(np.random.Philox(words))
        return self._declare(name, (generator.random(shape) * 2 - 1) * bound)

    def given(self, name, value):
        """Declare a parameter that starts with these numbers."""
        return self._declare(name, value)

    def dense(self, name, inputs, outputs):
        """Declare weights (inputs, outputs), uniform in +-sqrt(6 / (inputs + outputs)) (Glorot and Bengio)."""
        return self.uniform(name, math.sqrt(6 / max(1, inputs + outputs)), inputs, outputs)

    def statistic(self, name, start):
        """Declare what training keeps track of but no gradient moves, in `statistics`; returns its name."""
        self.statistics[name] = start
        return name

    def set(self, parameters):
        """Give all of them to `Parameters`."""
        for name, value in self._values.items():
            parameters.set(name, value)

    def _require_room(self, name, shape):
        """ConfigError where this parameter and those before it, each in float64, are more than the machine's memory."""
        held = sum(value.nbytes for value in self._values.values())
        require_room(held + 8 * math.prod(map(int, shape)), f"[model]: dense parameters up to {name!r}, of the shape {shape},")

    def _declare(self, name, value):
        if name in self._values:
            raise ValueError(f"two parameters are called {name!r}")
        self._values[name] = value
        return name
