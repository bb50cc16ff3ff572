"""The operators on a processor: float32 tensors handed to the C++ of this folder as addresses.

Rows are split over torch's threads; the split never changes a row's bits.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nitrogen.kernels.cpu.library import load
from nitrogen.kernels.cpu.packing import PACKED
from nitrogen.kernels.cpu.tensors import dense, lines, row_set, slices, writable
from nitrogen.kernels.plan import NUM_WIDTHS

NO_MODULATION = (None, None, 0, 1, 0.0)


def plan_rows(widths: Tensor, caps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    widths, caps = dense(widths, torch.int64), dense(caps, torch.int64)
    b, rh, rw = widths.shape
    if caps.shape != (b,):
        raise TypeError(f"caps must be [{b}], one a sample, got {list(caps.shape)}. Pass [b].")
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
        rows_per_sample, eps, *row_set(rows, counts), x.shape[1], out.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def depthwise(
    x: Tensor, weight: Tensor, shift: Tensor, scale: Tensor, rows: Tensor, counts: Tensor
) -> Tensor:
    x, shift, scale = dense(x), lines(shift), lines(scale)
    deep = {4: (1,), 5: (1, 3)}.get(x.dim(), ())
    wanted = [(x.shape[-1], 1, *(taps,) * (x.dim() - 4), 3, 3) for taps in deep]
    if tuple(weight.shape) not in wanted:
        raise TypeError(
            "weight must be [c, 1, 3, 3] for a picture and [c, 1, 1 or 3, 3, 3] for a volume, got "
            f"{list(weight.shape)} for x {list(x.shape)}. Pass the taps of its kind."
        )
    depth, height, width, channels = (1, *x.shape[1:])[-4:]
    out = x.new_empty(x.shape[:-1].numel(), channels)
    packed = PACKED.get(weight, "taps")
    load()[0].depthwise(
        x.data_ptr(), packed.data_ptr(), shift.data_ptr(), scale.data_ptr(),
        shift.stride(0), scale.stride(0), *row_set(rows, counts), out.shape[0], depth,
        height, width, channels, packed.shape[0] // 9, out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def row_mlp(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, rows: Tensor,
    counts: Tensor, hidden_per_quarter: int, residual: Tensor,
) -> None:  # fmt: skip
    x = dense(x)
    first, first_bias = PACKED.get(w_in, "panels"), PACKED.get(b_in, "bias")
    second, second_bias = PACKED.get(w_out, "panels"), PACKED.get(b_out, "bias")
    load()[0].row_mlp(
        x.data_ptr(), first.data_ptr(), first_bias.data_ptr(), second.data_ptr(),
        second_bias.data_ptr(), *row_set(rows, counts), x.shape[1], w_in.shape[0],
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
    (shift, scale), stride = slices(shift, scale)
    modulation = (shift.data_ptr(), scale.data_ptr(), stride, rows_per_sample, 1e-6)
    _linear(x, modulation, w_qkv, None, rows, counts, qkv)


def _linear(
    x: Tensor, modulation: tuple[Any, ...], weight: Tensor, bias: Tensor | None, rows: Tensor,
    counts: Tensor, out: Tensor,
) -> None:  # fmt: skip
    x, packed = dense(x), PACKED.get(weight, "panels")
    packed_bias = None if bias is None else PACKED.get(bias, "bias")
    load()[0].row_linear(
        x.data_ptr(), *modulation, packed.data_ptr(),
        None if packed_bias is None else packed_bias.data_ptr(), *row_set(rows, counts),
        x.shape[1], weight.shape[0],
        writable(out, x.shape[0], weight.shape[0]).data_ptr(), torch.get_num_threads(),
    )  # fmt: skip


def row_attention(qkv: Tensor, rows: Tensor, counts: Tensor, num_heads: int) -> Tensor:
    qkv = dense(qkv)
    b, height, width, channels = *qkv.shape[:3], qkv.shape[3] // 3
    out = qkv.new_empty(b * height * width, channels)
    load()[0].row_attention(
        qkv.data_ptr(), *row_set(rows, counts), b, height, width, channels, num_heads,
        out.data_ptr(), torch.get_num_threads(),
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
