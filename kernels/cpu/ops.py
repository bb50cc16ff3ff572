"""The operators on a processor: float32 tensors handed to the C++ of this folder as addresses.

Rows are split over torch's threads; the split never changes a row's bits.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nitrogen.kernels.cpu.library import Packed, load
from nitrogen.kernels.plan import NUM_WIDTHS

_packed = Packed()
NO_MODULATION = (None, None, 0, 1, 0.0)


def dense(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """x with its elements in a row, as the kernels walk it. Raises TypeError for another dtype."""
    if x.dtype != dtype:
        raise TypeError(f"a kernel of this processor takes {dtype} here, got {x.dtype}.")
    return x if x.is_contiguous() else x.contiguous()


def lines(x: Tensor) -> Tensor:
    """x [b, c] whose samples may stand apart (a slice of all modulations), each in a row."""
    if x.dtype != torch.float32:
        raise TypeError(f"modulations must be float32, got {x.dtype}.")
    return x if x.stride(1) == 1 else x.contiguous()


def writable(x: Tensor, *shape: int) -> Tensor:
    """x, if a kernel may write this shape into it."""
    if not x.is_contiguous() or (*x.shape, x.dtype) != (*shape, torch.float32):
        raise TypeError(
            f"what a kernel writes must be contiguous float32 {list(shape)}, got {x.dtype} "
            f"{list(x.shape)}."
        )
    return x


def plan_rows(widths: Tensor, caps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    widths, caps = dense(widths, torch.int64), dense(caps, torch.int64)
    b, rh, rw = widths.shape
    rows = torch.empty(b * height * width, dtype=torch.int64)
    counts = torch.empty(NUM_WIDTHS + 1, dtype=torch.int64)
    load()[0].plan_rows(
        widths.data_ptr(), caps.data_ptr(), b, rh, rw, height, width, rows.data_ptr(),
        counts.data_ptr(),
    )  # fmt: skip
    return rows, counts


def norm_modulate(
    x: Tensor, shift: Tensor, scale: Tensor, rows: Tensor, counts: Tensor, rows_per_sample: int,
    eps: float = 1e-6,
) -> Tensor:  # fmt: skip
    x, shift, scale = dense(x), lines(shift), lines(scale)
    out = torch.empty_like(x)
    load()[0].norm_modulate(
        x.data_ptr(), shift.data_ptr(), scale.data_ptr(), shift.stride(0), scale.stride(0),
        rows_per_sample, eps, rows.data_ptr(), counts.data_ptr(), x.shape[1], out.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def depthwise(
    x: Tensor, weight: Tensor, shift: Tensor, scale: Tensor, rows: Tensor, counts: Tensor
) -> Tensor:
    x, shift, scale = dense(x), lines(shift), lines(scale)
    b, height, width, channels = x.shape
    out, packed = x.new_empty(b * height * width, channels), _packed.get(weight, "taps")
    load()[0].depthwise(
        x.data_ptr(), packed.data_ptr(), shift.data_ptr(), scale.data_ptr(),
        shift.stride(0), scale.stride(0), rows.data_ptr(), counts.data_ptr(), out.shape[0], height,
        width, channels, out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def row_mlp(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, rows: Tensor,
    counts: Tensor, hidden_per_quarter: int, residual: Tensor,
) -> None:  # fmt: skip
    x = dense(x)
    first, first_bias = _packed.get(w_in, "panels"), _packed.get(b_in, "bias")
    second, second_bias = _packed.get(w_out, "panels"), _packed.get(b_out, "bias")
    load()[0].row_mlp(
        x.data_ptr(), first.data_ptr(), first_bias.data_ptr(), second.data_ptr(),
        second_bias.data_ptr(), rows.data_ptr(), counts.data_ptr(), x.shape[1], w_in.shape[0],
        hidden_per_quarter, writable(residual, *x.shape).data_ptr(), torch.get_num_threads(),
    )  # fmt: skip


def gated_add(x: Tensor, gate: Tensor, residual: Tensor, rows_per_sample: int) -> Tensor:
    x, gate, residual = dense(x), lines(gate), dense(residual)
    out = torch.empty_like(x)
    load()[0].gated_add(
        x.data_ptr(), gate.data_ptr(), gate.stride(0), residual.data_ptr(), x.shape[0],
        rows_per_sample, x.shape[1], out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def row_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, rows: Tensor, counts: Tensor, out: Tensor
) -> None:
    _linear(x, NO_MODULATION, weight, bias, rows, counts, out)


def row_qkv(
    x: Tensor, shift: Tensor, scale: Tensor, w_qkv: Tensor, rows: Tensor, counts: Tensor,
    rows_per_sample: int, qkv: Tensor,
) -> None:  # fmt: skip
    shift, scale = lines(shift), lines(scale)
    if shift.stride(0) != scale.stride(0):
        shift, scale = shift.contiguous(), scale.contiguous()
    modulation = (shift.data_ptr(), scale.data_ptr(), shift.stride(0), rows_per_sample, 1e-6)
    _linear(x, modulation, w_qkv, None, rows, counts, qkv)


def _linear(
    x: Tensor, modulation: tuple[Any, ...], weight: Tensor, bias: Tensor | None, rows: Tensor,
    counts: Tensor, out: Tensor,
) -> None:  # fmt: skip
    x, packed = dense(x), _packed.get(weight, "panels")
    packed_bias = None if bias is None else _packed.get(bias, "bias")
    load()[0].row_linear(
        x.data_ptr(), *modulation, packed.data_ptr(),
        None if packed_bias is None else packed_bias.data_ptr(), rows.data_ptr(),
        counts.data_ptr(), x.shape[1], weight.shape[0],
        writable(out, x.shape[0], weight.shape[0]).data_ptr(), torch.get_num_threads(),
    )  # fmt: skip


def row_attention(qkv: Tensor, rows: Tensor, counts: Tensor, num_heads: int) -> Tensor:
    qkv = dense(qkv)
    b, height, width, channels = *qkv.shape[:3], qkv.shape[3] // 3
    out = qkv.new_empty(b * height * width, channels)
    load()[0].row_attention(
        qkv.data_ptr(), rows.data_ptr(), counts.data_ptr(), b, height, width, channels, num_heads,
        out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


Modulation = tuple[Tensor, Tensor, Tensor]  # shift, scale, gate


def slices(modulation: Modulation) -> tuple[Modulation, int]:
    """shift, scale and gate [b, c], with one stride from sample to sample."""
    shift, scale, gate = (lines(part) for part in modulation)
    if not shift.stride(0) == scale.stride(0) == gate.stride(0):
        shift, scale, gate = shift.contiguous(), scale.contiguous(), gate.contiguous()
    return (shift, scale, gate), shift.stride(0)


def mlp_block(
    x: Tensor, taps: Tensor, modulation: Modulation, weights: tuple[Tensor, ...], rows: Tensor,
    counts: Tensor, hidden_per_quarter: int, residual: Tensor,
) -> Tensor:  # fmt: skip
    """x of the next block; writes residual. See `kernels.blocks`."""
    x, (parts, stride) = dense(x), slices(modulation)
    w_in, b_in, w_out, b_out = weights
    packed = (
        _packed.get(w_in, "panels"), _packed.get(b_in, "bias"), _packed.get(w_out, "panels"),
        _packed.get(b_out, "bias"),
    )  # fmt: skip
    first, out = _packed.get(taps, "taps"), torch.empty_like(x)
    load()[0].mlp_block(
        x.data_ptr(), first.data_ptr(), *(part.data_ptr() for part in parts), stride,
        *(weight.data_ptr() for weight in packed), rows.data_ptr(), counts.data_ptr(), *x.shape,
        w_in.shape[0], hidden_per_quarter, writable(residual, *x.shape).data_ptr(),
        out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def attention_block(
    x: Tensor, modulation: Modulation, w_qkv: Tensor, w_proj: Tensor, num_heads: int, rows: Tensor,
    counts: Tensor, attended: Tensor, qkv: Tensor,
) -> Tensor:  # fmt: skip
    """x of the next block; writes attended and qkv. See `kernels.blocks`."""
    x, (parts, stride), out = dense(x), slices(modulation), torch.empty_like(x)
    first, second = _packed.get(w_qkv, "panels"), _packed.get(w_proj, "panels")
    load()[0].attention_block(
        x.data_ptr(), *(part.data_ptr() for part in parts), stride, first.data_ptr(),
        second.data_ptr(), rows.data_ptr(), counts.data_ptr(), *x.shape, num_heads,
        writable(attended, *x.shape).data_ptr(),
        writable(qkv, *x.shape[:3], 3 * x.shape[3]).data_ptr(), out.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def region_stats(denoised: Tensor, last: Tensor, rh: int, rw: int) -> Tensor:
    denoised, last = dense(denoised), dense(last)
    b, height, width, ch = denoised.shape
    out = denoised.new_empty(b, rh, rw, ch + 2)
    load()[0].region_stats(
        denoised.data_ptr(), last.data_ptr(), b, height, width, ch, rh, rw, out.data_ptr()
    )
    return out


def ode_exit(
    x: Tensor, denoised: Tensor, last: Tensor, sigma: Tensor, sigma_next: Tensor,
    sigma_last: Tensor, held: Tensor,
) -> Tensor:  # fmt: skip
    inputs = [dense(v) for v in (x, denoised, last, sigma, sigma_next, sigma_last)]
    inputs.append(dense(held, torch.bool))
    out = torch.empty_like(inputs[0])
    load()[0].ode_exit(
        *(value.data_ptr() for value in inputs), *x.shape, held.shape[1], held.shape[2],
        out.data_ptr(),
    )  # fmt: skip
    return out


CPU: dict[str, Callable[..., Any]] = {
    "plan_rows": plan_rows,
    "norm_modulate": norm_modulate,
    "depthwise": depthwise,
    "row_mlp": row_mlp,
    "gated_add": gated_add,
    "row_linear": row_linear,
    "row_qkv": row_qkv,
    "row_attention": row_attention,
    "region_stats": region_stats,
    "ode_exit": ode_exit,
}
