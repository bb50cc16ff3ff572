"""Naive float64 truth of every operator, and how near a kernel must come. Nothing here is fast.

Maps are flattened to [m, c], one row a position; the sample of a row is row // rows_per_sample.
`rows` [m] lists those at 1/4 of the width first, then 1/2, 3/4, 1, and the held ones last;
`counts` [5] says how many run at q quarters, held at 0. A reference returns a new float64 tensor,
NaN wherever the operator leaves its result undefined; where the operator writes into a buffer, it
returns that buffer as it should be afterwards.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

NUM_WIDTHS = 4
MAX_KEY_SIDE = 16

# Relative RMS distance to float64, tf32 off. The operators store what they hand over once, in
# their own precision, and add up in float32: 2^-9 and 2^-12 of rounding a value, a few times.
# bf16 would do with 1e-2 wherever it is rounded; Triton's interpreter cuts instead, which doubles
# the error (attention, 3 such steps: 1.08e-2).
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 1.2e-2, torch.float16: 2e-3}
# Of a gradient: it is rounded once more at every step back.
GRADIENT_TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


def relative_rms(got: Tensor, expected: Tensor) -> float:
    """|got - expected| / |expected| where `expected` is defined (not NaN); 0 for nothing at all."""
    defined = ~expected.isnan()
    truth = expected[defined]
    distance = (got.double()[defined] - truth).norm()
    return float(distance) if float(truth.norm()) == 0 else float(distance / truth.norm())


def gelu_reference(x: Tensor) -> Tensor:
    """Exact GELU, x Phi(x) (Hendrycks and Gimpel 2016, eq. 1)."""
    x = x.double()
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def mlp_reference(
    rows: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, num_hidden: int
) -> Tensor:
    """rows: [n, c] -> [n, c], one row at a time."""
    hidden_in, hidden_out = w_in.double()[:num_hidden], w_out.double()[:, :num_hidden]
    out = torch.zeros_like(rows, dtype=torch.float64)
    for index, row in enumerate(rows.double()):
        hidden = gelu_reference(hidden_in @ row + b_in.double()[:num_hidden])
        out[index] = hidden_out @ hidden + b_out.double()
    return out


def rms_norm_reference(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x: [..., c]."""
    x = x.double()
    return x / torch.sqrt((x * x).sum(-1, keepdim=True) / x.shape[-1] + eps)


def depthwise3x3_reference(x: Tensor, weight: Tensor) -> Tensor:
    """x: [b, h, w, c] or [b, d, h, w, c], weight: [c, 1, 3, 3] or [c, 1, kd, 3, 3]; every tap
    explicitly, over a zero border. A picture is a volume of depth 1."""
    volume = x.double()[:, None] if x.dim() == 4 else x.double()
    taps = weight.double()[:, 0].reshape(len(weight), -1, 3, 3)
    _, depth, height, width, _ = volume.shape
    border = taps.shape[1] // 2
    padded = torch.nn.functional.pad(volume, (0, 0, 1, 1, 1, 1, border, border))
    out = torch.zeros_like(volume)
    for k, i, j in itertools.product(range(taps.shape[1]), range(3), range(3)):
        near = padded[:, k : k + depth, i : i + height, j : j + width]
        out += near * taps[:, k, i, j]
    return out.view(x.shape)


def active_rows(rows: Tensor, counts: Tensor) -> Tensor:
    """The rows that are computed at any width, in the order of `rows`."""
    return rows[: int(counts[1:].sum())]


def only(values: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
    """values [m, c] at active rows, NaN elsewhere."""
    out = torch.full_like(values, float("nan"))
    active = active_rows(rows, counts)
    out[active] = values[active]
    return out


def per_row(values: Tensor, num_rows: int, rows_per_sample: int) -> Tensor:
    """values [b, c], one of each sample -> [m, c], one of each row."""
    return values.double()[torch.arange(num_rows, device=values.device) // rows_per_sample]


def plan_rows_reference(
    widths: Tensor, caps: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """widths [b, rh, rw], caps [b], int64 quarters -> rows [b * height * width], counts [5]."""
    b, region_rows, region_columns = widths.shape
    groups: list[list[int]] = [[] for _ in range(NUM_WIDTHS + 1)]
    for row in range(b * height * width):
        sample, y, x = row // (height * width), row // width % height, row % width
        quarters = widths[sample, y * region_rows // height, x * region_columns // width]
        groups[min(int(quarters), int(caps[sample]))].append(row)
    order = [row for group in (*groups[1:], groups[0]) for row in group]
    sizes = [len(group) for group in groups]
    return torch.tensor(order, device=widths.device), torch.tensor(sizes, device=widths.device)


def norm_modulate_reference(
    x: Tensor, shift: Tensor, scale: Tensor, rows: Tensor, counts: Tensor, rows_per_sample: int,
    eps: float = 1e-6,
) -> Tensor:  # fmt: skip
    """rms_norm(x) (1 + scale) + shift. x: [m, c], shift and scale: [b, c] -> [m, c]."""
    scale, shift = (per_row(part, len(x), rows_per_sample) for part in (scale, shift))
    return only(rms_norm_reference(x, eps) * (1 + scale) + shift, rows, counts)


def depthwise_reference(
    x: Tensor, weight: Tensor, shift: Tensor, scale: Tensor, rows: Tensor, counts: Tensor
) -> Tensor:
    """depthwise3x3(rms_norm(x)) (1 + scale) + shift. x: [b, (d,) h, w, c] -> [m, c]."""
    _, *sides, c = x.shape
    mixed = depthwise3x3_reference(rms_norm_reference(x), weight).reshape(-1, c)
    scale, shift = (per_row(part, len(mixed), math.prod(sides)) for part in (scale, shift))
    return only(mixed * (1 + scale) + shift, rows, counts)


def row_mlp_reference(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, rows: Tensor,
    counts: Tensor, hidden_per_quarter: int, residual: Tensor,
) -> Tensor:  # fmt: skip
    """The residual [m, c] with the MLP of each active row of x [m, c] at that row's width."""
    out, start = residual.double().clone(), 0
    for quarters in range(1, NUM_WIDTHS + 1):
        group = rows[start : start + int(counts[quarters])]
        num_hidden, start = hidden_per_quarter * quarters, start + len(group)
        out[group] = mlp_reference(x[group], w_in, b_in, w_out, b_out, num_hidden)
    return out


def gated_add_reference(x: Tensor, gate: Tensor, residual: Tensor, rows_per_sample: int) -> Tensor:
    """x + gate * residual at every row. x, residual: [m, c], gate: [b, c] -> [m, c]."""
    return x.double() + per_row(gate, len(x), rows_per_sample) * residual.double()


def row_linear_reference(
    x: Tensor, weight: Tensor, bias: Tensor | None, rows: Tensor, counts: Tensor, out: Tensor
) -> Tensor:
    """out [m, e] with x [m, c] times weight [e, c], plus bias [e], at active rows."""
    new, active = out.double().clone(), active_rows(rows, counts)
    new[active] = x.double()[active] @ weight.double().t()
    if bias is not None:
        new[active] += bias.double()
    return new


def row_qkv_reference(
    x: Tensor, shift: Tensor, scale: Tensor, w_qkv: Tensor, rows: Tensor, counts: Tensor,
    rows_per_sample: int, qkv: Tensor,
) -> Tensor:  # fmt: skip
    """qkv [m, 3c] with the projection of norm_modulate(x) at active rows."""
    mixed = norm_modulate_reference(x, shift, scale, rows, counts, rows_per_sample)
    return row_linear_reference(mixed, w_qkv, None, rows, counts, qkv)


def pool_reference(x: Tensor) -> Tensor:
    """Means over windows from floor(i h / p) to ceil((i + 1) h / p). [b, h, w, c] -> [b, p, q, c],
    p and q at most 16."""
    b, height, width, c = x.shape
    p, q = min(height, MAX_KEY_SIDE), min(width, MAX_KEY_SIDE)
    out = torch.zeros(b, p, q, c, dtype=torch.float64, device=x.device)
    for i in range(p):
        for j in range(q):
            ys = slice(i * height // p, -(-(i + 1) * height // p))
            xs = slice(j * width // q, -(-(j + 1) * width // q))
            out[:, i, j] = x[:, ys, xs].double().mean(dim=(1, 2))
    return out


def row_attention_reference(qkv: Tensor, rows: Tensor, counts: Tensor, num_heads: int) -> Tensor:
    """softmax(q k / sqrt(d)) v per head, q and k rms-normalised, k and v pooled over the map.

    qkv: [b, h, w, 3c] -> [m, c]; d = c / num_heads.
    """
    b, height, width, c = *qkv.shape[:3], qkv.shape[3] // 3
    q, k, v = qkv.double().chunk(3, dim=-1)
    heads = lambda x: x.reshape(b, -1, num_heads, c // num_heads).transpose(1, 2)  # noqa: E731
    q, k = rms_norm_reference(heads(q)), rms_norm_reference(heads(pool_reference(k)))
    scores = q @ k.transpose(2, 3) / math.sqrt(c // num_heads)
    attended = scores.softmax(dim=-1) @ heads(pool_reference(v))
    return only(attended.transpose(1, 2).reshape(b * height * width, c), rows, counts)


def region_stats_reference(denoised: Tensor, last: Tensor, rh: int, rw: int) -> Tensor:
    """[b, rh, rw, ch + 2]: mean of D per channel, mean of D^2, mean of (D - last)^2, the latter
    two over pixels and channels. Kernels give it in float32. denoised, last: [b, h, w, ch]."""
    b, height, width, ch = denoised.shape
    out = torch.zeros(b, rh, rw, ch + 2, dtype=torch.float64, device=denoised.device)
    for i in range(rh):
        for j in range(rw):
            ys = slice(i * height // rh, (i + 1) * height // rh)
            xs = slice(j * width // rw, (j + 1) * width // rw)
            d = denoised[:, ys, xs].double()
            out[:, i, j, :ch] = d.mean(dim=(1, 2))
            out[:, i, j, ch] = (d * d).mean(dim=(1, 2, 3))
            out[:, i, j, ch + 1] = (d - last[:, ys, xs].double()).square().mean(dim=(1, 2, 3))
    return out


def ode_exit_reference(
    x: Tensor, denoised: Tensor, last: Tensor, sigma: Tensor, sigma_next: Tensor,
    sigma_last: Tensor, held: Tensor,
) -> Tensor:  # fmt: skip
    """x at sigma_next: DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2) where a region is computed,
    x(s') = D + (s' / s)(x - D) where it is held; the first step (sigma_last NaN) is of first order.

    x, denoised, last: [b, h, w, ch]; the sigmas: [b]; held: [b, rh, rw] bool.
    """
    _, height, width, _ = x.shape
    d, out = denoised.double(), torch.zeros_like(x, dtype=torch.float64)
    for i in range(len(x)):
        s, s_next, s_last = (float(v[i]) for v in (sigma, sigma_next, sigma_last))
        target = d[i]
        if s_next > 0 and not math.isnan(s_last):
            r = math.log(s_last / s) / math.log(s / s_next)
            spread = held[i].repeat_interleave(height // held.shape[1], 0)
            spread = spread.repeat_interleave(width // held.shape[2], 1)[..., None]
            slope = (d[i] - last[i].double()) / (2 * r)
            target = torch.where(spread, d[i], d[i] + slope)
        out[i] = target + (s_next / s) * (x[i].double() - target)
    return out


REFERENCES: dict[str, Callable[..., Tensor | tuple[Tensor, Tensor]]] = {
    "plan_rows": plan_rows_reference,
    "norm_modulate": norm_modulate_reference,
    "depthwise": depthwise_reference,
    "row_mlp": row_mlp_reference,
    "gated_add": gated_add_reference,
    "row_linear": row_linear_reference,
    "row_qkv": row_qkv_reference,
    "row_attention": row_attention_reference,
    "region_stats": region_stats_reference,
    "ode_exit": ode_exit_reference,
}
