"""Experts and gates: a softmax over what a gate says of each expert, and their outputs added up by it.  Arrays are the host's."""

import numpy as np

from deshpc.nn.tape import Operator


class Mixture(Operator):
    """(gate (n, e), then e experts (n, h)) -> sum_i softmax(gate)_i expert_i (n, h).

    saved : p = softmax(gate), and the experts.  d expert_i = p_i dy;  d gate_i = p_i (a_i - sum_j p_j a_j) with a_i = <dy, expert_i>.
    """

    def forward(self, tape, gate, *experts):
        p = _softmax(gate)
        y = tape.array(experts[0].shape, experts[0].dtype)
        np.multiply(experts[0], p[:, :1], out=y)
        for i, expert in enumerate(experts[1:], 1):
            y += expert * p[:, i : i + 1]
        return y, (p, experts)

    def backward(self, tape, saved, gradient, into_gate, *into):
        p, experts = saved
        for i, one in enumerate(into):
            one.add(tape, gradient * p[:, i : i + 1])
        slopes = np.stack([np.einsum("ij,ij->i", gradient, expert) for expert in experts], axis=1)
        slopes -= np.einsum("ij,ij->i", p, slopes)[:, None]
        into_gate.add(tape, p * slopes)


def _softmax(gate):
    e = np.exp(gate - gate.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
