"""Promote: seal the student as a bundle, register it, check the gates, move the champion."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nitrogen.platform.errors import BundleError, ConfigError, DataError, GateError
from nitrogen.platform.gates import Gate, measurement, not_finite
from nitrogen.platform.serving.settings import DEFAULT_GENERATOR

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext
    from nitrogen.platform.registry import ModelVersion, Registry

# Of an operating point, what the champion keeps: what a request may name, and the solver, which is
# the bundle's own.
POINT_FIELDS = ("policy", "threshold", "budget", "num_inference_steps", "solver")
MODEL_FILES = ("model.safetensors", "config.json")
DEFAULT_GATES = (
    # It learned something, on any data; it is not surely worse than the champion; the ceiling held.
    Gate(metric="kid_over_untrained", op="<=", bound=0.9),
    Gate(metric="kid", op="<=", champion_ratio=1.0, interval="overlap"),
    Gate(metric="compute_ratio", op="<=", bound=1.0),
)


class PromoteConfig(BaseModel):
    """The `promote:` section of a recipe.

    gates       each one must pass; metrics are those of the student in the evaluate step
    on_refusal  "fail" ends the run with the gate's sentence; "keep" leaves the champion as it is
                and goes on
    self_test   load the sealed bundle and reproduce its golden pictures before registering it
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,99}$",
        description="name in the registry; the recipe's name by default",
    )
    gates: tuple[Gate, ...] = DEFAULT_GATES
    on_refusal: Literal["fail", "keep"] = "fail"
    self_test: bool = True
    generator: str = Field(DEFAULT_GENERATOR, description="import path of the bundle's loader")


def run(config: PromoteConfig, context: StepContext) -> dict[str, Any]:
    """Returns name, version, champion {name, version}, promoted, digest, bundle, gates, ...

    Raises: BundleError, TrackingError, and GateError if a gate fails and on_refusal is "fail".
    """
    from nitrogen.platform.audit import AuditLog
    from nitrogen.platform.promotion import promote
    from nitrogen.platform.registry import CHAMPION, Registry, local_folder

    tracking_uri = registry_uri(context)
    name = config.model_name or context.name or "nitrogen"
    bundle = build_bundle(config, context)
    registry = Registry(tracking_uri)
    audit = AuditLog(local_folder(tracking_uri) / "audit.jsonl")
    version = _register(registry, bundle, name, context)
    refused = None
    try:
        done = promote(registry, name, version.version, config.gates, audit)
        gates = [result.reason for result in done.results]
        context.progress.message(f"champion of {name} is version {version.version}")
    except GateError as error:
        if config.on_refusal == "fail":
            raise
        refused, gates = str(error), []
        context.progress.message(f"not promoted: {error}")
    champion = registry.alias(name, CHAMPION)
    return {
        "name": name,
        "version": version.version,
        "promoted": refused is None,
        "refused": refused,
        "champion": {"name": name, "version": champion} if champion else None,
        "digest": version.digest,
        "bundle": bundle.name,
        "metrics": version.metrics,
        "gates": gates,
    }


def build_bundle(config: PromoteConfig, context: StepContext) -> Path:
    """The sealed bundle `context.dir/bundle`: the student's files, the operating point that it was
    evaluated at, golden pictures, manifest."""
    from nitrogen.platform.bundle_files import POINT
    from nitrogen.platform.bundles import verify_bundle, write_bundle

    source = student_directory(context.inputs)
    bundle = Path(context.dir) / "bundle"
    if bundle.exists():
        shutil.rmtree(bundle)  # of a run that was cut off
    bundle.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.suffix in (".safetensors", ".json") and path.name != "manifest.json":
            shutil.copyfile(path, bundle / path.name)
    if point := operating_point(context.inputs):
        (bundle / POINT).write_text(json.dumps(point, sort_keys=True))
    if not (bundle / "golden.json").exists():
        _write_golden(config.generator, bundle)
    digest = write_bundle(bundle, {"recipe": context.name, "key": context.key})
    verify_bundle(bundle, digest)
    if config.self_test:
        _self_test(config.generator, bundle, digest)
    return bundle


def student_directory(inputs: Mapping[str, Any]) -> Path:
    """The directory of the student that was evaluated: the sweep's choice, else the distilled one.

    Raises: ConfigError without such a step, DataError if it left no weights.
    """
    steps = [step for step in ("sweep", "distill") if "student" in inputs.get(step, {})]
    if not steps:
        raise ConfigError("promote must run after distill, got no student. Run distill first.")
    output = inputs[steps[0]]
    path = Path(output.dir) / str(output["student"])
    if not all((path / name).is_file() for name in MODEL_FILES):
        raise DataError(
            f"{steps[0]} must leave {' and '.join(MODEL_FILES)} in {path.name}, got none. "
            "Run that step again."
        )
    return path


def operating_point(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the student was evaluated at; empty where no step says it."""
    point = inputs.get("evaluate", {}).get("operating_point") or {}
    return {name: value for name, value in point.items() if name in POINT_FIELDS}


def measurements(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The student's metrics as numbers or {"value", "low", "high", "n"}, for the gates.

    `<metric>_low` and `<metric>_high` beside a number become its interval. Of `kid` and `fd_lite0`
    there is also `<metric>_over_untrained`, the share of the untrained model's distance. What was
    measured and is not finite is "nan", "inf" or "-inf", which no promotion lets pass.
    """
    student, untrained = (_rows(evaluation.get(who)) for who in ("student", "untrained"))
    for name in ("kid", "fd_lite0"):
        if name not in student or name not in untrained:
            continue
        mine, theirs = measurement(student[name]), measurement(untrained[name])
        if mine is None or theirs is None:
            student[f"{name}_over_untrained"] = "nan"
        elif theirs.value > 0:
            student[f"{name}_over_untrained"] = mine.value / theirs.value
    return student


def _rows(rows: Any) -> dict[str, Any]:
    """What of a mapping is a number, a number with its interval, or the name of one that is not
    finite: a step's result on the disk has null for those, and tells them in `not_finite`."""
    found: dict[str, Any] = {}
    for name, entry in rows.items() if isinstance(rows, Mapping) else ():
        if not isinstance(entry, Mapping):
            bounds = {end: rows.get(f"{name}_{end}") for end in ("low", "high")}
            entry = {"value": entry, **bounds} if None not in bounds.values() else entry
        if measurement(entry) is not None:
            found[name] = dict(entry) if isinstance(entry, Mapping) else entry
        elif broken := not_finite(entry):
            found[name] = broken
    return found | (dict(rows.get("not_finite") or {}) if isinstance(rows, Mapping) else {})


def registry_uri(context: StepContext) -> str:
    """Where models are registered: the run's MLflow store."""
    if context.tracking_uri:
        return context.tracking_uri
    return f"sqlite:///{Path(context.run_dir).absolute()}/mlflow.db"


def _register(registry: Registry, bundle: Path, name: str, context: StepContext) -> ModelVersion:
    from nitrogen.platform.registry import DATA_TAG, POINT_TAG

    tags = {"nitrogen.recipe": context.name, "nitrogen.key": context.key}
    prepared = context.inputs.get("prepare")
    evaluated: Mapping[str, Any] = context.inputs.get("evaluate", {})
    if prepared and prepared.get("digest"):
        tags[DATA_TAG] = str(prepared["digest"])
    if point := operating_point(context.inputs):
        tags[POINT_TAG] = json.dumps(point, sort_keys=True)
    return registry.register(
        bundle,
        name,
        metrics=measurements(evaluated),
        tags=tags,
        run_id=context.run_id,
    )


def _write_golden(load_path: str, bundle: Path) -> None:
    """Let the generator's module add golden.json, the pictures that its self-test reproduces."""
    module = importlib.import_module(load_path.partition(":")[0])
    write_golden = getattr(module, "write_golden", None)
    if write_golden is not None:
        write_golden(bundle)


def _self_test(load_path: str, bundle: Path, digest: str) -> None:
    from nitrogen.platform.serving.replica import ModelRef, load_model

    try:
        load_model(ModelRef("candidate", "0", digest, str(bundle)), load_path)
    except Exception as error:  # boundary: whatever a broken model raises is a refusal
        if hasattr(error, "exit_code"):
            raise
        raise BundleError(
            f"bundle must pass its self-test, but did not ({type(error).__name__}: {error}). "
            "Nothing was registered; evaluate the student again."
        ) from error
