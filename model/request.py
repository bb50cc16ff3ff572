"""What a sampling run is asked for, carries along, and hands back."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from nitrogen.kernels.dispatch import holds
from nitrogen.model.cache import Cache
from nitrogen.model.config import MAX_STEPS, ArchConfig
from nitrogen.model.errors import ModelError, ShapeError
from nitrogen.model.observation import Past
from nitrogen.model.solvers import History

MAX_GUIDANCE = 20.0


@dataclass(frozen=True)
class Request:
    """One picture. budget: share of the full model's FLOPs for its steps, or None for no limit;
    dense_last: everything at full width at the last step, exited regions too, within the budget.
    """

    label: int
    seed: int
    num_inference_steps: int = 12
    guidance_scale: float = 1.0
    budget: float | None = None
    dense_last: bool = False


@dataclass(frozen=True)
class Finished:
    """One finished picture and what it cost.

    x_0: [h, w, c] in about [-1, 1]; flops: executed, predictor included; full_flops: of the full
    model for max_steps; widths: [steps, rh, rw] quarters each region ran at, 0 = held;
    sigmas: [max_steps] where its steps began; late_from: the step from which on a relay's second
    network answered, max_steps without one; fallbacks: steps planned by a schedule, since the
    predictor's answer was not finite.
    """

    id: int
    x_0: Tensor
    flops: float
    full_flops: float
    num_steps: int
    max_steps: int
    widths: Tensor
    sigmas: Tensor
    late_from: int
    fallbacks: int = 0


@dataclass(frozen=True)
class Live:
    """The live samples of a batch; every tensor has one entry a sample."""

    ids: Tensor
    x: Tensor  # [b, h, w, c]
    denoised: Tensor  # [b, h, w, c], last D
    sigmas: Tensor  # [b, longest + 1], zeros behind the end
    step: Tensor
    num_steps: Tensor
    labels: Tensor
    seeds: Tensor
    guidance: Tensor
    branches: Tensor
    ceiling: Tensor  # float64 FLOPs, inf without a budget
    reserve: Tensor  # float64 FLOPs of a dense step, 0 without one
    dense_from: Tensor  # the step from which on all are dense; num_steps without one
    late_from: Tensor  # the step from which on a relay's second network answers, likewise
    full: Tensor  # float64 FLOPs of the full model
    spent: Tensor  # float64 FLOPs
    fallbacks: Tensor  # steps of which the predictor said nothing finite
    history: History
    past: Past
    exited: Tensor  # [b, rh, rw] bool
    cache: Cache
    cache_unlabelled: Cache | None  # of the branch without label; None if nobody is guided

    @property
    def num_samples(self) -> int:
        return self.ids.shape[0]

    def sigma_at(self, ahead: int) -> Tensor:
        """[b] sigma of the coming step (0) or of the one after it (1)."""
        return self.sigma_pair()[ahead]

    def sigma_pair(self) -> Tensor:
        """[2, b] sigma of the coming step and of the one after it."""
        ahead = torch.arange(2, device=self.step.device)[:, None]
        index = (self.step + ahead).clamp_max(self.sigmas.shape[1] - 1)
        return self.sigmas.t().gather(0, index)

    def set_aside(self) -> Tensor | None:
        """[b] FLOPs of a dense step; None where nobody has one, as far as that is known without
        waiting for a GPU or ending a compiler's graph."""
        told = None if self.reserve.is_cuda else holds(self.reserve.any())
        return None if told is False else self.reserve

    def select(self, samples: Tensor) -> "Live":
        """Some of the samples; samples: [k] int64."""
        changes: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = value[samples]
            elif value is not None:
                changes[field.name] = value.select(samples)
        return replace(self, **changes)

    def to(self, device: torch.device | str) -> "Live":
        """The same batch on another device."""
        return move(self, device)

    def append(self, other: "Live") -> "Live":
        """The samples of this batch, then those of `other`, wherever each stands, guided or not.

        A sample without guidance never reads its cache of the unlabelled branch: where only one
        of the two batches has that branch, the other's samples get zeros.
        """
        if (self.cache_unlabelled is None) != (other.cache_unlabelled is None):
            return self._with_unlabelled().append(other._with_unlabelled())
        longest = max(self.sigmas.shape[1], other.sigmas.shape[1])
        changes: dict[str, Any] = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name == "sigmas":
                mine, theirs = (widen(value, longest) for value in (mine, theirs))
            if isinstance(mine, Tensor):
                changes[field.name] = torch.cat([mine, theirs])
            elif mine is not None:
                changes[field.name] = mine.append(theirs)
        return replace(self, **changes)

    def _with_unlabelled(self) -> "Live":
        if self.cache_unlabelled is not None:
            return self
        return replace(self, cache_unlabelled=self.cache.blank())

    def without_idle_branch(self) -> "Live":
        """The same batch; the cache of the unlabelled branch is dropped when nobody is guided."""
        if self.cache_unlabelled is None or bool((self.guidance != 1).any()):
            return self
        return replace(self, cache_unlabelled=None)


@dataclass(frozen=True)
class SamplerState:
    """live samples, finished ones, and the plans of the live ones so far."""

    live: Live
    finished: tuple[Finished, ...]
    trace: dict[int, tuple[Tensor, ...]]

    def split(self, chosen: Tensor) -> tuple["SamplerState", "SamplerState"]:
        """The samples that are not chosen, [b] bool, with whoever finished, and those that are."""
        parts = []
        for some, finished in ((~chosen, self.finished), (chosen, ())):
            live = self.live.select(some.nonzero().squeeze(1))
            trace = {i: self.trace[i] for i in live.ids.tolist()}
            parts.append(SamplerState(live, finished, trace))
        return parts[0], parts[1]

    def join(self, other: "SamplerState") -> "SamplerState":
        """Both runs as one batch. Raises ShapeError if an id is in both."""
        if self.trace.keys() & other.trace.keys():
            raise ShapeError("ids of joined batches must differ. Pass first_id to start.")
        return SamplerState(
            self.live.append(other.live),
            self.finished + other.finished,
            self.trace | other.trace,
        )


T = TypeVar("T")


def move(value: T, device: torch.device | str) -> T:
    """`value` with every tensor in it on `device`: a tensor, a tuple, or a dataclass of them."""
    moved: Any = value
    if isinstance(value, Tensor):
        moved = value.to(device)
    elif isinstance(value, tuple):
        moved = tuple(move(part, device) for part in value)
    elif is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: move(getattr(value, f.name), device) for f in fields(value)}
        moved = replace(value, **parts)
    return moved


def widen(sigmas: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(sigmas, (0, length - sigmas.shape[1]))


def check_request(request: Request, arch: ArchConfig) -> None:
    """Raises ModelError naming the field that is out of bounds."""
    if not 0 <= request.label <= arch.num_classes:
        raise ModelError(
            f"label must be 0 to {arch.num_classes} (the last is no class), got {request.label}."
        )
    if not 0 <= request.seed < 2**63:
        raise ModelError(f"seed must be 0 to 2^63 - 1, got {request.seed}.")
    if not 1 <= request.num_inference_steps <= MAX_STEPS:
        raise ModelError(
            f"num_inference_steps must be 1 to {MAX_STEPS}, got {request.num_inference_steps}."
        )
    if not 0 <= request.guidance_scale <= MAX_GUIDANCE:
        raise ModelError(
            f"guidance_scale must be 0 to {MAX_GUIDANCE:g}, got {request.guidance_scale}."
        )
