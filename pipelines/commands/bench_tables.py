"""How `bench frontier` reads on a terminal: rows, then the figures of each batch size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nitrogen.pipelines.commands.output import say, say_table

MAX_NAME = 34  # so that a row fits 100 columns
Table = tuple[str, list[tuple[Any, ...]]]


def tables(result: dict[str, Any]) -> None:
    """Rows, then the figures of each batch size."""
    batches = list(result["summary"])
    say_table(
        ("method", *(f"ms b{b}" for b in batches), "p95 b1", "GFLOPs", "nfe", "MSE e-3", "KID",
         "fd_lite0", "MiB"),
        [row_cells(row, batches) for row in result["rows"]],
    )  # fmt: skip
    for batch, figures in result["summary"].items():
        for title, rows in figure_tables(figures):
            if title.startswith("adaptivity") and batch != batches[0]:
                continue  # of errors alone: the same at every batch size
            say(f"\nbatch {batch}: {title}")
            say_table(("", "value", "low", "high", ""), rows)
    saved = result["forward_passes_saved"]
    if saved["threshold"] is None:
        say(f"\nforward passes saved by exit: {saved['reason']}")
    else:
        say(
            f"\nforward passes saved by exit: regions {saved['regions']['value']:.1%}, whole "
            f"samples {saved['samples']['value']:.1%} at {saved['psnr_db']['value']:.1f} dB"
        )

    for one in result["calibration"]["thresholds"]:
        found = f"{one['value']:.3g}" if one["value"] is not None else "none"
        kept = one.get("unseen") or {}
        share = f"{kept['value']:.1%}" if kept.get("value") is not None else "-"
        say(
            f"exit threshold for error <= {one['eps']:g} with at most {one['delta']:.0%} above: "
            f"{found}; unseen pictures: {share} above"
        )


def row_cells(row: dict[str, Any], batches: list[str]) -> tuple[Any, ...]:
    ms = [row["ms"].get(b) for b in batches]
    first = ms[0] if ms else None
    name = row["name"]
    return (
        name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}",
        *(m["p50"] if m else None for m in ms), first["p95"] if first else None,
        row["gflops"], row["nfe"], row["mse"]["value"] * 1e3, row["kid"]["value"],
        (row["fd_lite0"] or {}).get("value"), row["memory_mib"],
    )  # fmt: skip


def figure_tables(figures: dict[str, Any]) -> Iterator[Table]:
    """(title, rows of name, value, low, high, note) of every figure that has a headline."""
    for title, tiers in figures.items():
        if title.startswith("speedup"):
            yield (
                title,
                [
                    figure_cell(f"{tier}, {which}", one)
                    for tier, errors in tiers.items()
                    for which, one in errors.items()
                ],
            )
    for row, gains in figures["adaptivity_gain"].items():
        yield (
            f"adaptivity_gain of {row} over",
            [figure_cell(how, one) for how, one in gains.items()],
        )
    latency = figures["latency"]["rows"]
    for title, key in (("latency saved", "saved"), ("conversion", "conversion")):
        yield title, [figure_cell(row, one[key]) for row, one in latency.items()]
    shares = figures["predictor_share"].items()
    yield "predictor_share", [figure_cell(f"{steps} steps", one) for steps, one in shares]


def figure_cell(name: str, one: dict[str, Any]) -> tuple[Any, ...]:
    if one["value"] is None:
        return name, None, None, None, one["reason"]
    flags = [flag for flag in ("beats_all", "slower_than_all") if one.get(flag)]
    if one.get("fd_ratio"):
        flags.append(f"fd ratio {one['fd_ratio']:.3f}")
    return name, one["value"], one["low"], one["high"], " ".join(flags).replace("_", " ")
