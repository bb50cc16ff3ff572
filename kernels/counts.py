"""What one call of an operator moves and multiplies at least, by its shape.

Bytes with every operand read once; a multiply and an add are two FLOPs.
"""

from dataclasses import dataclass

MAX_KEYS = 256  # of attention, which pools those of larger maps


@dataclass(frozen=True)
class Shape:
    """One call of an operator on b samples of side x side rows, some of them active.

    active: share of rows that are computed; width: share of the hidden layer they run at.
    """

    op: str
    b: int
    side: int
    channels: int
    active: float = 1.0
    width: float = 1.0
    ratio: int = 4  # E / C

    @property
    def rows(self) -> int:
        return self.b * self.side * self.side

    @property
    def computed(self) -> int:
        return round(self.rows * self.active)


@dataclass(frozen=True)
class Work:
    """What one call moves and multiplies at least, with every operand read once."""

    bytes: float
    flops: float
    launches: int = 1
    matrix: bool = False  # on matrix units in bf16 and fp16


def work(shape: Shape, size: int) -> Work:
    """size: bytes of a stored number. Raises KeyError for an operator without a count."""
    return COUNTS[shape.op](shape, size)


def row_mlp(s: Shape, size: int) -> Work:
    c, hidden = s.channels, s.ratio * s.channels * s.width
    moved = 2 * s.computed * c + 2 * hidden * c
    wide = c > 256  # the hidden layer then goes out and comes back
    moved += 2 * s.computed * hidden if wide else 0
    index = 8 * s.computed
    return Work(size * moved + index, 4 * s.computed * c * hidden, 2 if wide else 1, matrix=True)


def row_linear(s: Shape, size: int) -> Work:
    c = s.channels
    moved = 2 * s.computed * c + c * c
    return Work(size * moved + 8 * s.computed, 2 * s.computed * c * c, matrix=True)


def row_qkv(s: Shape, size: int) -> Work:
    c = s.channels
    moved = 4 * s.computed * c + 3 * c * c + 2 * s.b * c
    moved += 2 * s.computed * c  # what is normalised goes out and comes back
    return Work(size * moved + 8 * s.computed, 6 * s.computed * c * c, 2, matrix=True)


def row_attention(s: Shape, size: int) -> Work:
    c, keys = s.channels, min(s.side * s.side, MAX_KEYS)
    pooling = 2 * s.rows * c + 2 * s.b * keys * c
    attending = 2 * s.computed * c + 2 * s.b * keys * c
    flops = 4 * s.computed * keys * c
    return Work(size * (pooling + attending) + 8 * s.computed, flops, 2, matrix=True)


def norm_modulate(s: Shape, size: int) -> Work:
    moved = 2 * s.computed * s.channels + 2 * s.b * s.channels
    return Work(size * moved + 8 * s.computed, 6 * s.computed * s.channels)


def depthwise(s: Shape, size: int) -> Work:
    """Neighbours that are not active are read as well: at most the whole map."""
    read = min(s.rows, 9 * s.computed)
    moved = (read + s.computed) * s.channels + 9 * s.channels + 2 * s.b * s.channels
    return Work(size * moved + 8 * s.computed, 50 * s.computed * s.channels)


def gated_add(s: Shape, size: int) -> Work:
    return Work(size * (3 * s.rows * s.channels + s.b * s.channels), 2 * s.rows * s.channels)


def region_stats(s: Shape, size: int) -> Work:
    """side: px of the picture; channels: of the picture; regions of 8 px."""
    regions = s.b * (s.side // 8) ** 2
    moved = size * 2 * s.rows * s.channels + 4 * regions * (s.channels + 2)
    return Work(moved, 6 * s.rows * s.channels)


def ode_exit(s: Shape, size: int) -> Work:
    return Work(size * 4 * s.rows * s.channels + s.b * (s.side // 8) ** 2, 6 * s.rows * s.channels)


def plan_rows(s: Shape, size: int) -> Work:
    """Counts, scans and places int64 indices; the widths of regions stay in the cache."""
    return Work(8 * s.rows, 10 * s.rows, 3)


COUNTS = {
    f.__name__: f
    for f in (
        row_mlp, row_linear, row_qkv, row_attention, norm_modulate, depthwise, gated_add,
        region_stats, ode_exit, plan_rows,
    )
}  # fmt: skip
