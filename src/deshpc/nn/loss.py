"""Log-loss of logits, and its gradient."""

from deshpc.nn.parts import part, parts_of


def log_loss(backend, zero, logit, labels, gradient, batch_samples, reduction):
    """Sum of the log-losses (float64); fills gradient (n) = p - y, divided by batch_samples if reduction is "mean".

    logit, gradient : (n) of the compute type;  labels : (n) float32;  batch_samples : B, samples of the global batch
    The sum is taken over fixed parts of the samples in a fixed order: it does not depend on the number of threads.
    """
    samples = len(logit)
    scale = type(zero)(1.0 / max(1, batch_samples) if reduction == "mean" else 1.0)

    def of_parts(first, last):
        return [
            backend.loss.log_loss(zero, logit, labels, scale, gradient, *part(samples, p)) for p in range(first, last)
        ]

    return sum(loss for losses in backend.each(of_parts, parts_of(backend.threads)) for loss in losses)
