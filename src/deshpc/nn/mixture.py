"""Experts and gates: a softmax over what a gate says of each expert, and their outputs added up by it."""

from deshpc.nn.tape import Operator


class Mixture(Operator):
    """(gate (n, e), then e experts (n, h)) -> sum_i softmax(gate)_i expert_i (n, h).

    saved : p = softmax(gate), and the experts.  d expert_i = p_i dy;  d gate_i = p_i (a_i - sum_j p_j a_j) with a_i = <dy, expert_i>.
    """

    def __init__(self, backend):
        self._softmax = backend.tasks.softmax

    def forward(self, tape, gate, *experts):
        p, y = tape.array(gate.shape, gate.dtype), tape.array(experts[0].shape, experts[0].dtype)
        self._softmax(gate, p)
        part = tape.scratch.array("part", y.shape, y.dtype)
        for i, expert in enumerate(experts):
            tape.arrays.multiply(expert, p[:, i : i + 1], part if i else y)
            if i:
                tape.arrays.put(part, y, add=True)
        return y, (p, experts)

    def backward(self, tape, saved, gradient, into_gate, *into):
        p, experts = saved
        part = tape.scratch.array("part", gradient.shape, gradient.dtype)
        slopes, of_gate, mean = (tape.scratch.array(name, shape, p.dtype) for name, shape in (("slopes", p.shape), ("of gate", p.shape), ("mean", (len(p), 1))))
        for i, (one, expert) in enumerate(zip(into, experts, strict=True)):
            tape.arrays.multiply(gradient, p[:, i : i + 1], part)
            one.add(tape, part)
            tape.arrays.row_products(gradient, expert, slopes[:, i : i + 1])
        tape.arrays.row_products(p, slopes, mean)
        tape.arrays.multiply(p, slopes, of_gate)
        tape.arrays.subtract_product(mean, p, of_gate)
        into_gate.add(tape, of_gate)
