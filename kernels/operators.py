"""The operators as torch sees them: schemas, fake results, gradients and FLOPs of `nitrogen::*`.

torch.compile, torch.export and FlopCounterMode meet the operators here. Everyone else goes past
the dispatcher (`kernels.dispatch`), which saves about 10 microseconds a call.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from nitrogen.kernels.attention import MAX_KEY_SIDE
from nitrogen.kernels.plan import NUM_WIDTHS
from nitrogen.kernels.providers import EAGER, provider

ROWS = "Tensor rows, Tensor counts"
SCHEMAS = {
    "plan_rows": "(Tensor widths, Tensor caps, int height, int width) -> (Tensor, Tensor)",
    "norm_modulate": f"(Tensor x, Tensor shift, Tensor scale, {ROWS}, int rows_per_sample, "
    "float eps=1e-6) -> Tensor",
    "depthwise": f"(Tensor x, Tensor weight, Tensor shift, Tensor scale, {ROWS}) -> Tensor",
    "row_mlp": f"(Tensor x, Tensor w_in, Tensor b_in, Tensor w_out, Tensor b_out, {ROWS}, "
    "int hidden_per_quarter, Tensor(a!) residual) -> ()",
    "gated_add": "(Tensor x, Tensor gate, Tensor residual, int rows_per_sample) -> Tensor",
    "row_linear": f"(Tensor x, Tensor weight, Tensor? bias, {ROWS}, Tensor(a!) out) -> ()",
    "row_qkv": f"(Tensor x, Tensor shift, Tensor scale, Tensor w_qkv, {ROWS}, "
    "int rows_per_sample, Tensor(a!) qkv) -> ()",
    "row_attention": f"(Tensor qkv, {ROWS}, int num_heads) -> Tensor",
    "region_stats": "(Tensor denoised, Tensor last, int rh, int rw) -> Tensor",
    "ode_exit": "(Tensor x, Tensor denoised, Tensor last, Tensor sigma, Tensor sigma_next, "
    "Tensor sigma_last, Tensor held) -> Tensor",
}
MUTATED = {"row_mlp": "residual", "row_linear": "out", "row_qkv": "qkv"}
DIFFERENTIABLE = ("norm_modulate", "depthwise", "gated_add", "row_attention")


def _plan_rows_fake(widths: Tensor, caps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    num_rows = widths.shape[0] * height * width
    return widths.new_empty(num_rows), widths.new_empty(NUM_WIDTHS + 1)


FAKES: dict[str, Callable[..., Any]] = {
    "plan_rows": _plan_rows_fake,
    "norm_modulate": lambda x, *_: x.new_empty(x.shape),
    "depthwise": lambda x, *_: x.new_empty(x.shape[:3].numel(), x.shape[3]),
    "gated_add": lambda x, *_: x.new_empty(x.shape),
    "row_attention": lambda qkv, *_: qkv.new_empty(qkv.shape[:3].numel(), qkv.shape[3] // 3),
    "region_stats": lambda d, last, rh, rw: d.new_empty(
        d.shape[0], rh, rw, d.shape[3] + 2, dtype=torch.float32
    ),
    "ode_exit": lambda x, *_: x.new_empty(x.shape),
    **{name: lambda *_: None for name in MUTATED},
}


def _active(counts: Tensor) -> int:
    return int(counts[1:].sum())


def _mlp_flops(x, w_in, b_in, w_out, b_out, rows, counts, hidden_per_quarter, *_, **__) -> int:
    units = sum(q * n for q, n in enumerate(counts.tolist())) * hidden_per_quarter
    return 4 * x.shape[1] * units


def _attention_flops(qkv: Tensor, *_: Any, **__: Any) -> int:
    b, height, width, c3 = qkv.shape
    keys = min(height, MAX_KEY_SIDE) * min(width, MAX_KEY_SIDE)
    return 4 * b * height * width * keys * (c3 // 3)


# As `model.cost` charges them: products at active rows; the depthwise convolution and the attention
# for the whole map, though a provider may skip what is held.
FLOPS: dict[str, Callable[..., int]] = {
    "row_mlp": _mlp_flops,
    "row_linear": lambda x, weight, bias, rows, counts, *_, **__: (
        2 * weight.numel() * _active(counts)
    ),
    "row_qkv": lambda x, shift, scale, w_qkv, rows, counts, *_, **__: (
        2 * w_qkv.numel() * _active(counts)
    ),
    "depthwise": lambda x, *_, **__: 18 * x.numel(),
    "row_attention": _attention_flops,
}


def _register(name: str) -> None:
    def implementation(*args: Any) -> Any:
        result = provider(name, args)(*args)
        return None if name in MUTATED else result

    mutates = {MUTATED[name]} if name in MUTATED else ()
    operator = torch.library.custom_op(
        f"nitrogen::{name}", implementation, mutates_args=mutates, schema=SCHEMAS[name]
    )
    operator.register_fake(FAKES[name])
    if name in DIFFERENTIABLE:
        operator.register_autograd(_backward_of(name), setup_context=_remember)
    if name in FLOPS:
        packet = getattr(torch.ops.nitrogen, name)
        register_flop_formula(packet, get_raw=True)(FLOPS[name])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.constants = [None if isinstance(value, Tensor) else value for value in inputs]
    ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))


def _backward_of(name: str) -> Callable[..., tuple[Any, ...]]:
    """The gradient of the plain path, which computes every row: no shape depends on data."""

    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        tensors = iter(ctx.saved_tensors)
        inputs = [next(tensors) if value is None else value for value in ctx.constants]
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad) if needed]
        with torch.enable_grad():
            for i in wanted:
                inputs[i] = inputs[i].detach().requires_grad_()
            out = EAGER[name](*inputs)
            found = torch.autograd.grad(out, [inputs[i] for i in wanted], grad)
        results: list[Tensor | None] = [None] * len(inputs)
        for i, gradient in zip(wanted, found, strict=True):
            results[i] = gradient
        return tuple(results)

    return backward


for _name in SCHEMAS:
    _register(_name)
