"""The operators as torch sees them: opcheck, no graph break in a whole step, same bits."""

import pytest
import torch
from torch import Tensor

from nitrogen.kernels import dispatch
from nitrogen.kernels.operators import DIFFERENTIABLE, SCHEMAS
from nitrogen.kernels.plan import plan_rows
from nitrogen.kernels.registry import OPERATORS
from nitrogen.model.cache import Cache, empty_cache
from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.observation import new_past, region_features
from nitrogen.model.predictor import Predictor
from nitrogen.model.regions import Plan

ARCH = ArchConfig(
    channels=(16, 32), num_blocks=(1, 2), num_attention_blocks=1, head_channels=16,
    cond_channels=16, num_classes=3,
)  # fmt: skip


def step_inputs():
    widths = torch.randint(0, 5, (2, 4, 4), generator=torch.Generator().manual_seed(0))
    x_t = torch.randn(2, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    return x_t, torch.tensor([0.5, 2.0]), torch.tensor([0, 3]), widths, empty_cache(ARCH, 2, 32, 32)


class Step(torch.nn.Module):
    """One step as a function of tensors alone: features, prediction, the network over the rows of a
    plan that the prediction decides, statistics, and the solver's update."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.denoiser, self.predictor = Denoiser(ARCH), Predictor(ARCH)
        self.eval().requires_grad_(False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter += torch.randn(parameter.shape) * 0.05

    def forward(self, x_t, sigma, labels, widths, residuals, attended, qkv):
        cache = Cache(tuple(residuals), tuple(attended), tuple(qkv))
        past = new_past(2, (4, 4))
        features = region_features(x_t, x_t, sigma, sigma / 2, past, torch.ones(2), 0.5)
        errors = self.predictor(features, labels)
        certain = errors[..., 0] < errors[..., 0].mean()
        plan = Plan(torch.where(certain, 0, widths))
        denoised, _ = self.denoiser(x_t, sigma, labels, plan=plan, cache=cache)
        change = dispatch.region_stats(denoised, x_t, (4, 4))[..., -1:].mean()
        held = plan.widths == 0
        ends = (sigma, sigma / 2, sigma * 2)
        return dispatch.ode_exit(x_t, denoised, x_t, *ends, held) + 0 * change


def arguments():
    x_t, sigma, labels, widths, cache = step_inputs()
    maps = [list(part) for part in (cache.residuals, cache.attended, cache.qkv)]
    return x_t, sigma, labels, widths, *maps


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMAS)
def test_opcheck(name):
    cases = list(OPERATORS[name].make_cases(torch.float32, "cpu"))
    case = next((c for c in cases if c.label.startswith("63") and "mixed" in c.label), cases[0])
    args = [
        v.nan_to_num().requires_grad_(name in DIFFERENTIABLE)
        if isinstance(v, Tensor) and v.is_floating_point()
        else v
        for v in case.args
    ]
    # "others undefined": two runs agree on active rows only, so compare with none left undefined.
    if name in ("norm_modulate", "depthwise", "row_attention"):
        at = next(i for i, v in enumerate(args) if isinstance(v, Tensor) and v.dtype == torch.int64)
        args[at : at + 2] = plan_rows(torch.full((3, 3, 7), 2), torch.full((3,), 4), 3, 7)
    torch.library.opcheck(getattr(torch.ops.nitrogen, name).default, tuple(args))


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
@torch.no_grad()
def test_a_whole_step_compiles_without_a_graph_break(backend):
    torch._dynamo.reset()
    step = Step()
    expected, got_args = step(*arguments()), arguments()
    got = torch.compile(step, fullgraph=True, backend=backend)(*got_args)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert all(float(m.abs().max()) > 0 for m in got_args[4])  # and the cache was written


@torch.no_grad()
def test_a_whole_step_exports():
    step = Step()
    program = torch.export.export(step, arguments())
    calls = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {f"nitrogen.{name}.default" for name in SCHEMAS} - calls == {
        "nitrogen.norm_modulate.default"  # the network has it fused into row_qkv and depthwise
    }
    got = program.module()(*arguments())
    torch.testing.assert_close(got, step(*arguments()), atol=1e-5, rtol=0)


def test_past_the_dispatcher_and_through_it_give_the_same_bits():
    case = next(iter(OPERATORS["gated_add"].make_cases(torch.float32, "cpu")))
    through = torch.ops.nitrogen.gated_add(*case.args)
    assert torch.equal(dispatch.call("gated_add", *case.args), through)
