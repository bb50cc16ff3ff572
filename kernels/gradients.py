"""Gradients of the operators as torch sees them: which there are, how they are taken, who has none.

The gradient is always that of the plain path. An operator that writes into a buffer cannot be
differentiated by torch: it says so, and has a twin, `nitrogen::<name>_new`, that returns the
written buffer as a new tensor. How many rows the plain path of a twin works on depends on values,
so its backward is an operator too, and no compiler looks into it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# Arguments that are real numbers and have none: the noise levels of a step are not learnt.
CONSTANT = {"ode_exit": {3: "sigma", 4: "sigma_next", 5: "sigma_last"}}
AUTOGRAD_KEYS = ("AutogradCPU", "AutogradCUDA")
LIBRARY = torch.library.Library("nitrogen", "FRAGMENT")
Kernel = Callable[..., Any]


def needed(args: Sequence[Any]) -> list[bool]:
    """Of which arguments a gradient is wanted."""
    return [isinstance(value, Tensor) and value.requires_grad for value in args]


def wants_gradient(args: Sequence[Any]) -> bool:
    return any(needed(args))


def refuse_constants(name: str, wanted: Sequence[bool]) -> None:
    """Raises ValueError where a gradient is wanted of an argument that has none."""
    for index, argument in CONSTANT.get(name, {}).items():
        if wanted[index]:
            raise ValueError(
                f"{argument} of {name} must want no gradient, got a tensor that requires one. "
                "Detach it."
            )


def register_plain(name: str, operator: Any, plain: Kernel) -> None:
    """Of an operator whose plain path computes every row: no shape depends on values, so that its
    gradient is traced like any other function."""

    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        wanted = _wanted(ctx)
        return tuple(_spread(wanted, _gradients(plain, _inputs(ctx), wanted, grad)))

    operator.register_autograd(backward, setup_context=_remembering(name))


def register_twin(name: str, schema: str, implementation: Kernel, plain: Kernel) -> None:
    """`<name>_new`, its backward as an operator, and the refusal of the operator itself."""
    arguments = schema.split(" -> ")[0].replace("Tensor(a!)", "Tensor")

    def new(*args: Any) -> Tensor:
        *others, buffer = args
        written = buffer.clone(memory_format=torch.contiguous_format)
        implementation(*others, written)
        return written

    def backward_rows(grad: Tensor, wanted: list[bool], *args: Any) -> list[Tensor]:
        with _recording():
            found = _gradients(plain, list(args), wanted, grad)
        return [one.clone(memory_format=torch.contiguous_format) for one in found]

    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        wanted = _wanted(ctx)
        found = getattr(torch.ops.nitrogen, f"{name}_backward")(grad, wanted, *_inputs(ctx))
        return tuple(_spread(wanted, found))

    define = torch.library.custom_op
    twin = define(f"nitrogen::{name}_new", new, mutates_args=(), schema=f"{arguments} -> Tensor")
    twin.register_fake(lambda *args: args[-1].new_empty(args[-1].shape))
    twin.register_autograd(backward, setup_context=_remembering(name))
    rest = arguments.removeprefix("(")
    reverse = define(
        f"nitrogen::{name}_backward", backward_rows, mutates_args=(),
        schema=f"(Tensor grad, bool[] wanted, {rest} -> Tensor[]",
    )  # fmt: skip
    reverse.register_fake(
        lambda grad, wanted, *args: [
            value.new_empty(value.shape) for value, one in zip(args, wanted, strict=True) if one
        ]
    )
    for key in AUTOGRAD_KEYS:
        LIBRARY.impl(name, _refusal(name), key)


def _refusal(name: str) -> Kernel:
    def without_gradient(*args: Any) -> None:
        if torch.is_grad_enabled() and wants_gradient(args):
            raise ValueError(
                f"nitrogen::{name} must get tensors that want no gradient, since it writes into "
                f"one of them, got one that does. Call nitrogen::{name}_new."
            )
        with torch._C._AutoDispatchBelowAutograd():
            getattr(torch.ops.nitrogen, name)(*args)

    return without_gradient


def _recording() -> Any:
    """Inside an operator torch has autograd switched off as a whole, not only its mode; here it is
    on again."""
    included = torch._C._dispatch_tls_local_include_set()
    excluded = torch._C._dispatch_tls_local_exclude_set()
    excluded = excluded.remove(torch._C.DispatchKey.AutogradFunctionality)
    return torch._C._ForceDispatchKeyGuard(included, excluded)


def _remembering(name: str) -> Kernel:
    def remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        refuse_constants(name, ctx.needs_input_grad)
        ctx.constants = [None if isinstance(value, Tensor) else (value,) for value in inputs]
        ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))

    return remember


def _wanted(ctx: Any) -> list[bool]:
    """One entry an argument; torch has none for those that were left at their default."""
    return [*ctx.needs_input_grad, *[False] * len(ctx.constants)][: len(ctx.constants)]


def _inputs(ctx: Any) -> list[Any]:
    tensors = iter(ctx.saved_tensors)
    return [next(tensors) if kept is None else kept[0] for kept in ctx.constants]


def _gradients(
    plain: Kernel, inputs: list[Any], wanted: Sequence[bool], grad: Tensor
) -> tuple[Tensor, ...]:
    """Of the plain path at these inputs; one for each that is wanted."""
    with torch.enable_grad():
        args = [
            value.detach().requires_grad_() if one else value
            for value, one in zip(inputs, wanted, strict=True)
        ]
        asked = [value for value, one in zip(args, wanted, strict=True) if one]
        out = plain(*args)
        if not out.requires_grad:  # no row is active: the buffer comes back as it was
            return tuple(torch.zeros_like(value) for value in asked)
        return torch.autograd.grad(out, asked, grad, materialize_grads=True)


def _spread(wanted: Sequence[bool], found: Sequence[Tensor]) -> list[Tensor | None]:
    """One entry an argument, None where none is wanted."""
    gradients = iter(found)
    return [next(gradients) if one else None for one in wanted]
