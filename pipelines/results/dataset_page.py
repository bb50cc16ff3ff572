"""The page of one data set: verdicts, every summary figure, every row, and what made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nitrogen.pipelines.results.exit_figures import calibration, exits, ranks_of_gains
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.headline import headline
from nitrogen.pipelines.results.markdown import (
    NONE,
    count,
    facts,
    interval,
    percent,
    plain,
    table,
)
from nitrogen.pipelines.results.targets import MIN_FRECHET, MIN_SEEDS
from nitrogen.pipelines.results.too_good import too_good
from nitrogen.pipelines.results.tuned_settings import tuned_settings
from nitrogen.pipelines.results.verdicts import (
    ERROR_NAMES,
    relayed,
    tally,
    verdict_table,
    verdicts,
)

GROUPS = {
    "teacher": "The teacher with fewer steps",
    "thin": "Thin models, trained from scratch",
    "cache": "Caches on the teacher, without training",
    "static": "The student at static widths",
    "ours": "Ours",
    "control": "Controls for *where*: the same widths at other positions",
    "ignored": "The predictor computed and ignored",
}


def dataset_page(file: BenchFile, plots: Mapping[str, str], width_map: str | None) -> str:
    """plots: Markdown of the plot of each error; width_map: of the figure of widths, if any."""
    content = file.content
    found = verdicts(file)
    parts = [
        f"# {content['dataset']}\n",
        warning(file),
        *(f"{headline(file, batch)}\n" for batch in content["summary"]),
        facts(file.source | {"reference": str(content.get("reference", "not recorded"))}),
        "## Pareto plots\n",
        "Bars are 95 % intervals, of ours and of the corners of the hull. The number beside a "
        "tuned budget of ours is how many times as fast it is as the hull at the same error "
        "(dotted line).\n",
        *plots.values(),
        f"## What was to be reached\n\n{_capital(tally(found))}. A bound counts as reached when "
        "the whole interval does.\n",
        verdict_table(found),
        "## Figures\n",
        *_figures(content),
        tuned_settings(content),
    ]
    if width_map:
        parts += ["## Where compute went\n", width_map]
    parts += ["## Rows\n", _models(content), _rows_note(content), *_rows(content)]
    return "\n".join(part for part in parts if part)


def warning(file: BenchFile) -> str:
    """What a reader must know first: too small, local changes, or too good."""
    notes = []
    if file.quick:
        notes.append("A quick run: it shows that the benchmark runs, and decides nothing.")
    if file.content.get("at_hand"):
        notes.append("Only rows that were at hand, before all were measured: it decides nothing.")
    if str(file.content.get("commit", "")).endswith("-dirty"):
        notes.append("Made from a working tree with local changes, which its commit does not hold.")
    notes += too_good(file.content) if file.kind == "frontier" else []
    return "".join(f"> **{note}**\n>\n" for note in notes)[:-2] + "\n" if notes else ""


def _figures(content: Mapping[str, Any]) -> Iterator[str]:
    summary = content["summary"]
    first = next(iter(summary.values()))
    for name in [name for name in first if name.startswith("speedup")]:
        yield f"### {_spaced(name)}\n"
        yield _speedups({batch: figures.get(name, {}) for batch, figures in summary.items()})
    yield "### student at full width, against the hull\n"
    yield _speedups({batch: figures["student_full"] for batch, figures in summary.items()})
    if first.get("full_width"):
        yield "### the student at full width, its error over the teacher's at equal steps\n"
        yield _full_width(content, first)
    yield "### adaptivity gain\n"
    yield (
        "0: no better than the same widths at the control's positions; 1: as good as the "
        "oracle's. Of errors alone, so the same at every batch size. Beside it what it is made of, "
        "MSE x 1,000: the control's error less ours, below 0 where the control is better, and less "
        "the oracle's.\n"
    )
    gains = first["adaptivity_gain"]
    yield table(
        ("row", "over", "gain (95 %)", "control - ours", "control - oracle", "n"),
        [(row, how, _value(one), interval(one.get("edge"), 1e3), interval(one.get("room"), 1e3),
          count(one["n"]))
         for row, by in gains.items() for how, one in by.items()],
    )  # fmt: skip
    yield ranks_of_gains(content.get("gain_ranking") or {})
    yield "### time and arithmetic saved against the teacher at equal steps\n"
    yield table(
        ("row", "batch", "latency saved (95 %)", "over plain PyTorch's", "conversion (95 %)",
         "fd_lite0 over teacher's", "rounds"),
        [(row, batch, percent(one["saved"]), percent(one.get("saved_over_torch")),
          _value(one["conversion"]), plain(one["saved"].get("fd_ratio")),
          count(one["saved"]["n"]))
         for batch, figures in summary.items()
         for row, one in figures["latency"]["rows"].items()],
    )  # fmt: skip
    yield "### the predictor's share of a full step\n"
    yield table(
        ("steps", "batch", "share (95 %)", "rounds"),
        [(steps, batch, percent(one), count(one["n"]))
         for batch, figures in summary.items()
         for steps, one in figures["predictor_share"].items()],
    )  # fmt: skip
    yield "### exits\n"
    yield exits(content["forward_passes_saved"])
    yield calibration(content["calibration"])


def _full_width(content: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """As it ships and, where its last steps are the teacher's then, without that; older files have
    only the first."""
    same, alone = first["full_width"], first.get("full_width_alone") or {}
    names = list(ERROR_NAMES)
    headers = [f"{ERROR_NAMES[e]} as it ships (95 %)" for e in names]
    headers += [f"{ERROR_NAMES[e]} without its relay (95 %)" for e in names] if alone else []
    rows = []
    for steps, by in same.items():
        row = [steps, *(_value(by.get(e)) for e in names)]
        if alone:
            other = alone.get(steps, {}) if relayed(content, int(steps)) else None
            row += [NONE if other is None else _value(other.get(e)) for e in names]
        rows.append((*row, count(by["mse"]["n"])))
    return table(("steps", *headers, "n"), rows)


def _speedups(by_batch: Mapping[str, Mapping[str, Any]]) -> str:
    """times of what it is compared with, over ours; MSE and KID side by side."""
    errors = list(ERROR_NAMES)
    rows = [
        (name, batch, *(_value(by_error.get(e)) for e in errors),
         count(by_error[errors[0]].get("n")))
        for batch, named in by_batch.items() for name, by_error in named.items()
    ]  # fmt: skip
    columns = (f"times as fast at equal {ERROR_NAMES[e]} (95 %)" for e in errors)
    return table(("row", "batch", *columns, "n"), rows)


def _value(one: Mapping[str, Any] | None) -> str:
    """The interval, or why there is none, and on which end of the hull it was taken."""
    if one is None or one["value"] is None:
        return f"not defined: {one['reason']}" if one else "not measured"
    beside = {
        "beats_all": "better than every other row",
        "slower_than_all": "worse than even the fastest row",
    }
    flags = [text for flag, text in beside.items() if one.get(flag)]
    return interval(one) + "".join(f", {text}" for text in flags)


def _models(content: Mapping[str, Any]) -> str:
    """What was trained for how long, where the file tells: thin models are to be given the same."""
    rows = [
        (name, f"{one['parameters'] / 1e6:.2f} M", count(one["num_images"]))
        for name, one in (content.get("models") or {}).items() if "num_images" in one
    ]  # fmt: skip
    headers = ("model", "parameters", "pictures it was trained on")
    return table(headers, rows) if rows else ""


def _rows_note(content: Mapping[str, Any]) -> str:
    sizes = sorted({row["n"] for row in content["rows"]})
    text = (
        "ms are medians (95th percentile) of a picture; MSE is to the reference on the same "
        "seeds, for pictures in 0 to 1; nfe counts calls of the network; MiB is what a call at "
        "the largest batch adds to memory. fd_lite0 needs as many pictures as it has features "
        f"(1,280), and {MIN_FRECHET:,} for a headline: below those it decides nothing."
    )
    few = f" n = {sizes[0]} is too small to decide anything." if sizes[0] < MIN_SEEDS else ""
    return text + few + _python_note(content) + "\n"


def _python_note(content: Mapping[str, Any]) -> str:
    """Which rows are slower here than they need be, and whether a hull was made of them."""
    if not {"cache", "control"} & {row["group"] for row in content["rows"]}:
        return ""
    cached = {row["name"] for row in content["rows"] if row["group"] == "cache"}
    hulls = {
        name
        for figures in content["summary"].values()
        for tier in figures["speedup_at_equal_quality"].values()
        for one in tier.values()
        for name in one.get("hull", ())
    }
    text = (
        " Controls and the DeepCache-, TeaCache- and RAS-like rows plan in Python: their ms are "
        "upper bounds"
    )
    if not cached:
        return f"{text}."
    corners = ", ".join(sorted(cached & hulls))
    return f"{text}. Caches that are corners of a tier's hull: {corners or 'none'}."


def _rows(content: Mapping[str, Any]) -> Iterator[str]:
    batches = list(content["summary"])
    rows = content["rows"]
    groups = [*GROUPS, *sorted({row["group"] for row in rows} - set(GROUPS))]
    headers = ("row", *(f"ms, batch {b}" for b in batches), "GFLOPs", "nfe", "MSE x 1,000 (95 %)",
               "KID (95 %)", "fd_lite0 (95 %)", "n", "MiB")  # fmt: skip
    parts = [(GROUPS.get(group, group), [r for r in rows if r["group"] == group])
             for group in groups]  # fmt: skip
    parts.append(("Headline rows, over more seeds, for fd_lite0", content.get("headline") or []))
    for title, some in parts:
        if some:
            yield f"<details><summary>{title}: {len(some)} rows</summary>\n"
            yield table(headers, [_row(row, batches) for row in some])
            yield "</details>\n"


def _row(row: Mapping[str, Any], batches: list[str]) -> tuple[str, ...]:
    timed = [(row.get("ms") or {}).get(batch) for batch in batches]
    few = f"{row['n']:,}, too small" if row["n"] < MIN_SEEDS else f"{row['n']:,}"
    return (
        row["name"], *(f"{plain(ms['p50'])} ({plain(ms['p95'])})" if ms else "-" for ms in timed),
        plain(row["gflops"]), plain(row["nfe"]), interval(row["mse"], 1e3), interval(row["kid"]),
        interval(row["fd_lite0"]), few, plain(row.get("memory_mib")),
    )  # fmt: skip


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
