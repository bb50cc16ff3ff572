"""A generator without a model: a square in the colour that the bundle's config names."""

import io
import json
import struct
import time
from pathlib import Path

from nitrogen.platform.bundles import write_bundle
from nitrogen.platform.errors import NitrogenError
from nitrogen.platform.serving.protocol import GeneratedImage

CLASSES = ("cat", "dog", "apple / noto")


class BudgetTooSmallError(NitrogenError):
    exit_code = 9


class FakeGenerator:
    def __init__(self, config: dict) -> None:
        self.config = config

    def generate(self, request, should_stop):
        for _ in range(request["num_inference_steps"]):
            if should_stop():
                raise RuntimeError("stopped")
            time.sleep(self.config["step_ms"] / 1e3)
        if request["budget"] is not None and request["budget"] < 0.1:
            raise BudgetTooSmallError("budget must be at least 0.1, got 0.05. Raise it.")
        if request["class"] == "apple / noto":
            raise KeyError("secret detail at /etc/passwd")
        metrics = {
            "gflops": 0.5,
            "gflops_full": 1.0,
            "ms": 1.0,
            "steps": request["num_inference_steps"],
            "active_fraction": 0.5,
        }
        return [
            GeneratedImage(self._png(request["seed"] + i), metrics) for i in range(request["n"])
        ]

    def _png(self, seed: int) -> bytes:
        from PIL import Image

        buffer = io.BytesIO()
        red, green, _ = self.config["color"]
        Image.new("RGB", (16, 16), (red, green, seed % 256)).save(buffer, "PNG")
        return buffer.getvalue()

    def info(self):
        return {"classes": list(CLASSES), "image_size": 16, "policies": ["full", "budget"]}

    def self_test(self):
        if self.config.get("broken"):
            raise RuntimeError("golden pictures differ")


def load_generator(directory: Path) -> FakeGenerator:
    return FakeGenerator(json.loads((Path(directory) / "config.json").read_text()))


def make_bundle(directory: Path, color=(255, 0, 0), step_ms: float = 1.0, **config) -> Path:
    """A bundle that FakeGenerator serves: one tiny tensor and the colour."""
    directory.mkdir(parents=True)
    config = {"color": list(color), "step_ms": step_ms, **config}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "model.safetensors").write_bytes(tiny_safetensors())
    write_bundle(directory)
    return directory


def tiny_safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.0, 2.0)


def write_golden(directory: Path) -> None:
    (directory / "golden.json").write_text(json.dumps({"seeds": [0]}))
