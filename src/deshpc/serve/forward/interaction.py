"""Interactions of fields: DLRM's dot products and xDeepFM's compressed interaction network (CIN)."""

import numpy as np

from deshpc.serve.forward.deep import Deep, WideDeep
from deshpc.serve.forward.layers import joined, network, network_shapes, outputs, product

_BYTES = 1 << 23  # of products of a CIN held at a time


class DLRM(Deep):
    """z = MLP of dense;  logit = bias + w . MLP(z and <e_f, e_h> for all f > h), with e_0 .. e_{F-1} = E and e_F = z"""

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        inputs, hidden = top.dim + top.n_fields * (top.n_fields + 1) // 2, top.options["hidden"]
        yield "bias", ()
        yield from network_shapes(top, "bottom", top.n_dense, (*top.options["bottom_hidden"], top.dim))
        yield from network_shapes(top, "top", inputs, hidden)
        yield "top.out.weights", (outputs(inputs, hidden), 1)

    def logit(self, E, dense):
        """(n) float64 of pooled rows E (n, F k) and dense features (n, n_dense)."""
        top = self._top
        z = network(top, "bottom", dense, (*top.options["bottom_hidden"], top.dim))
        vectors = joined(E, z).reshape(len(E), top.n_fields + 1, top.dim)
        later, earlier = np.tril_indices(top.n_fields + 1, -1)
        dots = (vectors @ vectors.transpose(0, 2, 1))[:, later, earlier]
        return self._parameters["bias"] + product(top, "top.out", network(top, "top", joined(z, dots), top.options["hidden"]))


class XDeepFM(WideDeep):
    """logit = bias + c + w_d . dense + w . MLP(x_0) + w_cin . CIN(E), with c = sum w xl

    CIN: X^{l+1}_h = sum_{i, f} W^l_ifh X^l_i * X^0_f, with X^0 = E;  the sums of all X^l_h with l >= 1 over their coordinates
    """

    own_dims = False

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from super().shapes(top)
        maps, layers = top.n_fields, top.options["cin_layers"]
        for layer, out in enumerate(layers):
            yield f"cin.{layer}.weights", (maps * top.n_fields, out)
            maps = out
        yield "cin.out.weights", (sum(layers), 1)

    def logit(self, E, c, dense):
        """(n) float64 of pooled rows E (n, F k), c (n) and dense features (n, n_dense)."""
        return super().logit(E, c, dense) + product(self._top, "cin.out", self._interactions(E))

    def _interactions(self, E):
        """(n, sum of H_l): CIN of E, some samples at a time."""
        top = self._top
        fields = np.ascontiguousarray(E.reshape(len(E), top.n_fields, top.dim).transpose(0, 2, 1))
        maps = max(top.n_fields, *top.options["cin_layers"], 1)
        samples = max(1, _BYTES // (8 * maps * max(1, top.n_fields) * top.dim))
        return np.concatenate([self._of_some(fields[i : i + samples]) for i in range(0, max(1, len(E)), samples)])

    def _of_some(self, fields):
        """The same of the coordinates fields (n, k, F) of some samples."""
        maps, sums = fields, [np.empty((len(fields), 0))]
        for layer, out in enumerate(self._top.options["cin_layers"]):
            weights = self._parameters[f"cin.{layer}.weights"].reshape(maps.shape[2], fields.shape[2], out)
            maps = np.tensordot(np.einsum("nci,ncf->ncif", maps, fields), weights, 2)
            sums.append(maps.sum(axis=1))
        return joined(*sums)
