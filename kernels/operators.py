"""The operators as torch sees them: one record each, registered as `nitrogen::*`.

torch.compile, torch.export and FlopCounterMode meet the operators here. Everyone else goes past
the dispatcher (`kernels.dispatch`), which saves about 10 microseconds a call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from nitrogen.kernels import gradients
from nitrogen.kernels.attention import MAX_KEY_SIDE
from nitrogen.kernels.plan import NUM_WIDTHS
from nitrogen.kernels.providers import EAGER, provider

ROWS = "Tensor rows, Tensor counts"


@dataclass(frozen=True)
class Declared:
    """schema: as torch reads it; fake: arguments -> results without values; writes: the buffer, its
    last argument, that it writes at active rows, if it does; flops: the formula of a product;
    differentiable: whether torch is to know its gradient, for which its plain path must compute
    every row (one that writes has a twin with a gradient anyway)."""

    schema: str
    fake: Callable[..., Any] = lambda *_: None
    writes: str | None = None
    flops: Callable[..., int] | None = None
    differentiable: bool = False

    @property
    def over_rows(self) -> bool:
        """Whether it is told which rows are active."""
        return ROWS in self.schema


def _plan_rows_fake(widths: Tensor, caps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    num_rows = widths.shape[0] * height * width
    return widths.new_empty(num_rows), widths.new_empty(NUM_WIDTHS + 1)


def _active(counts: Tensor) -> int:
    return int(counts[1:].sum())


def _mlp_flops(x, w_in, b_in, w_out, b_out, rows, counts, hidden_per_quarter, *_, **__) -> int:
    units = sum(q * n for q, n in enumerate(counts.tolist())) * hidden_per_quarter
    return 4 * x.shape[1] * units


def _attention_flops(qkv: Tensor, *_: Any, **__: Any) -> int:
    b, height, width, c3 = qkv.shape
    keys = min(height, MAX_KEY_SIDE) * min(width, MAX_KEY_SIDE)
    return 4 * b * height * width * keys * (c3 // 3)


# FLOPs as `model.cost` charges them: products at active rows; the depthwise convolution and the
# attention for the whole map, though a provider may skip what is held.
DECLARED = {
    "plan_rows": Declared(
        "(Tensor widths, Tensor caps, int height, int width) -> (Tensor, Tensor)", _plan_rows_fake
    ),
    "norm_modulate": Declared(
        f"(Tensor x, Tensor shift, Tensor scale, {ROWS}, int rows_per_sample, float eps=1e-6) "
        "-> Tensor",
        lambda x, *_: x.new_empty(x.shape),
        differentiable=True,
    ),
    "depthwise": Declared(
        f"(Tensor x, Tensor weight, Tensor shift, Tensor scale, {ROWS}) -> Tensor",
        lambda x, *_: x.new_empty(x.shape[:-1].numel(), x.shape[-1]),
        flops=lambda x, weight, *_, **__: 2 * weight[0].numel() * x.numel(),
        differentiable=True,
    ),
    "row_mlp": Declared(
        f"(Tensor x, Tensor w_in, Tensor b_in, Tensor w_out, Tensor b_out, {ROWS}, "
        "int hidden_per_quarter, Tensor(a!) residual) -> ()",
        writes="residual",
        flops=_mlp_flops,
    ),
    "gated_add": Declared(
        "(Tensor x, Tensor gate, Tensor residual, int rows_per_sample) -> Tensor",
        lambda x, *_: x.new_empty(x.shape),
        differentiable=True,
    ),
    "row_linear": Declared(
        f"(Tensor x, Tensor weight, Tensor? bias, {ROWS}, Tensor(a!) out) -> ()",
        writes="out",
        flops=lambda x, weight, bias, rows, counts, *_, **__: 2 * weight.numel() * _active(counts),
    ),
    "row_qkv": Declared(
        f"(Tensor x, Tensor shift, Tensor scale, Tensor w_qkv, {ROWS}, int rows_per_sample, "
        "Tensor(a!) qkv) -> ()",
        writes="qkv",
        flops=lambda x, shift, scale, w_qkv, rows, counts, *_, **__: (
            2 * w_qkv.numel() * _active(counts)
        ),
    ),
    "row_attention": Declared(
        f"(Tensor qkv, {ROWS}, int num_heads) -> Tensor",
        lambda qkv, *_: qkv.new_empty(qkv.shape[:3].numel(), qkv.shape[3] // 3),
        flops=_attention_flops,
        differentiable=True,
    ),
    "region_stats": Declared(
        "(Tensor denoised, Tensor last, int rh, int rw) -> Tensor",
        lambda d, last, rh, rw: d.new_empty(
            d.shape[0], rh, rw, d.shape[3] + 2, dtype=torch.float32
        ),
        differentiable=True,
    ),
    "ode_exit": Declared(
        "(Tensor x, Tensor denoised, Tensor last, Tensor sigma, Tensor sigma_next, "
        "Tensor sigma_last, Tensor held) -> Tensor",
        lambda x, *_: x.new_empty(x.shape),
        differentiable=True,
    ),
}


def _register(name: str, declared: Declared) -> None:
    def implementation(*args: Any) -> Any:
        result = provider(name, args)(*args)
        return None if declared.writes else result

    mutates = (declared.writes,) if declared.writes else ()
    operator = torch.library.custom_op(
        f"nitrogen::{name}", implementation, mutates_args=mutates, schema=declared.schema
    )
    operator.register_fake(declared.fake)
    if declared.writes:
        gradients.register_twin(name, declared.schema, implementation, EAGER[name])
    elif declared.differentiable:
        gradients.register_plain(name, operator, EAGER[name])
    if declared.flops is not None:
        for seen in (name, f"{name}_new") if declared.writes else (name,):
            packet = getattr(torch.ops.nitrogen, seen)
            register_flop_formula(packet, get_raw=True)(declared.flops)


for _name, _declared in DECLARED.items():
    _register(_name, _declared)
