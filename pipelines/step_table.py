"""The steps of the pipeline, in order; each module is imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from pydantic import BaseModel


@dataclass(frozen=True)
class StepSpec:
    """One row of the table.

    module        dotted path of the module with `run(config, context) -> dict` and the config class
    config        name of the config class in it (a frozen pydantic model, extra="forbid")
    needs         earlier steps whose results it reads
    uses_ray      with the Ray executor, a cluster must be connected before it runs
    seeded        its result depends on the recipe's seed
    computes      its result depends on the executor's facts (workers, device, precision)
    samples       it makes pictures: their precision matters too
    uses_registry  it writes to or reads from the MLflow registry, so another one is another result
    typical_s     seconds that it takes where its module has no estimate, for `--plan`
    digest_field  field of the result that names its content; None: the step's key stands for it
    """

    name: str
    module: str
    config: str
    needs: tuple[str, ...] = ()
    uses_ray: bool = False
    seeded: bool = True
    computes: bool = True
    samples: bool = False
    uses_registry: bool = False
    typical_s: float | None = None
    digest_field: str | None = None


_STEPS = "nitrogen.pipelines.steps."

STEPS: Mapping[str, StepSpec] = {
    spec.name: spec
    for spec in (
        StepSpec(
            "prepare",
            _STEPS + "prepare",
            "PrepareConfig",
            seeded=False,
            computes=False,
            typical_s=10,
            digest_field="digest",
        ),
        StepSpec("pretrain", _STEPS + "pretrain", "PretrainConfig", ("prepare",), uses_ray=True),
        StepSpec(
            "distill", _STEPS + "distill", "DistillConfig", ("prepare", "pretrain"), uses_ray=True
        ),
        StepSpec(
            "sweep",
            _STEPS + "sweep",
            "SweepConfig",
            ("prepare", "pretrain", "distill"),
            uses_ray=True,
            samples=True,
        ),
        StepSpec(
            "evaluate",
            _STEPS + "evaluate",
            "EvaluateConfig",
            ("prepare", "pretrain", "distill", "sweep"),
            samples=True,
        ),
        StepSpec(
            "promote",
            _STEPS + "promote",
            "PromoteConfig",
            ("prepare", "pretrain", "distill", "sweep", "evaluate"),
            uses_registry=True,
            typical_s=15,
        ),
        StepSpec(
            "serve",
            _STEPS + "serve",
            "ServeConfig",
            ("promote",),
            uses_ray=True,
            samples=True,
            uses_registry=True,
            typical_s=30,
        ),
        StepSpec(
            "report",
            _STEPS + "report",
            "ReportConfig",
            ("prepare", "pretrain", "distill", "sweep", "evaluate", "promote", "serve"),
        ),
    )
}


def step_module(spec: StepSpec) -> ModuleType:
    """The step's module. Step modules import torch, Ray and MLflow only inside functions."""
    return importlib.import_module(spec.module)


def config_class(spec: StepSpec) -> type[BaseModel]:
    """The pydantic model of the step's section."""
    return getattr(step_module(spec), spec.config)


def required_by(name: str, steps: Mapping[str, StepSpec] = STEPS) -> list[str]:
    """`name` and every step that it needs, directly or through others, in pipeline order."""
    wanted = {name}
    for step in reversed(list(steps)):
        if step in wanted:
            wanted.update(steps[step].needs)
    return [step for step in steps if step in wanted]
