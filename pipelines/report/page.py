"""The report as one HTML file: no script, no network, light and dark, phone and desktop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen.pipelines.report.bias_view import bias_view
from nitrogen.pipelines.report.charts import pareto_chart, reliability_chart, training_chart
from nitrogen.pipelines.report.data import Claim, EvaluationRow, LabelledImages, ReportData, Samples
from nitrogen.pipelines.report.data_checks import NeighbourRows, Reliability
from nitrogen.pipelines.report.formatting import bracket, count, measured, number, percent, spaced
from nitrogen.pipelines.report.pixels import (
    DIFFERENCE_GAIN,
    data_uri,
    difference,
    enlarged,
    heat_colours,
    shrunk,
)

_SHOWN_PX = 96  # About how wide a picture is on the page.
_THUMB_PX = 64  # A picture beside its heatmaps.
_TILE_PX = 50  # About how wide a heatmap is.


@dataclass(frozen=True)
class Section:
    """One section of the page: anchor, title, template block and its values."""

    anchor: str
    title: str
    values: Any


def render(data: ReportData, *, max_samples: int = 24, max_heatmaps: int = 6) -> str:
    """The HTML text of a report, everything inlined. Deterministic: equal data, equal text."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "count": count, "percent": percent}
    environment.filters |= {"measured": measured, "spaced": spaced}
    environment.globals |= {"bracket": bracket}
    template = environment.get_template("page.html.j2")
    return template.render(
        data=data,
        style=_asset("style.css"),
        sections=sections(data, max_samples, max_heatmaps),
        gain=DIFFERENCE_GAIN,
    )


def sections(data: ReportData, max_samples: int, max_heatmaps: int) -> list[Section]:
    """The sections that have something to show, in the order of the page."""
    heat = _heat(data.samples, max_heatmaps)
    built = [
        ("samples", "Samples", data.samples and _triplets(data.samples, max_samples)),
        ("shipped", "Samples of the shipped weights", data.shipped and _shipped(data.shipped)),
        ("compute", "Where the compute went", heat),
        ("pareto", "Quality against compute", data.pareto and _pareto(data)),
        ("quality", "Quality", _quality(data.rows)),
        ("timings", "Time per image", _timings(data.rows)),
        ("training", "Training", [training_chart(p, f"t{i}") for i, p in enumerate(data.panels)]),
        ("neighbours", "Nearest training pictures", data.neighbours and _near(data.neighbours)),
        ("reliability", "Is the predictor to be trusted?", _reliability(data.reliability)),
        ("bias", "Bias", data.bias and bias_view(data.bias)),
        ("claims", "Claims", _claims(data.claims)),
        ("promotion", "Promotion", list(data.gates) or data.promotion),
        ("howto", "Go on from here", list(data.howto)),
    ]
    return [Section(anchor, title, values) for anchor, title, values in built if values]


def _reliability(curve: Reliability | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    factor = f"{math.exp(curve.log_gap):.2f}"
    return {"curve": curve, "chart": reliability_chart(curve, "reliability"), "factor": factor}


def _claims(claims: Sequence[Claim]) -> dict[str, Any] | None:
    """The rows, and command and commit where all of them have the same: then said once."""
    made = {(claim.command, claim.commit) for claim in claims}
    shared = made.pop() if len(made) == 1 and len(claims) > 1 else None
    return {"rows": claims, "shared": shared} if claims else None


def _asset(name: str) -> str:
    # importlib.resources fails on namespace packages of an editable install.
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _picture(image: np.ndarray, around: int = _SHOWN_PX) -> dict[str, Any]:
    """Source and size in CSS pixels of a picture, enlarged by a whole factor to about `around`.

    Sent as it is and enlarged by the browser (image-rendering: pixelated): every pixel a square.
    One of more than twice that size is averaged down by a whole factor, see _reduction.
    """
    factor = _reduction(image, around)
    image = shrunk(image, factor) if factor > 1 else image
    height, width = image.shape[:2]
    scale = max(1, round(around / max(height, width)))
    return {"src": data_uri(image), "width": width * scale, "height": height * scale}


def _reduction(image: np.ndarray, around: int = _SHOWN_PX) -> int:
    return -(-max(image.shape[:2]) // (2 * around))


def _at(values: Sequence[Any] | None, index: int) -> Any:
    return values[index] if values is not None and index < len(values) else None


def _caption(samples: Samples, index: int) -> dict[str, Any]:
    return {
        "label": _at(samples.labels, index) or f"sample {index}",
        "seed": _at(samples.seeds, index),
        "share": _at(samples.active_fraction, index),
    }


def _triplets(samples: Samples, limit: int) -> dict[str, Any]:
    gaps = difference(samples.student, samples.teacher)
    shown = min(limit, len(samples.teacher), len(samples.student))
    items = [
        _caption(samples, i)
        | {
            "pictures": [
                ("teacher", _picture(samples.teacher[i])),
                ("student", _picture(samples.student[i])),
                ("difference", _picture(gaps[i])),
            ]
        }
        for i in range(shown)
    ]
    factor = _reduction(samples.teacher[0]) if shown else 1
    return {"items": items, "total": len(samples.teacher), "factor": factor}


def _heat(samples: Samples | None, limit: int) -> dict[str, Any] | None:
    """Rows of heatmaps, one tile a step, and the mean share of each step."""
    if samples is None or samples.heatmaps is None or not samples.heatmaps.size:
        return None
    maps = np.asarray(samples.heatmaps, dtype=np.float64)
    rows = [
        _caption(samples, i)
        | {
            "picture": _picture(samples.student[i], _THUMB_PX),
            "tiles": [_tile(step) for step in maps[i]],
            "share": float(maps[i].mean()),
        }
        for i in range(min(limit, len(maps)))
    ]
    mean = maps.mean(axis=(0, 2, 3))
    return {
        "rows": rows,
        "mean": [float(value) for value in mean],
        "sigmas": list(samples.sigmas) if samples.sigmas is not None else [],
        "n": len(maps),
        "regions": "{} x {}".format(*maps.shape[2:]),
        "scale": _picture(heat_colours(np.linspace(0, 1, 120)[None, :]), 120),
        "overall": float(maps.mean()),
    }


def _tile(step: np.ndarray) -> dict[str, Any]:
    """One step's map; enlarged here by a few pixels so that even old browsers draw it crisp."""
    picture = _picture(enlarged(heat_colours(step), 2), _TILE_PX)
    return picture | {"share": float(step.mean())}


def _pareto(data: ReportData) -> dict[str, Any]:
    assert data.pareto is not None
    return {"chart": pareto_chart(data.pareto, "pareto"), "pareto": data.pareto}


def _quality(rows: Sequence[EvaluationRow]) -> dict[str, Any] | None:
    """The table of rows, with only those columns that some row has."""
    if not rows:
        return None
    columns = [
        ("fd_lite0", "fd_lite0"),
        ("kid", "KID"),
        ("fid", "FID"),
        ("psnr_db", "PSNR to teacher, dB"),
    ]
    kept = [(key, title) for key, title in columns if any(getattr(row, key) for row in rows)]
    return {"rows": rows, "columns": [(key, title, _common_n(rows, key)) for key, title in kept]}


def _common_n(rows: Sequence[EvaluationRow], key: str) -> str:
    """ "n = 2,048" when every row of the column has the same n, else nothing."""
    found = {getattr(row, key).n for row in rows if getattr(row, key)}
    return f"n = {count(next(iter(found)))}" if len(found) == 1 and None not in found else ""


def _timings(rows: Sequence[EvaluationRow]) -> dict[str, Any] | None:
    """Bars of p50 with a mark at p95, as shares of the slowest."""
    timed = [row for row in rows if row.ms_p50]
    if not timed:
        return None
    longest = max(max(row.ms_p50 or 0.0, row.ms_p95 or 0.0) for row in timed)
    bars = [
        {
            "row": row,
            "p50": 100 * (row.ms_p50 or 0.0) / longest,
            "p95": 100 * row.ms_p95 / longest if row.ms_p95 else None,
        }
        for row in timed
    ]
    return {"bars": bars}


def _near(neighbours: NeighbourRows) -> dict[str, Any]:
    rows = []
    for index, sample in enumerate(neighbours.samples):
        groups = [("sample", [_picture(sample, 72)])]
        for title, images in (
            ("nearest by features", neighbours.by_features),
            ("nearest by pixels", neighbours.by_pixels),
        ):
            if images is not None:
                groups.append((title, [_picture(image, 72) for image in images[index]]))
        rows.append(groups)
    return {"rows": rows, "summary": dict(neighbours.summary)}


def _shipped(shipped: LabelledImages) -> dict[str, Any]:
    items = [
        {"picture": _picture(image), "label": _at(shipped.labels, i) or ""}
        for i, image in enumerate(shipped.images)
    ]
    return {"items": items, "caption": shipped.caption}
