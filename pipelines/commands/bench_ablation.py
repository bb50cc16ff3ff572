"""`bench ablation`: what each part of the student's training brought."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands.bench_files import (
    DataOption,
    OutOption,
    QuickOption,
    about,
    command,
    folder,
    resumable,
    write,
)
from nitrogen.pipelines.commands.models import RunOption
from nitrogen.pipelines.commands.output import JsonOption, note, say, say_json, say_table


def register(bench: typer.Typer) -> None:
    """Adds it to the group `bench`."""
    bench.command(
        "ablation",
        epilog="Example: nitrogen bench ablation --run runs/emoji --out bench/ablation.json",
    )(ablation)


def ablation(
    out: OutOption,
    run: RunOption = None,
    data: DataOption = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Pictures that each arm trains on; 16,000.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=4, help="Seeds of every setting; 256.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=3, help="Steps of every picture; by default the sweep's.")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", help='Only this arm, such as "no stride"; several times.'),
    ] = None,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the student with one part left out at a time, from one teacher, and compare."""
    from pydantic import ValidationError

    from nitrogen.pipelines.bench.ablation import AblationConfig, run_ablation
    from nitrogen.pipelines.metrics.features import FeatureNet
    from nitrogen.pipelines.recipe_errors import sentences
    from nitrogen.pipelines.recipe_source import RawRecipe
    from nitrogen.platform.errors import ConfigError

    config = AblationConfig.quick() if quick else AblationConfig()
    given = {"num_images": images, "num_seeds": seeds, "num_steps": steps, "arms": tuple(arm or ())}
    try:
        config = AblationConfig.model_validate(
            config.model_dump() | {name: value for name, value in given.items() if value}
        )
    except ValidationError as error:
        raise ConfigError(sentences(error, AblationConfig, RawRecipe())[0]) from None
    options: list[tuple[str, Any]] = [("--images", images), ("--seeds", seeds), ("--steps", steps)]
    options += [("--arm", name) for name in arm or ()]
    options += [("--data", data)]
    line = command("ablation", out, run, quick, options)
    with resumable(out) as rows:
        found = run_ablation(config, folder(run), rows, FeatureNet(), note, data)
    result = about() | found | {"command": line}
    write(out, result)
    if as_json:
        say_json(result)
        return
    say_table(
        ("arm", "setting", "RMSE", "low", "high", "over", "low", "high", "of compute"),
        list(cells(result)),
    )
    say(str(out))


def cells(result: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """A line for each arm and setting; `over` is against the arm that has the part."""
    for arm in result["arms"]:
        for name in result["settings"]:
            one = arm["cells"][name]
            ends = (one.get("rmse") or {}, one.get("over") or {})
            numbers = [part.get(key) for part in ends for key in ("value", "low", "high")]
            yield arm["name"], name, *numbers, one.get("share")
