"""The generator behind the endpoint: loads a bundle, answers validated requests with PNGs."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nitrogen.model.pipeline import Pipeline
from nitrogen.model.solvers import solver_for
from nitrogen.pipelines.precision import PRECISIONS, autocast, check_device, slower_in
from nitrogen.platform.bundle_files import POINT
from nitrogen.platform.errors import BundleError, ConfigError
from nitrogen.platform.serving.protocol import GeneratedImage

logger = logging.getLogger(__name__)

GOLDEN = "golden.json"
GOLDEN_TOLERANCE = 2.0  # mean absolute difference, of 255: other processors round differently
GOLDEN_REQUESTS = ({"policy": "full"}, {"policy": "budget", "budget": 0.5})
GOLDEN_SEED, GOLDEN_STEPS = 1234, 6
OLD_SOLVER = "dpmpp_2m"  # of bundles that do not say what they were measured with


def load_generator(
    directory: Path, device: str | None = None, precision: str = "fp32"
) -> PipelineGenerator:
    """The generator of a verified bundle.

    device: cpu or cuda; None takes the GPU that Ray shows to the replica, if it does.
    precision: fp32, or bf16 for the GEMMs. Raises WeightsError, BundleError, or ConfigError for a
    device that the replica does not have or a precision that does not exist.
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"serve.generator_options.precision must be {' or '.join(PRECISIONS)}, got "
            f"{precision}. Correct it."
        )
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if slower := slower_in(check_device(device), precision):
        logger.warning("serve.generator_options.precision: %s", slower)
    return PipelineGenerator(Path(directory), device, precision)


class PipelineGenerator:
    """A Pipeline behind the serving protocol, on one device and in one precision."""

    def __init__(self, directory: Path, device: str = "cpu", precision: str = "fp32"):
        self._directory, self._device, self._precision = directory, device, precision
        self._pipeline = Pipeline.load(directory).to(device)
        self._solver = solver_for(self._pipeline.arch.strided, measured_solver(directory))
        self._told = False  # of a predictor that fails

    def generate(
        self, request: dict[str, Any], should_stop: Callable[[], bool]
    ) -> list[GeneratedImage]:
        """n pictures of one class, seeds seed, seed + 1, ... Raises ModelError or Cancelled."""
        pipeline, num = self._pipeline, request["n"]
        with autocast(self._device, self._precision):
            made = pipeline.generate(
                [pipeline.label(request["class"])] * num,
                [(request["seed"] + i) % 2**63 for i in range(num)],
                num_inference_steps=request["num_inference_steps"],
                solver=self._solver,
                policy=request["policy"],
                budget=request.get("budget"),
                threshold=request.get("threshold"),
                guidance_scale=request["guidance_scale"],
                should_stop=should_stop,
            )
        self._tell(sum(stats.fallbacks for stats in made.stats))
        return [
            GeneratedImage(
                png_bytes(image.numpy()),
                {
                    "gflops": stats.gflops,
                    "gflops_full": stats.gflops_full,
                    "ms": stats.ms,
                    "steps": stats.num_steps,
                    "active_fraction": stats.active_fraction,
                    "fallbacks": stats.fallbacks,
                },
            )
            for image, stats in zip(made.images, made.stats, strict=True)
        ]

    def _tell(self, fallbacks: int) -> None:
        """Once: whoever watches the counter sees how often it goes on."""
        if fallbacks and not self._told:
            self._told = True
            logger.warning(
                "the predictor's answer was not finite at %d steps, which ran by a static "
                "schedule. Its weights may be damaged: restore the bundle.", fallbacks,
            )  # fmt: skip

    def info(self) -> dict[str, Any]:
        arch = self._pipeline.arch
        adaptive = ("threshold", "budget") if self._pipeline.predictor else ()
        return {
            "classes": list(self._pipeline.classes),
            "image_size": arch.image_size,
            "policies": ["full", "static", "random", *adaptive],
            "solver": self._solver,
            "device": self._device,
            "precision": self._precision,
        }

    def self_test(self) -> None:
        """Reproduces the golden pictures of the bundle, in fp32 whatever pictures are served in:
        it is the weights and the build that are tested. Raises BundleError."""
        for entry in read_golden(self._directory):
            made = golden_picture(self._pipeline, entry["request"])
            difference = np.abs(made.astype(np.float64) - entry["pixels"]).mean()
            if not difference <= GOLDEN_TOLERANCE:
                raise BundleError(
                    f"golden pictures must be reproduced within {GOLDEN_TOLERANCE:g} of 255, got "
                    f"{difference:.1f} for {entry['request']}. The weights were altered, or this "
                    "build computes wrong results: restore the bundle, run `nitrogen doctor`."
                )


def measured_solver(directory: Path) -> str:
    """The name of the solver that a bundle was measured with. Raises BundleError for a damaged
    file; whether there is such a solver is the model's to say."""
    path = Path(directory) / POINT
    if not path.exists():
        return OLD_SOLVER
    try:
        return str(json.loads(path.read_text()).get("solver", OLD_SOLVER))
    except (OSError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{POINT} must hold the point that the model was measured at, got "
            f"{type(error).__name__} in {directory}. Restore the bundle."
        ) from None


def write_golden(directory: Path) -> None:
    """Adds golden.json: a few requests and the pictures that they must give."""
    pipeline, solver = Pipeline.load(directory), measured_solver(directory)
    entries = []
    for settings in GOLDEN_REQUESTS:
        if settings["policy"] == "budget" and pipeline.predictor is None:
            continue
        request = {**settings, "solver": solver}
        png = png_bytes(golden_picture(pipeline, request))
        entries.append({"request": request, "png": base64.b64encode(png).decode()})
    (directory / GOLDEN).write_text(json.dumps({"version": 1, "entries": entries}))


def read_golden(directory: Path) -> list[dict[str, Any]]:
    """[{request, pixels uint8 [h, w, 3]}]. Raises BundleError for a damaged file."""
    try:
        entries = json.loads((directory / GOLDEN).read_text())["entries"]
        return [
            {
                "request": entry["request"],
                "pixels": np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["png"])))),
            }
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{GOLDEN} must hold the golden pictures, got {type(error).__name__} in {directory}. "
            "Restore the bundle."
        ) from None


def golden_picture(pipeline: Pipeline, settings: dict[str, Any]) -> np.ndarray:
    made = pipeline.generate([0], [GOLDEN_SEED], num_inference_steps=GOLDEN_STEPS, **settings)
    return made.images[0].numpy()


def png_bytes(pixels: np.ndarray) -> bytes:
    """pixels: uint8 [h, w, 3]."""
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG")
    return encoded.getvalue()
