"""xDeepFM's compressed interaction network, CPU, but for its matrix products.  See `nn.cin`.

A row of maps is one coordinate of a sample's embeddings: maps (n k, H), first (n k, F) the embeddings themselves.
"""

import numpy as np


def by_coordinate(embeddings, first):
    """first (n k, F) = embeddings (n, F k), turned."""
    n, fields = len(embeddings), first.shape[1]
    first.reshape(n, len(first) // max(1, n), fields)[...] = embeddings.reshape(n, fields, -1).transpose(0, 2, 1) if n else 0


def by_field(first, embeddings, add):
    """embeddings (n, F k) = first (n k, F) turned back, or += with `add`."""
    n, fields = len(embeddings), first.shape[1]
    turned = first.reshape(n, -1, fields).transpose(0, 2, 1).reshape(embeddings.shape) if n else embeddings
    if add:
        embeddings += turned
    else:
        embeddings[...] = turned


def products(maps, first, out):
    """out (r, H F) = every map times every field."""
    np.multiply(maps[:, :, None], first[:, None, :], out=out.reshape(len(maps), maps.shape[1], first.shape[1]))


def products_adjoint(upstream, maps, first, of_maps, of_first):
    """of_maps (r, H) = sum_f upstream first_f;  of_first (r, F) += sum_h upstream maps_h;  upstream (r, H F)."""
    of_both = upstream.reshape(len(maps), maps.shape[1], first.shape[1])
    np.einsum("nhf,nf->nh", of_both, first, out=of_maps)
    of_first += np.einsum("nhf,nh->nf", of_both, maps)


def sum_coordinates(maps, out):
    """out (n, H) = the sum of each sample's rows of maps (n k, H)."""
    n, h = out.shape
    maps.reshape(n, len(maps) // max(1, n), h).sum(axis=1, out=out)


def spread_coordinates(gradient, of_maps, add):
    """Adjoint of `sum_coordinates`: each sample's rows of of_maps (n k, H) = gradient (n, H), or += with `add`."""
    n, h = gradient.shape
    target = of_maps.reshape(n, len(of_maps) // max(1, n), h)
    if add:
        target += gradient[:, None, :]
    else:
        target[...] = gradient[:, None, :]
