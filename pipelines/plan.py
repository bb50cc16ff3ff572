"""What a run would do: for each step its key, whether its result can be reused, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nitrogen.pipelines.keys import KeyParts, explain, key_of, key_parts
from nitrogen.pipelines.recipe import Recipe, named_tracking_uri
from nitrogen.pipelines.run_folder import RunFolder, StepRecord
from nitrogen.pipelines.step_table import STEPS, StepSpec, required_by, step_module
from nitrogen.platform.errors import ConfigError


@dataclass(frozen=True)
class Selection:
    """Which steps a run covers and which of them must run even with a result at hand.

    until   the last step; only: this step and what it needs
    again   this step and all after it run again; force: just these run again
    """

    until: str | None = None
    only: str | None = None
    again: str | None = None
    force: tuple[str, ...] = ()

    def names(self, steps: Mapping[str, StepSpec]) -> list[str]:
        """The covered steps in order; ConfigError for a name that is no step."""
        for name in (self.until, self.only, self.again, *self.force):
            if name is not None and name not in steps:
                raise ConfigError(
                    f"step must be one of {', '.join(steps)}, got {name}. Correct the name."
                )
        covered = list(steps) if self.only is None else required_by(self.only, steps)
        if self.until is not None:
            covered = [step for step in covered if _at_or_before(step, self.until, steps)]
        return covered

    def forced(self, step: str, steps: Mapping[str, StepSpec]) -> bool:
        """Whether a result at hand must not be reused for `step`."""
        if step in self.force:
            return True
        return self.again is not None and _at_or_before(self.again, step, steps)


def _at_or_before(first: str, second: str, steps: Mapping[str, StepSpec]) -> bool:
    order = list(steps)
    return order.index(first) <= order.index(second)


@dataclass(frozen=True)
class Planned:
    """One row of a plan.

    state  "cached", "run", or "waits" (its key, "" here, depends on a step that has to run first)
    why    for "run" and "waits": the reasons
    seconds  expected time; 0 when cached, None when nothing is known
    """

    step: str
    state: str
    why: list[str] = field(default_factory=list)
    key: str = ""
    parts: KeyParts = field(default_factory=dict)
    record: StepRecord | None = None
    seconds: float | None = None

    def row(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "state": self.state,
            "key": self.key or None,
            "why": self.why,
            "estimated_seconds": self.seconds,
        }


def resolve(
    spec: StepSpec,
    recipe: Recipe,
    folder: RunFolder,
    inputs: Mapping[str, str],
    *,
    forced: bool = False,
) -> Planned:
    """The state of one step whose inputs are all known (step -> input digest)."""
    parts = key_parts(
        spec,
        recipe.section(spec.name),
        seed=recipe.seed,
        executor=recipe.executor,
        inputs=inputs,
        registry=named_tracking_uri(recipe),
    )
    key = key_of(parts)
    found = folder.record(spec.name, key)
    if isinstance(found, StepRecord) and not forced:
        return Planned(spec.name, "cached", [], key, parts, found, 0.0)
    if isinstance(found, StepRecord):
        why = ["asked to run again"]
    else:
        why = _reasons(folder, parts, found)
    return Planned(spec.name, "run", why, key, parts, None, estimate(spec, recipe, folder))


def plan(
    recipe: Recipe,
    folder: RunFolder,
    selection: Selection | None = None,
    steps: Mapping[str, StepSpec] = STEPS,
) -> list[Planned]:
    """The whole plan; reads the run folder, writes and runs nothing."""
    selection = selection or Selection()
    done: dict[str, str] = {}
    rows: list[Planned] = []
    for name in selection.names(steps):
        spec = steps[name]
        missing = [need for need in spec.needs if need not in done]
        if missing:
            seconds = estimate(spec, recipe, folder)
            rows.append(Planned(name, "waits", [f"after {missing[0]}"], seconds=seconds))
            continue
        forced = selection.forced(name, steps)
        row = resolve(spec, recipe, folder, done_inputs(spec, done), forced=forced)
        rows.append(row)
        if row.record is not None:
            done[name] = row.record.input_digest
        elif spec.digest_field is None:
            done[name] = row.key  # what its result will be called is known before it runs
    return rows


def done_inputs(spec: StepSpec, done: Mapping[str, str]) -> dict[str, str]:
    """The input digests of a step, from those of all finished steps."""
    return {need: done[need] for need in spec.needs}


def _reasons(folder: RunFolder, parts: KeyParts, found: StepRecord | str) -> list[str]:
    before = folder.last_parts(parts["step"])
    if before is None:
        return ["never run in this folder"]
    return explain(before, parts) or [str(found)]


def estimate(spec: StepSpec, recipe: Recipe, folder: RunFolder) -> float | None:
    """Seconds: what this config took before in this folder, or the step's own model, or what any
    config took; None when nothing is known."""
    config = recipe.section(spec.name)
    past = list(folder.records(spec.name))
    wanted = config.model_dump(mode="json")
    for record in past:
        if record.parts().get("config") == wanted:
            return record.seconds
    model = getattr(step_module(spec), "estimate_seconds", None)
    if model is not None:
        return float(model(config))
    return past[0].seconds if past else spec.typical_s


def total_seconds(rows: Iterable[Planned]) -> float | None:
    """Sum of the known estimates; None when not one is known."""
    known = [row.seconds for row in rows if row.seconds is not None]
    return sum(known) if known else None
