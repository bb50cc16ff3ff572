"""`bench frontier`, `bench attack` and `bench scaling`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands import (
    bench_ablation,
    bench_kernels,
    bench_legs,
    bench_results,
    completion,
)
from nitrogen.pipelines.commands.bench_files import (
    DataOption,
    OutOption,
    QuickOption,
    about,
    command,
    folder,
    now,
    resumable,
    write,
)
from nitrogen.pipelines.commands.bench_tables import tables
from nitrogen.pipelines.commands.models import RunOption
from nitrogen.pipelines.commands.output import JsonOption, note, say, say_json, say_table

BENCH = typer.Typer(
    no_args_is_help=True,
    help="Measure methods.",
    rich_markup_mode=None,
    epilog="Example: nitrogen bench frontier --quick --out bench/emoji.json",
)


def register(app: typer.Typer) -> None:
    BENCH.command(
        "frontier",
        epilog="Example: nitrogen bench frontier --run runs/emoji --out bench/emoji.json",
    )(frontier)
    BENCH.command("attack", epilog="Example: nitrogen bench attack --out bench/attack.json")(attack)
    BENCH.command("scaling", epilog="Example: nitrogen bench scaling --out bench/scaling.json")(
        scaling
    )
    bench_ablation.register(BENCH)
    bench_kernels.register(BENCH)
    bench_legs.register(BENCH)
    bench_results.register(BENCH)
    app.add_typer(BENCH, name="bench")


def frontier(
    out: OutOption,
    run: RunOption = None,
    thin: Annotated[
        list[Path] | None,
        typer.Option("--thin", help="Run folder or model of a thin model; several times."),
    ] = None,
    data: DataOption = None,
    preset: Annotated[
        str, typer.Option(help="quick: minutes; day: about an hour on 2 cores; full: hours.")
    ] = "full",
    quick: QuickOption = False,
    images: Annotated[int | None, typer.Option(min=4, help="Seeds of every row.")] = None,
    rounds: Annotated[
        int | None, typer.Option(min=2, help="Timed calls of every row; fewer are fewer pairs too.")
    ] = None,
    headline: Annotated[
        int | None,
        typer.Option(
            min=4, help="Seeds of rows whose fd_lite0 is judged: ours, and their teachers."
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Another size, such as num_tune=48; several times."),
    ] = None,
    at_hand: Annotated[
        bool, typer.Option("--at-hand", help="Only rows that an earlier run left, and ours.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare ours with everything that could be as fast: one run, same seeds, paired times."""
    from nitrogen.pipelines.bench.frontier import run_frontier
    from nitrogen.pipelines.bench.frontier_config import FrontierConfig
    from nitrogen.pipelines.bench.model_facts import model_facts
    from nitrogen.pipelines.bench.models import load_models
    from nitrogen.pipelines.bench.pareto_plot import draw_pareto
    from nitrogen.pipelines.metrics.features import FeatureNet

    config = FrontierConfig.preset("quick" if quick else preset).changed(
        sizes or (), num_images=images, rounds=rounds, num_headline=headline
    )
    models = load_models(folder(run), tuple(thin or ()), data)
    with resumable(out) as rows:
        result = run_frontier(config, models, rows, FeatureNet(), note, at_hand)
    options: list[tuple[str, Any]] = [("--thin", path) for path in thin or ()]
    options += [("--data", data)]
    options += [("--preset", preset), ("--images", images), ("--rounds", rounds)]
    options += [("--headline", headline), *(("--set", text) for text in sizes or ())]
    line = command("frontier", out, run, quick, options) + (" --at-hand" if at_hand else "")
    result |= {"command": line, "date": now()}
    result |= {"models": model_facts(folder(run), thin or ())}
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
        int | None,
        typer.Option(min=2, max=10_000_000, help="Seeds of which the most expensive is taken."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look for inputs that cost the most, with a budget and without."""
    from nitrogen.model.pipeline import Pipeline
    from nitrogen.pipelines.bench.attack import LIMITS, run_attack
    from nitrogen.pipelines.bench.models import model_digest
    from nitrogen.pipelines.bench.victim import AttackConfig
    from nitrogen.pipelines.trained_models import model_directory

    config = AttackConfig.quick() if quick else AttackConfig()
    if seeds:
        config = config.model_copy(update={"num_seeds": seeds})
    line = command("attack", out, run, quick, [("--seeds", seeds)])
    directory = model_directory(folder(run))
    digest = model_digest(directory)
    with resumable(out) as rows:
        found = run_attack(config, Pipeline.load(directory), digest, rows, note)
    result = about() | found | {"command": line, "models": {"student": {"digest": digest}}}
    write(out, result)
    if as_json:
        say_json(result)
        return
    say_table(
        ("limit", "attack", "mean GFLOPs", "worst", "ceiling", "amplification", "never above"),
        [
            (limit, name, found["mean_gflops"], one["max_gflops"], found["ceiling_gflops"],
             one["amplification"], str(one["never_above_ceiling"]))
            for limit, found in ((k, result[k]) for k in LIMITS if k in result)
            for name, one in found["attacks"].items()
        ],
    )  # fmt: skip
    say(str(out))


def scaling(
    out: OutOption,
    preset: Annotated[
        str,
        typer.Option(help="Network, with random weights.", autocompletion=completion.presets),
    ] = "small",
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Time, FLOPs and memory from 32 to 1,024 px and batch 1 to 32."""
    from nitrogen.model.config import preset as named
    from nitrogen.pipelines.bench.scaling import ScalingConfig, run_scaling

    config = ScalingConfig.quick() if quick else ScalingConfig()
    line = command("scaling", out, None, quick, [("--preset", preset)])
    with resumable(out) as rows:
        found = run_scaling(config, named(preset), rows, note)
    result = about() | found | {"command": line}
    write(out, result)
    if as_json:
        say_json(result)
        return
    say_table(
        ("px", "batch", "teacher ms", "by torch", "adaptive ms", "speedup", "conversion",
         "cache MiB", "peak MiB"),
        [
            (row["size"], row["batch"], row["teacher"]["ms_p50"], row["teacher_torch"]["ms_p50"],
             row["adaptive"]["ms_p50"], row["speedup"]["value"], row["conversion"],
             row["cache_mib"], row["peak_mib"]["adaptive"])
            for row in result["rows"]
        ],
    )  # fmt: skip
    grown = result["per_pixel"]
    say(
        f"time per pixel, {grown['to']} px over {grown['from']} px: "
        f"teacher {grown['teacher']:.2f}, adaptive {grown['adaptive']:.2f} "
        f"(at most {grown['bound']:g}: {'kept' if grown['kept'] else 'not kept'})"
    )
    one = result.get("huge", {"skipped": "not asked for"})
    if "skipped" not in one:
        say(
            f"one picture of {one['size']} px, {one['num_steps']} steps: {one['ms'] / 1e3:.1f} s, "
            f"cache {one['cache_mib']:,.0f} MiB, process {one['process_mib'] or 0:,.0f} MiB"
        )
    elif "size" in one:
        say(f"one picture of {one['size']} px was not drawn: {one['skipped']}")
    say(str(out))
