"""Torch's own attention as matrix modules, so that its projections can be mapped like any other's."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from crossvote.sim.common.errors import UserError


class UnpackedAttention(nn.Module):
    """Self-attention that computes what ``nn.MultiheadAttention`` computes, with its two projections as ``nn.Linear``.

    Torch calls one fused function on the projections' weights, which no crossbar could take over.
    """

    #: Keeps ``nn.TransformerEncoderLayer`` from its own fused path, which reads weights instead of calling modules.
    _qkv_same_embed_dim = False

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.num_heads, self.batch_first = attention.num_heads, attention.batch_first
        self.in_proj = nn.Linear(1, 1)  # takes the place of the packed tensors
        self.in_proj.weight = attention.in_proj_weight
        self.in_proj.bias = attention.in_proj_bias
        width = attention.embed_dim
        self.in_proj.in_features, self.in_proj.out_features = width, 3 * width
        self.out_proj = nn.Linear(1, 1)
        self.out_proj.weight, self.out_proj.bias = attention.out_proj.weight, attention.out_proj.bias
        self.out_proj.in_features = self.out_proj.out_features = width
        self.dropout = attention.dropout
        self.train(attention.training)

    #: ``nn.TransformerEncoder`` looks at it before it decides for its fused path.
    in_proj_bias = None

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
        is_causal: bool = False,
        **_: object,
    ) -> tuple[torch.Tensor, None]:
        """As ``nn.MultiheadAttention.forward`` for query = key = value; no attention weights are returned.

        Raises UserError if query, key and value are not one tensor.
        """
        if key is not query or value is not query:
            raise UserError("attention between two different sequences cannot be mapped; only self-attention can.")
        x = query if self.batch_first else query.transpose(0, 1)
        batch, length, width = x.shape
        parts = self.in_proj(x).view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mask = _added(attn_mask, x.dtype)
        if mask is not None and mask.dim() == 3:  # one per head and example
            mask = mask.view(batch, self.num_heads, length, length)
        if key_padding_mask is not None:
            padding = _added(key_padding_mask, x.dtype)
            assert padding is not None
            mask = padding[:, None, None, :] if mask is None else mask + padding[:, None, None, :]
        y = functional.scaled_dot_product_attention(
            parts[0],
            parts[1],
            parts[2],
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=is_causal and mask is None,
        )
        out = self.out_proj(y.transpose(1, 2).reshape(batch, length, width))
        return (out if self.batch_first else out.transpose(0, 1)), None


def _added(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """A mask to be added to the scores; in torch, True means: not allowed."""
    if mask is None or mask.is_floating_point():
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -torch.inf)


def unpack_attention(model: nn.Module) -> nn.Module:
    """Replace every ``nn.MultiheadAttention`` of ``model``, in place; parameters are kept, their names change.

    Raises UserError if an attention has projections of different widths, or extra biases.
    """
    for path, module in list(model.named_modules()):
        if not isinstance(module, nn.MultiheadAttention):
            continue
        if not module._qkv_same_embed_dim or module.bias_k is not None or module.add_zero_attn:
            raise UserError(
                f"module {path}: attention with keys of another width, key biases or zero keys cannot be mapped."
            )
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent) if parent else model, name, UnpackedAttention(module))
    return model
