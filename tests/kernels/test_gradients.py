"""Gradients of every operator against float64, or one clear error; as torch's operators and past
them."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nitrogen.kernels import dispatch
from nitrogen.kernels.gradients import CONSTANT
from nitrogen.kernels.operators import DECLARED
from nitrogen.kernels.reference import GRADIENT_TOLERANCES, relative_rms
from nitrogen.kernels.registry import OPERATORS

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
WRITERS = tuple(name for name, declared in DECLARED.items() if declared.writes)
DIFFERENTIABLE = tuple(name for name, declared in DECLARED.items() if declared.differentiable)
SLOW_TRUTH = ("row_mlp", "row_attention")  # a row or a window at a time: half precision without
# 2,000 of them


def registered(name):
    """The operator that torch differentiates."""
    return getattr(torch.ops.nitrogen, f"{name}_new" if name in WRITERS else name)


def is_float(value):
    return isinstance(value, Tensor) and value.is_floating_point()


def differentiable(name, args):
    """Indices of the arguments that have a gradient, buffers included."""
    constant = CONSTANT.get(name, {})
    return [i for i, value in enumerate(args) if is_float(value) and i not in constant]


def gradients(function, name, args, dtype):
    wanted = differentiable(name, args)
    args = [v.detach().to(dtype) if i in wanted else v for i, v in enumerate(args)]
    for i in wanted:
        args[i].requires_grad_()
    out = function(*args)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    undefined = DECLARED[name].over_rows and name not in WRITERS  # where a row is held
    if undefined:  # what is read by nobody has no gradient to give
        at = next(i for i, v in enumerate(args) if isinstance(v, Tensor) and v.dtype == torch.int64)
        active = args[at][: int(args[at + 1][1:].sum())]
        out, cotangent = out[active], cotangent[active]
    asked = [args[i] for i in wanted]
    return torch.autograd.grad(
        out, asked, cotangent, materialize_grads=True
    )  # unused where no row is active


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("name", [*DIFFERENTIABLE, *WRITERS])
def test_gradients_equal_those_of_the_reference(name, dtype):
    """Of every case: 1 to 2,000 rows, every width, all rows and none; of a buffer too."""
    operator = OPERATORS[name]
    for case in operator.make_cases(dtype, "cpu"):
        large = case.label.startswith("2000")
        if large and name in SLOW_TRUTH and dtype != torch.float32:
            continue
        expected = gradients(operator.reference, name, case.args, torch.float64)
        for way in (registered(name), lambda *args: dispatch.call(name, *args)):
            got = gradients(way, name, case.args, dtype)
            for i, mine, truth in zip(differentiable(name, case.args), got, expected, strict=True):
                assert mine.dtype == dtype
                assert relative_rms(mine, truth) < GRADIENT_TOLERANCES[dtype], (case.label, i)


@pytest.mark.parametrize("plan", ["empty", "full"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_buffer_may_want_no_gradient(name, plan):
    """As every cache: where no row is active, nothing reaches the result, and all others get 0."""
    cases = OPERATORS[name].make_cases(torch.float32, "cpu")
    args = list(next(c for c in cases if c.label.endswith(plan)).args)
    args[-1] = args[-1].nan_to_num()
    wanted = differentiable(name, args[:-1])
    asked = [args[i].detach().clone().requires_grad_() for i in wanted]
    for i, value in zip(wanted, asked, strict=True):
        args[i] = value
    out = registered(name)(*args)
    got = torch.autograd.grad(out, asked, torch.ones_like(out))
    assert [one.shape for one in got] == [one.shape for one in asked]
    assert all(one.any() == (plan == "full") for one in got)


@pytest.mark.parametrize("name", WRITERS)
def test_an_operator_that_writes_refuses_a_gradient(name):
    """torch would leave it out without a word: each argument, the buffer too."""
    case = list(OPERATORS[name].make_cases(torch.float32, "cpu"))[-1]
    for i in differentiable(name, case.args):
        args = [v.clone() if isinstance(v, Tensor) else v for v in case.args]
        args[i].requires_grad_()
        with pytest.raises(ValueError, match=f"Call nitrogen::{name}_new"):
            getattr(torch.ops.nitrogen, name)(*args)
        with torch.no_grad():
            getattr(torch.ops.nitrogen, name)(*args)


@pytest.mark.parametrize("index", CONSTANT["ode_exit"])
def test_a_noise_level_has_no_gradient_and_says_so(index):
    args = list(next(iter(OPERATORS["ode_exit"].make_cases(torch.float32, "cpu"))).args)
    args[index] = args[index].clone().requires_grad_()
    for way in (torch.ops.nitrogen.ode_exit, lambda *args: dispatch.call("ode_exit", *args)):
        with pytest.raises(ValueError, match=f"{CONSTANT['ode_exit'][index]} of ode_exit must"):
            way(*args)


@pytest.mark.parametrize("name", WRITERS)
def test_a_second_derivative_is_refused(name):
    """The backward of a twin is an operator without one of its own."""
    args = [v.clone() if isinstance(v, Tensor) else v for v in first_full(name)]
    args[0].requires_grad_()
    out = registered(name)(*args)
    cotangent = torch.ones_like(out, requires_grad=True)
    [first] = torch.autograd.grad(out, args[0], cotangent, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        torch.autograd.grad(first.sum(), cotangent)


def first_full(name):
    return next(
        c for c in OPERATORS[name].make_cases(torch.float32, "cpu") if c.label.endswith("full")
    ).args


@pytest.mark.slow  # as opcheck of the operators themselves
@pytest.mark.parametrize("name", WRITERS)
def test_a_twin_passes_opcheck(name):
    args = [v.nan_to_num().requires_grad_() if is_float(v) else v for v in first_full(name)]
    torch.library.opcheck(registered(name).default, tuple(args))


@pytest.mark.parametrize("name", ["row_linear", "row_mlp"])
def test_flops_are_counted_where_a_gradient_is_wanted(name):
    """The twin's as the operator's, and past it those of the way back, twice as many."""
    # 2,000 rows are whole blocks: the plain path pads others.
    cases = OPERATORS[name].make_cases(torch.float32, "cpu")
    case = next(c for c in cases if c.label.startswith("2000") and c.label.endswith("full"))
    args = [v.clone() if isinstance(v, Tensor) else v for v in case.args]
    with FlopCounterMode(display=False) as without:
        getattr(torch.ops.nitrogen, name)(*args)
    for i in differentiable(name, args[:-1]):
        args[i].requires_grad_()
    with FlopCounterMode(display=False) as twin:
        registered(name)(*args)
    assert twin.get_total_flops() == without.get_total_flops() > 0
    with FlopCounterMode(display=False) as both:
        dispatch.call(name, *args).nan_to_num().sum().backward()
    assert both.get_total_flops() == 3 * twin.get_total_flops()
