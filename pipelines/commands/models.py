"""`generate`."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from nitrogen.pipelines.commands import completion
from nitrogen.pipelines.commands.generate_options import (
    Asked,
    Described,
    check_cost,
    check_model,
    check_names_and_bounds,
    check_out,
    policy_of,
)
from nitrogen.pipelines.commands.output import JsonOption, note, say, say_json
from nitrogen.platform.errors import ConfigError, StorageError

RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="Run folder, s3://bucket/run, or shipped:NAME; the shipped weights by default.",
        autocompletion=completion.runs,
    ),
]


def register(app: typer.Typer) -> None:
    app.command(
        "generate",
        epilog="Example: nitrogen generate --run runs/demo --class food-drink/noto --seed 1 "
        "--policy budget --budget 0.5 --out food.png --json",
    )(generate)


def generate(
    run: RunOption = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="Class name or number; the first by default.",
            autocompletion=completion.classes,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    steps: Annotated[
        int, typer.Option("--steps", help="Number of inference steps, 1 to 1000.")
    ] = 12,
    policy: Annotated[
        str | None,
        typer.Option(
            help="full, random, static, threshold or budget; by default that of --budget or "
            "--threshold, else full. static takes as long for every picture.",
            autocompletion=completion.policies,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Ceiling of any policy: a share of the FLOPs of as many full steps, above 0 and "
            "at most 1."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Residual under which a region stops, for threshold and budget."),
    ] = None,
    solver: Annotated[
        str,
        typer.Option(
            help="euler, heun, dpmpp_2m or unipc; a strided student is Euler's.",
            autocompletion=completion.solvers,
        ),
    ] = "dpmpp_2m",
    dense_last: Annotated[
        bool,
        typer.Option(
            "--dense-last", help="The last step at full width everywhere; charged to the budget."
        ),
    ] = False,
    guidance_scale: Annotated[
        float, typer.Option(help="Classifier-free guidance, 0 to 20; 1 is without.")
    ] = 1.0,
    size: Annotated[
        int | None, typer.Option(help="Side of the picture in pixels, 8 to 8192.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, or bf16 in plain PyTorch for processors with units for it; the C++ "
            "kernels are in fp32.",
            autocompletion=completion.precisions,
        ),
    ] = "fp32",
    teacher: Annotated[bool, typer.Option("--teacher", help="Use the teacher.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file to write.")] = Path(
        "image.png"
    ),
    as_json: JsonOption = False,
) -> None:
    """Make one picture and say what it cost."""
    from nitrogen.pipelines.remote_folder import fetched
    from nitrogen.pipelines.trained_models import model_directory

    policy = policy_of(policy, budget, threshold)
    asked = Asked(
        class_name, seed, steps, policy, budget, threshold, solver, guidance_scale, dense_last,
        size, precision,
    )  # fmt: skip
    # What is wrong is told within a second: loading torch and the weights takes several.
    check_names_and_bounds(asked)
    check_out(out)
    folder = fetched(run) if run is not None else None
    directory = model_directory(folder, "teacher" if teacher else "student")
    model = Described.read(directory)
    label = check_model(asked, model)
    check_cost(asked, model)
    from nitrogen.model.pipeline import Pipeline
    from nitrogen.pipelines.precision import autocast, slower_in

    if slower := slower_in("cpu", precision):
        note(f"warning: --precision {slower}")
    pipeline = Pipeline.load(directory)
    with _in_memory(size), autocast("cpu", precision):
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
    result |= {"class": pipeline.classes[label], "seed": seed, "policy": policy}
    result |= {"precision": precision, "path": str(out)}
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
    """What one sample cost, as JSON values; heatmap [steps, rows, cols] in 0..1, to 3 digits."""
    return {
        "gflops": float(stats.gflops),
        "gflops_full": float(stats.gflops_full),
        "ms": float(stats.ms),
        "steps": int(stats.num_steps),
        "active_fraction": float(stats.active_fraction),
        "fallbacks": int(stats.fallbacks),
        "heatmap": [
            [[_short(cell) for cell in row] for row in step] for step in stats.heatmap.tolist()
        ],
    }


def _short(share: float) -> float:
    """0 and 1 as integers: most cells are one of them."""
    return int(share) if share in (0, 1) else round(share, 3)


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
