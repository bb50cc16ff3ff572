"""Exits on a page: the forwards that they save, and what their chosen thresholds keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nitrogen.pipelines.bench.calibrate import holds
from nitrogen.pipelines.metrics.calibration import ALPHA
from nitrogen.pipelines.results.markdown import count, interval, percent, plain, table

KEPT = {True: "holds", False: "does not hold", None: "not decided"}


def exits(saved: Mapping[str, Any]) -> str:
    """One sentence on forward passes saved; of whose denoiser, where the file tells."""
    whose = f" of the {saved['denoiser']}" if saved.get("denoiser") else ""
    title = f"Forward passes{whose} saved by exit alone"
    if saved["threshold"] is None:
        return f"{title}: {saved['reason']}.\n"
    return (
        f"{title}, {saved['solver']}, {saved['num_steps']} steps, "
        f"threshold {saved['threshold']:g}: {percent(saved['regions'])} weighted by regions, "
        f"{percent(saved['samples'])} of whole samples, at {interval(saved['psnr_db'], 1, ' dB')} "
        f"to no exit as a mean over pictures, {interval(saved['psnr_db_pooled'], 1, ' dB')} of "
        f"their pooled error (n = {saved['n']}).\n"
    )


def calibration(found: Mapping[str, Any]) -> str:
    """The thresholds that were chosen, and whether they keep their promise on unseen pictures."""
    rows = []
    for one in found["thresholds"]:
        unseen = one.get("unseen")
        rows.append((
            f"error at most {one['eps']:g}, at most {100 * one['delta']:g} % above",
            plain(one["value"]), _above(unseen), count(unseen["n"] if unseen else None),
            count(one.get("exits")), _kept(one),
        ))  # fmt: skip
    ranking = found.get("ranking") or {}
    text = "Exit thresholds that were chosen on the validation split, on unseen pictures "
    text += f"(n = {found['n']}); rank correlation of predicted and true error within a picture "
    text += f"and step: {plain(ranking.get('value'))}."
    if any("bound" in (one.get("unseen") or {}) for one in found["thresholds"]):
        text += " At most: an exact bound, by one exit of each picture."
    text += "\n\n"
    headers = ("asked for", "threshold", "above, of exits on unseen pictures (95 %)",
               "pictures with an exit", "exits", "")  # fmt: skip
    return text + table(headers, rows) + reliability(found.get("reliability") or {})


def reliability(found: Mapping[str, Any]) -> str:
    """The predicted errors of regions in bins of as many each, beside the true ones on the same
    pictures."""
    if not found.get("rows"):
        return ""
    rows = [
        (plain(one["predicted"]), interval({**one, "value": one["actual"]}), count(one["n"]))
        for one in found["rows"]
    ]
    text = "\nHow far predicted errors are to be believed, regions of those pictures by what was "
    text += "predicted:\n\n"
    return text + table(("predicted", "true, mean (95 %)", "regions"), rows)


def _above(unseen: Mapping[str, Any] | None) -> str:
    """The share with its interval, and the exact bound where the file has one."""
    bound = (unseen or {}).get("bound")
    return percent(unseen) + ("" if bound is None else f", at most {percent({'value': bound})}")


def _kept(one: Mapping[str, Any]) -> str:
    """As it is judged now: older files hold a verdict on the value alone."""
    unseen = one.get("unseen")
    if unseen is None:
        return "no threshold was found"
    return KEPT[holds(unseen, one["delta"], one.get("alpha", ALPHA))]


def ranks_of_gains(found: Mapping[str, Any]) -> str:
    """How well the regions' gains are ranked within a picture and step; nothing of older files."""
    if not found.get("gains"):
        return f"Ranks of predicted gains: {found['reason']}.\n" if "reason" in found else ""
    rows = [
        (name, interval(one) if one["value"] is not None else one["reason"], count(one["n"]))
        for name, one in found["gains"].items()
    ]
    text = "Rank correlation of predicted and true gain of the regions, within a picture and step "
    text += f"({found['num_steps']} steps, budget {found['budget']:g}, no relay):\n\n"
    return text + table(("gain of", "Spearman (95 %)", "pictures"), rows)
