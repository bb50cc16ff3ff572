"""One step of the sampler as torch's compiler and exporter see it: one graph, the same answers."""

from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch.utils import _pytree as pytree

from nitrogen.model.cache import Cache, empty_cache
from nitrogen.model.observation import Past
from nitrogen.model.policies import Budget, Full, Policy, Static, Threshold
from nitrogen.model.regions import Plan
from nitrogen.model.request import Live, Request
from nitrogen.model.sampler import Sampler
from nitrogen.model.solvers import History

pytestmark = pytest.mark.slow  # torch.compile takes seconds a graph

REQUESTS = [
    Request(0, 1, 4), Request(1, 2, 6, 2.0), Request(2, 3, 5, 1.0, 0.5),
    Request(0, 4, 7, 3.0, 0.9, dense_last=True),
]  # fmt: skip
IN_A_STEP = (  # norm_modulate is fused into row_qkv and depthwise
    "plan_rows", "depthwise", "row_mlp", "gated_add", "row_linear", "row_qkv", "row_attention",
    "region_stats", "ode_exit",
)  # fmt: skip
EXIT = 0.0211  # a residual that some regions are below behind two steps


@dataclass(frozen=True)
class Setting:
    policy: Policy
    solver: str = "dpmpp_2m"


SETTINGS = {
    "budget with exits": Setting(Budget(EXIT, patience=1)),
    "priced": Setting(Budget(price=1e-12, max_age=2), "euler"),
    "threshold": Setting(Threshold(0.02), "unipc"),
    "static": Setting(Static(widths=(4, 2, 0, 1)), "heun"),
    "full": Setting(Full()),
}


def live_after(sampler, num_steps):
    """The batch of REQUESTS behind some steps: mixed sigmas, guidance, budgets, held regions."""
    state = sampler.start(REQUESTS)
    for _ in range(num_steps):
        state = sampler.step(state)
    return state.live


def same(got, expected):
    """Of two batches, or of two steps, every tensor."""
    pairs = zip(leaves(got), leaves(expected), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-5, equal_nan=True)


def leaves(live):
    """The tensors of a batch; of the unlabelled branch those that guided samples read."""
    guided = live.guidance != 1
    parts = [live.x, live.denoised, live.step, live.spent, live.exited, live.fallbacks]
    parts += [*live.past._values(), *live.history._values(), *live.cache.maps()]
    return parts + [m[guided] for m in live.cache_unlabelled.maps()]


@pytest.fixture
def predictor(predictor):
    """To whom wider is better, so that plans hold every width."""
    knowing = deepcopy(predictor)
    knowing.widths.bias.copy_(torch.tensor([-4.5, -5.0, -6.0, -8.0]))
    return knowing


@pytest.fixture(autouse=True)
def _anew():
    """The compiler keeps nothing of other tests."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("budget with exits", "aot_eager"),
        *((name, "eager") for name in SETTINGS if name != "budget with exits"),
    ],
)
@torch.no_grad()
def test_a_step_of_the_sampler_is_one_graph(name, backend, denoiser, predictor):
    setting = SETTINGS[name]
    sampler = Sampler(denoiser, setting.policy, predictor=predictor, solver_name=setting.solver)
    expected, planned = sampler.compute(live_after(sampler, 2))
    if name == "budget with exits":  # else the ways around a held region were not walked
        assert len(planned.plan.widths.unique()) >= 3
        assert 0 in planned.plan.widths
    step = torch.compile(sampler.compute, fullgraph=True, backend=backend)
    got, seen = step(live_after(sampler, 2))
    assert torch.equal(seen.plan.widths, planned.plan.widths)
    same(got, expected)


@torch.no_grad()
def test_a_sample_that_computes_nothing_is_left_as_it_is(denoiser, predictor):
    """Eagerly it is taken out of the network's batch, compiled it goes through without rows."""
    sampler = Sampler(denoiser, Static(widths=(2, 0, 1, 1)), predictor=predictor)
    expected, planned = sampler.compute(live_after(sampler, 1))
    idle = (planned.plan.widths == 0).flatten(1).all(dim=1)
    assert idle.any()
    assert not idle.all()
    got, _ = torch.compile(sampler.compute, fullgraph=True, backend="eager")(live_after(sampler, 1))
    same(got, expected)


class Step(torch.nn.Module):
    """`Sampler.compute` with its weights in sight of the exporter."""

    def __init__(self, sampler):
        super().__init__()
        self.sampler, self.denoiser = sampler, sampler.denoiser
        self.predictor = sampler.planner.predictor

    def forward(self, live):
        return self.sampler.compute(live)[0]


@torch.no_grad()
def test_a_step_of_the_sampler_exports(denoiser, predictor):
    for part in (Live, History, Past, Cache):
        if part not in pytree.SUPPORTED_NODES:
            torch.export.register_dataclass(part)
    sampler = Sampler(denoiser, Budget(EXIT, patience=1), predictor=predictor)
    expected, _ = sampler.compute(live_after(sampler, 2))
    program = torch.export.export(Step(sampler), (live_after(sampler, 2),))
    calls = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert calls >= {f"nitrogen.{name}.default" for name in IN_A_STEP}
    # torch 2.13 writes guards that do not parse where one field's name begins another's.
    same(program.module(check_guards=False)(live_after(sampler, 2)), expected)


@pytest.mark.parametrize(
    "widths",
    [torch.arange(32).view(2, 4, 4) % 5, torch.zeros(2, 4, 4, dtype=torch.int64)],
    ids=["mixed", "all held"],
)
def test_training_over_rows_is_one_graph(denoiser, widths):
    """The student among held regions, forward and backward, buffers and all."""
    arch = denoiser.arch
    trained = deepcopy(denoiser).requires_grad_(True)
    x_t, sigma, labels = torch.randn(2, 32, 32, 3), torch.tensor([0.5, 2.0]), torch.tensor([0, 3])
    plan = Plan(widths)

    def loss():
        rows, _ = trained(x_t, sigma, labels, plan=plan, cache=empty_cache(arch, 2, 32, 32))
        return rows.square().mean()

    weights = list(trained.parameters())
    expected = torch.autograd.grad(loss(), weights, materialize_grads=True)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")()
    got = torch.autograd.grad(compiled, weights, materialize_grads=True)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
