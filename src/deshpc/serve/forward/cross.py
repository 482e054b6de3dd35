"""Cross networks beside a deep one: DCN and DCN-v2."""

from deshpc.serve.forward.deep import Deep
from deshpc.serve.forward.layers import joined, product


class DCN(Deep):
    """x_{l+1} = x_0 (x_l . w_l) + b_l + x_l;  logit = bias + w_out . x_L + w . MLP(x_0)"""

    own_dims = True

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from super().shapes(top)
        layers = top.options["cross_layers"]
        yield "cross.weights", (cls.inputs(top), layers + 1)
        yield "cross.bias", (layers, cls.inputs(top))

    def logit(self, E, dense):
        """(n) float64 of pooled rows E (n, F k) and dense features (n, n_dense)."""
        x0 = x = joined(E, dense)
        *weights, w_out = self._parameters["cross.weights"].T
        for w, b in zip(weights, self._parameters["cross.bias"], strict=True):
            x = x0 * (x @ w)[:, None] + b + x
        return self._parameters["bias"] + x @ w_out + self._deep(x0)


class DCNv2(Deep):
    """x_{l+1} = x_0 * (x_l W_l + b_l) + x_l;  logit = bias + w_out . x_L + w . MLP(x_0)"""

    own_dims = True

    @classmethod
    def shapes(cls, top):
        """(name, shape) of each dense parameter."""
        yield from super().shapes(top)
        inputs, rank = cls.inputs(top), top.options["cross_rank"]
        for layer in range(top.options["cross_layers"]):
            if rank:
                yield f"cross.{layer}.narrow", (inputs, rank)
                yield f"cross.{layer}.wide", (rank, inputs)
            else:
                yield f"cross.{layer}.weights", (inputs, inputs)
            yield f"cross.{layer}.bias", (inputs,)
        yield "cross.out.weights", (inputs, 1)

    def logit(self, E, dense):
        """(n) float64 of pooled rows E (n, F k) and dense features (n, n_dense)."""
        x0 = x = joined(E, dense)
        for layer in range(self._top.options["cross_layers"]):
            x = x0 * (self._product(f"cross.{layer}", x) + self._parameters[f"cross.{layer}.bias"]) + x
        return self._parameters["bias"] + product(self._top, "cross.out", x) + self._deep(x0)

    def _product(self, layer, x):
        """x W (n, d), W full or of low rank."""
        if self._top.options["cross_rank"]:
            return x @ self._parameters[f"{layer}.narrow"] @ self._parameters[f"{layer}.wide"]
        return x @ self._parameters[f"{layer}.weights"]
