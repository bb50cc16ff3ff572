"""Report: everything the run measured, on one HTML page that needs no network."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from nitrogen.pipelines.installed import installed
from nitrogen.platform.errors import ConfigError

if TYPE_CHECKING:
    from nitrogen.pipelines.context import StepContext
    from nitrogen.pipelines.report.data import HowTo, LabelledImages, ReportData

REPORT = "report.html"
_GRID = "samples.png"
_SHIPPED = Path(__file__).resolve().parents[1] / "weights" / "samples.npz"


class ReportConfig(BaseModel):
    """The `report:` section of a recipe.

    title            heading of the page; the recipe's name by default
    shipped_samples  grid of the shipped weights: "bundled" shows the one in the package if there
                     is one, a path shows that .npz, null shows none
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str | None = Field(None, min_length=1, max_length=200)
    subtitle: str = ""
    max_samples: int = Field(24, ge=1, le=512, description="pictures shown, teacher and student")
    max_heatmaps: int = Field(6, ge=0, le=64, description="pictures with compute heatmaps")
    shipped_samples: str | None = "bundled"


def run(config: ReportConfig, context: StepContext) -> dict[str, Any]:
    """Returns report and images (files in the step's directory), sections, missing, bytes.

    Reads the earlier steps' results by the keys that report/collect.py documents. Raises DataError
    when a file that they name is damaged, ConfigError when shipped_samples is not there.
    """
    from nitrogen.pipelines.report.page import render, sections

    data = report_data(config, context)
    html = render(data, max_samples=config.max_samples, max_heatmaps=config.max_heatmaps)
    encoded = html.encode("utf-8")
    _write(context.dir / REPORT, encoded)
    images = _write_grid(data, config, context.dir)
    if context.tracker is not None and context.run_id is not None:
        for name in (REPORT, *images):
            context.tracker.log_artifact(context.run_id, context.dir / name)
    context.progress.message(f"report of {len(encoded) / 1e6:.1f} MB")
    shown = sections(data, config.max_samples, config.max_heatmaps)
    return {
        "report": REPORT,
        "images": images,
        "sections": [section.anchor for section in shown],
        "missing": dict(data.missing),
        "bytes": len(encoded),
    }


def report_data(config: ReportConfig, context: StepContext) -> ReportData:
    """What the page shows, from the steps' results and the facts of this process."""
    from nitrogen.pipelines.report.collect import collect
    from nitrogen.pipelines.report.provenance import commit, machine, versions

    revision = commit()
    facts = {"Commit": revision, "Machine": machine(), "Versions": versions()}
    facts["Seed"] = str(context.seed)
    return collect(
        context.inputs,
        title=config.title or context.name or "NitroGen report",
        subtitle=config.subtitle,
        facts=facts,
        commit=revision,
        shipped=_shipped(config.shipped_samples),
        howto=_howto(context),
    )


def _shipped(named: str | None) -> LabelledImages | None:
    from nitrogen.pipelines.report.samples_file import load_grid

    if named is None or (named == "bundled" and not _SHIPPED.is_file()):
        return None
    path = _SHIPPED if named == "bundled" else Path(named)
    if not path.is_file():
        raise ConfigError(
            f"report.shipped_samples must be an .npz file, bundled or null, got {named}. "
            "Give a path that exists, or leave it out."
        )
    return load_grid(path)


def _howto(context: StepContext) -> tuple[HowTo, ...]:
    """Commands that go on from this run; only those that can work."""
    from nitrogen.pipelines.masking import mask_secrets
    from nitrogen.pipelines.report.data import HowTo

    run_dir = shlex.quote(str(context.run_dir))
    found = []
    inputs: Mapping[str, Mapping[str, Any]] = context.inputs
    if inputs.get("distill"):
        name = shlex.quote(_first_class(inputs.get("prepare", {})))
        command = (
            f"{installed('nitrogen')} generate --run {run_dir} --class {name} --seed 7 --steps 12"
        )
        found.append(
            HowTo("Draw a picture", f"{command} --policy budget --budget 0.5 --out picture.png")
        )
    if inputs.get("promote", {}).get("champion"):
        found.append(HowTo("Serve the champion", f"{installed('nitrogen')} serve --run {run_dir}"))
    if context.tracking_uri:
        uri = shlex.quote(mask_secrets(context.tracking_uri))
        command = f"{installed('mlflow')} ui --backend-store-uri {uri}"
        found.append(HowTo("Look at the runs in MLflow", command))
    return tuple(found)


def _first_class(prepare: Mapping[str, Any]) -> str:
    classes = prepare.get("classes") or ()
    return str(classes[0]) if classes else "0"


def _write_grid(data: ReportData, config: ReportConfig, directory: Path) -> list[str]:
    """samples.png: teacher above student, column by column the same seed."""
    import numpy as np

    from nitrogen.pipelines.report.pixels import grid_png

    if data.samples is None:
        return []
    teacher, student = (
        images[: min(8, config.max_samples)]
        for images in (data.samples.teacher, data.samples.student)
    )
    scale = max(1, 96 // teacher.shape[1])
    both = np.concatenate([teacher, student])
    _write(directory / _GRID, grid_png(both, columns=len(teacher), scale=scale, gap=4))
    return [_GRID]


def _write(path: Path, content: bytes) -> None:
    """Atomic, readable by others as a plain file would be."""
    from nitrogen.pipelines.metrics.feature_cache import write_atomic

    def save(temporary: Path) -> None:
        temporary.write_bytes(content)
        temporary.chmod(0o644)

    write_atomic(path, save)


def estimate_seconds(config: ReportConfig) -> float:
    """Rough time on 2 cores, for `--plan`: importing matplotlib and drawing."""
    return 8.0
