"""Deep models in PyTorch, as the torch, FBGEMM and torchrec workers train them: what follows the looked-up rows.

    x0 = [v of 26 fields, 13 numbers]                                         v : 16 numbers, so 429 inputs

    wide_deep    b + sum w + d . w_d + MLP(x0)
    deepfm       the same + 1/2 sum_c ((sum_j v_jc)^2 - sum_j v_jc^2)
    dcn          b + w . [x_3, h(x0)],   x_{l+1} = x0 (x_l . w_l) + b_l + x_l       h : hidden layers
    dcnv2        the same with           x_{l+1} = x0 * (W_l x_l + b_l) + x_l       W_l : full
    dlrm         MLP([v_i . v_j of all pairs, y]),   y = MLP(d), one more v of the pairs

A top takes rows (n, fields, >= WIDTH), [v, w] or v, and the numbers (n, 13); it gives logits (n).  Everything is float32.

What is fastest is used: ReLU in place, a fused Adagrad, the pairs by one `index_select` of all dots; inputs padded to a multiple
of 16 were hardly faster.  A job's "compiled" has the top compiled by `torch.compile`, which takes a C++ compiler: elementwise
work becomes one pass, and DCN's cross layers cost next to nothing.  DLRM was no faster for it, nor were torchrec's processes.  Sizes
are compiled as they are, so a warm-up has to meet both that occur (`torch_models.warm_up`).
"""

import torch
from torch_models import DIM, RATE, FMTop, first_weights

# Of all dense parameters: Adagrad's first steps are this long, and hidden layers' first weights are about 0.05.  At RATE DLRM's test AUC is
# 0.675 instead of 0.745; that of DeepFM and DCN differs by 0.003.
DENSE_RATE = 0.01
CROSS_LAYERS, BOTTOM_HIDDEN = 3, (512, 256)


def hidden_layers(inputs, widths):
    """Linear layers of these widths, each with a ReLU."""
    layers = []
    for before, after in zip((inputs, *widths), widths, strict=False):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU(inplace=True)]
    return torch.nn.Sequential(*layers)


def mlp(inputs, widths):
    """Hidden layers and a last one of one output."""
    return hidden_layers(inputs, widths).append(torch.nn.Linear(widths[-1], 1))


class WideDeep(torch.nn.Module):
    WIDTH = DIM + 1

    def __init__(self, fields, numbers, hidden):
        super().__init__()
        self.linear = torch.nn.Linear(numbers, 1, bias=False)
        torch.nn.init.zeros_(self.linear.weight)
        self.deep = mlp(fields * DIM + numbers, hidden)

    def forward(self, rows, dense):
        inputs = torch.cat([rows[:, :, :DIM].flatten(1), dense], 1)
        return (self.linear(dense) + self.deep(inputs)).squeeze(1) + rows[:, :, DIM].sum(1)


class DeepFM(WideDeep):
    def forward(self, rows, dense):
        v = rows[:, :, :DIM]
        pairs = v.sum(1).square().sum(1) - torch.linalg.vector_norm(v, dim=(1, 2)).square()
        return super().forward(rows, dense) + 0.5 * pairs


class VectorCross(torch.nn.Module):
    """The cross layers of DCN."""

    def __init__(self, inputs):
        super().__init__()
        bound = inputs**-0.5
        self.weights = torch.nn.Parameter(torch.empty(CROSS_LAYERS, inputs).uniform_(-bound, bound))
        self.biases = torch.nn.Parameter(torch.zeros(CROSS_LAYERS, inputs))

    def forward(self, first):
        x = first
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = first * (x @ weight).unsqueeze(1) + bias + x
        return x


class MatrixCross(torch.nn.Module):
    """The cross layers of DCN-v2."""

    def __init__(self, inputs):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(inputs, inputs) for _ in range(CROSS_LAYERS)])

    def forward(self, first):
        x = first
        for layer in self.layers:
            x = first * layer(x) + x
        return x


class DCN(torch.nn.Module):
    WIDTH, CROSS = DIM, VectorCross

    def __init__(self, fields, numbers, hidden):
        super().__init__()
        inputs = fields * DIM + numbers
        self.cross, self.deep = self.CROSS(inputs), mlp(inputs, hidden)
        self.last = torch.nn.Linear(inputs, 1, bias=False)  # of the cross layers; that of the hidden ones is mlp's

    def forward(self, rows, dense):
        inputs = torch.cat([rows[:, :, :DIM].flatten(1), dense], 1)
        return (self.last(self.cross(inputs)) + self.deep(inputs)).squeeze(1)


class DCNv2(DCN):
    CROSS = MatrixCross


class DLRM(torch.nn.Module):
    WIDTH = DIM

    def __init__(self, fields, numbers, hidden):
        super().__init__()
        vectors = fields + 1
        i, j = torch.tril_indices(vectors, vectors, -1)
        self.register_buffer("pairs", i * vectors + j, persistent=False)
        self.bottom = hidden_layers(numbers, (*BOTTOM_HIDDEN, DIM))
        self.top = mlp(len(self.pairs) + DIM, hidden)

    def forward(self, rows, dense):
        y = self.bottom(dense)
        vectors = torch.cat([y.unsqueeze(1), rows[:, :, :DIM]], 1)
        dots = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, self.pairs)
        return self.top(torch.cat([dots, y], 1)).squeeze(1)


DEEP = {"wide_deep": WideDeep, "deepfm": DeepFM, "dcn": DCN, "dcnv2": DCNv2, "dlrm": DLRM}


def width_of(job):
    """Numbers of a row of the job's model, padded to fours, which FBGEMM wants."""
    return -(-DEEP.get(job.get("model"), FMTop).WIDTH // 4) * 4


def top_of(job, fields, numbers):
    """(top, rate of its parameters) of the job: "model" (fm, or one of DEEP with "hidden", its widths), "compiled"."""
    name = job.get("model", "fm")
    top = FMTop(numbers) if name == "fm" else DEEP[name](fields, numbers, job["hidden"])
    if job.get("compiled"):
        top.compile(dynamic=False)
    return top, RATE if name == "fm" else DENSE_RATE


class Deep(torch.nn.Module):
    """A deep model with one fused sparse table."""

    def __init__(self, job, rows, fields, numbers):
        super().__init__()
        self.top, self.rate = top_of(job, fields, numbers)
        self.table = torch.nn.Embedding(rows, self.top.WIDTH, sparse=True)
        first_weights(self.table.weight)

    def forward(self, indices, dense):
        return self.top(self.table(indices), dense)

    def groups(self):
        """Parameters as an optimizer takes them."""
        return [
            {"params": list(self.table.parameters())},
            {"params": list(self.top.parameters()), "lr": self.rate, "fused": True},
        ]
