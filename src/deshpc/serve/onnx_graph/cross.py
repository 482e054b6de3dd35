"""Cross networks beside a deep one: DCN and DCN-v2."""

from deshpc.serve.onnx_graph.layers import deep, inputs, product


def dcn(graph, top):
    """w_out . x_L + w . MLP(x_0), with x_{l+1} = x_0 (x_l . w_l) + b_l + x_l"""
    x0 = x = graph.joined(*inputs(graph, top))
    weights, biases = top.parameters["cross.weights"], top.parameters["cross.bias"]
    for layer, bias in enumerate(biases):
        scalar = graph.node("MatMul", x, graph.constant(f"cross.{layer}.weights", weights[:, layer : layer + 1]))
        x = graph.sum(graph.node("Mul", x0, scalar), graph.constant(f"cross.{layer}.bias", bias), x)
    return [graph.node("MatMul", x, graph.constant("cross.out.weights", weights[:, -1])), *deep(graph, top, x0)]


def dcnv2(graph, top):
    """w_out . x_L + w . MLP(x_0), with x_{l+1} = x_0 * (x_l W_l + b_l) + x_l"""
    x0 = x = graph.joined(*inputs(graph, top))
    matrices = ("narrow", "wide") if top.options["cross_rank"] else ("weights",)
    for layer in range(top.options["cross_layers"]):
        z = x
        for matrix in matrices:
            z = graph.node("MatMul", z, graph.parameter(f"cross.{layer}.{matrix}"))
        z = graph.node("Add", z, graph.parameter(f"cross.{layer}.bias"))
        x = graph.node("Add", graph.node("Mul", x0, z), x)
    return [product(graph, "cross.out", x), *deep(graph, top, x0)]
