"""Layer and batch normalisation, CPU.  See `nn.normalisation`.

x, gradient, normal and y are (n, h); gain and shift (h); statistics of a batch (h) float64.  Sums over a batch are one array, so that
they can be added up over ranks:   (2 h + 1) float64 = [n, h sums, h other sums]
"""

import numpy as np


def layer(x, gain, shift, epsilon, inverse, normal, y):
    """normal = (x - mean) inverse, inverse (n, 1) = 1 / sqrt(variance + epsilon), of each sample;  y = gain normal + shift."""
    np.subtract(x, x.mean(axis=1, keepdims=True), out=normal)
    inverse[...] = 1 / np.sqrt(np.square(normal).mean(axis=1, keepdims=True) + x.dtype.type(epsilon))
    normal *= inverse
    np.multiply(normal, gain, out=y)
    y += shift


def layer_adjoint(gradient, normal, inverse, gain):
    """gradient = that by x, from that by y:  inverse (d - mean d - normal mean (d normal)), d = gradient gain."""
    gradient *= gain
    own = np.einsum("nh,nh->n", gradient, normal)[:, None] / gradient.shape[1]
    gradient -= gradient.mean(axis=1, keepdims=True)
    gradient -= normal * own
    gradient *= inverse


def moments(x, sums):
    """sums = [n, sum x, sum x^2]."""
    h = x.shape[1]
    sums[0] = len(x)
    x.sum(axis=0, dtype=np.float64, out=sums[1 : 1 + h])
    np.square(x, dtype=np.float64).sum(axis=0, out=sums[1 + h :])


def statistics(sums, mean, variance):
    """mean and variance of the samples whose moments these are; zeros without samples."""
    h, count = len(mean), max(1.0, sums[0])
    np.divide(sums[1 : 1 + h], count, out=mean)
    np.maximum(0.0, sums[1 + h :] / count - mean * mean, out=variance)


def keep(sums, mean, variance, momentum, kept_mean, kept_variance):
    """Move the kept statistics, of the compute type, towards these by a share of the way; the variance is made unbiased.

    Nothing happens without samples."""
    count = sums[0]
    if count:
        kept_mean += momentum * (mean - kept_mean)
        kept_variance += momentum * (variance * count / max(1.0, count - 1) - kept_variance)


def standardise(x, mean, variance, epsilon, gain, shift, inverse, normal, y):
    """normal = (x - mean) inverse, inverse (h) = 1 / sqrt(variance + epsilon);  y = gain normal + shift.

    mean, variance : of a batch, or those kept
    """
    inverse[...] = 1 / np.sqrt(variance + epsilon)
    np.subtract(x, mean.astype(x.dtype), out=normal)
    normal *= inverse
    np.multiply(normal, gain, out=y)
    y += shift


def adjoint_sums(gradient, normal, of_shift, of_gain, sums):
    """of_shift (h) = sum gradient, of_gain (h) = sum gradient normal;  sums = [n, of_shift, of_gain]."""
    gradient.sum(axis=0, out=of_shift)
    np.einsum("nh,nh->h", gradient, normal, out=of_gain)
    h = len(of_shift)
    sums[0], sums[1 : 1 + h], sums[1 + h :] = len(gradient), of_shift, of_gain


def batch_adjoint(gradient, normal, inverse, gain, sums):
    """gradient = that by x, from that by y, with the sums over the batch:  inverse gain (g - mean g - normal mean (g normal))."""
    h, count, kind = len(gain), max(1.0, sums[0]), gradient.dtype
    gradient -= (sums[1 : 1 + h] / count).astype(kind)
    gradient -= normal * (sums[1 + h :] / count).astype(kind)
    gradient *= inverse * gain
