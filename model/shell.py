"""The shell of the U-Net: its finest level alone, over a deep feature of an earlier step.

What DeepCache (Ma et al. 2024) runs between its full steps: the high-level features change slowly,
so what comes up to the finest level is kept and only that level is computed.
"""

from collections.abc import Iterator

import torch
from einops import rearrange
from torch import Tensor

from nitrogen.kernels.norm import modulate, rms_norm
from nitrogen.model.blocks import Modulation
from nitrogen.model.config import NUM_WIDTHS
from nitrogen.model.cost import CostModel
from nitrogen.model.denoiser import Denoiser, preconditioning
from nitrogen.model.errors import ModelError
from nitrogen.model.unet import double, halve, modulation_sizes


class Shell:
    """A dense denoiser that can leave everything below its finest level out."""

    def __init__(self, denoiser: Denoiser):
        refuse_strided(denoiser, "a shell")
        if denoiser.arch.num_levels < 2:
            raise ModelError("channels must name at least 2 levels for a shell, got 1.")
        self.denoiser, self.arch = denoiser, denoiser.arch
        self.num_outer = self.arch.num_blocks[0]

    @torch.no_grad()
    def __call__(
        self,
        x_t: Tensor,  # [b, h, w, c]
        sigma: Tensor,  # [b]
        labels: Tensor,  # [b]
        deep: Tensor | None = None,  # [b, h / p, w / p, channels[0]] of an earlier step
    ) -> tuple[Tensor, Tensor]:
        """D [b, h, w, c] and the deep feature: the one given, or a new one by the whole network."""
        net, arch, patch = self.denoiser.unet, self.arch, self.arch.patch_size
        c_skip, c_out, c_in, c_noise = preconditioning(sigma, arch.sigma_data)
        parts = list(
            net.conditioning(c_noise, labels, blocked=False).split(modulation_sizes(arch), dim=1)
        )
        shift, scale = parts.pop().chunk(2, dim=1)
        order, blocks, modulations = arch.blocks(), list(net.blocks), iter(parts)
        rows = rearrange(c_in * x_t, "b (h p) (w q) c -> b h w (p q c)", p=patch, q=patch)
        outer = self.num_outer
        x = self._run(net.stem(rows), order[:outer], blocks[:outer], iter(()), modulations)
        middle = list(modulations)
        tail = iter(middle[-outer:])
        if deep is None:
            run = _Inner(self, order[outer:-outer], blocks[outer:-outer], middle[:-outer])
            deep = double(net.up[0](run.below(x, 1)))
        x = self._run(deep + x, order[-outer:], blocks[-outer:], iter(()), tail)
        x = net.head(modulate(rms_norm(x), shift[:, None, None], scale[:, None, None]))
        raw = rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=patch, q=patch)
        return c_skip * x_t + c_out * raw, deep

    def _run(
        self, x: Tensor, order: list[tuple[int, bool]], blocks: list, attentions: Iterator,
        modulations: Iterator[Tensor],
    ) -> Tensor:  # fmt: skip
        for (level, attends), block in zip(order, blocks, strict=True):
            if attends:
                x = next(attentions)(x, Modulation(next(modulations)))
            x = block(x, Modulation(next(modulations)), self.arch.hidden(level))
        return x


def refuse_strided(denoiser: Denoiser, what: str) -> None:
    """Raises ModelError: what is made of single evaluations of D has no step to answer for."""
    if denoiser.arch.strided:
        raise ModelError(
            f"denoiser must not be strided for {what}, got strided: true. Take the teacher, whose "
            "D answers for one noise level."
        )


class _Inner:
    """One pass over the levels below the finest."""

    def __init__(self, shell: Shell, order: list, blocks: list, modulations: list[Tensor]):
        self.shell, self.net = shell, shell.denoiser.unet
        self.order, self.blocks = list(order), list(blocks)
        self.attentions, self.modulations = iter(self.net.attentions), iter(modulations)

    def below(self, x: Tensor, level: int) -> Tensor:
        """What leaves `level` upwards, given what left the level above it: [b, h/2, w/2, c]."""
        x = self._blocks(self.net.down[level - 1](halve(x)), level)
        if level == self.shell.arch.num_levels - 1:
            return x
        x = double(self.net.up[level](self.below(x, level + 1))) + x
        return self._blocks(x, level)

    def _blocks(self, x: Tensor, level: int) -> Tensor:
        count = self.shell.arch.num_blocks[level]
        order, self.order = self.order[:count], self.order[count:]
        blocks, self.blocks = self.blocks[:count], self.blocks[count:]
        return self.shell._run(x, order, blocks, self.attentions, self.modulations)


def shell_flops(cost: CostModel) -> int:
    """FLOPs of one forward that computes the finest level only, conditioning included."""
    arch, deep = cost.arch, 0
    for level, attends in arch.blocks():
        if level == 0:
            continue
        rows, c = cost.rows(level), arch.channels[level]
        deep += rows * (4 * c * arch.hidden(level, NUM_WIDTHS) + 18 * c)
        deep += rows * 8 * c * c + cost.attention_flops(level) if attends else 0
    for level in range(1, arch.num_levels):
        deep += 4 * cost.rows(level) * arch.channels[level - 1] * arch.channels[level]
    return cost.full_flops - deep
