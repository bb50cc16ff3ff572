"""How `bench frontier` reads on a terminal: rows, then the figures of each batch size."""

from __future__ import annotations

from typing import Any

from nitrogen.pipelines.commands.output import say, say_table


def tables(result: dict[str, Any]) -> None:
    """Rows, then the figures of each batch size."""
    batches = list(result["summary"])
    say_table(
        ("method", *(f"ms b{b}" for b in batches), "p95 b1", "GFLOPs", "nfe", "MSE e-3", "KID e-3",
         "fd_lite0", "MiB"),
        [row_cells(row, batches) for row in result["rows"]],
    )  # fmt: skip
    for batch, figures in result["summary"].items():
        say(f"\nbatch {batch}")
        say_table(("figure", "value", "low", "high", "note"), list(figure_cells(figures)))
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
    return (
        row["name"], *(m["p50"] if m else None for m in ms), first["p95"] if first else None,
        row["gflops"], row["nfe"], row["mse"]["value"] * 1e3, row["kid"]["value"] * 1e3,
        (row["fd_lite0"] or {}).get("value"), row["memory_mib"],
    )  # fmt: skip


def figure_cells(figures: dict[str, Any]) -> Any:
    """(name, value, low, high, note) of every figure that has a headline."""
    for name in ("speedup_at_equal_quality", "speedup_over_static"):
        for tier, errors in figures[name].items():
            for which, one in errors.items():
                yield figure_cell(f"{name} {tier} ({which})", one)
    for row, gains in figures["adaptivity_gain"].items():
        for how, one in gains.items():
            yield figure_cell(f"adaptivity_gain over {how}, {row}", one)
    for row, one in figures["latency"]["rows"].items():
        yield figure_cell(f"latency saved, {row}", one["saved"])
        yield figure_cell(f"conversion, {row}", one["conversion"])
    for steps, one in figures["predictor_share"].items():
        yield figure_cell(f"predictor_share, {steps} steps", one)


def figure_cell(name: str, one: dict[str, Any]) -> tuple[Any, ...]:
    if one["value"] is None:
        return name, None, None, None, one["reason"]
    flags = [flag for flag in ("beats_all", "slower_than_all") if one.get(flag)]
    if one.get("fd_ratio"):
        flags.append(f"fd ratio {one['fd_ratio']:.3f}")
    return name, one["value"], one["low"], one["high"], " ".join(flags).replace("_", " ")
