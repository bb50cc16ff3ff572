"""What a sweep searches over, written as data, and which of its results nobody dominates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nitrogen.platform.errors import ConfigError

SPACE_KEYS = {"low", "high", "log", "step", "choices"}


def distributions(space: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna distributions of a space.

    A parameter is {"low": a, "high": b, "log": false, "step": null} (whole numbers give whole
    numbers), a list or {"choices": [...]}, or an Optuna distribution. Raises ConfigError naming it.
    """
    if not space:
        raise ConfigError("space must name at least one parameter, got none. Add one to search.")
    return {name: _distribution(name, value) for name, value in space.items()}


def _distribution(name: str, value: Any) -> Any:
    from optuna import distributions as kinds

    if isinstance(value, kinds.BaseDistribution):
        return value
    if isinstance(value, (list, tuple)):
        value = {"choices": list(value)}
    if not isinstance(value, Mapping) or not set(value) <= SPACE_KEYS:
        raise ConfigError(
            f"space.{name} must have low and high, or choices, got {value!r}. "
            "Write for example {low: 0.01, high: 1.0, log: true} or [a, b]."
        )
    try:
        if "choices" in value:
            return kinds.CategoricalDistribution(list(value["choices"]))
        low, high = value["low"], value["high"]
        step, log = value.get("step"), bool(value.get("log", False))
        if isinstance(low, int) and isinstance(high, int):
            return kinds.IntDistribution(low, high, log=log, step=int(step or 1))
        return kinds.FloatDistribution(float(low), float(high), log=log, step=step)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"space.{name} must be a range or a choice, got {dict(value)!r} ({error}). "
            "Give low below high, and low above zero for log."
        ) from error


def signs(directions: Sequence[str]) -> tuple[int, ...]:
    """1 for "minimize" and -1 for "maximize"; ConfigError for anything else."""
    for direction in directions:
        if direction not in ("minimize", "maximize"):
            raise ConfigError(
                f"directions must be minimize or maximize, got {direction!r}. Name one a metric."
            )
    return tuple(1 if direction == "minimize" else -1 for direction in directions)


def dominates(first: Sequence[float], second: Sequence[float], sign: Sequence[int]) -> bool:
    """Whether `first` is nowhere worse than `second` and somewhere better."""
    pairs = [(a * s, b * s) for a, b, s in zip(first, second, sign, strict=True)]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def pareto_indices(points: Sequence[Sequence[float] | None], sign: Sequence[int]) -> list[int]:
    """Positions of the points that no other dominates; None never counts."""
    there = [(i, point) for i, point in enumerate(points) if point is not None]
    return [i for i, point in there if not any(dominates(other, point, sign) for _, other in there)]


def objectives(metrics: Mapping[str, Any] | None, names: Sequence[str]) -> list[float] | None:
    """The named metrics as finite numbers, or None when one is missing or not finite."""
    values = [(metrics or {}).get(name) for name in names]
    try:
        numbers = [float(value) for value in values]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None
