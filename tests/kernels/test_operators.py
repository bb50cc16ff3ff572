"""The operators as torch sees them: opcheck, and the same bits past the dispatcher."""

import pytest
import torch
from torch import Tensor

from nitrogen.kernels import dispatch
from nitrogen.kernels.gradients import CONSTANT
from nitrogen.kernels.operators import DECLARED
from nitrogen.kernels.plan import plan_rows
from nitrogen.kernels.registry import OPERATORS


@pytest.mark.slow
@pytest.mark.parametrize("name", DECLARED)
def test_opcheck(name):
    cases = list(OPERATORS[name].make_cases(torch.float32, "cpu"))
    case = next((c for c in cases if c.label.startswith("63") and "mixed" in c.label), cases[0])
    declared, constant = DECLARED[name], CONSTANT.get(name, {})
    args = [
        v.nan_to_num().requires_grad_(declared.differentiable and i not in constant)
        if isinstance(v, Tensor) and v.is_floating_point()
        else v
        for i, v in enumerate(case.args)
    ]
    # "others undefined": two runs agree on active rows only, so compare with none left undefined.
    if declared.over_rows and not declared.writes:
        at = next(i for i, v in enumerate(args) if isinstance(v, Tensor) and v.dtype == torch.int64)
        args[at : at + 2] = plan_rows(torch.full((3, 3, 7), 2), torch.full((3,), 4), 3, 7)
    torch.library.opcheck(getattr(torch.ops.nitrogen, name).default, tuple(args))


def test_past_the_dispatcher_and_through_it_give_the_same_bits():
    case = next(iter(OPERATORS["gated_add"].make_cases(torch.float32, "cpu")))
    through = torch.ops.nitrogen.gated_add(*case.args)
    assert torch.equal(dispatch.call("gated_add", *case.args), through)
