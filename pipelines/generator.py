"""The generator behind the endpoint: loads a bundle, answers validated requests with PNGs."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nitrogen.model.pipeline import Pipeline
from nitrogen.platform.errors import BundleError
from nitrogen.platform.serving.protocol import GeneratedImage

GOLDEN = "golden.json"
GOLDEN_TOLERANCE = 2.0  # mean absolute difference, of 255: other processors round differently
GOLDEN_REQUESTS = ({"policy": "full"}, {"policy": "budget", "budget": 0.5})
GOLDEN_SEED, GOLDEN_STEPS = 1234, 6


def load_generator(directory: Path) -> PipelineGenerator:
    """The generator of a verified bundle. Raises WeightsError or BundleError."""
    return PipelineGenerator(Path(directory))


class PipelineGenerator:
    """A Pipeline behind the serving protocol."""

    def __init__(self, directory: Path):
        self._directory = directory
        # Ray shows a replica only the GPUs that it was given; without one this is the CPU.
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._pipeline = Pipeline.load(directory).to(device)

    def generate(
        self, request: dict[str, Any], should_stop: Callable[[], bool]
    ) -> list[GeneratedImage]:
        """n pictures of one class, seeds seed, seed + 1, ... Raises ModelError or Cancelled."""
        pipeline, num = self._pipeline, request["n"]
        made = pipeline.generate(
            [pipeline.label(request["class"])] * num,
            [(request["seed"] + i) % 2**63 for i in range(num)],
            num_inference_steps=request["num_inference_steps"],
            policy=request["policy"],
            budget=request.get("budget"),
            threshold=request.get("threshold"),
            guidance_scale=request["guidance_scale"],
            should_stop=should_stop,
        )
        return [
            GeneratedImage(
                png_bytes(image.numpy()),
                {
                    "gflops": stats.gflops,
                    "gflops_full": stats.gflops_full,
                    "ms": stats.ms,
                    "steps": stats.num_steps,
                    "active_fraction": stats.active_fraction,
                },
            )
            for image, stats in zip(made.images, made.stats, strict=True)
        ]

    def info(self) -> dict[str, Any]:
        arch = self._pipeline.arch
        adaptive = ("threshold", "budget") if self._pipeline.predictor else ()
        return {
            "classes": list(self._pipeline.classes),
            "image_size": arch.image_size,
            "policies": ["full", "static", "random", *adaptive],
        }

    def self_test(self) -> None:
        """Reproduces the golden pictures of the bundle. Raises BundleError."""
        for entry in read_golden(self._directory):
            made = golden_picture(self._pipeline, entry["request"])
            difference = np.abs(made.astype(np.float64) - entry["pixels"]).mean()
            if not difference <= GOLDEN_TOLERANCE:
                raise BundleError(
                    f"golden pictures must be reproduced within {GOLDEN_TOLERANCE:g} of 255, got "
                    f"{difference:.1f} for {entry['request']}. The weights were altered, or this "
                    "build computes wrong results: restore the bundle, run `nitrogen doctor`."
                )


def write_golden(directory: Path) -> None:
    """Adds golden.json: a few requests and the pictures that they must give."""
    pipeline = Pipeline.load(directory)
    entries = []
    for settings in GOLDEN_REQUESTS:
        if settings["policy"] == "budget" and pipeline.predictor is None:
            continue
        png = png_bytes(golden_picture(pipeline, settings))
        entries.append({"request": settings, "png": base64.b64encode(png).decode()})
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
