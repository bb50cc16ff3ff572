"""What was fastest on an H200, of 236 configurations: before the rules of tuning.py on sm_90.

Graph replays with cold caches, median of 12, by operator, precision and channels (docs/LOG.md,
2026-11-27). Shapes are those of the predictions; between them the nearest one's holds. Some spill a
little and are the fastest all the same: 128 x 256 tiles of bf16 took 0.87 to 0.91 of the time of
64 x 128, which do not.
"""

import torch

from nitrogen.kernels.gpu.launch import Config

FAMILY = "sm_90"
# float32 without matrix units pays by the tile: the fused MLP was 1.6 to 3.5 times as long there.
MAX_FUSED_CHANNELS = {torch.float32: 0}


def fastest(op: str, dtype: torch.dtype, padded: int) -> Config | None:
    """The configuration of an operator; padded: channels, or those of one head, to a power of two.
    None for an operator that was not measured."""
    single = dtype == torch.float32
    if op in ("norm_modulate", "gated_add", "depthwise"):
        values, warps = (512, 1) if single else (1024, 4 if op == "depthwise" else 2)
        return Config({"BLOCK_M": max(1, values // padded), "BLOCK_C": padded}, num_warps=warps)
    if op == "row_mlp" and not single:
        m, h, warps, stages = {64: (128, 64, 8, 2), 128: (64, 32, 4, 2)}.get(
            max(padded, 64), (128, 32, 8, 3)
        )
        return Config({"BLOCK_M": m, "BLOCK_H": h, "BLOCK_C": max(padded, 16)}, warps, stages)
    if op in ("row_mlp_wide", "row_linear"):
        m, n, k, warps, stages = (128, 128, 16, 8, 2) if single else (128, 256, 64, 8, 3)
        if single and op == "row_mlp_wide" and padded <= 64:
            m, n, warps = 64, 64, 4
        return Config({"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, warps, stages)
    if op == "row_attention" and padded <= 64:
        m, t, stages = (32, 32, 1) if single else (64, 64, 3)
        return Config({"BLOCK_M": m, "BLOCK_T": t}, num_warps=4, num_stages=stages)
    if op == "pool_keys" and padded >= 512:
        return Config({}, num_warps=2)
    return OTHERS.get(op)


OTHERS = {
    "region_stats": Config({"BLOCK_P": 64}, num_warps=1),
    "ode_exit": Config({"BLOCK": 2048}, num_warps=4),
    "plan_rows": Config({"BLOCK": 256}, num_warps=4),
}
