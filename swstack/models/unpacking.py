"""Attention whose projections are bare tensors as matrix modules, so that they can be mapped like any other's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.models.xlnet.modeling_xlnet import XLNetRelativeAttention

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

        Raises:
            UserError: query, key and value are not one tensor.
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


class UnpackedRelativeAttention(XLNetRelativeAttention):
    """XLNet's attention with query, key, value and output as ``nn.Linear``, where XLNet has tensors of an einsum.

    What is projected of the positions (``r``) is the same for every input and stays a tensor. ``state_dict`` has the
    names and shapes that XLNet gives them, so that what is saved is XLNet's, and either can load the other's.
    """

    q: nn.Module  # type: ignore[assignment]
    k: nn.Module  # type: ignore[assignment]
    v: nn.Module  # type: ignore[assignment]
    o: nn.Module  # type: ignore[assignment]
    _MATRICES = ("q", "k", "v", "o")

    def __init__(self, attention: XLNetRelativeAttention) -> None:
        nn.Module.__init__(self)
        self.n_head, self.d_head, self.d_model = attention.n_head, attention.d_head, attention.d_model
        self.scale = attention.scale
        for name in self._MATRICES:
            setattr(self, name, _linear(self._to_matrix(name, getattr(attention, name).detach())))
        for name in ("r", "r_r_bias", "r_s_bias", "r_w_bias", "seg_embed", "layer_norm", "dropout"):
            setattr(self, name, getattr(attention, name))
        self.train(attention.training)

    def _to_matrix(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Outputs x inputs of the hidden size x heads x width of a head that XLNet keeps of every matrix."""
        flat = tensor.reshape(self.d_model, self.n_head * self.d_head)
        return flat if name == "o" else flat.T.contiguous()

    def _to_tensor(self, name: str, matrix: torch.Tensor) -> torch.Tensor:
        flat = matrix if name == "o" else matrix.T
        return flat.reshape(self.d_model, self.n_head, self.d_head).contiguous()

    def state_dict(self, *args: Any, prefix: str = "", **options: Any) -> Any:
        """As of any module, by XLNet's names and shapes; a matrix that is on crossbars is not in it."""
        found = super().state_dict(*args, prefix=prefix, **options)
        for name in self._MATRICES:
            if f"{prefix}{name}.weight" in found:
                found[f"{prefix}{name}"] = self._to_tensor(name, found.pop(f"{prefix}{name}.weight"))
        return found

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self._MATRICES:
            if f"{prefix}{name}" in state_dict:
                state_dict[f"{prefix}{name}.weight"] = self._to_matrix(name, state_dict.pop(f"{prefix}{name}"))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _projected(self, matrix: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """[length, batch, heads, width of a head] of [length, batch, hidden]."""
        return matrix(x).view(*x.shape[:-1], self.n_head, self.d_head)  # type: ignore[no-any-return]

    def post_attention(self, h: torch.Tensor, attn_vec: torch.Tensor, residual: bool = True) -> torch.Tensor:
        """Output projection, residual and norm."""
        out = self.dropout(self.o(attn_vec.flatten(-2)))
        return self.layer_norm(out + h if residual else out)  # type: ignore[no-any-return]

    def forward(
        self,
        h: torch.Tensor,
        g: torch.Tensor | None,
        attn_mask_h: torch.Tensor | None,
        attn_mask_g: torch.Tensor | None,
        r: torch.Tensor,
        seg_mat: torch.Tensor | None,
        mems: torch.Tensor | None = None,
        target_mapping: torch.Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Any, ...]:
        """As ``XLNetRelativeAttention.forward``: the stream of contents, that of queries if there is one, weights."""
        queries = self._projected(self.q, h)  # first, so that a trace finds the usual order
        seen = h if mems is None or mems.dim() <= 1 else torch.cat([mems, h], dim=0)
        keys, values = self._projected(self.k, seen), self._projected(self.v, seen)
        positions = torch.einsum("ibh,hnd->ibnd", r.type(self.r.dtype), self.r)
        weights = []

        def attended(
            x: torch.Tensor, queries: torch.Tensor, mask: torch.Tensor | None, mapping: torch.Tensor | None
        ) -> torch.Tensor:
            if mapping is not None:
                queries = torch.einsum("mbnd,mlb->lbnd", queries, mapping)
            found = self.rel_attn_core(  # type: ignore[no-untyped-call]
                queries, keys, values, positions, seg_mat, mask, output_attentions
            )
            if output_attentions:
                found, share = found
                weights.append(share)
            if mapping is not None:
                found = torch.einsum("lbnd,mlb->mbnd", found, mapping)
            return self.post_attention(x, found)

        outputs = (
            attended(h, queries, attn_mask_h, None),
            None if g is None else attended(g, self._projected(self.q, g), attn_mask_g, target_mapping),
        )
        if not output_attentions:
            return outputs
        return (*outputs, weights[0] if g is None else tuple(weights))


def _linear(weight: torch.Tensor) -> nn.Linear:
    """A matrix module without biases, from outputs x inputs."""
    matrix = nn.Linear(1, 1, bias=False)
    matrix.out_features, matrix.in_features = weight.shape
    matrix.weight = nn.Parameter(weight)
    return matrix


def unpack_attention(model: nn.Module) -> nn.Module:
    """Replace every ``nn.MultiheadAttention`` and every attention of XLNet in ``model``, in place.

    Parameters keep their values; those of ``nn.MultiheadAttention`` change their names.

    Raises:
        UserError: an attention has projections of different widths, or extra biases.
    """
    for path, module in list(model.named_modules()):
        if isinstance(module, XLNetRelativeAttention) and not isinstance(module, UnpackedRelativeAttention):
            _replace(model, path, UnpackedRelativeAttention(module))
        if not isinstance(module, nn.MultiheadAttention):
            continue
        if not module._qkv_same_embed_dim or module.bias_k is not None or module.add_zero_attn:
            raise UserError(
                f"module {path}: attention with keys of another width, key biases or zero keys cannot be mapped."
            )
        _replace(model, path, UnpackedAttention(module))
    return model


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, name, module)
