"""Reverse-mode differentiation of a graph that is known in advance: what was applied to what, walked back.

An operator is two functions and what it saves:

    output, saved = operator.forward(tape, *arrays)
    operator.backward(tape, saved, gradient, *into)

`into` has a `Gradient` for every input, or, if the operator says so, None where nobody wants it: the operator writes to its
`array` where it is `fresh`, adds to it otherwise, and then calls `mark_written`; `add` does all of this.  An input's last columns may
be left out of it: a sample's dense features.  Arrays are the backend's, and only its operations compute with them.  `gradient` belongs to the operator from then on.  A graph is recorded for one block of samples by one
thread, so nothing here locks.
"""


class Gradient:
    """The gradient of the loss by one array: `array`, of its shape, and whether nothing has been added to it yet."""

    __slots__ = ("array", "fresh")

    def __init__(self, array, fresh=True):
        self.array, self.fresh = array, fresh

    def add(self, tape, numbers, factor=1.0):
        """Write or add factor times numbers, of which columns that are not wanted are left out."""
        if self.array.ndim == 2:
            numbers = numbers[:, : self.array.shape[1]]
        tape.arrays.put(numbers, self.array, add=not self.fresh, factor=factor)
        self.fresh = False

    def add_product(self, tape, upstream, weights):
        """Write or add upstream weights^T, the gradient by x of x weights, for the columns that are wanted."""
        tape.products.multiply(upstream, weights[: self.array.shape[1]].T, self.array, add=not self.fresh)
        self.fresh = False

    def zero_if_fresh(self, tape):
        """Write zeros, unless something is there already: from now on anybody may add."""
        if self.fresh:
            tape.arrays.fill(self.array, 0)
            self.fresh = False

    def mark_written(self):
        """Somebody has written to all of `array`: from now on it is added to."""
        self.fresh = False


class Discarded(Gradient):
    """A gradient that nobody wants, for operators that compute it all the same: its array is made if it is asked for."""

    __slots__ = ("_make",)

    def __init__(self, make):
        self._make, self.fresh = make, True

    def __getattr__(self, name):
        if name != "array":
            raise AttributeError(name)
        self.array = self._make()
        return self.array


class Node:
    """An array of a graph.  wanted : whether its gradient is;  target : Gradient of an input, made by whoever wants it
    lent : the target's memory, where it is the tape's
    """

    __slots__ = ("array", "lent", "target", "wanted")

    def __init__(self, array, target=None, wanted=True):
        self.array, self.target, self.wanted, self.lent = array, target, wanted, None

    def end_with(self, tape, gradient):
        """A walk back begins here, with this gradient, which becomes the node's own unless it has one."""
        if self.target is None:
            self.target = Gradient(gradient, fresh=False)
        else:  # an input, or an end twice
            self.target.add(tape, gradient)

    def ask_gradient(self, scratch):
        """Its Gradient to fill; the first time in memory of `scratch`, unless it was given one."""
        if self.target is None:
            self.lent = scratch.lend(self.array.shape, self.array.dtype)
            self.target = Gradient(self.lent[: len(self.array)])
        return self.target

    def let_go(self, scratch):
        """It has been walked back: its gradient's memory becomes the next one's, still in the caches."""
        if self.lent is not None:
            scratch.give_back(self.lent)
        self.target = self.lent = None


class Tape:
    """One block of samples under way.

    backend : whose `products` and `arrays` operators use
    scratch : reusable arrays, of the thread: named ones, that an operator needs for a moment, and those that are lent to blocks
    parameters : `Parameters`, read by operators
    slot : where this thread adds up gradients of parameters, of `sums`, a `SlotSums`
    step, first_sample : the step, and the number in the global batch of the block's first sample, for random numbers
    begin : number of that sample among those of this rank
    train : whether a gradient will be asked for, and numbers are dropped
    is_first : whether it is this rank's first block
    """

    def __init__(self, backend, scratch, parameters, sums, slot, step, first_sample, train, is_first, begin=0):
        self.products, self.arrays = backend.products, backend.arrays
        self.scratch, self.parameters, self._sums, self.slot = scratch, parameters, sums, slot
        self.begin, self.step, self.first_sample = begin, step, first_sample
        self.train, self.is_first = train, is_first
        self._records, self._targets, self._lent = [], [], []

    def input(self, array, target=None):
        """A Node of an array from outside.  target : Gradient to fill, which nodes that are parts of each other share.

        It is zero after `backward` where nothing depends on the input.
        """
        if target is not None:
            self._targets.append(target)
        return Node(array, target, target is not None)

    def array(self, shape, dtype):
        """An array of any contents that is this block's until `close`."""
        memory = self.scratch.lend(shape, dtype)
        self._lent.append(memory)
        return memory[: shape[0]]

    def close(self):
        """Give all arrays back: the thread's next block gets the same ones, still in the caches."""
        while self._lent:
            self.scratch.give_back(self._lent.pop())

    def apply(self, operator, *nodes):
        """The Node of what `operator` makes of some nodes."""
        return self._record(operator, nodes, *operator.forward(self, *(node.array for node in nodes)))

    def apply_in_step(self, operator, *nodes):
        """As `apply`, for operators that may span the batch: a generator, which yields what their `forward` yields."""
        made = operator.forward(self, *(node.array for node in nodes))
        if not isinstance(made, tuple):
            made = yield from made
        return self._record(operator, nodes, *made)

    def _record(self, operator, nodes, output, saved):
        result = Node(output, wanted=operator.learns or any(node.wanted for node in nodes))
        if self.train and result.wanted:
            self._records.append((operator, nodes, result, saved))
        return result

    def backward(self, node, gradient):
        """Walk back from `node`, whose gradient this is; every gradient is let go when it has been used.

        A generator: it yields what operators that span the batch yield, see `nn.lockstep`.
        """
        return self.backward_from([(node, gradient)])

    def backward_from(self, ends):
        """As `backward`, from several nodes: (node, gradient) of each."""
        for node, gradient in ends:
            node.end_with(self, gradient)
        while self._records:
            operator, nodes, result, saved = self._records.pop()
            if result.target is None:
                continue  # nothing depends on it
            into = [self._gradient(one, operator.skips_unwanted) for one in nodes]
            walk = operator.backward(self, saved, result.target.array, *into)
            if walk is not None:
                yield from walk
            result.let_go(self.scratch)
        for target in self._targets:
            target.zero_if_fresh(self)

    def add(self, name, compute, rows=None):
        """Add to the gradient of a parameter: compute(out) writes it to an array of the parameter's shape.

        rows : slice or numbers of those rows of the parameter that are meant, all of them if None
        """
        sums, fresh = self._sums.of(self.slot, name)
        if rows is not None and fresh:
            self.arrays.fill(sums, 0)
        elif fresh:
            compute(sums)
            return
        numbered = rows is not None and not isinstance(rows, slice)
        target = sums if rows is None or numbered else sums[rows]
        shape = (len(rows), *sums.shape[1:]) if numbered else target.shape
        part = self.scratch.array("parameter", shape, sums.dtype)
        compute(part)
        if numbered:
            self.arrays.add_rows(part, rows, sums)
        else:
            self.arrays.put(part, target, add=True)

    def add_product(self, name, x, gradient, rows=None):
        """Add x^T gradient, which is by W of x W, to the gradient of a parameter.  rows : see `add`"""
        if rows is None:
            sums, fresh = self._sums.of(self.slot, name)
            self.products.multiply(x.T, gradient, sums, add=not fresh)
        else:
            self.add(name, lambda out: self.products.multiply(x.T, gradient, out), rows)

    def _gradient(self, node, skips_unwanted):
        array = node.array
        if not node.wanted:
            return None if skips_unwanted else Discarded(lambda: self.array(array.shape, array.dtype))
        return node.ask_gradient(self.scratch)


class Operator:
    """What tapes apply.  learns : whether it has parameters, so that it is walked back even where no input wants a gradient
    skips_unwanted : whether `backward` takes None for an input whose gradient nobody wants, and saves its work
    """

    learns, skips_unwanted = False, False

    def forward(self, tape, *arrays):
        """(output, what `backward` needs)."""
        raise NotImplementedError

    def backward(self, tape, saved, gradient, *into):
        """Put the gradient by every input into `into`, and those by parameters into the tape's sums."""
        raise NotImplementedError
