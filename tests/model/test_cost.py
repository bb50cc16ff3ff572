"""FLOPs against torch's own counter, dense and adaptive."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nitrogen.model import conditioning
from nitrogen.model.budget import plan_flops
from nitrogen.model.cache import empty_cache
from nitrogen.model.config import PRESETS, preset
from nitrogen.model.cost import CostModel, model_table
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.predictor import Predictor, predictor_flops
from nitrogen.model.regions import Plan


def counted(call):
    # CPU attention is counted only by the math backend.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize(("name", "side"), [("tiny", 32), ("tiny", 64), ("small", 32)])
def test_dense_path_within_one_percent(name, side):
    arch = preset(name, num_classes=5)
    net, x_t = Denoiser(arch), torch.zeros(1, side, side, 3)
    got = counted(lambda: net(x_t, torch.ones(1), torch.zeros(1, dtype=torch.long)))
    assert CostModel(arch, side, side).full_flops == pytest.approx(got, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "large", "xl"])
def test_large_presets_are_counted_without_memory(name):
    arch = preset(name)
    with torch.device("meta"):
        net, x_t = Denoiser(arch), torch.zeros(1, arch.image_size, arch.image_size, 3)
        sigma, labels = torch.ones(1), torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        got = counted(lambda: net(x_t, sigma, labels))
    assert CostModel(arch, arch.image_size, arch.image_size).full_flops == pytest.approx(got, 0.01)


def test_a_stride_is_counted():
    arch, one = preset("tiny", num_classes=5, strided=True), torch.ones(1)
    labels = torch.zeros(1, dtype=torch.long)
    net, x_t = Denoiser(arch), torch.zeros(1, 32, 32, 3)
    got = counted(lambda: net(x_t, one, labels, sigma_next=one / 2))
    assert CostModel(arch, 32, 32).full_flops == got


def test_adaptive_run_counts_what_was_executed(arch, monkeypatch):
    monkeypatch.setattr(conditioning, "SAMPLE_BLOCK", 1)  # no samples that belong to nobody
    executed, counted_flops = adaptive_run(arch)
    assert counted_flops == pytest.approx(executed, rel=0.01)


def test_padding_stays_small(arch):
    executed, counted_flops = adaptive_run(arch, num_samples=3)
    assert counted_flops < executed < 1.02 * counted_flops


def adaptive_run(arch, num_samples=2):
    """(executed, counted) FLOPs of one forward under random plans."""
    net = Denoiser(arch).requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    widths = torch.randint(0, 5, (num_samples, 4, 4), generator=generator)
    cache, cost = empty_cache(arch, num_samples, 32, 32), CostModel(arch, 32, 32)
    sigma, labels = torch.ones(num_samples), torch.zeros(num_samples, dtype=torch.long)
    x_t = torch.zeros(num_samples, 32, 32, 3)
    executed = counted(lambda: net(x_t, sigma, labels, plan=Plan(widths), cache=cache))
    return executed, float(plan_flops(widths, cost).sum())


def test_predictor_is_counted_and_light(arch):
    net = Predictor(arch).requires_grad_(False)
    features = torch.zeros(1, 4, 4, (net.enter.in_features - net.classes.shape[1]) // 2)
    got = counted(lambda: net(features, torch.zeros(1, dtype=torch.long)))
    assert predictor_flops(arch, 16) == got
    for name in ("tiny", "small"):
        cost = CostModel(preset(name), 32, 32)
        assert predictor_flops(preset(name), 16) < 0.03 * cost.full_flops


def test_presets_have_the_promised_sizes():
    table = {row["name"]: row for row in model_table()}
    assert set(table) == set(PRESETS)
    assert table["tiny"]["gflops"] <= 0.05
    assert 1.5e6 < table["small"]["params"] < 3e6
    assert 15e6 < table["base"]["params"] < 25e6
    assert 1.6e9 < table["xl"]["params"] < 1.9e9
