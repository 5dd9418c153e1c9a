"""Exact products of integer matrices, by whatever is fast on the machine."""

from __future__ import annotations

import platform
from functools import cache

import torch

from crossvote.swstack.inference.int8_product import PackedWeight, compiles, packed

#: What an 8-bit matrix is multiplied as where torch has no product of integers: packed, or parts in float32.
Prepared = PackedWeight | list[torch.Tensor]

#: Most 8-bit inputs whose products with 8-bit weights float32 adds up exactly: 1024 * 128 * 127 < 2^24.
_EXACT_INPUTS = 1024
#: Largest sum of the magnitudes of an output's weights for which it does so of any number: 128 times it is 2^24.
_EXACT_WEIGHTS = 1 << 17
#: Math libraries are up to twice as fast where a product has a multiple of so many columns.
_COLUMNS = 16


@cache
def integer_matmul_is_exact(device_type: str) -> bool:
    """Whether ``torch._int_mm`` works on a kind of device, does not saturate inside (tried once, full scale), and has
    instructions behind it: without them an x86 processor is many times slower than with float32.
    """
    if device_type == "cpu" and platform.machine().lower() in ("x86_64", "amd64"):
        capabilities = torch.cpu.get_capabilities()
        if not any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8")):
            return False
    try:
        x = torch.full((32, 64), -128, dtype=torch.int8, device=device_type)
        w = torch.full((64, 32), -127, dtype=torch.int8, device=device_type)
        w[:, 1::2] = 127
        expected = torch.where(torch.arange(32) % 2 == 0, 128 * 127 * 64, -128 * 127 * 64).to(torch.int32)
        return bool((torch._int_mm(x, w).cpu() == expected).all())
    except (RuntimeError, NotImplementedError, AttributeError):
        return False


def _has_integer_product(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether x [V, K] times weight.T [K, N] is done in integers."""
    if x.dtype != torch.int8 or weight.dtype != torch.int8:
        return False
    if x.device.type == "cpu":
        tileable = x.shape[1] > 1  # torch 2.13 returns memory garbage for K = 1
    else:
        tileable = len(x) > 16 and not weight.shape[0] % 8 and not weight.shape[1] % 8
    return tileable and integer_matmul_is_exact(x.device.type)


def integer_matmul(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Exact x @ weight.T of integers x [V, K], weight [N, K]: int32 when both are int8 (K < 2^17), else int64."""
    if x.dtype != torch.int8 or weight.dtype != torch.int8:
        return (x.double() @ weight.double().T).long()  # exact below 2^53: 16 x 16 bits up to K = 2^23
    if _has_integer_product(x, weight):
        return torch._int_mm(x, weight.T)
    if x.device.type != "cpu":
        return (x.double() @ weight.double().T).int()
    own = packed(weight) or float_parts(weight)
    return own.product(x) if isinstance(own, PackedWeight) else float_product(x.float(), own).int()


def votes_are_compiled() -> bool:
    """Whether a CPU gets the votes of 8-bit layers with the product, and not by products of their own."""
    return not integer_matmul_is_exact("cpu") and compiles()


def prepared(weight: torch.Tensor) -> Prepared | None:
    """Weights [N, K] as ``integer_product`` takes them many times; None where they are multiplied as they are."""
    if not _is_prepared(weight):
        return None
    return packed(weight) or float_parts(weight)


def packed_outputs(weight: torch.Tensor, places: torch.Tensor | None) -> PackedWeight | None:
    """Weights [N, K] of which only the outputs at ``places`` count, packed; None where no such product is used."""
    return packed(weight, places) if _is_prepared(weight) else None


def _is_prepared(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.int8 and not integer_matmul_is_exact("cpu")


def float_parts(weight: torch.Tensor) -> list[torch.Tensor]:
    """Weights int8[N, K] as float32 parts over the inputs, whose products with 8-bit inputs float32 adds up exactly.

    One part where that holds of all inputs: in any order, a sum stays below 128 times the magnitudes of its weights,
    which for trained weights is far below what 127 everywhere would give.
    """
    inputs = weight.shape[1]
    # Without a sign, so that -128 has its magnitude too.
    if inputs <= _EXACT_INPUTS or bool(
        (weight.abs().view(torch.uint8).sum(1, dtype=torch.int32) <= _EXACT_WEIGHTS).all()
    ):
        return [weight.float()]
    return [weight[:, start : start + _EXACT_INPUTS].float() for start in range(0, inputs, _EXACT_INPUTS)]


def float_product(values: torch.Tensor, parts: list[torch.Tensor]) -> torch.Tensor:
    """Exact values @ weight.T of whole 8-bit numbers in float32: float32 from one part, int32 from several."""
    if len(parts) == 1:
        return values @ parts[0].T
    y = torch.zeros((len(values), len(parts[0])), dtype=torch.int32, device=values.device)
    for own, part in zip(values.split([part.shape[1] for part in parts], dim=1), parts, strict=True):
        y += (own @ part.T).int()
    return y


def integer_product(
    x: torch.Tensor, weight: torch.Tensor, floats: torch.Tensor | None, ready: Prepared | None = None
) -> torch.Tensor:
    """``integer_matmul``, but float32 with the same integers where that spares a conversion there and back.

    Args:
        floats: x in floating point, or None. ready: ``prepared`` weight, if somebody has it already.
    """
    if x.dtype == torch.int8 and (own := prepared(weight) if ready is None else ready) is not None:
        if isinstance(own, PackedWeight):
            return own.product(x)
        if floats is not None and floats.dtype == torch.float32:
            return float_product(floats, own)
    return integer_matmul(x, weight)


def whole_columns(columns: int) -> int:
    """``columns`` rounded up to what products are fast with."""
    return -(-columns // _COLUMNS) * _COLUMNS
