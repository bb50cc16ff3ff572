"""What `generate` may be asked for, judged before torch and the weights are loaded."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nitrogen.pipelines.atomic_json import read_json
from nitrogen.pipelines.precision import PRECISIONS
from nitrogen.platform.errors import ConfigError, DataError, StorageError

if TYPE_CHECKING:
    from nitrogen.model.config import ArchConfig

# The model's own names and bounds, written down since looking them up takes torch; a test holds
# them together.
POLICIES = ("full", "random", "static", "threshold", "budget")
WITH_EXITS = ("threshold", "budget")  # these need a predictor
SOLVERS = ("euler", "heun", "dpmpp_2m", "unipc")
MAX_STEPS, MAX_GUIDANCE = 1000, 20.0


@dataclass(frozen=True)
class Asked:
    """The options of one picture, as given."""

    class_name: str | None
    seed: int
    steps: int
    policy: str
    budget: float | None
    threshold: float | None
    solver: str
    guidance_scale: float
    dense_last: bool
    size: int | None
    precision: str = "fp32"


def policy_of(policy: str | None, budget: float | None, threshold: float | None) -> str:
    """The policy that is named, else the one that the given dials mean, as at the endpoint."""
    if policy is not None:
        return policy
    if budget is not None:
        return "budget"
    return "full" if threshold is None else "threshold"


def check_names_and_bounds(asked: Asked) -> None:
    """What can be said without any model. Raises ConfigError."""
    from nitrogen.platform.serving.protocol import MAX_BUDGET, MAX_SEED, MAX_THRESHOLD

    _one_of("--policy", asked.policy, POLICIES)
    _one_of("--solver", asked.solver, SOLVERS)
    if asked.precision == "int8":
        raise ConfigError(
            "--precision must be fp32 or bf16, got int8: torch's int8 is slower than the C++ "
            "kernels in fp32. `nitrogen bench step --fewer-bits` measures it here."
        )
    _one_of("--precision", asked.precision, PRECISIONS)
    _within("--seed", asked.seed, 0, MAX_SEED, "Choose a smaller one.")
    _within("--steps", asked.steps, 1, MAX_STEPS, "12 is the default.")
    _within("--guidance-scale", asked.guidance_scale, 0, MAX_GUIDANCE, "1 is without guidance.")
    _within("--threshold", asked.threshold, 0, MAX_THRESHOLD, "It is a mean squared error.")
    _within("--size", asked.size, 8, 8192, "It is a side in pixels.")
    budget = asked.budget
    if budget is not None and not 0 < budget <= MAX_BUDGET:
        raise ConfigError(
            f"--budget must be above 0 and at most {MAX_BUDGET:g}, the share of the full model's "
            f"compute, got {budget:g}. Leave it out for no ceiling."
        )
    if asked.policy == "budget" and budget is None:
        raise ConfigError("--budget must be given with --policy budget. Pass for example 0.5.")
    if asked.threshold is not None and asked.policy not in WITH_EXITS:
        raise ConfigError(
            f"--threshold must be left out for --policy {asked.policy}, which has no exit, got "
            f"{asked.threshold:g}. Take --policy threshold or budget."
        )


def check_out(out: Path) -> None:
    """Raises StorageError where no file could be written: known before the picture is made."""
    reason = None
    if out.is_dir():
        reason = "it is a folder"
    elif out.exists() and not out.is_file():
        reason = "it is no regular file"
    elif len(os.fsencode(out.name)) > 200:
        reason = "its name is longer than 200 bytes"
    elif not out.parent.is_dir():
        reason = "there is no such folder"
    elif not os.access(out.parent, os.W_OK):
        reason = "the folder cannot be written to"
    if reason:
        raise StorageError(
            f"--out must be a file that can be written, got {out} ({reason}). Choose another path."
        )


@dataclass(frozen=True)
class Described:
    """What a model's config.json says of it, read without torch."""

    arch: ArchConfig
    classes: tuple[str, ...]
    has_predictor: bool

    @classmethod
    def read(cls, directory: Path) -> Described:
        """Raises DataError for a file that does not describe a model."""
        from nitrogen.model.config import ArchConfig

        path = Path(directory) / "config.json"
        content = read_json(path)
        try:
            classes = tuple(map(str, content["classes"]))
            return cls(ArchConfig(**content["arch"]), classes, bool(content["predictor"]))
        except (KeyError, TypeError, ValueError):
            raise DataError(
                f"config.json must describe a model, got {path}. Restore the file."
            ) from None


def check_model(asked: Asked, model: Described) -> int:
    """What the model's description can say. Returns the label; raises ConfigError."""
    if asked.policy in WITH_EXITS and not model.has_predictor:
        raise ConfigError(
            "--policy must be full, random or static for a model without predictor, got "
            f"{asked.policy}. Choose one of these."
        )
    return class_index(asked.class_name, model.classes)


def check_cost(asked: Asked, model: Described) -> None:
    """What counting can say: takes torch, but no weights.

    Raises ShapeError for a size that the network cannot draw, BudgetError below the cheapest plan.
    """
    from nitrogen.model.budget import Ledger
    from nitrogen.model.cost import CostModel
    from nitrogen.model.predictor import predictor_flops
    from nitrogen.model.solvers import solver_for

    arch = model.arch
    side = asked.size or arch.image_size
    cost = CostModel(arch, side, side)
    num_regions = cost.num_regions
    predicting = predictor_flops(arch, num_regions) if asked.policy in WITH_EXITS else 0
    heun = solver_for(arch.strided, asked.solver) == "heun"
    guided = asked.guidance_scale != 1
    ledger = Ledger(cost, asked.steps, guided, heun, predicting, int(asked.dense_last))
    ledger.ceiling(asked.budget)


def class_index(name: str | None, classes: Sequence[str]) -> int:
    """The label of a class given by name or number; ConfigError with the closest name."""
    if name is None:
        return 0
    if name in classes:
        return list(classes).index(name)
    if name.isascii() and name.isdigit() and int(name) < len(classes):
        return int(name)
    close = difflib.get_close_matches(name.lower(), [known.lower() for known in classes], n=1)
    if close:
        hint = f"Did you mean {next(known for known in classes if known.lower() == close[0])}?"
    else:
        shown = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        hint = f"Choose one of: {shown}."
    raise ConfigError(
        f"--class must be a class name or a number below {len(classes)}, got {name}. {hint}"
    )


def _one_of(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else "Choose one of them."
        raise ConfigError(f"{option} must be one of {', '.join(known)}, got {value}. {hint}")


def _within(option: str, value: float | None, low: float, high: float, hint: str) -> None:
    """NaN is outside of everything."""
    if value is not None and not low <= value <= high:
        most = high if isinstance(high, int) else f"{high:g}"
        raise ConfigError(f"{option} must be {low} to {most}, got {value}. {hint}")
