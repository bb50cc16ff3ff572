"""Parts of a step as one call equal the plain path beside them, in any company, at any threads."""

import dataclasses

import pytest
import torch

from nitrogen.kernels import blocks
from nitrogen.kernels.cpu import library
from nitrogen.kernels.reference import TOLERANCES, relative_rms
from nitrogen.model import conditioning, denoiser, observation, predictor, unet, whole_network
from nitrogen.model.cache import empty_cache
from nitrogen.model.conditioning import Conditioning
from nitrogen.model.config import ArchConfig
from nitrogen.model.denoiser import Denoiser, preconditioning
from nitrogen.model.observation import new_past, region_features
from nitrogen.model.predictor import Predictor
from nitrogen.model.regions import Plan
from nitrogen.model.unet import FusedLayers, Layers, RowUNet

pytestmark = pytest.mark.skipif(not library.cpu_available(), reason="no compiler, no AVX2")
ARCH = ArchConfig(
    channels=(20, 32, 48), num_blocks=(1, 1, 2), num_attention_blocks=1, head_channels=16,
    cond_channels=24, num_classes=3,
)  # fmt: skip
USERS = (blocks, conditioning, denoiser, observation, predictor, unet, whole_network)
CLOSE = TOLERANCES[torch.float32]


@pytest.fixture
def plain(monkeypatch):
    """Runs a function with every fused call switched off."""

    def run(function):
        with monkeypatch.context() as patch:
            for module in USERS:
                patch.setattr(module, "one_call", lambda *_: False)
            return function()

    return run


def shaken(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape) * 0.1
    return module.eval().requires_grad_(False)


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("strided", [False, True])
def test_conditioning(plain, threads, strided):
    layer = shaken(Conditioning(ARCH.model_copy(update={"strided": strided}), 300))
    c_noise, labels, stride = torch.randn(9), torch.randint(0, 4, (9,)), torch.rand(9)
    got = layer(c_noise, labels, stride, blocked=True)
    expected = plain(
        lambda: layer.double()(c_noise.double(), labels, stride.double(), blocked=True)
    )
    assert relative_rms(got, expected) < CLOSE
    layer.float()
    for i in range(9):
        one = slice(i, i + 1)
        alone = layer(c_noise[one], labels[one], stride[one], blocked=True)
        assert torch.equal(alone, got[one])


def test_preconditioning(plain):
    sigma = torch.tensor([0.002, 0.5, 3.0, 80.0])
    got = preconditioning(sigma, 0.5)
    for mine, expected in zip(got, plain(lambda: preconditioning(sigma, 0.5)), strict=True):
        assert mine.shape == expected.shape
        torch.testing.assert_close(mine, expected, rtol=3e-7, atol=0)


def region_arguments(b):
    past = dataclasses.replace(
        new_past(b, (2, 3)), change=torch.rand(b, 2, 3), age=torch.rand(b, 2, 3) * 4,
        quarters=torch.randint(0, 5, (b, 2, 3)), log_residual=torch.randn(b, 2, 3),
    )  # fmt: skip
    x_t, denoised = torch.randn(b, 16, 24, 3), torch.randn(b, 16, 24, 3)
    denoised[0, :8, :8] = 0.3  # no texture at all: its variance may round below zero
    sigma = torch.tensor([80.0, 3.0, 0.02, 0.5])[:b]
    return x_t, denoised, sigma, torch.tensor([70.0, 2.0, 0.0, 0.3])[:b], past, torch.rand(b)


def test_features_and_prediction(plain, threads):
    args = region_arguments(4)
    features = region_features(*args, 0.5)
    expected = plain(lambda: region_features(*args, 0.5))
    flat = torch.zeros(4, 2, 3, dtype=torch.bool)
    flat[0, 0, 0] = True  # log(variance + 1e-8) there is the logarithm of rounding
    torch.testing.assert_close(features[~flat], expected[~flat], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features[flat], expected[flat], rtol=0.05, atol=0.05)

    network, labels = shaken(Predictor(ARCH)), torch.tensor([0, 3, 1, 2])
    got = network(features, labels)
    truth = plain(lambda: network.double()(features.double(), labels))
    network.float()
    assert relative_rms(got, truth) < CLOSE
    for i in range(4):
        one = slice(i, i + 1)
        past = args[4].select(torch.tensor([i]))
        alone = region_features(*(v[one] for v in args[:4]), past, args[5][one], 0.5)
        assert torch.equal(alone, features[one])
        assert torch.equal(network(alone, labels[one]), got[one])


def test_layers_between_the_blocks(threads):
    net = shaken(RowUNet(ARCH))
    one, other = FusedLayers(net), Layers(net, blocked=True)
    x, deep, fine = torch.randn(3, 8, 12, 3), torch.randn(3, 4, 6, 32), torch.randn(3, 8, 12, 20)
    assert torch.equal(one.stem(x), other.stem(x))
    assert torch.equal(one.down(fine, 0), other.down(fine, 0))
    assert torch.equal(one.up(deep, 0, fine), other.up(deep, 0, fine))
    shift, scale = torch.randn(3, 50)[:, 5:45].chunk(2, dim=1)
    torch.testing.assert_close(one.head(fine, shift, scale), other.head(fine, shift, scale))
    assert torch.equal(
        one.head(fine, shift, scale)[1:2], one.head(fine[1:2], shift[1:2], scale[1:2])
    )


@torch.no_grad()
def test_a_whole_network(plain, threads):
    network, x = shaken(Denoiser(ARCH)), torch.randn(2, 16, 24, 3)
    widths = torch.tensor([[[4, 0, 1], [2, 3, 4]], [[0, 4, 4], [1, 1, 0]]])

    def run():
        cache = empty_cache(ARCH, 2, 16, 24)
        sigma, labels = torch.tensor([0.5, 9.0]), torch.tensor([3, 0])
        return network(x, sigma, labels, plan=Plan(widths), cache=cache)

    (got, cache), (expected, plain_cache) = run(), plain(run)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(cache.maps(), plain_cache.maps(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
