"""Stage 2: the student learns every width from the frozen teacher, and the predictor its gains.

One batch is a short roll-out of the student itself: up to two steps under random plans leave a
stale cache. Then the same (x_t, sigma) is answered by the teacher, by the student at full width,
at the narrowest and at one more width (the sandwich rule), and under a random plan over that cache.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nitrogen.model.cache import Cache, empty_cache
from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.losses import edm_weight, gating_cost, log_mean_nll, weighted_error
from nitrogen.model.observation import Past, new_past, region_features, remember
from nitrogen.model.predictor import Predictor, gains
from nitrogen.model.regions import HELD, Plan, pool_to_regions, spread_to_pixels
from nitrogen.model.schedules import karras_sigmas
from nitrogen.model.solvers import slide
from nitrogen.model.weights import load_into, load_tensors
from nitrogen.pipelines.training.config import OptimConfig, StudentConfig
from nitrogen.pipelines.training.loop import Task, train
from nitrogen.pipelines.training.preview import save_preview
from nitrogen.platform.training import TrainSession


class Student(nn.Module):
    """The student's denoiser and its predictor: what is trained, averaged and shipped."""

    def __init__(self, arch: ArchConfig):
        super().__init__()
        self.denoiser = Denoiser(arch)
        self.predictor = Predictor(arch)


@dataclass(frozen=True)
class RollOut:
    """Where the student stands after its first steps, all [b, ...], without gradients."""

    x_t: Tensor
    denoised: Tensor  # last D
    sigma: Tensor
    sigma_next: Tensor
    past: Past
    cache: Cache


class StudentTask(Task):
    """The distillation loss of one batch."""

    def __init__(self, arch: ArchConfig, config: StudentConfig, teacher: Denoiser):
        super().__init__()
        self.trained: Student = Student(arch)
        self.trained.denoiser.load_state_dict(teacher.state_dict())
        self.teacher = teacher.requires_grad_(False)
        self.arch, self.config = arch, config
        self.trained.denoiser.requires_grad_(config.train_denoiser)
        self.cost = CostModel(arch, arch.image_size, arch.image_size)

    def forward(
        self, x_0: Tensor, labels: Tensor, generator: torch.Generator, progress: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """x_0: [b, h, w, c] in [-1, 1]. Returns the loss and its parts."""
        dropped = torch.rand(labels.shape, generator=generator) < self.config.label_dropout
        labels = torch.where(dropped.to(labels.device), self.arch.num_classes, labels)
        state = self.roll_out(x_0, labels, generator)
        with torch.no_grad():
            target, _ = self.teacher(state.x_t, state.sigma, labels)
        terms = self.config
        with torch.set_grad_enabled(torch.is_grad_enabled() and terms.train_denoiser):
            answers = self.sandwich(state, labels, generator)
        nll, compute = self.predict(state, labels, answers, target, generator)
        # Annealed from 0: a young predictor would be pushed before it knows anything.
        penalty = terms.gating_penalty * min(1.0, 2 * progress) * compute
        loss, parts = terms.predictor_weight * nll + penalty, {"nll": nll, "compute": compute}
        if terms.train_denoiser:
            weight = edm_weight(state.sigma, self.arch.sigma_data)
            losses = {q: weighted_error(d, target, weight) for q, d in answers.items()}
            full = losses.pop(NUM_WIDTHS)
            narrow = torch.stack(list(losses.values())).mean()
            stale = self.stale(state, labels, target, weight, generator)
            loss = loss + full + terms.narrow_weight * narrow + terms.stale_weight * stale
            parts |= {"full": full, "narrow": narrow, "stale": stale}
        return loss, parts

    @torch.no_grad()
    def roll_out(self, x_0: Tensor, labels: Tensor, generator: torch.Generator) -> RollOut:
        """None, one or two student steps from x_0 + sigma eps, under random plans."""
        net, num, side = self.trained.denoiser, x_0.shape[0], self.arch.image_size
        sigmas = self.draw_sigmas(num, generator).to(x_0.device)
        eps = torch.randn(x_0.shape, generator=generator).to(x_0.device)
        x_t = x_0 + sigmas[:, 0, None, None, None] * eps
        denoised, past = torch.zeros_like(x_t), new_past(num, self.cost.grid, x_0.device)
        cache = empty_cache(self.arch, num, side, side, x_0.device)
        num_rolled = int(torch.randint(0, 3, (1,), generator=generator))
        for step in range(num_rolled):
            here, there = sigmas[:, step], sigmas[:, step + 1]
            log_errors = self.log_errors(x_t, denoised, here, there, past, labels, generator)
            plan = self.random_plan(num, generator, held_share=self.config.held_share * step)
            fresh, cache = net(x_t, here, labels, plan=plan, cache=cache)
            active = spread_to_pixels(plan.widths > HELD, side, side)
            change = pool_to_regions((fresh - denoised).square(), self.cost.grid).mean(-1)
            past = remember(past, plan.widths, change, log_errors[..., HELD])
            denoised = torch.where(active, fresh, denoised)
            x_t = slide(x_t, denoised, here, there)
        here, there = sigmas[:, num_rolled], sigmas[:, num_rolled + 1]
        return RollOut(x_t, denoised, here, there, past, cache)

    def log_errors(
        self,
        x_t: Tensor,
        denoised: Tensor,
        sigma: Tensor,
        sigma_next: Tensor,
        past: Past,
        labels: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """The predictor's answer under a budget drawn uniformly, so that one student is a dial."""
        budget = torch.rand(len(labels), generator=generator).to(x_t.device)
        features = region_features(
            x_t, denoised, sigma, sigma_next, past, budget, self.arch.sigma_data
        )
        return self.trained.predictor(features, labels)

    def draw_sigmas(self, num: int, generator: torch.Generator) -> Tensor:
        """[num, 4] neighbours on sampling grids of random length; the last may be 0."""
        grids = [karras_sigmas(n).float() for n in self.config.num_steps]
        which = torch.randint(len(grids), (num,), generator=generator).tolist()
        where = torch.rand(num, generator=generator).tolist()
        picked = []
        for index, share in zip(which, where, strict=True):
            grid = grids[index]
            start = int(share * (len(grid) - 3))
            picked.append(grid[start : start + 4])
        return torch.stack(picked)

    def random_plan(self, num: int, generator: torch.Generator, held_share: float) -> Plan:
        """Narrow more often than full, as the policies will have it."""
        shape = (num, *self.cost.grid)
        drawn = torch.rand(shape, generator=generator)
        quarters = 1 + (drawn > 0.5).long() + (drawn > 0.75).long() + (drawn > 0.85).long()
        held = torch.rand(shape, generator=generator) < held_share
        device = next(self.trained.parameters()).device
        return Plan(torch.where(held, HELD, quarters).to(device))

    def sandwich(
        self, state: RollOut, labels: Tensor, generator: torch.Generator
    ) -> dict[int, Tensor]:
        """D at full width, at the narrowest, and at one between (Yu and Huang 2019)."""
        between = int(torch.randint(2, NUM_WIDTHS, (1,), generator=generator))
        answers = {}
        for quarters in (NUM_WIDTHS, 1, between):
            answers[quarters], _ = self.trained.denoiser(
                state.x_t, state.sigma, labels, quarters=quarters
            )
        return answers

    def stale(
        self,
        state: RollOut,
        labels: Tensor,
        target: Tensor,
        weight: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """The error of computed regions among held ones, over the roll-out's cache."""
        started = bool((state.past.quarters > HELD).all())  # nothing can be held before that
        share = self.config.held_share if started else 0.0
        plan = self.random_plan(len(labels), generator, share)
        denoised, _ = self.trained.denoiser(
            state.x_t, state.sigma, labels, plan=plan, cache=state.cache
        )
        side = self.arch.image_size
        active = spread_to_pixels(plan.widths > HELD, side, side)
        return weighted_error(torch.where(active, denoised, target), target, weight)

    def predict(
        self,
        state: RollOut,
        labels: Tensor,
        answers: dict[int, Tensor],
        target: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the errors, and the compute that the gains would buy."""
        log_errors = self.log_errors(
            state.x_t, state.denoised, state.sigma, state.sigma_next, state.past, labels, generator
        )
        nll = torch.zeros((), device=target.device)
        for option, answer in {HELD: state.denoised, **answers}.items():
            error = pool_to_regions((answer.detach() - target).square(), self.cost.grid).mean(-1)
            nll = nll + log_mean_nll(log_errors[..., option], error).mean()
        gain = gains(log_errors, state.sigma, state.sigma_next).float()
        scale = gain.detach().abs().mean(dim=(1, 2, 3), keepdim=True) + 1e-12
        share = (self.cost.region_flops / self.cost.region_flops[-1]).to(gain)
        compute = gating_cost(gain / scale, share, self.config.gating_temperature)
        return nll / (1 + len(answers)), compute.mean()

    def preview(self, average: dict[str, Tensor], path: Path) -> None:
        """Draws samples of the averaged student at full width into a PNG."""
        student = Student(self.arch)
        student.load_state_dict(average)
        save_preview(student.denoiser, path)


def train_student(config: dict[str, Any], session: TrainSession) -> None:
    """TrainFn. config: arch, student, optim, data_uri, seed, precision, teacher (weights file),
    start (weights file of a student to go on from; the teacher's weights without it)."""
    torch.manual_seed(config["seed"])
    arch = ArchConfig(**config["arch"])
    teacher = Denoiser(arch)
    with torch.no_grad():
        load_into(teacher, load_tensors(Path(config["teacher"])), "denoiser.")
    task = StudentTask(arch, StudentConfig(**config["student"]), teacher)
    if config.get("start"):
        with torch.no_grad():
            load_into(task.trained, load_tensors(Path(config["start"])))
    optim = OptimConfig(**config["optim"])
    train(task, optim, config["data_uri"], config["seed"], config["precision"], session)
