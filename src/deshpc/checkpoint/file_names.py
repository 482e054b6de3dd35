"""Names of the files of a model's folder, beside its manifest."""

DENSE = "dense"


def rows_name(rank, ranks):
    """File name of a rank's rows."""
    return f"rank-{rank:05d}-of-{ranks:05d}.rows"


def file_names(ranks):
    """Yield the names of the files of a model that so many ranks have written."""
    yield DENSE
    for rank in range(ranks):
        yield rows_name(rank, ranks)
