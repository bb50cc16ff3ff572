"""Sets of samples for the sweep and the evaluation: seeds, labels, teacher and student."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from nitrogen.model.denoiser import Denoiser
    from nitrogen.model.generation import SampleStats
    from nitrogen.model.pipeline import Pipeline
    from nitrogen.model.request import Request
    from nitrogen.pipelines.kept_batches import KeptBatches

BATCH = 128
SEED_SPACES = {"sweep": 1 << 40, "evaluate": 1 << 41, "show": 1 << 42}


def known_solver(name: str) -> str:
    """The name, if it is a solver's; looked up only where a recipe names one, for it takes torch.

    Raises ValueError.
    """
    from nitrogen.model.errors import ModelError
    from nitrogen.model.solvers import solver

    try:
        solver(name)
    except ModelError as error:
        raise ValueError(str(error)) from None
    return name


SolverName = Annotated[str, AfterValidator(known_solver)]


class OperatingPoint(BaseModel):
    """How the student samples: one dial, the solver and its steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str = "threshold"
    threshold: float | None = Field(None, ge=0)
    budget: float | None = Field(None, gt=0)
    num_inference_steps: int = Field(12, ge=1, le=1000)
    solver: str = "dpmpp_2m"

    @property
    def label(self) -> str:
        dial = self.threshold if self.policy == "threshold" else self.budget
        return f"{self.policy} {dial:g}" if dial is not None else self.policy


@dataclass(frozen=True)
class Draws:
    """labels and seeds of n pictures; every method is given the same ones."""

    labels: list[int]
    seeds: list[int]

    def __len__(self) -> int:
        return len(self.seeds)

    def parts(self, size: int) -> Iterator[Draws]:
        """In order, `size` pictures at a time."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Draws(self.labels[part], self.seeds[part])

    def requests(
        self, num_inference_steps: int, guidance_scale: float = 1.0, budget: float | None = None
    ) -> list[Request]:
        """For the stepwise sampler, in order."""
        from nitrogen.model.request import Request

        return [
            Request(label, seed, num_inference_steps, guidance_scale, budget)
            for label, seed in zip(self.labels, self.seeds, strict=True)
        ]


def draws(space: str, num: int, labels: np.ndarray, seed: int) -> Draws:
    """n labels in the proportions of `labels`, and seeds that no other space contains.

    space: "sweep", "evaluate" or "show": the sweep never sees the seeds of the evaluation.
    """
    generator = np.random.default_rng([seed, SEED_SPACES[space] >> 32])
    picked = generator.choice(np.asarray(labels), size=num, replace=True)
    first = SEED_SPACES[space] + (seed % (1 << 20)) * (1 << 20)
    return Draws([int(label) for label in picked], [first + i for i in range(num)])


def student_images(
    pipeline: Pipeline,
    point: OperatingPoint,
    drawn: Draws,
    on_batch: Callable[[int], None] | None = None,
    kept: KeptBatches | None = None,
) -> tuple[np.ndarray, list[SampleStats]]:
    """uint8 [n, h, w, 3] and what each picture cost. kept: where batches are looked up and put."""
    images, stats = [], []
    for start in range(0, len(drawn), BATCH):
        part = slice(start, start + BATCH)
        made = kept.get(start) if kept is not None else None
        if made is None:
            made = pipeline.generate(
                drawn.labels[part],
                drawn.seeds[part],
                num_inference_steps=point.num_inference_steps,
                solver=point.solver,
                policy=point.policy,
                threshold=point.threshold,
                budget=point.budget,
            )
            if kept is not None:
                kept.put(start, made)
        images.append(made.images.numpy())
        stats += made.stats
        if on_batch:
            on_batch(len(stats))
    return np.concatenate(images), stats


def full_images(
    denoiser: Denoiser,
    drawn: Draws,
    num_steps: int,
    solver: str = "dpmpp_2m",
    on_batch: Callable[[int], None] | None = None,
    kept: KeptBatches | None = None,
) -> np.ndarray:
    """Samples of a network at full width, by the operators that the adaptive ones run on: what a
    policy saves is then not what an operator saves. uint8 [n, h, w, 3]."""
    from nitrogen.model.pipeline import Pipeline

    nameless = Pipeline(denoiser, [str(label) for label in range(denoiser.arch.num_classes)])
    point = OperatingPoint(policy="full", num_inference_steps=num_steps, solver=solver)
    return student_images(nameless, point, drawn, on_batch, kept)[0]


def forwards(num_steps: int, solver: str) -> int:
    """Network evaluations of one run without guidance."""
    return 2 * num_steps - 1 if solver == "heun" else num_steps


def dense_gflops(denoiser: Denoiser, num_steps: int, solver: str = "dpmpp_2m") -> float:
    """GFLOPs of one picture by the full network."""
    from nitrogen.model.cost import CostModel

    side = denoiser.arch.image_size
    return forwards(num_steps, solver) * CostModel(denoiser.arch, side, side).full_flops / 1e9


def mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(np.asarray(values, dtype=np.float64)))
