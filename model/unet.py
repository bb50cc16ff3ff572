"""The row-wise U-Net, NHWC: nearly all of its FLOPs are pointwise GEMMs over rows."""

from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from nitrogen.kernels import dispatch
from nitrogen.kernels.blocks import one_call, parameters_of
from nitrogen.kernels.cpu import fused
from nitrogen.kernels.norm import modulate, rms_norm
from nitrogen.kernels.plan import RowSet
from nitrogen.model.blocks import AttentionBlock, MLPBlock, Modulation
from nitrogen.model.cache import Cache
from nitrogen.model.conditioning import Conditioning
from nitrogen.model.config import NUM_WIDTHS, ArchConfig
from nitrogen.model.errors import ShapeError
from nitrogen.model.regions import Plan


class RowUNet(nn.Module):
    """F of EDM: the raw network behind the preconditioning.

    Down: blocks, then 2x2 mean and a linear layer. Up: a linear layer, nearest neighbour, add the
    skip, blocks. Attention only at the coarsest level.
    """

    def __init__(self, arch: ArchConfig):
        super().__init__()
        self.arch = arch
        channels, patch_channels = arch.channels, arch.image_channels * arch.patch_size**2
        blocks = arch.blocks()
        self.stem = nn.Linear(patch_channels, channels[0])
        self.head = nn.Linear(channels[0], patch_channels)
        self.down = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(channels))
        self.up = nn.ModuleList(nn.Linear(b, a) for a, b in pairwise(channels))
        self.blocks = nn.ModuleList(MLPBlock(channels[lv], arch.hidden(lv)) for lv, _ in blocks)
        self.attentions = nn.ModuleList(
            AttentionBlock(channels[lv], arch.head_channels) for lv, attends in blocks if attends
        )
        self._sizes = modulation_sizes(arch)
        self.conditioning = Conditioning(arch, sum(self._sizes))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        x: Tensor,  # [b, h, w, image_channels]
        c_noise: Tensor,  # [b]
        labels: Tensor,  # [b] int64
        *,
        stride: Tensor | None = None,  # [b] sigma_next / sigma, of a strided network
        quarters: int = NUM_WIDTHS,  # dense path: one width for all
        plan: Plan | None = None,  # given: the path over rows
        cache: Cache | None = None,  # needed with a plan; written in place without gradients
    ) -> tuple[Tensor, Cache | None]:
        """Returns the raw output [b, h, w, image_channels] and the updated cache.

        Raises ShapeError for a picture whose sides the network cannot halve often enough.
        """
        self.check(x)
        modulations = self.conditioning(c_noise, labels, stride, blocked=plan is not None)
        parts = list(modulations.split(self._sizes, dim=1))
        head_shift, head_scale = parts.pop().chunk(2, dim=1)
        run = DenseRun(self, parts, quarters) if plan is None else RowRun(self, parts, plan, cache)
        between = self.between(x, blocked=plan is not None)
        x = self._levels(between.stem(x), run, between)
        return between.head(x, head_shift, head_scale), run.cache()

    def between(self, x: Tensor, blocked: bool) -> "Layers | FusedLayers":
        """The layers between the blocks, in one call each where that may run."""
        fits = blocked and one_call(x, *parameters_of(self))
        return FusedLayers(self) if fits else Layers(self, blocked)

    def _levels(
        self, x: Tensor, run: "DenseRun | RowRun", between: "Layers | FusedLayers"
    ) -> Tensor:
        last, skips = self.arch.num_levels - 1, []
        for level in range(last):
            x = run.level(x, level, self.arch.num_blocks[level])
            skips.append(x)
            x = between.down(x, level)
        x = run.level(x, last, self.arch.num_blocks[last])
        for level in reversed(range(last)):
            x = between.up(x, level, skips.pop())
            x = run.level(x, level, self.arch.num_blocks[level])
        return x

    def check(self, x: Tensor) -> None:
        """Raises ShapeError for a picture whose sides the network cannot halve often enough."""
        side = self.arch.coarsest_px
        if x.shape[1] % side or x.shape[2] % side or x.shape[3] != self.arch.image_channels:
            raise ShapeError(
                f"x_t must be [b, h, w, {self.arch.image_channels}] with sides a multiple of "
                f"{side} px, got {list(x.shape)}."
            )


class Layers:
    """The linear layers between the blocks; `blocked`: a row's bits do not depend on the others."""

    def __init__(self, net: RowUNet, blocked: bool):
        self._net, self._linear = net, dispatch.linear if blocked else F.linear

    def stem(self, x: Tensor) -> Tensor:
        patch = self._net.arch.patch_size
        rows = rearrange(x, "b (h p) (w q) c -> b h w (p q c)", p=patch, q=patch)
        return self._map(rows, self._net.stem)

    def down(self, x: Tensor, level: int) -> Tensor:
        return self._map(halve(x), self._net.down[level])

    def up(self, x: Tensor, level: int, skip: Tensor) -> Tensor:
        return double(self._map(x, self._net.up[level])) + skip

    def head(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        patch = self._net.arch.patch_size
        x = modulate(rms_norm(x), shift[:, None, None], scale[:, None, None])
        x = self._map(x, self._net.head)
        return rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=patch, q=patch)

    def _map(self, x: Tensor, layer: nn.Module) -> Tensor:
        """x: [..., c] -> [..., e]."""
        assert isinstance(layer, nn.Linear)
        return self._linear(x, layer.weight, layer.bias)


class FusedLayers:
    """The same in one call each, what moves data around them included."""

    def __init__(self, net: RowUNet):
        self._net, self._patch = net, net.arch.patch_size

    def stem(self, x: Tensor) -> Tensor:
        return fused.stem(x, self._net.stem.weight, self._net.stem.bias, self._patch)

    def down(self, x: Tensor, level: int) -> Tensor:
        layer = self._net.down[level]
        assert isinstance(layer, nn.Linear)
        return fused.down(x, layer.weight, layer.bias)

    def up(self, x: Tensor, level: int, skip: Tensor) -> Tensor:
        layer = self._net.up[level]
        assert isinstance(layer, nn.Linear)
        return fused.up(x, layer.weight, layer.bias, skip)

    def head(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        layer = self._net.head
        return fused.head(x, shift, scale, layer.weight, layer.bias, self._patch)


class DenseRun:
    """One forward over every position at one width."""

    def __init__(self, net: RowUNet, modulations: list[Tensor], quarters: int):
        self._blocks, self._attentions = iter(net.blocks), iter(net.attentions)
        self._order, self._arch, self._quarters = iter(net.arch.blocks()), net.arch, quarters
        self._modulations = iter(modulations)

    def level(self, x: Tensor, level: int, num_blocks: int) -> Tensor:
        for _ in range(num_blocks):
            _, attends = next(self._order)
            if attends:
                x = next(self._attentions)(x, Modulation(next(self._modulations)))
            num_hidden = self._arch.hidden(level, self._quarters)
            x = next(self._blocks)(x, Modulation(next(self._modulations)), num_hidden)
        return x

    def cache(self) -> None:
        return None


class RowRun:
    """One forward over the rows that the plan names."""

    def __init__(self, net: RowUNet, modulations: list[Tensor], plan: Plan, cache: Cache | None):
        assert cache is not None, "a plan needs a cache"
        self._blocks, self._attentions = iter(net.blocks), iter(net.attentions)
        self._order, self._arch = iter(net.arch.blocks()), net.arch
        self._modulations, self._plan = iter(modulations), plan
        self._old_residuals = iter(cache.residuals)
        self._old_attention = iter(zip(cache.attended, cache.qkv, strict=True))
        self._residuals: list[Tensor] = []
        self._attended: list[Tensor] = []
        self._qkv: list[Tensor] = []
        self._rows: dict[int, RowSet] = {}

    def level(self, x: Tensor, level: int, num_blocks: int) -> Tensor:
        rows = self._rows_at(level, x)
        for _ in range(num_blocks):
            _, attends = next(self._order)
            if attends:
                modulation = next(self._modulations)
                block, old = next(self._attentions), next(self._old_attention)
                assert isinstance(block, AttentionBlock)
                x, attended, qkv = block.forward_rows(x, modulation, rows, *old)
                self._attended.append(attended)
                self._qkv.append(qkv)
            modulation, residual = next(self._modulations), next(self._old_residuals)
            step, mlp = self._arch.hidden(level, 1), next(self._blocks)
            assert isinstance(mlp, MLPBlock)
            x, residual = mlp.forward_rows(x, modulation, rows, residual, step)
            self._residuals.append(residual)
        return x

    def _rows_at(self, level: int, x: Tensor) -> RowSet:
        """Planned on the way down, and used again on the way up."""
        if level not in self._rows:
            self._rows[level] = self._plan.at_level(level, x.shape[1], x.shape[2])
        return self._rows[level]

    def cache(self) -> Cache:
        return Cache(tuple(self._residuals), tuple(self._attended), tuple(self._qkv))


def modulation_sizes(arch: ArchConfig) -> list[int]:
    """Lengths of the modulations: attention and MLP of each block in order, then the head."""
    sizes = []
    for level, attends in arch.blocks():
        sizes += [3 * arch.channels[level]] * (2 if attends else 1)
    return [*sizes, 2 * arch.channels[0]]


def halve(x: Tensor) -> Tensor:
    """2x2 mean. Written as three sums so that a sample's bits do not depend on the batch."""
    top, bottom = x[:, ::2], x[:, 1::2]
    return (top[:, :, ::2] + top[:, :, 1::2] + bottom[:, :, ::2] + bottom[:, :, 1::2]) * 0.25


def double(x: Tensor) -> Tensor:
    """Nearest neighbour. [b, h, w, c] -> [b, 2 h, 2 w, c]."""
    b, h, w, c = x.shape
    return x[:, :, None, :, None].expand(b, h, 2, w, 2, c).reshape(b, 2 * h, 2 * w, c)


def count_parameters(arch: ArchConfig) -> int:
    """Parameters of the network, built on the meta device."""
    with torch.device("meta"):
        return sum(p.numel() for p in RowUNet(arch).parameters())
