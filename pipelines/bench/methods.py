"""The methods that are compared: each row is a method with a setting, given as plain values.

A new baseline is a function from (models, setting) to a runner, its entry in KINDS, and a row in
`contenders.py`; the conformance test then runs every shared check on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.policies import Full, Policy, Static, make_policy
from nitrogen.model.row_denoiser import RowDenoiser
from nitrogen.model.sampler import Sampler
from nitrogen.model.schedules import KARRAS, Spacing, sampling_sigmas
from nitrogen.model.solvers import sample_dense, solver_for
from nitrogen.model.start import noise
from nitrogen.pipelines.bench import baselines, controls
from nitrogen.pipelines.bench.models import Models
from nitrogen.pipelines.bench.relays import relay_asked
from nitrogen.pipelines.sampling import Draws, forwards

TORCH_KINDS = ("dense", "schedule", "deep_cache", "tea_cache")  # by plain PyTorch
GROUPS = ("teacher", "thin", "static", "cache", "control", "ignored", "ours")


@dataclass(frozen=True, eq=False)  # found by what it describes, through a row's key
class Method:
    """One row to be: a name for people, its group, and what KINDS needs to run it.

    guidance: of the row, whose reference is the teacher's 64 steps at the same guidance.
    timed: False for bounds that no machine could run (the oracle looks at the teacher).
    trace: for controls, the plans of the row they belong to; stands in the key by that row's.
    """

    name: str
    group: str
    kind: str
    setting: Mapping[str, Any]
    guidance: float = 1.0
    timed: bool = True
    trace: controls.Trace | None = field(default=None, compare=False, repr=False)

    @property
    def model(self) -> str:
        """The model whose pictures these are: teacher, student, or a thin one's name."""
        return str(self.setting.get("model", "student"))

    @property
    def operators(self) -> str:
        """`torch` for a dense path of plain PyTorch, `rows` for those of the adaptive path."""
        return "torch" if self.kind in TORCH_KINDS and self.guidance == 1 else "rows"

    def described(self) -> dict[str, Any]:
        """What identifies the row, as JSON values."""
        return {
            "name": self.name, "group": self.group, "kind": self.kind,
            "setting": dict(self.setting), "guidance": self.guidance,
        }  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """Pictures of one call and what each cost.

    x_0: [b, h, w, c] in about [-1, 1]; flops, nfe: [b] float64, nfe counts calls of the network;
    widths: [b, steps, rh, rw] int64 quarters each region ran at, of methods with plans.
    """

    x_0: Tensor
    flops: Tensor
    nfe: Tensor
    widths: Tensor | None = None


Runner = Callable[[Sequence[int], Sequence[int]], Drawn]  # (labels, seeds) -> pictures


def runner(method: Method, models: Models) -> Runner:
    """The function that draws pictures by this method."""
    return KINDS[method.kind](models, method)


def dense(models: Models, method: Method) -> Runner:
    """A model by its own dense path. setting: model, solver, num_steps."""
    s = method.setting
    if method.guidance != 1:
        return with_policy(models, method, make_policy("full"), s["model"], bounded=False)
    denoiser = models.get(s["model"]).denoiser
    calls = forwards(s["num_steps"], solver_for(denoiser.arch.strided, s["solver"]))
    side = denoiser.arch.image_size
    flops = calls * CostModel(denoiser.arch, side, side).full_flops

    def draw(labels: Sequence[int], seeds: Sequence[int]) -> Drawn:
        eps = start_noise(denoiser, seeds)
        sigmas = sampling_sigmas(s["num_steps"], denoiser.arch, spacing_of(s))
        x_0 = sample_dense(denoiser, eps, torch.tensor(labels), sigmas, s["solver"])
        return Drawn(x_0, constant(flops, seeds), constant(calls, seeds))

    return draw


def stepwise(
    models: Models, method: Method, choose: Callable[..., baselines.Evaluate], by_rows: bool = False
) -> Runner:
    """A baseline that decides step by step. setting: model, solver, num_steps, and its own."""
    s = method.setting
    denoiser = models.get(s["model"]).denoiser
    network = RowDenoiser(denoiser) if by_rows else denoiser
    shared = ("model", "solver", "num_steps", "spacing", "tier")
    own = {k: v for k, v in s.items() if k not in shared}

    def draw(labels: Sequence[int], seeds: Sequence[int]) -> Drawn:
        eps = start_noise(denoiser, seeds)
        sigmas = sampling_sigmas(s["num_steps"], denoiser.arch, spacing_of(s))
        evaluate = choose(network, torch.tensor(labels), num_steps=s["num_steps"], **own)
        solver_name = solver_for(denoiser.arch.strided, s["solver"])
        x_0, spent = baselines.integrate(evaluate, eps, sigmas, solver_name)
        return Drawn(x_0, spent.flops, spent.nfe)

    return draw


def with_policy(
    models: Models, method: Method, policy: Policy, model: str, bounded: bool = True
) -> Runner:
    """The stepwise sampler under a policy. setting: solver, num_steps, budget (a share or None),
    relay.

    bounded: by arch.layer_width; the dense path is not, nor what stands for it.
    """
    s, pipeline = method.setting, models.get(model)
    network = pipeline.denoiser if bounded else pipeline.denoiser.without_bounds()
    sampler = Sampler(
        network, policy, predictor=pipeline.predictor, solver_name=s["solver"],
        spacing=spacing_of(s), relay=relay_asked(pipeline, s),
    )  # fmt: skip

    def draw(labels: Sequence[int], seeds: Sequence[int]) -> Drawn:
        drawn = Draws(list(labels), list(seeds))
        finished = sampler.run(drawn.requests(s["num_steps"], method.guidance, s.get("budget")))
        longest = s["num_steps"]
        widths = torch.stack(
            [
                torch.nn.functional.pad(f.widths, (0, 0, 0, 0, 0, longest - f.widths.shape[0]))
                for f in finished
            ]
        )
        ran = (widths > 0).flatten(2).any(dim=2).double()
        if sampler.heun:  # its second evaluation, but for the step to 0
            ran[:, :-1] *= 2
        calls = ran.sum(dim=1) * (2 if method.guidance != 1 else 1)
        flops = torch.tensor([f.flops for f in finished], dtype=torch.float64)
        return Drawn(torch.stack([f.x_0 for f in finished]), flops, calls, widths)

    return draw


def played(models: Models, method: Method) -> Runner:
    """A static schedule through the sampler. setting: model, solver, num_steps, widths, relay."""
    s, widths = method.setting, tuple(method.setting["widths"])
    assert len(widths) == s["num_steps"], "a schedule has a width for every step"
    assert widths[0] > 0, "the first step has nothing that it could keep"
    return with_policy(models, method, Static(widths=widths), s["model"], bounded=False)


def named_policy(models: Models, method: Method) -> Runner:
    """Ours, or another policy of the model. setting: model, policy, threshold, budget, and

    served   the library's own planner: by the price table that ships with the model, relay included
    price    another price; equal shares for every step without either
    """
    s = method.setting
    dials = (s["policy"], s.get("threshold"), s.get("budget"))
    if s.get("served"):
        policy = models.get(method.model).policy(*dials, s["num_steps"], method.guidance)
    else:
        policy = make_policy(*dials, s.get("price"))
    return with_policy(models, method, policy, method.model)


def ras(models: Models, method: Method) -> Runner:
    """setting: share of the regions computed, warm_up in steps."""
    s = method.setting
    return with_policy(models, method, controls.Spread(s["share"], s["warm_up"]), s["model"])


def ignored(models: Models, method: Method) -> Runner:
    """The predictor computed and not read, beside the full student."""
    return with_policy(models, method, Full(needs_predictor=True), "student", bounded=False)


def control(models: Models, method: Method) -> Runner:
    """Another row's K and widths at other positions. setting: how, of (that row's name)."""
    assert method.trace is not None, "a control needs the plans of the row it belongs to"
    s = method.setting
    if s["how"] == "oracle":
        teacher, student = models.teacher.denoiser, models.student.denoiser
        policy: Policy = controls.OraclePositions(method.trace, teacher, student)
    else:
        policy = controls.Replay(controls.moved(method.trace, s["how"]))
    return with_policy(models, method, policy, "student")


KINDS: dict[str, Callable[[Models, Method], Runner]] = {
    "dense": dense,
    "schedule": partial(stepwise, choose=baselines.scheduled),
    "played": played,
    "deep_cache": partial(stepwise, choose=baselines.deep_cache),
    "tea_cache": partial(stepwise, choose=baselines.tea_cache),
    "deep_cache_by_rows": partial(stepwise, choose=baselines.deep_cache, by_rows=True),
    "tea_cache_by_rows": partial(stepwise, choose=baselines.tea_cache, by_rows=True),
    "ras": ras,
    "policy": named_policy,
    "ignored": ignored,
    "control": control,
}


def spacing_of(setting: Mapping[str, Any]) -> Spacing:
    """Of the noise levels: those of the setting, a Spacing's fields in order, or EDM's."""
    return Spacing(*setting["spacing"]) if "spacing" in setting else KARRAS


def slices(quarters: int, num_steps: int) -> list[int]:
    """The schedule of one fixed width."""
    assert 1 <= quarters <= NUM_WIDTHS
    return [quarters] * num_steps


def start_noise(denoiser: Denoiser, seeds: Sequence[int]) -> Tensor:
    """[b, h, w, c] unit noise, each sample's by its seed alone."""
    side, channels = denoiser.arch.image_size, denoiser.arch.image_channels
    return torch.stack([noise(seed, (side, side, channels)) for seed in seeds])


def constant(value: float, seeds: Sequence[int]) -> Tensor:
    return torch.full((len(seeds),), float(value), dtype=torch.float64)
