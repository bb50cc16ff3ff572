"""The model as people hold it: load a directory, generate pictures, see what they cost."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nitrogen.model.config import MAX_STEPS, NUM_WIDTHS, ArchConfig
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.errors import ModelError
from nitrogen.model.generation import Generation, stats_of, to_uint8
from nitrogen.model.model_directory import Stored, read_model, write_model
from nitrogen.model.policies import Budget, Full, Policy, Static, make_policy
from nitrogen.model.predictor import Predictor
from nitrogen.model.price_table import PriceTable
from nitrogen.model.relay import Relay, late_arch
from nitrogen.model.request import Finished, Request
from nitrogen.model.sampler import Sampler
from nitrogen.model.width_table import WidthTable

RELAYED = (Full, Static, Budget)  # the policies that leave the last steps to a relay


class Cancelled(Exception):  # noqa: N818 - not an error: the caller asked for it
    """`should_stop` was true between two calls."""


class Pipeline:
    """A denoiser, its predictor if it has one, and the names of its classes."""

    def __init__(
        self,
        denoiser: Denoiser,
        classes: Sequence[str],
        predictor: Predictor | None = None,
        prices: PriceTable | None = None,  # of policy `budget`; equal shares a step without it
        schedules: WidthTable | None = None,  # of policy `static` under a budget
        relay: Relay | None = None,  # who takes the last steps of `full`, `static` and `budget`
    ):
        if len(classes) != denoiser.arch.num_classes:
            raise ModelError(
                f"classes must name {denoiser.arch.num_classes} classes, got {len(classes)}."
            )
        self.denoiser = denoiser.eval().requires_grad_(False)
        self.predictor = predictor.eval().requires_grad_(False) if predictor else None
        self.classes, self.prices, self.schedules = tuple(classes), prices, schedules
        self.relay = relay
        if relay is not None:
            if not self.arch.strided or relay.late.arch != late_arch(self.arch):
                raise ModelError("a relay must be of a strided denoiser and one of its shape.")
            if any(one.late is not relay.late for one in relay.each()):
                raise ModelError("cheaper relays must end by the same network as the first.")
            relay.late.eval().requires_grad_(False)

    @property
    def arch(self) -> ArchConfig:
        return self.denoiser.arch

    @property
    def image_size(self) -> int:
        return self.arch.image_size

    def to(self, device: torch.device | str) -> "Pipeline":
        """Moves the networks; returns itself."""
        self.denoiser.to(device)
        if self.relay:
            self.relay.late.to(device)
        if self.predictor:
            self.predictor.to(device)
        return self

    def label(self, name: str) -> int:
        """The label of a class. Raises ModelError with the nearest names."""
        import difflib

        if name in self.classes:
            return self.classes.index(name)
        near = difflib.get_close_matches(name, self.classes, n=3, cutoff=0.3) or self.classes[:3]
        raise ModelError(f"class must be a known name, got {name!r}. Try {', '.join(near)}.")

    @torch.no_grad()
    def generate(
        self,
        labels: Sequence[int],
        seeds: Sequence[int],
        *,
        num_inference_steps: int = 12,
        solver: str = "dpmpp_2m",  # a strided student is sampled by Euler
        policy: str | Policy = "full",
        budget: float | None = None,  # share of the full model's FLOPs for these steps
        threshold: float | None = None,  # of policy `threshold`; exits of policy `budget`
        guidance_scale: float = 1.0,
        dense_last: bool = False,  # the last step at full width everywhere, within the budget
        image_size: int | tuple[int, int] | None = None,  # px; training's by default
        should_stop: Callable[[], bool] | None = None,  # asked between calls, see `run`
    ) -> Generation:
        """One picture for each (label, seed). Raises ModelError, or Cancelled between calls."""
        if len(labels) != len(seeds) or not labels:
            raise ModelError("labels and seeds must be of one length, at least 1.")
        asked = Request(0, 0, num_inference_steps, guidance_scale, budget, dense_last)
        if isinstance(policy, str):
            policy = self._policy(policy, threshold, asked, image_size)
        fallback = Static(widths=self._schedule(asked, policy, image_size))
        sampler = self.sampler(policy, solver, image_size, fallback)
        requests = [
            replace(asked, label=label, seed=seed)
            for label, seed in zip(labels, seeds, strict=True)
        ]
        images, stats = [], []
        for part in sampler.batches(requests):
            began = time.perf_counter()
            finished = run(sampler, part, should_stop)
            ms = (time.perf_counter() - began) * 1e3 / len(part)
            images += [to_uint8(f.x_0) for f in finished]
            stats += [stats_of(f, sampler, ms) for f in finished]
        return Generation(torch.stack(images), stats)

    def policy(
        self, name: str, threshold: float | None, budget: float | None, num_inference_steps: int,
        guidance_scale: float = 1.0,
    ) -> Policy:  # fmt: skip
        """The policy of a name with its dial, and what the model knows of its budget: the price,
        or the schedule of `static`. Raises ModelError."""
        asked = Request(0, 0, num_inference_steps, guidance_scale, budget)
        return self._policy(name, threshold, asked, None)

    def _policy(
        self, name: str, threshold: float | None, asked: Request, size: int | tuple[int, int] | None
    ) -> Policy:
        known = asked.budget is not None and asked.budget > 0
        known = known and 1 <= asked.num_inference_steps <= MAX_STEPS
        price, widths = None, None
        if name == "budget" and known:
            price = self._price(asked, size)
        if name == "static" and known:
            widths = self._schedule(asked, Static(), size)
        return make_policy(name, threshold, asked.budget, price, widths)

    def sigmas(self, policy: Policy, num_steps: int, budget: float | None = None) -> Tensor:
        """[n] float32 where the steps of such a run begin. Raises ModelError."""
        request = Request(0, 0, num_steps, budget=budget)
        return self.sampler(policy, "dpmpp_2m").order(request).sigmas[:-1]

    def _price(self, asked: Request, size: int | tuple[int, int] | None) -> float | None:
        """What compute costs at this budget; None for equal shares a step."""
        budget, num_steps = asked.budget, asked.num_inference_steps
        assert budget is not None, "a price is of a budget"
        if relay := self._sampler(Budget(), size).relay_of(asked):
            return relay.price(budget, num_steps)
        return self.prices.price(budget, num_steps) if self.prices else None

    def _schedule(
        self, asked: Request, policy: Policy, size: int | tuple[int, int] | None
    ) -> tuple[int, ...] | None:
        """The widths of every step under this budget: a relay's widest strides, or as they were
        searched; None where nothing was."""
        budget, num_steps = asked.budget, asked.num_inference_steps
        if budget is None or not 1 <= num_steps <= MAX_STEPS:
            return None
        sampler = self._sampler(policy, size)
        if leg := sampler.leg(asked):
            shares = sampler.cost.step_shares()
            strides = leg.strides(leg.early_share(budget, num_steps), shares)
            return (*strides, *[NUM_WIDTHS] * (num_steps - leg.early))
        return self.schedules.widths(budget, num_steps) if self.schedules else None

    def _sampler(self, policy: Policy, size: int | tuple[int, int] | None) -> Sampler:
        return self.sampler(policy, "dpmpp_2m", size)

    def sampler(
        self, policy: Policy, solver: str, image_size: int | tuple[int, int] | None = None,
        fallback: Policy | None = None,
    ) -> Sampler:  # fmt: skip
        """The sampler of pictures of one size (px). Raises ModelError."""
        if policy.needs_predictor and self.predictor is None:
            raise ModelError("policy must be full, static or random for a model without predictor.")
        side = (image_size, image_size) if isinstance(image_size, int) else image_size
        return Sampler(
            self.denoiser, policy, predictor=self.predictor, solver_name=solver, image_size=side,
            fallback=fallback, relay=self.relay if isinstance(policy, RELAYED) else None,
        )  # fmt: skip

    def save(self, directory: Path, dtype: torch.dtype = torch.float16, **facts: Any) -> None:
        """Writes model.safetensors and config.json, and the weights of a relay; facts are kept
        beside the configuration."""
        stored = Stored(
            self.denoiser, self.classes, self.predictor, self.prices, self.schedules, self.relay
        )
        write_model(Path(directory), stored, dtype, facts)

    @classmethod
    def load(cls, directory: Path | str) -> "Pipeline":
        """Reads what `save` wrote. Raises WeightsError; nothing is ever unpickled."""
        stored = read_model(Path(directory))
        return cls(
            stored.denoiser, stored.classes, stored.predictor, stored.prices, stored.schedules,
            stored.relay,
        )  # fmt: skip


def run(
    sampler: Sampler, requests: Sequence[Request], should_stop: Callable[[], bool] | None
) -> list[Finished]:
    """Steps to the end, looking at `should_stop` before each call: of one step, or of several that
    take a third of a second at most (`whole_steps.MAX_FLOPS`)."""
    state = sampler.start(requests)
    while state.live.num_samples:
        if should_stop and should_stop():
            raise Cancelled
        state = sampler.steps(state, MAX_STEPS)
    return sorted(state.finished, key=lambda f: f.id)
