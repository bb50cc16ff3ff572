"""Parts of a step in one call of C++ each: blocks, conditioning, resampling, and the predictor.

On a small map a call from Python costs as much as its arithmetic. `kernels.blocks.one_call` says
when they may run; whoever calls them has a plain path beside.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from nitrogen.kernels.cpu.library import load
from nitrogen.kernels.cpu.packing import PACKED
from nitrogen.kernels.cpu.tensors import dense, lines, row_set, slices, writable

Layer = tuple[Tensor, Tensor]  # weight [e, c], bias [e]


def mlp_block(
    x: Tensor, taps: Tensor, modulation: Tensor, weights: tuple[Tensor, ...], rows: Tensor,
    counts: Tensor, hidden_per_quarter: int, residual: Tensor,
) -> Tensor:  # fmt: skip
    """x of the next block; writes residual. See `kernels.blocks`."""
    x, parts = dense(x), lines(modulation)
    w_in, b_in, w_out, b_out = weights
    packed = pack((w_in, b_in), (w_out, b_out))
    first, out = PACKED.get(taps, "taps"), torch.empty_like(x)
    load()[0].mlp_block(
        x.data_ptr(), first.data_ptr(), *thirds(parts), parts.stride(0),
        *addresses(packed), *row_set(rows, counts), *x.shape, w_in.shape[0], hidden_per_quarter,
        writable(residual, *x.shape).data_ptr(), out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def attention_block(
    x: Tensor, modulation: Tensor, w_qkv: Tensor, w_proj: Tensor, num_heads: int, rows: Tensor,
    counts: Tensor, attended: Tensor, qkv: Tensor,
) -> Tensor:  # fmt: skip
    """x of the next block; writes attended and qkv. See `kernels.blocks`."""
    x, parts, out = dense(x), lines(modulation), torch.empty_like(x)
    first, second = PACKED.get(w_qkv, "panels"), PACKED.get(w_proj, "panels")
    load()[0].attention_block(
        x.data_ptr(), *thirds(parts), parts.stride(0), first.data_ptr(),
        second.data_ptr(), *row_set(rows, counts), *x.shape, num_heads,
        writable(attended, *x.shape).data_ptr(),
        writable(qkv, *x.shape[:3], 3 * x.shape[3]).data_ptr(), out.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def preconditioning(sigma: Tensor, sigma_data: float) -> Tensor:
    """[4, b]: c_skip, c_out, c_in and c_noise of sigma [b]."""
    sigma = dense(sigma)
    out = sigma.new_empty(4, sigma.shape[0])
    load()[0].preconditioning(sigma.data_ptr(), sigma_data, sigma.shape[0], out.data_ptr())
    return out


def conditioning(
    c_noise: Tensor, labels: Tensor, stride: Tensor | None, frequencies: Tensor, classes: Tensor,
    layers: tuple[Layer, Layer | None, Layer, Layer],
) -> Tensor:  # fmt: skip
    """[b, outputs] modulations. layers: of sigma, of the stride or None, joint, last."""
    c_noise, labels = dense(c_noise), dense(labels, torch.int64)
    frequencies, classes = dense(frequencies), dense(classes)
    stride = None if stride is None or layers[1] is None else dense(stride)
    out, packed = c_noise.new_empty(c_noise.shape[0], layers[3][0].shape[0]), pack(*layers)
    load()[0].conditioning(
        *addresses((c_noise, labels, stride, frequencies)), frequencies.shape[0],
        classes.data_ptr(), classes.shape[0], *addresses(packed), *c_noise.shape,
        classes.shape[1], out.shape[1], out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def stem(x: Tensor, weight: Tensor, bias: Tensor, patch: int) -> Tensor:
    """[b, h, w, ch] -> [b, h / patch, w / patch, e]: each patch, then a linear layer."""
    x = dense(x)
    (b, height, width, ch), packed = x.shape, pack((weight, bias))
    out = x.new_empty(b, height // patch, width // patch, weight.shape[0])
    load()[0].stem(
        x.data_ptr(), *addresses(packed), *out.shape[:3], patch, ch, out.shape[3],
        out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def head(
    x: Tensor, shift: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, patch: int
) -> Tensor:
    """[b, h, w, c] -> [b, h patch, w patch, ch]: norm, modulation, a linear layer, pixels."""
    x, ((shift, scale), stride) = dense(x), slices(shift, scale)
    (b, height, width, channels), packed = x.shape, pack((weight, bias))
    ch = weight.shape[0] // patch**2
    out = x.new_empty(b, height * patch, width * patch, ch)
    load()[0].head(
        x.data_ptr(), shift.data_ptr(), scale.data_ptr(), stride, *addresses(packed), b, height,
        width, channels, patch, ch, out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def down(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[b, h, w, c] -> [b, h / 2, w / 2, e]: 2x2 mean, then a linear layer."""
    x = dense(x)
    (b, height, width, channels), packed = x.shape, pack((weight, bias))
    out = x.new_empty(b, height // 2, width // 2, weight.shape[0])
    load()[0].down(
        x.data_ptr(), *addresses(packed), *out.shape[:3], channels, out.shape[3],
        out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def up(x: Tensor, weight: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    """[b, h, w, c] -> [b, 2 h, 2 w, e]: a linear layer, nearest neighbour, plus skip."""
    x, skip = dense(x), dense(skip)
    out, packed = torch.empty_like(skip), pack((weight, bias))
    load()[0].up(
        x.data_ptr(), *addresses(packed), skip.data_ptr(), *x.shape, skip.shape[3],
        out.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return out


def region_features(
    x_t: Tensor, denoised: Tensor, per_sample: tuple[Tensor, Tensor, Tensor],
    per_region: tuple[Tensor, Tensor, Tensor, Tensor], sigma_data: float,
) -> Tensor:  # fmt: skip
    """per_sample: sigma, sigma_next, budget; per_region: change, age, log_residual, quarters.

    See `model.observation.region_features`.
    """
    *floats, quarters = per_region
    inputs = [dense(v) for v in (x_t, denoised, *per_sample, *floats)]
    inputs.append(dense(quarters, torch.int64))
    b, height, width, ch = x_t.shape
    out = x_t.new_empty(*quarters.shape, 11 + 2 * ch)
    load()[0].region_features(
        *addresses(inputs), sigma_data, b, height, width, ch, *quarters.shape[1:],
        out.data_ptr(),
    )  # fmt: skip
    return out


def predict(
    features: Tensor, labels: Tensor, classes: Tensor, layers: tuple[Layer, Layer, Layer, Layer],
    bounds: tuple[float, float],
) -> Tensor:  # fmt: skip
    """[b, rh, rw, f] -> [b, rh, rw, 1 + widths]. layers: enter, middle, residual, widths.

    See `model.predictor.Predictor`.
    """
    features, labels, classes = dense(features), dense(labels, torch.int64), dense(classes)
    b, rh, rw, num_features = features.shape
    hidden, widths = layers[1][0].shape[0], layers[3][0].shape[0]
    out, packed = features.new_empty(b, rh, rw, 1 + widths), pack(*layers)
    load()[0].predict(
        features.data_ptr(), labels.data_ptr(), classes.data_ptr(), *classes.shape,
        *addresses(packed), b, rh * rw, num_features, hidden, widths, *bounds, out.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out


def allocate(
    gain: Tensor, region_flops: Tensor, available: Tensor, caps: Tensor, price: float
) -> Tensor:
    """Widths [b, r] int64. See `model.budget.allocate`."""
    gain, caps = dense(gain, torch.float64), dense(caps, torch.int64)
    flops, available = dense(region_flops, torch.float64), dense(available, torch.float64)
    widths = torch.empty_like(caps)
    load()[0].allocate(
        gain.data_ptr(), flops.data_ptr(), available.data_ptr(), caps.data_ptr(), price,
        *gain.shape, widths.data_ptr(),
    )  # fmt: skip
    return widths


def pack(*layers: Layer | None) -> list[Tensor | None]:
    """Weight and bias of each layer, packed; whoever takes their addresses holds them meanwhile."""
    packed: list[Tensor | None] = []
    for one in layers:
        packed += (
            [None, None] if one is None
            else [PACKED.get(one[0], "panels"), PACKED.get(one[1], "bias")]
        )  # fmt: skip
    return packed


def thirds(modulation: Tensor) -> tuple[int, int, int]:
    """Addresses of shift, scale and gate in [b, 3 c] float32."""
    start, step = modulation.data_ptr(), modulation.shape[1] // 3 * 4
    return start, start + step, start + 2 * step


def addresses(tensors: Iterable[Tensor | None]) -> Iterator[int | None]:
    return (None if tensor is None else tensor.data_ptr() for tensor in tensors)
