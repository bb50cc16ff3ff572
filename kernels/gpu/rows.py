"""What the row kernels share on the device: which rows a block has, products, the activation."""

import triton
import triton.language as tl

GROUP_BLOCKS = 3  # blocks that four groups may need beyond those of one: each ends in its own


def row_blocks(num_rows: int, block: int) -> int:
    """Programs that cover any split of num_rows rows into four groups: the static capacity."""
    return min(num_rows, triton.cdiv(num_rows, block) + GROUP_BLOCKS)


@triton.jit
def row_block(counts, BLOCK: tl.constexpr):
    """The block of this program along axis 0: (first position in `rows`, end of its group,
    quarters of the width). A program beyond the last block gets quarters = 0.

    A block never crosses groups, so that its rows share one width.
    """
    block = tl.program_id(0).to(tl.int64)
    start = block * 0
    before, first, end, quarters = start, start, start, start
    for q in tl.static_range(1, 5):
        count = tl.load(counts + q)
        blocks = (count + BLOCK - 1) // BLOCK
        inside = (block >= before) & (block < before + blocks)
        first = tl.where(inside, start + (block - before) * BLOCK, first)
        end = tl.where(inside, start + count, end)
        quarters = tl.where(inside, q, quarters)
        before += blocks
        start += count
    return first, end, quarters


@triton.jit
def product(a, b, acc, UPCAST: tl.constexpr):
    """acc + a b in float32, without tf32. UPCAST: in the interpreter, whose bf16 dot is garbage."""
    if UPCAST:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def gelu(x):
    """x Phi(x), exact, float32."""
    return 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))


@triton.jit
def tile_product(
    a, a_valid, w, w_valid, num_k,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """[BLOCK_M, BLOCK_N] of a w^T over num_k inner columns, float32; multiplied as the weight is
    stored.

    a: [BLOCK_M] pointers to rows of the left side; w: [BLOCK_N] pointers to rows of the weight.
    """
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    k = tl.arange(0, BLOCK_K)
    for start in range(0, num_k, BLOCK_K):
        inside = start + k < num_k
        left_mask = a_valid[:, None] & inside[None, :]
        left = tl.load(a[:, None] + (start + k)[None, :], mask=left_mask, other=0.0)
        right_mask = inside[:, None] & w_valid[None, :]
        right = tl.load(w[None, :] + (start + k)[:, None], mask=right_mask, other=0.0)
        acc = product(left.to(right.dtype), right, acc, UPCAST)
    return acc
