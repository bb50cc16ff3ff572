"""Schedules of widths to ship with a student, searched on validation by steps and budget.

A local search, as that of the benchmark's static rows (see schedule_search.py), at a fixed number
of steps: the richest schedule that is wider at the end, then changes and exchanges between steps
that stay under the budget, kept when they help. What is compared is the mean error to the
teacher's run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nitrogen.model.cost import CostModel
from nitrogen.model.pipeline import Pipeline
from nitrogen.model.policies import Static
from nitrogen.model.sampler import Sampler
from nitrogen.model.schedules import sampling_sigmas
from nitrogen.model.solvers import sample_dense
from nitrogen.model.start import noise
from nitrogen.model.width_table import WidthTable
from nitrogen.pipelines.bench.ceilings import step_flops
from nitrogen.pipelines.bench.schedule_search import neighbours, richest
from nitrogen.pipelines.sampling import Draws

STEPS, BUDGETS = (4, 8, 12), (0.4, 0.5, 0.6, 0.75)
REFERENCE_STEPS, SOLVER = 64, "dpmpp_2m"
BATCH = 64


@dataclass(frozen=True)
class WidthSearch:
    """The student, seeds of the validation split, and the teacher's pictures of them.

    target: [n, h, w, c]; num_moves: changes that are tried for each number of steps and budget.
    """

    student: Pipeline
    drawn: Draws
    target: torch.Tensor
    num_moves: int = 24
    say: Callable[[str], None] = lambda text: None

    def table(self, steps: Sequence[int] = STEPS, budgets: Sequence[float] = BUDGETS) -> WidthTable:
        """The best schedule found for each; budgets below the cheapest are left out."""
        rows = {num: self.row(num, budgets) for num in steps}
        return WidthTable({num: row for num, row in rows.items() if row})

    def row(
        self, num_steps: int, budgets: Sequence[float]
    ) -> tuple[tuple[float, tuple[int, ...]], ...]:
        """(share, widths) by rising share; a dearer schedule that is no better is left out."""
        row: list[tuple[float, tuple[int, ...]]] = []
        least = math.inf
        found: tuple[float, list[int]] | None = None
        for budget in sorted(budgets):
            found = self.search(num_steps, budget, found)
            if found is None:
                continue
            error, widths = found
            share = self.share(widths)
            self.say(f"{num_steps} steps, budget {budget:g}: {widths}, {share:.3f}, {error:.5f}")
            if error < least and (not row or share > row[-1][0]):
                row.append((share, tuple(widths)))
                least = error
        return tuple(row)

    def search(
        self, num_steps: int, budget: float, poorer: tuple[float, list[int]] | None = None
    ) -> tuple[float, list[int]] | None:
        """(error, widths) of the best schedule under the budget; None where none fits.

        poorer: what was found for a lower budget, which this one pays for too.
        """
        prices, ceiling = self.prices(), budget * num_steps
        start = richest(prices, num_steps, ceiling)
        if start is None:
            return None
        best, widths, tried = self.error(start), start, {tuple(start)}
        if poorer is not None and poorer[0] < best:
            best, widths = poorer
        generator = np.random.default_rng([num_steps, int(1e6 * budget)])
        moves = neighbours(widths, prices, ceiling, generator)
        for _ in range(self.num_moves):
            as_long = (w for w in moves if len(w) == num_steps and tuple(w) not in tried)
            candidate = next(as_long, None)
            if candidate is None:
                break
            tried.add(tuple(candidate))
            error = self.error(candidate)
            if error < best:
                best, widths = error, candidate
                moves = neighbours(widths, prices, ceiling, generator)
        return best, widths

    def error(self, widths: Sequence[int]) -> float:
        """Mean squared error of the pictures to the teacher's."""
        sampler = Sampler(
            self.student.denoiser, Static(widths=tuple(widths)), solver_name=SOLVER
        )  # fmt: skip
        requests = self.drawn.requests(len(widths))
        done = [one for part in sampler.batches(requests) for one in sampler.run(part)]
        x_0 = torch.stack([one.x_0 for one in done]).to(self.target).clamp(-1, 1)
        return float((x_0 - self.target.clamp(-1, 1)).square().mean())

    def prices(self) -> np.ndarray:
        """[5] of a step at 0, 1, .. 4 quarters, in forwards of the full student."""
        cost = CostModel(self.student.arch, self.student.image_size, self.student.image_size)
        return step_flops(cost) / cost.full_flops

    def share(self, widths: Sequence[int]) -> float:
        """Of full compute, rounded up: a budget of as much pays for it."""
        exact = self.prices()[list(widths)].sum() / len(widths)
        return math.ceil(1e6 * exact + 0.5) / 1e6


@torch.no_grad()
def teacher_pictures(teacher: Pipeline, drawn: Draws) -> torch.Tensor:
    """x_0 of the teacher's long run, [n, h, w, c]."""
    side, channels = teacher.image_size, teacher.arch.image_channels
    sigmas = sampling_sigmas(REFERENCE_STEPS, teacher.arch)
    parts = []
    for start in range(0, len(drawn), BATCH):
        seeds = drawn.seeds[start : start + BATCH]
        eps = torch.stack([noise(seed, (side, side, channels)) for seed in seeds])
        labels = torch.tensor(drawn.labels[start : start + BATCH])
        parts.append(sample_dense(teacher.denoiser, eps, labels, sigmas, SOLVER))
    return torch.cat(parts)
