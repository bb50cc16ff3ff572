"""`bench frontier`, `bench attack` and `bench scaling`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands import bench_kernels
from nitrogen.pipelines.commands.models import RunOption
from nitrogen.pipelines.commands.output import JsonOption, note, say, say_json, say_table

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
    BENCH.command("attack", epilog="Example: nitrogen bench attack --out bench/attack.json")(attack)
    BENCH.command("scaling", epilog="Example: nitrogen bench scaling --out bench/scaling.json")(
        scaling
    )
    bench_kernels.register(BENCH)
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
    as_json: JsonOption = False,
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
    models = load_models(folder(run), tuple(thin or ()))
    result = run_frontier(config, models, kept(out), FeatureNet(), note)
    options: list[tuple[str, Any]] = [("--thin", path) for path in thin or ()]
    options += [("--images", images), ("--rounds", rounds)]
    result |= {"command": command("frontier", out, run, quick, options)}
    write(out, result)
    plots = [
        draw_pareto(result, out.with_name(f"{out.stem}-{which}.png"), which)
        for which in ("mse", "kid")
    ]
    if as_json:
        say_json(result)
        return
    tables(result)
    for path in (*plots, out):
        say(str(path))


def attack(
    out: OutOption,
    run: RunOption = None,
    quick: QuickOption = False,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Seeds of which the most expensive is taken.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look for inputs that cost the most, with a budget and without."""
    from nitrogen.model.pipeline import Pipeline
    from nitrogen.pipelines.bench.attack import AttackConfig, run_attack
    from nitrogen.pipelines.trained_models import model_directory

    config = AttackConfig.quick() if quick else AttackConfig()
    if seeds:
        config = config.model_copy(update={"num_seeds": seeds})
    line = command("attack", out, run, quick, [("--seeds", seeds)])
    found = run_attack(config, Pipeline.load(model_directory(folder(run))), note)
    result = about() | found | {"command": line}
    write(out, result)
    if as_json:
        say_json(result)
        return
    say_table(
        ("limit", "attack", "mean GFLOPs", "worst", "ceiling", "amplification", "never above"),
        [
            (limit, name, found["mean_gflops"], one["max_gflops"], found["ceiling_gflops"],
             one["amplification"], str(one["never_above_ceiling"]))
            for limit, found in ((k, result[k]) for k in ("no budget", "budget"))
            for name, one in found["attacks"].items()
        ],
    )  # fmt: skip
    say(str(out))


def scaling(
    out: OutOption,
    preset: Annotated[str, typer.Option(help="Network, with random weights.")] = "small",
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Time, FLOPs and memory from 32 to 1,024 px and batch 1 to 32."""
    from nitrogen.model.config import preset as named
    from nitrogen.pipelines.bench.scaling import ScalingConfig, run_scaling

    config = ScalingConfig.quick() if quick else ScalingConfig()
    line = command("scaling", out, None, quick, [("--preset", preset)])
    result = about() | run_scaling(config, named(preset), note) | {"command": line}
    write(out, result)
    if as_json:
        say_json(result)
        return
    say_table(
        ("px", "batch", "teacher ms", "adaptive ms", "speedup", "conversion", "cache MiB",
         "peak MiB"),
        [
            (row["size"], row["batch"], row["teacher"]["ms_p50"], row["adaptive"]["ms_p50"],
             row["speedup"]["value"], row["conversion"], row["cache_mib"],
             row["peak_mib"]["adaptive"])
            for row in result["rows"]
        ],
    )  # fmt: skip
    grown = result["per_pixel"]
    say(
        f"time per pixel, {grown['to']} px over {grown['from']} px: "
        f"teacher {grown['teacher']:.2f}, adaptive {grown['adaptive']:.2f}"
    )
    if "huge" in result:
        one = result["huge"]
        say(f"{one['size']} px: {one['ms'] / 1e3:.1f} s, peak {one['peak_mib'] or 0:,.0f} MiB")
    say(str(out))


def about() -> dict[str, Any]:
    """The machine and the code behind a file."""
    import torch

    from nitrogen.pipelines.report.provenance import commit, machine

    return {"hardware": machine(), "threads": torch.get_num_threads(), "commit": commit()}


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


def command(
    name: str, out: Path, run: str | None, quick: bool, options: list[tuple[str, Any]]
) -> str:
    """The command line that makes the file again."""
    parts = ["nitrogen", "bench", name, "--out", str(out)]
    parts += ["--quick"] if quick else []
    for option, value in [("--run", run), *options]:
        parts += [option, str(value)] if value is not None else []
    return shlex.join(parts)


def folder(run: str | None) -> Path | None:
    """The run's folder on this machine, or none for the shipped weights."""
    from nitrogen.pipelines.remote_folder import fetched

    return fetched(run) if run is not None else None


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
