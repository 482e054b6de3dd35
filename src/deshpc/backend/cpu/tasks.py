"""Several labels of a sample: what each of them needs, gates of experts, and the chance that two events both happen, CPU."""

import numpy as np


def of_task(logit, labels, task, weight, weights):
    """One task's (logit (n), labels (n) float32, 0 where one is not known, what each sample counts (n) float32, room for slopes (n)).

    logit (n, T); labels (n, T) float32, NaN where one is not known, and the sample counts 0;  weights : (n) float32, or None
    """
    own = labels[:, task]
    known = ~np.isnan(own)
    counts = np.where(known, np.float32(weight) if weights is None else np.float32(weight) * weights, np.float32(0))
    return np.ascontiguousarray(logit[:, task]), np.where(known, own, np.float32(0)), counts, np.empty(len(logit), logit.dtype)


def softmax(gate, p):
    """p (n, e) = exp(gate) over its sum, of each sample."""
    np.exp(gate - gate.max(axis=1, keepdims=True), out=p)
    p /= p.sum(axis=1, keepdims=True)


def both_happen(logits, both, parts):
    """both (n, 2) = a, and the logit of p q, of logits (n, 2) a, b with p = 1 / (1 + exp(-a)), q = 1 / (1 + exp(-b)).

    It is -log(exp(-a) + exp(-b) + exp(-a - b)), which overflows nowhere.  parts (n, 3) = the three terms over their sum.
    """
    a, b = logits[:, 0], logits[:, 1]
    terms = np.stack([-a, -b, -a - b], axis=1)
    most = terms.max(axis=1)
    np.exp(terms - most[:, None], out=parts)
    whole = parts[:, 0] + parts[:, 1] + parts[:, 2]
    both[:, 0] = a
    both[:, 1] = -(most + np.log(whole))
    parts /= whole[:, None]


def both_happen_adjoint(gradient, parts, slopes):
    """slopes (n, 2) by a and b, from those by `both`: part 1 and part 3 by a, part 2 and part 3 by b."""
    slopes[:, 0] = gradient[:, 0] + gradient[:, 1] * (parts[:, 0] + parts[:, 2])
    slopes[:, 1] = gradient[:, 1] * (parts[:, 1] + parts[:, 2])
