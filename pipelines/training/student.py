"""Stage 2: the student learns every width from the frozen teacher, and the predictor its gains.

One batch is a short roll-out of the student itself, which leaves a stale cache. Then the same
(x_t, sigma) is answered by the teacher, by the student at full width, at the narrowest and at one
more width (the sandwich rule), and under a plan over that cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.leg import Leg
from nitrogen.model.losses import gating_cost, log_mean_nll, tilted_weight, weighted_error
from nitrogen.model.predictor import Predictor, gains
from nitrogen.model.regions import HELD, Plan, region_mse, spread_to_pixels
from nitrogen.model.relay import legs_of
from nitrogen.model.row_denoiser import RowDenoiser
from nitrogen.model.weights import load_into, load_tensors
from nitrogen.pipelines.training.config import OptimConfig, StudentConfig
from nitrogen.pipelines.training.loop import Task, train
from nitrogen.pipelines.training.preview import save_preview
from nitrogen.pipelines.training.rollouts import Explorer, RollOut, renoised
from nitrogen.pipelines.training.stride import stride_target
from nitrogen.platform.storage_copies import local_copy
from nitrogen.platform.training import TrainSession

ON_POLICY_FROM = 0.25  # of the training: a young predictor's plans are noise


def student_arch(arch: ArchConfig, config: StudentConfig) -> ArchConfig:
    """The student's architecture: the teacher's, strided if it is to be."""
    levels = config.stride_sigma_min if config.strided else None
    return arch.model_copy(update={"strided": config.strided, "stride_sigma_min": levels})


class Student(nn.Module):
    """The student's denoiser and its predictor: what is trained, averaged and shipped."""

    def __init__(self, arch: ArchConfig):
        super().__init__()
        self.denoiser = Denoiser(arch)
        self.predictor = Predictor(arch)


@dataclass(frozen=True)
class Asked:
    """Where the student stands, the D wanted there [b, h, w, c], its own D by width, and what its
    predictor says of their errors [b, rh, rw, 5]."""

    state: RollOut
    target: Tensor
    answers: dict[int, Tensor]
    log_errors: Tensor


class StudentTask(Task):
    """The distillation loss of one batch."""

    def __init__(
        self,
        arch: ArchConfig,
        config: StudentConfig,
        teacher: Denoiser,
        legs: Sequence[Leg] = (),  # of a relay that the student is to take strides of
    ):
        super().__init__()
        arch = student_arch(arch, config)
        self.trained: Student = Student(arch)
        # Only the stride's weights are not the teacher's; they start at 0.
        self.trained.denoiser.load_state_dict(teacher.state_dict(), strict=not config.strided)
        self.teacher = teacher.requires_grad_(False)
        self.full = RowDenoiser(self.teacher, cpp_only=True)
        self.arch, self.config, self.legs = arch, config, legs
        self.trained.denoiser.requires_grad_(config.train_denoiser)
        self.cost = CostModel(arch, arch.image_size, arch.image_size)

    def forward(
        self, x_0: Tensor, labels: Tensor, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """x_0: [b, h, w, c] in [-1, 1]. Returns the loss and its parts."""
        dropped = torch.rand(labels.shape, generator=generator) < self.config.label_dropout
        labels = torch.where(dropped.to(labels.device), self.arch.num_classes, labels)
        explorer = self.explorer()
        on_policy = self.config.on_policy_share if progress >= ON_POLICY_FROM else 0.0
        asked = self.sandwich(explorer, x_0, labels, generator, on_policy)
        judged = [self.predict(one) for one in asked]
        nll, compute = (torch.stack(part).mean() for part in zip(*judged, strict=True))
        terms = self.config
        # Annealed from 0: a young predictor would be pushed before it knows anything.
        penalty = terms.gating_penalty * min(1.0, 2 * progress) * compute
        loss, parts = terms.predictor_weight * nll + penalty, {"nll": nll, "compute": compute}
        if terms.train_denoiser:
            losses = {q: self.error(one, d) for one in asked for q, d in one.answers.items()}
            full = losses.pop(NUM_WIDTHS)
            narrow = torch.stack(list(losses.values())).mean()
            first = asked[0]
            plan = explorer.plan(first.state, first.log_errors, generator, on_policy)
            stale = self.stale(first, labels, plan)
            loss = loss + full + terms.narrow_weight * narrow + terms.stale_weight * stale
            parts |= {"full": full, "narrow": narrow, "stale": stale}
        return loss, parts

    def explorer(self) -> Explorer:
        """Rolls the student out as it is now."""
        student, config = self.trained, self.config
        return Explorer(
            student.denoiser, student.predictor, self.cost, config.num_steps, config.held_share,
            config.rollout_steps, self.legs,
        )  # fmt: skip

    def target(self, state: RollOut, labels: Tensor) -> Tensor:
        """The teacher's D here, or over the whole step for a strided student."""
        if not self.config.strided:
            return self.ask_teacher(state.x_t, state.sigma, labels)
        sigmas = (state.sigma, state.sigma_next)
        return stride_target(self.ask_teacher, state.x_t, *sigmas, labels, self.config.num_substeps)

    def ask_teacher(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """The teacher's D at full width. [b, h, w, c]."""
        return self.full(x, sigma, labels)[0]

    def sandwich(
        self, explorer: Explorer, x_0: Tensor, labels: Tensor, generator: torch.Generator,
        on_policy: float,
    ) -> list[Asked]:  # fmt: skip
        """Asked at full width, at the narrowest, and at one between (Yu and Huang 2019), all on the
        same noise; without `same_noise` the narrow ones apart."""
        state, target = self.stand(explorer, x_0, labels, generator, on_policy)
        narrow = [1, int(torch.randint(2, NUM_WIDTHS, (1,), generator=generator))]
        if self.config.same_noise:
            return [self.ask(explorer, state, target, labels, [NUM_WIDTHS, *narrow])]
        other, wanted = self.stand(explorer, x_0, labels, generator, on_policy)
        return [
            self.ask(explorer, state, target, labels, [NUM_WIDTHS]),
            self.ask(explorer, other, wanted, labels, narrow),
        ]

    @torch.no_grad()
    def stand(
        self, explorer: Explorer, x_0: Tensor, labels: Tensor, generator: torch.Generator,
        on_policy: float,
    ) -> tuple[RollOut, Tensor]:  # fmt: skip
        """Where the student stands after a roll-out, and the D that is wanted of it there."""
        state = explorer.roll_out(x_0, labels, generator, on_policy)
        if self.config.distilled:
            return state, self.target(state, labels)
        return renoised(state, x_0, generator), x_0

    def ask(
        self, explorer: Explorer, state: RollOut, target: Tensor, labels: Tensor,
        widths: Sequence[int],
    ) -> Asked:  # fmt: skip
        """The student's D at these widths, and what its predictor says of them."""
        answers = {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.train_denoiser):
            for quarters in widths:
                answers[quarters], _ = self.trained.denoiser(
                    state.x_t, state.sigma, labels, sigma_next=state.sigma_next, quarters=quarters
                )
        return Asked(state, target, answers, explorer.log_errors(state, labels))

    def error(self, asked: Asked, denoised: Tensor) -> Tensor:
        """The weighted error of an answer."""
        tilt = self.config.weight_tilt
        weight = tilted_weight(asked.state.sigma, self.arch.sigma_data, tilt)
        return weighted_error(denoised, asked.target, weight)

    def stale(self, asked: Asked, labels: Tensor, plan: Plan) -> Tensor:
        """The error of computed regions among held ones, over the roll-out's cache."""
        state = asked.state
        denoised, _ = self.trained.denoiser(
            state.x_t, state.sigma, labels, sigma_next=state.sigma_next, plan=plan,
            cache=state.cache,
        )  # fmt: skip
        active = spread_to_pixels(plan.widths > HELD, self.cost.height, self.cost.width)
        return self.error(asked, torch.where(active, denoised, asked.target))

    def predict(self, asked: Asked) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the errors, and the compute that the gains would buy."""
        state, log_errors = asked.state, asked.log_errors
        nll = torch.zeros((), device=log_errors.device)
        for option, answer in {HELD: state.denoised, **asked.answers}.items():
            error = region_mse(answer.detach(), asked.target, self.cost.grid)
            nll = nll + log_mean_nll(log_errors[..., option], error).mean()
        gain = gains(log_errors, state.sigma, state.sigma_next).float()
        scale = gain.detach().abs().mean(dim=(1, 2, 3), keepdim=True) + 1e-12
        share = (self.cost.region_flops / self.cost.region_flops[-1]).to(gain)
        compute = gating_cost(gain / scale, share, self.config.gating_temperature)
        return nll / (1 + len(asked.answers)), compute.mean()

    def preview(self, average: dict[str, Tensor], path: Path) -> None:
        """Draws samples of the averaged student at full width into a PNG."""
        student = Student(self.arch)
        student.load_state_dict(average)
        save_preview(student.denoiser, path)


def train_student(config: dict[str, Any], session: TrainSession) -> None:
    """TrainFn. config: arch, student, optim, data_uri, seed, precision, teacher (weights file),
    start (weights file of a student to go on from; the teacher's weights without it), relay (of
    config.json, whose strides the student is to take; without it, it has none)."""
    torch.manual_seed(config["seed"])
    arch = ArchConfig(**config["arch"])
    teacher = Denoiser(arch)
    with torch.no_grad():
        load_into(teacher, load_tensors(local_copy(config["teacher"])), "denoiser.")
    legs = legs_of(config["relay"]) if config.get("relay") else ()
    task = StudentTask(arch, StudentConfig(**config["student"]), teacher, legs)
    if config.get("start"):
        with torch.no_grad():
            load_into(task.trained, load_tensors(local_copy(config["start"])))
    optim = OptimConfig(**config["optim"])
    train(task, optim, config["data_uri"], config["seed"], config["precision"], session)
