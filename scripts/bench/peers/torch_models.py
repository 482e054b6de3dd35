"""Logistic regression and factorization machine in PyTorch, with one fused sparse table, as the torch workers train them.

    logit = b + sum w + d . s                                   LR
          + 1/2 sum_c (A_c^2 - sum_j v_jc^2 - sum_i (d_i f_ic)^2),  A = sum_j v_j + sum_i d_i f_i     FM: the numbers
                                                                take part, as in deshpc

A row of FM's table is [v, w], so that a sample looks up each value once.
"""

import torch

BATCH, DIM, RATE, ACCUMULATOR = 8192, 16, 0.05, 0.1


class LR(torch.nn.Module):
    def __init__(self, rows, numbers):
        super().__init__()
        self.table = torch.nn.EmbeddingBag(rows, 1, mode="sum", sparse=True)
        torch.nn.init.zeros_(self.table.weight)
        self.top = torch.nn.Linear(numbers, 1)
        torch.nn.init.zeros_(self.top.weight)

    def forward(self, indices, dense):
        return (self.table(indices) + self.top(dense)).squeeze(1)


class FMTop(torch.nn.Module):
    """Complete FM from looked-up rows: (n, 26, >= 17), of which columns beyond 16 are not used."""

    WIDTH = DIM + 1

    def __init__(self, numbers):
        super().__init__()
        self.linear = torch.nn.Linear(numbers, 1)
        torch.nn.init.zeros_(self.linear.weight)
        self.factors = torch.nn.Parameter(torch.empty(numbers, DIM).uniform_(-0.017, 0.017))

    def forward(self, rows, dense):
        v, w = rows[:, :, :DIM], rows[:, :, DIM]
        sums = v.sum(1) + dense @ self.factors
        squares = torch.linalg.vector_norm(v, dim=(1, 2)).square() + dense.square() @ self.factors.square().sum(1)
        return self.linear(dense).squeeze(1) + w.sum(1) + 0.5 * (sums.square().sum(1) - squares)


class FM(torch.nn.Module):
    def __init__(self, rows, numbers):
        super().__init__()
        self.table = torch.nn.Embedding(rows, DIM + 1, sparse=True)
        first_weights(self.table.weight)
        self.top = FMTop(numbers)

    def forward(self, indices, dense):
        return self.top(self.table(indices), dense)


def first_weights(table):
    """Fill a table of rows [v, w, unused] or v: v uniform with standard deviation 0.01, the rest 0."""
    with torch.no_grad():
        table.zero_()
        table[:, :DIM].uniform_(-0.017, 0.017)


def loss_of(logits, labels):
    """Summed: Adagrad's steps then hardly depend on the batch size."""
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")


def batches(begin, end, size=BATCH):
    """Slices of `size` rows; no copies are made of the arrays that they are taken from."""
    return [slice(at, min(at + size, end)) for at in range(begin, end, size)]


def warm_up(batches):
    """The batches of a warm-up: the first three, and the last one, whose size differs."""
    return [*batches[:3], batches[-1]]
