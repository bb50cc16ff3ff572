"""D over rows as one call of C++, where that may run: which weights it reads, in which order."""

from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from nitrogen.kernels.blocks import one_call
from nitrogen.kernels.cpu.network import Program, network
from nitrogen.model.cache import Cache
from nitrogen.model.conditioning import NUM_FREQUENCIES
from nitrogen.model.config import ArchConfig
from nitrogen.model.regions import Plan
from nitrogen.model.unet import RowUNet, modulation_sizes

LINEAR, ATTENTION = ("panels", "bias"), ("panels", "panels")
MLP = ("taps", *LINEAR, *LINEAR)
PROGRAMS: WeakKeyDictionary[RowUNet, Program] = WeakKeyDictionary()


def whole_network(
    unet: RowUNet,
    x_t: Tensor,  # [b, h, w, c]
    sigmas: tuple[Tensor, Tensor | None],  # [b] each: sigma, sigma_next
    labels: Tensor,  # [b]
    plan: Plan,
    cache: Cache,
) -> Tensor | None:
    """D [b, h, w, c], the cache written in place; None where only operator by operator will do.

    Bits are the same either way. Weights are looked up at each call, so that one that was replaced
    is not missed.
    """
    arch, weights = unet.arch, weights_of(unet)
    strided_without = arch.strided and sigmas[1] is None  # refused by the conditioning
    if strided_without or not callable_with(x_t, weights):
        return None
    unet.check(x_t)
    maps = maps_in_order(arch, cache)
    return network(
        known_program(unet), weights, x_t, sigmas, labels, plan.widths, plan.level_caps, maps,
        arch.sigma_data,
    )  # fmt: skip


def callable_with(x_t: Tensor, weights: list[Tensor | None]) -> bool:
    """Whether one call may read them. Tensors of inference mode do not count their writes: nothing
    can be listed for later."""
    known = [w for w in weights if w is not None]
    return one_call(x_t, *known) and not any(w.is_inference() for w in known)


def known_program(unet: RowUNet) -> Program:
    """The program of this network, made once."""
    program = PROGRAMS.get(unet)
    if program is None:
        program = PROGRAMS[unet] = program_of(unet.arch)
    return program


def weights_of(unet: RowUNet) -> list[Tensor | None]:
    """Every weight in the order of `network.cpp`."""
    modules: dict[str, Any] = unet._modules
    conditioning = modules["conditioning"]
    of = conditioning._parameters
    found = [
        conditioning._buffers["frequencies"], of["classes"], of["w_sigma"], of["b_sigma"],
        of.get("w_stride"), of.get("b_stride"), of["w_joint"], of["b_joint"], of["w_out"],
        of["b_out"],
    ]  # fmt: skip
    for linear in (
        modules["stem"], modules["head"], *modules["down"]._modules.values(),
        *modules["up"]._modules.values(),
    ):  # fmt: skip
        found += [linear._parameters["weight"], linear._parameters["bias"]]
    attentions = iter(modules["attentions"]._modules.values())
    blocks = zip(unet.arch.blocks(), modules["blocks"]._modules.values(), strict=True)
    for (_, attends), block in blocks:
        if attends:
            own = next(attentions)._parameters
            found += [own["w_qkv"], own["w_proj"]]
        own = block._parameters
        found += [own["depthwise"], own["w_in"], own["b_in"], own["w_out"], own["b_out"]]
    return found


def maps_in_order(arch: ArchConfig, cache: Cache) -> list[Tensor]:
    """Every map of the cache as the blocks write them."""
    attended, qkv, maps = iter(cache.attended), iter(cache.qkv), []
    for (_, attends), residual in zip(arch.blocks(), cache.residuals, strict=True):
        maps += [next(attended), next(qkv), residual] if attends else [residual]
    return maps


def program_of(arch: ArchConfig) -> Program:
    """What `network.cpp` has to know of an architecture."""
    num_attentions = sum(attends for _, attends in arch.blocks())
    numbers = (
        arch.num_levels, arch.patch_size, arch.image_channels, arch.cond_channels,
        NUM_FREQUENCIES, arch.num_classes + 1, sum(modulation_sizes(arch)), num_attentions,
        arch.head_channels, arch.hidden_ratio, *arch.channels, *arch.num_blocks,
    )  # fmt: skip
    layouts = ["as it is", "as it is"] + [*LINEAR] * (4 + 2 + 2 * (arch.num_levels - 1))
    maps: list[tuple[int, int]] = []
    for level, attends in arch.blocks():
        layouts += [*ATTENTION, *MLP] if attends else MLP
        side, channels = arch.patch_size * 2**level, arch.channels[level]
        maps += [(side, channels), (side, 3 * channels)] if attends else []
        maps.append((side, channels))
    return Program(numbers, tuple(layouts), tuple(maps))
