"""Models of several tasks, whose logits are (n, T): the twins of `serve.forward.tasks`."""

from deshpc.serve.onnx_graph.layers import inputs, network


def shared_bottom(graph, top):
    """w_t . MLP_t(MLP(x_0))"""
    bottom = network(graph, top, "bottom", graph.joined(*inputs(graph, top)), top.options["hidden"])
    return _towers(graph, top, [bottom] * top.tasks, top.options["task_hidden"])


def mmoe(graph, top):
    """w_t . MLP_t(sum_i softmax(x_0 G_t)_i expert_i(x_0))"""
    x = graph.joined(*inputs(graph, top))
    experts = _experts(graph, top, "experts", x, top.options["experts"])
    return _towers(graph, top, [_mixed(graph, f"gate.{t}", x, experts) for t in range(top.tasks)], top.options["task_hidden"])


def ple(graph, top):
    """Levels of experts, a task's own and shared ones, which gates weigh."""
    options, shared = top.options, graph.joined(*inputs(graph, top))
    ways = [shared] * top.tasks
    for level in range(options["expert_levels"]):
        name = f"level.{level}"
        own = [_experts(graph, top, f"{name}.task.{t}", x, options["task_experts"]) for t, x in enumerate(ways)]
        of_all = _experts(graph, top, f"{name}.shared", shared, options["experts"])
        ways = [_mixed(graph, f"{name}.gate.{t}", x, own[t] + of_all) for t, x in enumerate(ways)]
        if level < options["expert_levels"] - 1:
            shared = _mixed(graph, f"{name}.gate.shared", shared, [expert for some in own for expert in some] + of_all)
    return _towers(graph, top, ways, options["task_hidden"])


def esmm(graph, top):
    """Logits of a click, and of both it and a conversion: - log(exp(-a) + exp(-b) + exp(-a - b))"""
    towers = _towers(graph, top, [graph.joined(*inputs(graph, top))] * 2, top.options["hidden"])
    negative = graph.node("Neg", towers)
    both = graph.node("ReduceSum", negative, graph.integers(1), keepdims=1)
    joint = graph.node("Neg", graph.node("ReduceLogSumExp", graph.node("Concat", negative, both, axis=1), axes=[1], keepdims=1))
    return graph.node("Concat", graph.column(towers, 0), joint, axis=1)


def _towers(graph, top, ways, hidden):
    """(n, T): the towers' units side by side, and the bias."""
    made = [
        graph.node("MatMul", network(graph, top, f"task.{t}", x, hidden), graph.parameter(f"task.{t}.out.weights")) for t, x in enumerate(ways)
    ]
    return graph.node("Add", graph.node("Concat", *made, axis=1), graph.parameter("bias"))


def _experts(graph, top, name, x, count):
    return [network(graph, top, f"{name}.{i}", x, top.options["hidden"]) for i in range(count)]


def _mixed(graph, name, x, experts):
    """The experts' sum by softmax(x G)."""
    p = graph.node("Softmax", graph.node("MatMul", x, graph.parameter(f"{name}.weights")), axis=1)
    beside = graph.node("Concat", *(graph.node("Unsqueeze", expert, graph.integers(1)) for expert in experts), axis=1)  # (n, e, h)
    return graph.reduce_sum(graph.node("Mul", graph.node("Unsqueeze", p, graph.integers(2)), beside), 1)
