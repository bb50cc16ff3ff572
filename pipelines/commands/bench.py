"""`bench frontier`, `bench attack` and `bench scaling`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands.models import RunOption
from nitrogen.pipelines.commands.output import note, say, say_table

BENCH = typer.Typer(no_args_is_help=True, help="Measure methods.", rich_markup_mode=None)

OutOption = Annotated[
    Path, typer.Option("--out", "-o", help="JSON file; what is measured is kept beside it.")
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Tiny: shows that it runs, decides nothing.")
]


def register(app: typer.Typer) -> None:
    BENCH.command(
        "frontier",
        epilog="Example: nitrogen bench frontier --run runs/emoji --out bench/emoji.json",
    )(frontier)
    app.add_typer(BENCH, name="bench")


def frontier(
    out: OutOption,
    run: RunOption = None,
    thin: Annotated[
        list[Path] | None,
        typer.Option("--thin", help="Run folder or model of a thin model; several times."),
    ] = None,
    quick: QuickOption = False,
    images: Annotated[int | None, typer.Option(min=4, help="Seeds of every row.")] = None,
    rounds: Annotated[int | None, typer.Option(min=2, help="Timed calls of every row.")] = None,
) -> None:
    """Compare ours with everything that could be as fast: one run, same seeds, paired times."""
    from nitrogen.pipelines.bench.contenders import FrontierConfig
    from nitrogen.pipelines.bench.frontier import run_frontier
    from nitrogen.pipelines.bench.models import load_models
    from nitrogen.pipelines.bench.pareto_plot import draw_pareto
    from nitrogen.pipelines.metrics.features import FeatureNet

    config = FrontierConfig.quick() if quick else FrontierConfig()
    sizes = {"num_images": images, "rounds": rounds}
    config = FrontierConfig.model_validate(
        config.model_dump() | {name: value for name, value in sizes.items() if value}
    )
    models = load_models(run, tuple(thin or ()))
    result = run_frontier(config, models, kept(out), FeatureNet(), note)
    write(out, result | {"command": command("frontier", run, quick)})
    tables(result)
    for which in ("mse", "kid"):
        say(str(draw_pareto(result, out.with_name(f"{out.stem}-{which}.png"), which)))
    say(str(out))


def kept(out: Path) -> Path:
    """The folder beside the file that holds rows and rounds."""
    return out.with_name(out.stem + ".rows")


def write(out: Path, result: dict[str, Any]) -> None:
    from nitrogen.pipelines.atomic_json import write_json
    from nitrogen.platform.errors import StorageError

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, result)
    except OSError as exc:
        raise StorageError(
            f"--out must be a file that can be written, got {out} ({exc.strerror}). "
            "Choose another path."
        ) from exc


def command(name: str, run: Path | None, quick: bool) -> str:
    """The command line that makes the file again."""
    parts = ["nitrogen bench", name, f"--run {run}" if run else "", "--quick" if quick else ""]
    return " ".join(part for part in parts if part)


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
