"""DIN's attention: the values of a sequence are weighed by their likeness to a target, and added up (Zhou et al. 2018).

    e_1 .. e_m   embeddings of a sample's values;   t   that of its target
    a_i = MLP([e_i, t, e_i - t, e_i * t])           result = sum_i a_i e_i,   or with a softmax of the a_i

Values of all samples of a block lie side by side, (M, k): nothing is computed for values that a sample does not have.
"""

from deshpc.nn.dense import Dense
from deshpc.nn.tape import Operator

PARTS_OF_PAIR = 4


class Attention:
    """x_0 and how many values each sample has -> the weighted sum of a sequence's values (n, k)."""

    def __init__(self, backend, values, name, sequence, column, dim, model):
        """sequence : `definitions.Sequence`;  column : of its lengths among those of all sequences
        model : ModelConfig, of which the layers' widths and activation, and what becomes of their output, are taken
        """
        self._kernels, self._column = backend.attention, column
        self._values, self._pairs = _Values(backend, sequence, dim), _Pairs(backend, sequence, dim)
        self._layers, inputs = [], PARTS_OF_PAIR * dim
        for i, width in enumerate(model.attention_hidden):
            self._layers.append(Dense(backend, values, f"{name}.{i}", inputs, width, model.activation))
            inputs = width
        softmax = model.attention_weights == "softmax"
        self._layers.append(Dense(backend, values, f"{name}.out", inputs, 1, bias=not softmax))  # a softmax does not see it
        self._sum = _WeightedSum(backend, softmax)

    def __call__(self, tape, x0, lengths):
        """The Node of the sums."""
        lengths = tape.input(self._kernels.of_sequence(lengths.array, self._column))
        values = tape.apply(self._values, x0, lengths)
        x = tape.apply(self._pairs, values, x0, lengths)
        for layer in self._layers:
            x = tape.apply(layer, x)
        return tape.apply(self._sum, x, values, lengths)


class _Values(Operator):
    """x_0, lengths of a sequence -> (M, k) its values."""

    def __init__(self, backend, sequence, dim):
        self._kernels, self._dim = backend.attention, dim
        self._place = slice(sequence.begin * dim, sequence.end * dim)

    def forward(self, tape, x0, lengths):
        values = tape.array((self._kernels.count(lengths), self._dim), x0.dtype)
        self._kernels.take(x0[:, self._place], lengths, values)
        return values, lengths

    def backward(self, tape, lengths, gradient, into, _):
        into.zero_if_fresh(tape)
        self._kernels.give_back(gradient, lengths, into.array[:, self._place])


class _Pairs(Operator):
    """Values (M, k), x_0, lengths -> (M, 4 k) what the layers see of each value e and its sample's target t: e, t, e - t, e * t."""

    def __init__(self, backend, sequence, dim):
        self._kernels = backend.attention
        self._target = slice(sequence.target * dim, (sequence.target + 1) * dim)

    def forward(self, tape, values, x0, lengths):
        pairs = tape.array((len(values), PARTS_OF_PAIR * values.shape[1]), values.dtype)
        self._kernels.pair(values, x0[:, self._target], lengths, pairs)
        return pairs, (pairs, lengths)

    def backward(self, tape, saved, gradient, of_values, of_x0, _):
        pairs, lengths = saved
        of_values.zero_if_fresh(tape)
        of_x0.zero_if_fresh(tape)
        self._kernels.pair_adjoint(gradient, pairs, lengths, of_values.array, of_x0.array[:, self._target])


class _WeightedSum(Operator):
    """Numbers (M, 1), values (M, k), lengths -> (n, k) the values' sum, weighed by the numbers, or by a sample's softmax of them."""

    def __init__(self, backend, softmax):
        self._kernels, self._softmax = backend.attention, softmax

    def forward(self, tape, numbers, values, lengths):
        weights = tape.array(numbers.shape, numbers.dtype)
        if self._softmax:
            self._kernels.softmax(numbers, lengths, weights)
        else:
            tape.arrays.put(numbers, weights)
        result = tape.array((self._kernels.samples(lengths), values.shape[1]), values.dtype)
        self._kernels.weighted_sum(weights, values, lengths, result)
        return result, (weights, values, lengths)

    def backward(self, tape, saved, gradient, of_numbers, of_values, _):
        weights, values, lengths = saved
        of_numbers.zero_if_fresh(tape)
        of_values.zero_if_fresh(tape)
        self._kernels.weighted_sum_adjoint(gradient, weights, values, lengths, self._softmax, of_numbers.array, of_values.array)


class WithSums(Operator):
    """x_0 and sums (n, k) -> x_0 in which each sequence has its sum's place instead of its values'."""

    skips_unwanted = True

    def __init__(self, sequences, dim, pooled):
        """sequences : of `Setting.sequences`
        pooled : columns of x_0 that are embeddings; dense features follow
        """
        self._stretches, self._sums, begin, place = [], [], 0, 0  # (begin, end, place): columns of x_0, and where they go
        for one in sequences:
            self._stretches.append((begin, one.begin * dim, place))
            place += one.begin * dim - begin
            self._sums.append(slice(place, place + dim))
            begin, place = one.end * dim, place + dim
        self._stretches.append((begin, pooled, place))
        self._dense, self.pooled = pooled, place + pooled - begin

    def forward(self, tape, x0, *sums):
        dense = x0.shape[1] - self._dense
        x = tape.array((len(x0), self.pooled + dense), x0.dtype)
        for begin, end, place in self._stretches:
            tape.arrays.put(x0[:, begin:end], x[:, place : place + end - begin])
        for one, place in zip(sums, self._sums, strict=True):
            tape.arrays.put(one, x[:, place])
        if dense:
            tape.arrays.put(x0[:, self._dense :], x[:, self.pooled :])
        return x, None

    def backward(self, tape, saved, gradient, of_x0, *of_sums):
        if of_x0 is not None:
            of_x0.zero_if_fresh(tape)
            for begin, end, place in self._stretches:
                tape.arrays.put(gradient[:, place : place + end - begin], of_x0.array[:, begin:end], add=True)
            wanted = of_x0.array.shape[1] - self._dense
            if wanted > 0:
                tape.arrays.put(gradient[:, self.pooled : self.pooled + wanted], of_x0.array[:, self._dense :], add=True)
        for one, place in zip(of_sums, self._sums, strict=True):
            one.add(tape, gradient[:, place])
