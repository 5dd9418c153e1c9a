"""A change of basis inside attention heads: what a head computes stays, but it lies in as few columns as possible.

A head only uses q . k and sum_t a_t v_t W_O, so that any invertible matrix may be put between queries and keys, and
between values and the rows of the output matrix that they meet. The bases chosen here diagonalize what a column is
worth on measured inputs: with C_q the second moment of a head's queries, C_k the covariance of its keys (a constant
key shifts all scores of a query alike, which softmax ignores), and

    C_q^(1/2) C_k^(1/2) = U S V^T,    q' = q C_q^(-1/2) U S^(1/2),    k' = k C_k^(-1/2) V S^(1/2),

q'_i k'_i has the mean square s_i^2, and no other basis leaves less in the last pairs (Eckart and Young). Likewise for
the covariance of the context and W_O W_O^T. Weights change, the function does not.

Holds where folding holds (``crossvote.swstack.pruning.folding``): where scores are q . k and nothing else of a key.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from crossvote.swstack.models.layouts import Layer, matrix_bias, matrix_weight
from crossvote.swstack.pruning.folding import plain_scores

#: A direction with less than this share of a head's largest variance is taken to have that much: what is measured
#: there is rounding.
_LEAST = 1e-7


@dataclass(frozen=True, eq=False)
class HeadMoments:
    """What was measured of a layer's attention: float64[N, N] each.

    queries: second moment of all query columns. keys, contexts: covariances of key columns and of what the attention
    output matrix gets.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    contexts: torch.Tensor


def rotate_heads(model: nn.Module, layer: Layer, moments: HeadMoments) -> None:
    """Change the bases of a layer's heads in place; query, key and value must be matrices of their own with biases.

    Outputs stay the same up to rounding. O(heads * (width^3 + inputs * width^2)) for heads of that width.
    """
    query, key, value = layer.groups["qkv"].matrices
    output = layer.groups["o"].matrices[0]
    heads = layer.groups["qkv"].heads[0]
    width = matrix_weight(model, query).shape[1] // heads
    for columns in (slice(i * width, (i + 1) * width) for i in range(heads)):
        if "query" in layer.folding and plain_scores(model):
            by_query, by_key = _shared_basis(moments.queries[columns, columns], moments.keys[columns, columns])
            _turn(model, query, columns, by_query)
            _turn(model, key, columns, by_key)
        if "value" in layer.folding:
            rows = matrix_weight(model, output)[columns]
            met = rows.double()
            by_value, by_row = _shared_basis(moments.contexts[columns, columns], met @ met.T)
            _turn(model, value, columns, by_value)
            rows.copy_(by_row.T @ met)


def _shared_basis(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bases P and R with P R^T = 1 in which both second moments are the same diagonal, largest first.

    Identities where one of the moments is zero, for any basis is as good then.
    """
    if not (first.any() and second.any()):
        same = torch.eye(len(first), dtype=first.dtype, device=first.device)
        return same, same
    root, inverse = _roots(first)
    other, _ = _roots(second)
    u, s, _ = torch.linalg.svd(root @ other)
    scale = s.clamp_min(_LEAST * float(s.max())).sqrt()
    return inverse @ u * scale, root @ u / scale


def _roots(moment: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Square root of a symmetric matrix, and the inverse of that."""
    values, vectors = torch.linalg.eigh(moment)
    values = values.clamp_min(_LEAST * float(values.max()))
    return (vectors * values.sqrt()) @ vectors.T, (vectors * values.rsqrt()) @ vectors.T


def _turn(model: nn.Module, name: str, columns: slice, basis: torch.Tensor) -> None:
    weight, bias = matrix_weight(model, name), matrix_bias(model, name)
    assert bias is not None
    weight[:, columns] = (weight[:, columns].double() @ basis).to(weight.dtype)
    bias[columns] = (bias[columns].double() @ basis).to(bias.dtype)
