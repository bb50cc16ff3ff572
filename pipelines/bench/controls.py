"""Controls for *where*: the same widths at every step as another row, at other positions.

A trace holds the plans that a method ran, sample by sample. A control keeps how many regions of a
sample ran at each width at each step, and changes only which ones. Beside them the policies that
the benchmark alone needs: RAS-like selection, exits alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nitrogen.model.confidence import confident
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.observation import Observation
from nitrogen.model.policies import Decision, no_exit
from nitrogen.model.predictor import sensitivity_weight
from nitrogen.model.regions import HELD, Plan, region_mse
from nitrogen.model.row_denoiser import RowDenoiser
from nitrogen.pipelines.evaluation.residuals import true_denoised

MOVES = ("random", "shuffled", "time_average", "centre")
CONTROLS = (*MOVES, "oracle")
STARVATION = 0.5  # per step of age, in log score: a region that waits comes first in the end


@dataclass(frozen=True)
class Trace:
    """The plans of a row. seeds: n, widths: uint8 [n, steps, rh, rw]."""

    seeds: tuple[int, ...]
    widths: np.ndarray

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.widths):
            raise ValueError(f"seeds must be {len(self.widths)}, got {len(self.seeds)}.")


def moved(trace: Trace, how: str) -> Trace:
    """The same trace with every step's widths at other positions; see `ranks`."""
    n, steps, rh, rw = trace.widths.shape
    flat = trace.widths.reshape(n, steps, rh * rw)
    widest_first = -np.sort(-flat.astype(np.int16), axis=-1)
    order = ranks(trace, how)
    out = np.empty_like(flat)
    np.put_along_axis(out, order, widest_first.astype(np.uint8), axis=-1)
    return Trace(trace.seeds, out.reshape(trace.widths.shape))


def ranks(trace: Trace, how: str) -> np.ndarray:
    """Regions in the order in which they are given widths, widest first: int64 [n, steps, r].

    random        drawn by (seed, step)
    shuffled      as another sample ran them at that step; see `partners`
    time_average  by the mean width over all samples and steps: one map for all
    centre        nearest to the centre first
    Ties are broken by chance.
    """
    n, steps, rh, rw = trace.widths.shape
    flat = trace.widths.reshape(n, steps, rh * rw).astype(np.float64)
    if how == "random":
        score = np.zeros_like(flat)
    elif how == "shuffled":
        score = flat[partners(trace.seeds)]
    elif how == "time_average":
        score = np.broadcast_to(flat.mean(axis=(0, 1)), flat.shape)
    elif how == "centre":
        y, x = np.mgrid[:rh, :rw]
        away = (y - (rh - 1) / 2) ** 2 + (x - (rw - 1) / 2) ** 2
        score = np.broadcast_to(-away.reshape(-1), flat.shape)
    else:
        raise ValueError(f"how must be one of {', '.join(MOVES)}, got {how!r}.")
    # By a digest: two controls must not break their ties alike.
    named = int.from_bytes(hashlib.sha256(how.encode()).digest()[:8], "big")
    chance = np.stack(
        [np.random.default_rng([seed, named]).random((steps, rh * rw)) for seed in trace.seeds]
    )
    return np.lexsort((chance, -score), axis=-1)


def partners(seeds: Sequence[int]) -> np.ndarray:
    """For each sample another one: a cycle through all of them in random order, int64 [n]."""
    if len(seeds) < 2:
        raise ValueError("shuffled must have at least 2 samples, got 1.")
    cycle = np.random.default_rng(list(seeds)[:64]).permutation(len(seeds))
    partner = np.empty(len(seeds), np.int64)
    partner[cycle] = np.roll(cycle, 1)
    return partner


class Replay:
    """Runs the plans of a trace, found by each sample's seed and step."""

    needs_predictor = False

    def __init__(self, trace: Trace):
        self._row = {seed: i for i, seed in enumerate(trace.seeds)}
        self._widths = torch.from_numpy(trace.widths.astype(np.int64))

    def widths(self, observation: Observation) -> Tensor:
        """[b, rh, rw] of the coming step."""
        rows = torch.tensor([self._row[seed] for seed in observation.seeds.tolist()])
        return self._widths[rows, observation.step.cpu()].to(observation.exited.device)

    def decide(self, observation: Observation) -> Decision:
        return no_exit(self.widths(observation))


class OraclePositions(Replay):
    """A trace's widths where the true gain is largest, which only a teacher at hand can tell."""

    def __init__(self, trace: Trace, teacher: Denoiser, student: Denoiser):
        super().__init__(trace)
        self.teacher, self.student = RowDenoiser(teacher), RowDenoiser(student, bounded=True)

    def decide(self, observation: Observation) -> Decision:
        widths = self.widths(observation)
        gain = -self.errors(observation)
        b, rh, rw = widths.shape
        best = assign(widths.reshape(b, rh * rw), gain.reshape(b, rh * rw, -1))
        return no_exit(best.view(b, rh, rw))

    def errors(self, observation: Observation) -> Tensor:
        """[b, rh, rw, 5] weighted squared distance to the teacher's D, held or at each width."""
        x, sigma, labels = observation.x_t, observation.sigma, observation.labels
        after = observation.sigma_next
        target = true_denoised(self.teacher, self.student.arch.strided, observation)
        options = [observation.denoised]
        for quarters in range(1, NUM_WIDTHS + 1):
            answer, _ = self.student(x, sigma, labels, sigma_next=after, quarters=quarters)
            options.append(answer)
        grid = observation.cost.grid
        errors = [region_mse(denoised, target, grid) for denoised in options]
        weight = sensitivity_weight(sigma, observation.sigma_next)[:, None, None, None]
        return weight * torch.stack(errors, dim=-1)


def assign(widths: Tensor, gain: Tensor) -> Tensor:
    """The same widths at the positions of most gain: greedy, then swaps until none helps.

    widths: [b, r] int64, gain: [b, r, 5]. Returns [b, r], each row a permutation of its input.
    """
    widest_first = widths.sort(dim=1, descending=True).values
    top, low = widest_first[:, :1], widest_first[:, -1:]
    r = widths.shape[1]
    spread = gain.gather(2, top[:, :, None].expand(-1, r, 1)) - gain.gather(
        2, low[:, :, None].expand(-1, r, 1)
    )
    order = spread.squeeze(2).argsort(dim=1, descending=True, stable=True)
    chosen = torch.empty_like(widths).scatter_(1, order, widest_first)
    batch = torch.arange(len(widths))
    for _ in range(r * r):
        # at[b, i, j]: gain of region i at the width that region j has now.
        at = gain.gather(2, chosen[:, None, :].expand(-1, r, -1))
        own = at.diagonal(dim1=1, dim2=2)
        better = at + at.transpose(1, 2) - own[:, :, None] - own[:, None, :]
        best, pair = better.flatten(1).max(dim=1)
        going = best > 1e-12
        if not bool(going.any()):
            break
        i, j = (pair // r)[going], (pair % r)[going]
        rows = batch[going]
        chosen[rows, i], chosen[rows, j] = chosen[rows, j], chosen[rows, i]
    return chosen


@dataclass(frozen=True)
class Spread:
    """RAS-like (Liu et al. 2025): a fixed share of the regions, those whose last update was the
    largest, at full width; the others hold. Everything in the first `warm_up` steps and the last.

    share: of the regions, in (0, 1]; a region that waits gains STARVATION a step.
    """

    share: float = 0.5
    warm_up: int = 4
    needs_predictor = False

    def decide(self, observation: Observation) -> Decision:
        past = observation.past
        b, rh, rw = past.quarters.shape
        count = max(1, round(self.share * rh * rw))
        score = past.change.clamp_min(1e-12).log() + STARVATION * past.age
        order = score.view(b, -1).argsort(dim=1, descending=True, stable=True)
        chosen = torch.zeros(b, rh * rw, dtype=torch.bool, device=score.device)
        chosen.scatter_(1, order[:, :count], True)
        last = observation.step >= observation.num_steps - 1
        whole = (observation.step < max(self.warm_up, 1)) | last
        chosen = chosen.view(b, rh, rw) | whole[:, None, None]
        return no_exit(torch.where(chosen, NUM_WIDTHS, HELD))


@dataclass(frozen=True)
class ExitAlone:
    """Everything at full width until its residual is below the threshold for good."""

    threshold: float
    needs_predictor = True

    def decide(self, observation: Observation) -> Decision:
        exits = confident(observation, self.threshold)
        return Decision(Plan(torch.where(exits, HELD, NUM_WIDTHS)), exits)
