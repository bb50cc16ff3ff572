"""From the results of the pipeline's steps to ReportData.

Every key is optional: a section without its keys is left out and listed as missing. A measured
number is plain or {"value", "low", "high", "n"}. Files are named relative to the step's directory.

prepare   name, digest, image_size [h, w], num_classes, classes [names], splits {name: n},
          notes [sentences]
pretrain  history [{images, loss, step?, loss_*?}]: every key that starts with "loss" is a curve;
          preset, parameters, num_images, seconds
distill   history, as pretrain; num_images
sweep     metric (what distance means), split, num_trials, points [{gflops, distance, label?, low?,
          high?}], pareto [indices into points], full_curve [{num_inference_steps, gflops,
          distance}], static_curve [{label, gflops, distance}], chosen {gflops, distance, label?}.
          Without points, trials [{metrics {gflops, distance}, state}] are the points (those whose
          state is COMPLETE) and pareto indexes trials.
evaluate  rows [{name, role?, num_inference_steps?, fd_lite0?, kid?, fid?, psnr_db?, gflops?,
          gflops_full?, ms_p50?, ms_p95?, num_timings?, note?}], role one of teacher, student,
          untrained, reference (or the same dicts as evaluate[role]);
          speedup {value, low, high, n}: the teacher's time over the student's, paired;
          claims [{text, value, unit?, low?, high?, no_interval?, n?, split?, command?, commit?}];
          command, commit: those of claims that have none of their own;
          neighbours: metrics.neighbours.Neighbours.to_dict();
          bias: metrics.bias.bias_table(...);
          calibration: evaluation.residuals.reliability_of(...);
          samples_file: a .npz written by samples_file.save_samples; notes [sentences]
promote   name, version, promoted (bool), refused (sentence), gates [reasons, or {name or metric,
          passed, detail or reason}]
serve     request {class, ms, compute {gflops}}, model {name, version}: shown as a fact
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nitrogen.pipelines.report.curves import panels
from nitrogen.pipelines.report.data import GateRow, HowTo, LabelledImages, ReportData, Samples
from nitrogen.pipelines.report.data_checks import NeighbourRows
from nitrogen.pipelines.report.formatting import number
from nitrogen.pipelines.report.operating_points import pareto
from nitrogen.pipelines.report.quality import bias, claims, reliability, rows, tiles
from nitrogen.pipelines.report.samples_file import load_samples
from nitrogen.pipelines.report.verdict import verdict

Result = Mapping[str, Any]
_SECTIONS = {
    "pretrain": "training curve of the teacher",
    "distill": "training curve of the student",
    "sweep": "quality against compute",
    "evaluate": "samples, quality, timings and claims",
    "promote": "promotion",
}


def collect(
    inputs: Mapping[str, Any],
    *,
    title: str,
    subtitle: str = "",
    facts: Mapping[str, str] | None = None,
    commit: str = "",
    shipped: LabelledImages | None = None,
    howto: tuple[HowTo, ...] = (),
) -> ReportData:
    """ReportData of the steps' results; inputs[step] has `.dir` when it names files.

    facts come after those of the data and the model. DataError when a named file is damaged.
    """
    results = {name: inputs.get(name) or {} for name in (*_SECTIONS, "prepare", "serve")}
    evaluate, promote = results["evaluate"], results["promote"]
    samples, neighbours = _samples(evaluate)
    found = verdict(results["sweep"], {"commit": commit, **evaluate})
    compared = [found.claim] if found and found.claim else []
    data = ReportData(
        title=title,
        subtitle=subtitle,
        facts=_data_facts(results["prepare"]) | _run_facts(results) | dict(facts or {}),
        tiles=tiles(evaluate),
        verdict=found,
        panels=panels(results),
        samples=samples,
        pareto=pareto(results["sweep"]),
        rows=rows(evaluate),
        claims=[*compared, *claims(evaluate, commit)],
        neighbours=neighbours,
        bias=bias(evaluate),
        reliability=reliability(evaluate),
        gates=_gates(promote),
        promotion=_promotion(promote),
        shipped=shipped,
        howto=howto,
        notes=[*(results["prepare"].get("notes") or ()), *(evaluate.get("notes") or ())],
    )
    return ReportData(**{**vars(data), "missing": _missing(results, data)})


def _samples(evaluate: Any) -> tuple[Samples | None, NeighbourRows | None]:
    name = evaluate.get("samples_file")
    if not name:
        return None, None
    samples, found = load_samples(Path(getattr(evaluate, "dir", ".")) / name)
    if found is None:
        return samples, None
    summary = evaluate.get("neighbours") or {}
    return samples, NeighbourRows(found.samples, found.by_features, found.by_pixels, summary)


def _gates(promote: Result) -> list[GateRow]:
    """Gates as dicts, or as the bare reasons of a promotion: those all passed."""
    found = []
    for gate in promote.get("gates") or ():
        if isinstance(gate, Mapping):
            name = str(gate.get("name") or gate.get("metric") or "gate")
            detail = str(gate.get("detail") or gate.get("reason") or "")
            found.append(GateRow(name, bool(gate.get("passed")), detail))
        else:
            found.append(GateRow(str(gate), bool(promote.get("promoted"))))
    return found


def _promotion(promote: Result) -> str:
    """One sentence on what the promote step did."""
    if not promote:
        return ""
    model = f"{promote.get('name', 'The model')} version {promote.get('version', 'unknown')}"
    if promote.get("promoted"):
        return f"{model} is the champion."
    reason = promote.get("refused") or promote.get("reason")
    return f"{model} was not promoted" + (f": {reason}" if reason else ".")


def _missing(results: Mapping[str, Result], data: ReportData) -> dict[str, str]:
    """Sections that cannot be shown: name -> reason."""
    absent = {
        section: f"step {step} left no result"
        for step, section in _SECTIONS.items()
        if not results[step]
    }
    for step, title in (("pretrain", "Teacher"), ("distill", "Student")):
        if results[step] and not any(panel.title == title for panel in data.panels):
            absent[_SECTIONS[step]] = f"step {step} reported fewer than two losses"
    if results["evaluate"]:
        for section, value in (("samples", data.samples), ("claims", data.claims)):
            if not value:
                absent[section] = f"step evaluate gave no {section}"
        heatmaps = data.samples.heatmaps if data.samples else None
        if data.samples and heatmaps is None:
            absent["where the compute went"] = "step evaluate gave no heatmaps"
    if results["sweep"] and data.pareto is None:
        absent["quality against compute"] = "step sweep finished no trial"
    return absent


def _data_facts(prepare: Result) -> dict[str, str]:
    if not prepare:
        return {}
    size = " x ".join(str(side) for side in prepare.get("image_size") or ())
    classes = prepare.get("num_classes")
    parts = [str(prepare.get("name") or "unnamed"), f"{size} px" if size else ""]
    parts.append(f"{classes} classes" if classes else "")
    facts = {"Data": ", ".join(part for part in parts if part)}
    splits = prepare.get("splits") or {}
    if splits:
        facts["Pictures"] = ", ".join(f"{name} {n:,}" for name, n in splits.items())
    if prepare.get("digest"):
        facts["Data digest"] = str(prepare["digest"])[:12]
    return facts


def _run_facts(results: Mapping[str, Result]) -> dict[str, str]:
    facts = {}
    pretrain, distill, serve = (results[step] for step in ("pretrain", "distill", "serve"))
    if pretrain.get("parameters"):
        size = f"{number(pretrain['parameters'] / 1e6)} M parameters"
        facts["Model"] = ", ".join(part for part in (pretrain.get("preset"), size) if part)
    seen = [("teacher", pretrain.get("num_images")), ("student", distill.get("num_images"))]
    trained = ", ".join(f"{name} {n:,}" for name, n in seen if n)
    if trained:
        facts["Images seen in training"] = trained
    request = serve.get("request") or {}
    if request.get("ms"):
        facts["Endpoint"] = f"one request answered in {number(float(request['ms']))} ms"
    return facts
