"""Training histories as the panels of curves that the report draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nitrogen.pipelines.report.data import Curve, CurvePanel

_LABELS = {
    "loss": "loss",
    "loss_full": "full width",
    "loss_narrow": "narrow widths",
    "loss_stale": "stale cache",
    "loss_nll": "residual, negative log-likelihood",
    "loss_compute": "expected compute",
}
# On other scales than the denoising losses (a log-likelihood may be negative): their own panel.
_PREDICTOR = {"loss_nll", "loss_compute", "loss_gain", "loss_gate"}


def panels(inputs: Mapping[str, Mapping[str, Any]]) -> list[CurvePanel]:
    """One panel for the teacher, one for the student, one for the student's predictor."""
    found = []
    for step, title in (("pretrain", "Teacher"), ("distill", "Student")):
        history = (inputs.get(step) or {}).get("history") or ()
        names = dict.fromkeys(name for row in history for name in row if name.startswith("loss"))
        denoiser = [name for name in names if name not in _PREDICTOR]
        predictor = [name for name in names if name in _PREDICTOR]
        found.append(CurvePanel(title, _curves(history, denoiser)))
        found.append(CurvePanel(f"{title}: predictor", _curves(history, predictor)))
    return [panel for panel in found if panel.curves]


def _curves(history: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Curve]:
    curves = []
    for name in names:
        rows = [(i, row) for i, row in enumerate(history) if row.get(name) is not None]
        x = [float(row.get("images", row.get("step", i))) for i, row in rows]
        label = _LABELS.get(name, name.removeprefix("loss_").replace("_", " "))
        if len(rows) > 1:
            curves.append(Curve(label, x, [float(row[name]) for _, row in rows]))
    return curves
