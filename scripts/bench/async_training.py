"""Asynchronous training by a parameter server: one process has all weights, workers pull, compute and push as they come.

A worker takes the next batch of the epoch's order, pulls the weights of its distinct rows and all dense weights, and pushes their
gradients.  The server applies each push when it arrives, by Adagrad, to the weights that it has by then: nobody waits for anybody.
The *staleness* of a push is how many other pushes were applied since its pull.
"""

import multiprocessing
import time
from multiprocessing.connection import wait
from typing import NamedTuple

import numpy as np
from async_model import Weights
from scipy.stats import rankdata

EPSILON = 1e-8
EVALUATED_AT_A_TIME = 8192


class Rule(NamedTuple):
    """Adagrad: rate, initial accumulator, and L2 of rows, once for each push that has the row."""

    rate: float
    accumulator: float
    l2: float


class Server:
    """All weights.  Rows that no push has had yet count as zeros when it scores."""

    def __init__(self, first_weights, rule):
        self._weights, self._rule = first_weights, rule
        self._squares = _mapped(lambda weights: np.full_like(weights, rule.accumulator), first_weights)
        self._seen = np.zeros(len(first_weights.linear), bool)
        self.pushes = 0

    def pull(self, rows):
        """A copy of the Weights of rows."""
        linear, embeddings, dense = self._weights
        return Weights(linear[rows], embeddings[rows], [one.copy() for one in dense])

    def push(self, rows, gradients):
        """Apply gradients of distinct rows, and of all dense weights."""
        own, squares, rule = self._weights, self._squares, self._rule
        self._seen[rows] = True
        for weights, sums, gradient in zip(own[:2], squares[:2], gradients[:2], strict=True):
            whole = gradient + rule.l2 * weights[rows]
            sums[rows] += np.square(whole)
            weights[rows] -= rule.rate * whole / (np.sqrt(sums[rows]) + EPSILON)
        for weights, sums, gradient in zip(own.dense, squares.dense, gradients.dense, strict=True):
            sums += np.square(gradient)
            weights -= rule.rate * gradient / (np.sqrt(sums) + EPSILON)
        self.pushes += 1

    def auc(self, model, samples):
        """Area under the curve of `samples`."""
        linear, embeddings, dense = self._weights
        known = Weights(linear, embeddings * self._seen[:, None], dense)
        scores = []
        for begin in range(0, len(samples), EVALUATED_AT_A_TIME):
            batch = samples.batch(np.arange(begin, min(begin + EVALUATED_AT_A_TIME, len(samples))))
            scores.append(model.logits(batch, Weights(known.linear[batch.rows], known.embeddings[batch.rows], dense)))
        return area(np.concatenate(scores), samples.labels)


def area(scores, labels):
    """Area under the ROC curve; ties count half."""
    ranks, positive = rankdata(scores), labels > 0
    count, others = positive.sum(), len(labels) - positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def train(model, server, samples, held_out, batches, paces, every):
    """Train by `batches`, an iterable of sample numbers (b): ([(samples, AUC of held_out)], (pushes) staleness).

    paces : of each worker, how many times as long as its computing it takes from pull to push: 1 where nothing slows it down
    every : samples between evaluations
    """
    context, batches = multiprocessing.get_context("fork"), iter(batches)
    channels, workers = zip(*(_started(context, model, samples, pace) for pace in paces), strict=True)
    pulled, sizes, trained, points, staleness = {}, {}, 0, [], []

    def hand_out(channel):
        batch = next(batches, None)
        if batch is None:
            channel.send(None)
            running.remove(channel)
        else:
            sizes[channel] = len(batch)
            channel.send(batch)

    running = list(channels)
    for channel in channels:
        hand_out(channel)
    while running:
        for channel in wait(running):
            rows, gradients = channel.recv()
            if gradients is None:
                pulled[channel] = server.pushes
                channel.send(server.pull(rows))
                continue
            staleness.append(server.pushes - pulled[channel])
            server.push(rows, gradients)
            trained += sizes[channel]
            if trained // every > (trained - sizes[channel]) // every:
                points.append((trained, server.auc(model, held_out)))
            hand_out(channel)
    for worker in workers:
        worker.join()
    return points, np.array(staleness)


def _started(context, model, samples, pace):
    """(the server's end of the channel, process) of a worker."""
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, model, samples, pace), daemon=True)
    process.start()
    there.close()  # so that the end of a worker that fails is seen
    return here, process


def _work(channel, model, samples, pace):
    """A worker: until the server has no batch left."""
    while (numbers := channel.recv()) is not None:
        batch = samples.batch(numbers)
        channel.send((batch.rows, None))
        weights = channel.recv()
        begin = time.perf_counter()
        gradients = model.gradients(batch, weights)
        time.sleep((pace - 1) * (time.perf_counter() - begin))
        channel.send((batch.rows, gradients))


def _mapped(function, weights):
    return Weights(function(weights.linear), function(weights.embeddings), [function(one) for one in weights.dense])
