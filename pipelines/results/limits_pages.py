"""The pages of `bench attack` and `bench scaling`: the worst inputs, and how cost grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nitrogen.pipelines.bench.attack import LIMITS
from nitrogen.pipelines.results.dataset_page import warning
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.markdown import count, facts, interval, plain, table
from nitrogen.pipelines.results.verdicts import verdict_table, verdicts


def attack_page(file: BenchFile) -> str:
    """Every attacker with and without a budget."""
    content = file.content
    rows = []
    for limit in limits_in(content):
        found = content[limit]
        for name, one in found["attacks"].items():
            early, middle, late = (plain(part) for part in one["by_thirds"])
            rows.append((
                limit, name, count(one["n"]), plain(found["mean_gflops"]),
                plain(one["max_gflops"]), plain(found["ceiling_gflops"]),
                plain(one["amplification"]), "yes" if one["never_above_ceiling"] else "**no**",
                f"{early} / {middle} / {late}", plain(one["from_holds"]),
                plain(one["from_widths"]),
            ))  # fmt: skip
    headers = (
        "limit", "attacker", "n", "GFLOPs, mean of random seeds", "worst", "ceiling",
        "worst over mean", "never above", "extra region-steps by thirds of the steps",
        "of them held by others", "run wider",
    )  # fmt: skip
    return "\n".join(
        part
        for part in (
            "# Inputs that cost the most\n",
            warning(file),
            "Three attackers of rising knowledge look for the noise and the class that make the "
            "adaptive student spend as much as it can be made to: the most expensive of many "
            "seeds, evolution over noise, and gradient ascent on noise and class embedding. What "
            "they found is measured by the sampler itself.\n",
            facts(file.source),
            verdict_table(verdicts(file)),
            table(headers, rows),
            _alone(content),
        )
        if part
    )


def limits_in(content: Mapping[str, Any]) -> list[str]:
    """Those that the file was measured under; a relay's only of a student with one."""
    return [limit for limit in LIMITS if limit in content]


def _alone(content: Mapping[str, Any]) -> str:
    """How far the gradient attack gets with one of its inputs, where that was measured."""
    parts = [
        f"{limit}: {plain(worst)} with {what} alone"
        for limit in limits_in(content)
        for what, worst in content[limit].get("gradient_alone", {}).items()
    ]
    text = "Worst over mean that gradient ascent reaches with one of its two inputs: "
    return text + "; ".join(parts) + ".\n" if parts else ""


def scaling_page(file: BenchFile) -> str:
    """Time, FLOPs and memory by size and batch."""
    content = file.content
    rows = [
        (f"{row['size']:,}", str(row["batch"]), plain(row["teacher"]["ms_p50"]),
         plain(row.get("teacher_torch", {}).get("ms_p50")), plain(row["adaptive"]["ms_p50"]),
         plain((row.get("planning") or {}).get("ms_p50")),
         interval(row["speedup"]),
         plain(row["teacher"]["gflops"]), plain(row["adaptive"]["gflops"]),
         plain(row["conversion"]), plain(row["cache_mib"]), plain(row["peak_mib"]["teacher"]),
         plain(row["peak_mib"]["adaptive"]))
        for row in content["rows"]
    ]  # fmt: skip
    headers = (
        "px", "batch", "teacher, ms", "teacher by plain PyTorch, ms", "adaptive, ms",
        "of it planning", "times as fast (95 %)", "teacher, GFLOPs",
        "adaptive, GFLOPs", "conversion", "cache, MiB", "teacher's peak, MiB",
        "adaptive's peak, MiB",
    )  # fmt: skip
    shares = sorted({row["active_share"] for row in content["rows"]})
    return "\n".join(
        part
        for part in (
            "# How cost grows\n",
            warning(file),
            "One denoising step of a picture, with random weights (time does not depend on them): "
            "the teacher's by the adaptive path's operators, whole, and the sampler's own, planned "
            "under a budget "
            f"that buys a share of the regions of {' and '.join(map(plain, shares))}. Cache and "
            "peak are MiB, the cache of a picture, the peak of a call.\n",
            facts(file.source),
            verdict_table(verdicts(file)),
            table(headers, rows, right=len(headers)),
            _huge(content.get("huge") or {}),
        )
        if part
    )


def _huge(one: Mapping[str, Any]) -> str:
    if "ms" not in one:
        return f"One picture of {one['size']:,} px: {one['skipped']}.\n" if "size" in one else ""
    steps = f" in {one['num_steps']} steps" if "num_steps" in one else ""
    return (
        f"One picture of {one['size']:,} px by region-wise execution{steps}: "
        f"{plain(one['ms'] / 1e3)} s, cache {plain(one['cache_mib'])} MiB, peak "
        f"{plain(one['peak_mib'])} MiB.\n"
    )
