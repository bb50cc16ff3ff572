"""D in one call of C++ equals D block by block, bit for bit, and nothing stale or short is read."""

import copy

import pytest
import torch

from nitrogen.kernels.cpu.library import cpu_available
from nitrogen.model import denoiser as calling
from nitrogen.model.cache import Cache, empty_cache
from nitrogen.model.denoiser import Denoiser
from nitrogen.model.regions import Plan
from nitrogen.model.whole_network import PROGRAMS

pytestmark = pytest.mark.skipif(not cpu_available(), reason="no compiler, no AVX2")


def question(arch, num, seed=0, held=True, size=32):
    """x, sigma, labels, sigma_next and a plan of mixed widths."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num, size, size, 3, generator=generator)
    sigma = torch.rand(num, generator=generator) * 5 + 0.01
    labels = torch.randint(0, arch.num_classes + 1, (num,), generator=generator)
    side = size // 8
    widths = torch.randint(0 if held else 1, 5, (num, side, side), generator=generator)
    caps = torch.randint(1, 5, (num, arch.num_levels), generator=generator) if held else None
    return x, sigma, labels, sigma / 2, Plan(widths, caps)


@pytest.fixture
def by_parts(monkeypatch):
    """A denoiser's call with the whole network's call switched off."""

    def run(*args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(calling, "whole_network", lambda *_: None)
            return ask(*args, **options)

    return run


@torch.no_grad()
def ask(net, question, cache):
    x, sigma, labels, sigma_next, plan = question
    return net(x, sigma, labels, sigma_next=sigma_next, plan=plan, cache=cache)


@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("which", ["denoiser", "strided"])
def test_equals_the_parts(request, which, num, threads, by_parts, arch):
    net = request.getfixturevalue(which)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        caches = [empty_cache(arch, num, 32, 32) for _ in range(2)]
        for seed in range(3):
            asked = question(arch, num, seed, held=seed > 0)
            whole, caches[0] = ask(net, asked, caches[0])
            parts, caches[1] = by_parts(net, asked, caches[1])
            assert torch.equal(whole, parts)
            for one, other in zip(caches[0].maps(), caches[1].maps(), strict=True):
                assert torch.equal(one, other)
    finally:
        torch.set_num_threads(before)
    assert net.unet in PROGRAMS


def test_other_sizes_share_the_program(denoiser, arch, by_parts):
    for size in (16, 48):
        asked = question(arch, 2, size=size)
        whole, _ = ask(denoiser, asked, empty_cache(arch, 2, size, size))
        parts, _ = by_parts(denoiser, asked, empty_cache(arch, 2, size, size))
        assert torch.equal(whole, parts)


@pytest.mark.parametrize(
    "change", ["written", "replaced", "module replaced", "copied", "data", "cast"]
)
def test_a_changed_weight_is_read(denoiser, arch, change, by_parts):
    net = copy.deepcopy(denoiser)
    asked = question(arch, 2)
    before, _ = ask(net, asked, empty_cache(arch, 2, 32, 32))
    if change == "copied":
        net = copy.deepcopy(net)
    weight = net.unet.blocks[1].w_in
    if change == "replaced":
        net.unet.blocks[1].w_in = torch.nn.Parameter(weight * 2, requires_grad=False)
    elif change == "data":
        for _ in range(2):  # the second may get the memory that the first gave back
            weight.data = weight.data * 2
            ask(net, asked, empty_cache(arch, 2, 32, 32))
    elif change == "cast":
        net.half().float()
    elif change == "module replaced":
        net.unet.blocks[1] = copy.deepcopy(net.unet.blocks[1])
        net.unet.blocks[1].w_in.mul_(2)
    else:
        weight.mul_(2)
    after, _ = ask(net, asked, empty_cache(arch, 2, 32, 32))
    parts, _ = by_parts(net, asked, empty_cache(arch, 2, 32, 32))
    assert torch.equal(after, parts)
    assert not torch.equal(after, before)


def test_a_gradient_takes_the_parts(denoiser, arch):
    x, sigma, labels, _, plan = question(arch, 1, held=False)
    x = x.requires_grad_()
    denoised, _ = denoiser(x, sigma, labels, plan=plan, cache=empty_cache(arch, 1, 32, 32))
    assert torch.autograd.grad(denoised.sum(), x)[0].abs().sum() > 0


def test_what_is_out_of_range_is_refused(denoiser, arch):
    x, sigma, labels, sigma_next, plan = question(arch, 1)
    cache = empty_cache(arch, 1, 32, 32)
    with pytest.raises(IndexError, match=r"labels must be 0 to num_classes"):
        ask(denoiser, (x, sigma, labels * 0 + 9, sigma_next, plan), cache)
    with pytest.raises(IndexError, match="widths 0 to 4"):
        ask(denoiser, (x, sigma, labels, sigma_next, Plan(plan.widths - 5)), cache)
    for side in (3, 5, 32):
        other = Plan(torch.ones(1, side, side, dtype=torch.int64))
        with pytest.raises(IndexError, match="regions must divide the map"):
            ask(denoiser, (x, sigma, labels, sigma_next, other), cache)
    short = Plan(plan.widths, torch.ones(1, 1, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"caps must be \[1, 2\]"):
        ask(denoiser, (x, sigma, labels, sigma_next, short), cache)
    with pytest.raises(TypeError, match=r"must have one entry a sample, got 1, 1, 0 and 1 for 1"):
        ask(denoiser, (x, sigma, labels[:0], sigma_next, plan), cache)
    small = Cache(cache.residuals[:1] + cache.residuals[:3], cache.attended, cache.qkv)
    with pytest.raises(TypeError, match="what a kernel writes must be contiguous"):
        ask(denoiser, (x, sigma, labels, sigma_next, plan), small)


def test_weights_of_inference_mode_take_the_parts(arch):
    with torch.inference_mode():
        net = Denoiser(arch)
        denoised, _ = ask(net, question(arch, 1), empty_cache(arch, 1, 32, 32))
    assert denoised.isfinite().all()
    assert net.unet not in PROGRAMS
