"""`generate` and `model show`."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands.output import JsonOption, note, say, say_json, say_table
from nitrogen.platform.errors import ConfigError, StorageError

_MODEL = typer.Typer(no_args_is_help=True, help="Look at models.", rich_markup_mode=None)

RunOption = Annotated[
    str | None,
    typer.Option("--run", help="Run folder, or s3://bucket/run; the shipped weights by default."),
]


def register(app: typer.Typer) -> None:
    app.command(
        "generate",
        epilog="Example: nitrogen generate --run runs/demo --class 3 --seed 1 --policy budget "
        "--budget 0.5 --out face.png --json",
    )(generate)
    _MODEL.command("show", epilog="Example: nitrogen model show --preset small")(show)
    app.add_typer(_MODEL, name="model")


def generate(
    run: RunOption = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Class name or number; the first by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    steps: Annotated[
        int, typer.Option("--steps", min=1, max=1000, help="Number of inference steps.")
    ] = 12,
    policy: Annotated[
        str | None,
        typer.Option(
            help="full, random, static, threshold or budget; by default that of --budget or "
            "--threshold, else full. static takes as long for every picture."
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Ceiling of any policy: a share of the FLOPs of as many full steps."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Residual under which a region stops, for threshold and budget."),
    ] = None,
    solver: Annotated[
        str, typer.Option(help="euler, heun, dpmpp_2m or unipc; a strided student is Euler's.")
    ] = "dpmpp_2m",
    dense_last: Annotated[
        bool,
        typer.Option(
            "--dense-last", help="The last step at full width everywhere; charged to the budget."
        ),
    ] = False,
    guidance_scale: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 1.0,
    size: Annotated[
        int | None, typer.Option(min=8, max=8192, help="Side of the picture in pixels.")
    ] = None,
    teacher: Annotated[bool, typer.Option("--teacher", help="Use the teacher.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file to write.")] = Path(
        "image.png"
    ),
    as_json: JsonOption = False,
) -> None:
    """Make one picture and say what it cost."""
    from nitrogen.pipelines.remote_folder import fetched
    from nitrogen.pipelines.trained_models import model_directory

    folder = fetched(run) if run is not None else None
    directory = model_directory(folder, "teacher" if teacher else "student")
    from nitrogen.model.pipeline import Pipeline

    pipeline = Pipeline.load(directory)
    label = class_index(class_name, tuple(pipeline.classes))
    policy = policy or _policy_of(budget, threshold)
    with _in_memory(size):
        # Untimed: loading kernels and packing weights is not what a picture costs.
        pipeline.generate([label], [seed], num_inference_steps=1, policy="full", image_size=size)
        generation = pipeline.generate(
            [label],
            [seed],
            num_inference_steps=steps,
            solver=solver,
            policy=policy,
            budget=budget,
            threshold=threshold,
            guidance_scale=guidance_scale,
            dense_last=dense_last,
            image_size=size,
        )
    write_png(generation.images[0], out)
    result = described(generation.stats[0])
    result |= {"class": pipeline.classes[label], "seed": seed, "policy": policy, "path": str(out)}
    if as_json:
        say_json(result)
    else:
        _tell(result)


def _tell(result: dict[str, Any]) -> None:
    share = result["gflops"] / result["gflops_full"]
    cost = f"{result['gflops']:.4g} GFLOPs ({share:.0%} of full)"
    say(f"{result['path']}  {result['class']}  {cost}")
    say(f"{result['steps']} steps  {result['ms']:.0f} ms")
    if result["fallbacks"]:
        note(
            f"warning: the predictor's answer was not finite at {result['fallbacks']} steps, which "
            "ran by a static schedule. Its weights may be damaged: restore the model."
        )


def _policy_of(budget: float | None, threshold: float | None) -> str:
    """The policy that the given dials mean, as at the endpoint."""
    if budget is not None:
        return "budget"
    return "full" if threshold is None else "threshold"


@contextlib.contextmanager
def _in_memory(size: int | None) -> Iterator[None]:
    """A picture that does not fit is the request's fault, not a bug."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise ConfigError(
            f"--size must be a picture that fits the memory, got {size}. Give a smaller one."
        ) from None


def described(stats: Any) -> dict[str, Any]:
    """What one sample cost, as JSON values; heatmap [steps, rows, cols] in 0..1."""
    return {
        "gflops": float(stats.gflops),
        "gflops_full": float(stats.gflops_full),
        "ms": float(stats.ms),
        "steps": int(stats.num_steps),
        "active_fraction": float(stats.active_fraction),
        "fallbacks": int(stats.fallbacks),
        "heatmap": stats.heatmap.tolist(),
    }


def class_index(name: str | None, classes: tuple[str, ...]) -> int:
    """The label of a class given by name or number; ConfigError with the closest name."""
    if name is None:
        return 0
    if name in classes:
        return classes.index(name)
    if name.isascii() and name.isdigit() and int(name) < len(classes):
        return int(name)
    close = difflib.get_close_matches(name.lower(), [known.lower() for known in classes], n=1)
    if close:
        hint = f"Did you mean {next(known for known in classes if known.lower() == close[0])}?"
    else:
        shown = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        hint = f"Choose one of: {shown}."
    raise ConfigError(
        f"--class must be a class name or a number below {len(classes)}, got {name}. {hint}"
    )


def write_png(image: Any, path: Path) -> None:
    """Write uint8 [h, w, 3] as a PNG, whole or not at all."""
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(image.cpu().numpy() if hasattr(image, "cpu") else image).save(encoded, "PNG")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(encoded.getvalue())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as exc:
        raise StorageError(
            f"--out must be a file that can be written, got {path} ({exc.strerror}). "
            "Choose another path."
        ) from exc


def show(
    preset: Annotated[
        str | None, typer.Option(help="Only this preset: tiny, small, base, large or xl.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print parameters and GFLOPs a forward of the presets, as the article's table does."""
    from nitrogen.model.cost import model_table

    rows = [row for row in model_table() if preset in (None, row["name"])]
    if not rows:
        known = ", ".join(str(row["name"]) for row in model_table())
        raise ConfigError(f"--preset must be one of {known}, got {preset}. Correct the name.")
    if as_json:
        say_json(rows)
        return
    say_table(*article_table(rows))
    say("FID and latency are measured, not known beforehand: nitrogen evaluate.")


def article_table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """The article's columns, two rows a preset: all of it, and its narrowest width."""
    table = []
    for row in rows:
        parameters, image = _scaled(row["params"]), f"{row['image_size']} px"
        for label, gflops in (("full", "gflops"), ("adaptive, from", "gflops_narrowest")):
            table.append([f"{row['name']} {label}", None, None, row[gflops], parameters, image])
    return ["", "FID", "latency", "GFLOPs a forward", "parameters", "image"], table


def _scaled(count: float) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"
