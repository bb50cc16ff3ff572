"""The page of `bench ablation`: what the student is worth without one part of its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nitrogen.pipelines.results.dataset_page import warning
from nitrogen.pipelines.results.files import BenchFile
from nitrogen.pipelines.results.markdown import NONE, facts, interval, percent, plain, table
from nitrogen.pipelines.results.targets import MIN_SEEDS

WORSE, BETTER, OPEN = "worse without it", "better without it", "nothing is shown"


def ablation_page(file: BenchFile) -> str:
    """One table a setting: the arms, and how much farther each is than the arm with the part."""
    content = file.content
    parts = [
        "# What each part of the training brought\n",
        warning(file),
        f"Students on {content['dataset']}, {content['num_steps']} steps, each trained from the "
        f"same teacher on the same {content['num_images']:,} pictures with one part left out. RMSE "
        "is to the reference on the same seeds, for pictures in 0 to 1, mean over seeds; "
        "`without it` is how much larger it is than that of the arm it is compared with, on the "
        "same seeds. One training of each: what another seed of the training would move is not "
        "in the intervals.\n",
        facts(file.source | {"reference": str(content.get("reference", "not recorded"))}),
        f"The teacher at the same steps: RMSE {interval(content['teacher']['rmse'])}.\n",
        *(f"## {_capital(name)}\n\n{_setting(content, name)}" for name in content["settings"]),
        "## What was changed\n",
        table(("arm", "`distill.student`"), list(_changes(content))),
    ]
    return "\n".join(part for part in parts if part)


def _setting(content: Mapping[str, Any], name: str) -> str:
    rows = []
    for arm in content["arms"]:
        one = arm["cells"][name]
        if one["rmse"] is None:
            rows.append((arm["name"], f"not measured: {one['reason']}", *[NONE] * 5))
            continue
        over = one.get("over")
        against = f" against {arm['against']}" if over else ""
        rows.append((
            arm["name"], interval(one["rmse"]), f"{interval(over)}{against}", verdict(over),
            interval(one["kid"]), percent({"value": one["share"]}), f"{one['n']:,}",
        ))  # fmt: skip
    headers = ("arm", "RMSE (95 %)", "without it (95 %)", "", "KID (95 %)", "of full compute", "n")
    return table(headers, rows)


def verdict(over: Mapping[str, Any] | None) -> str:
    """What the interval of a difference says, in words."""
    if not over:
        return NONE
    if over["n"] < MIN_SEEDS:
        return f"decides nothing: n = {over['n']} is too small"
    if over["low"] > 0:
        return WORSE
    return BETTER if over["high"] < 0 else OPEN


def _changes(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for arm in content["arms"]:
        changed = arm["changed"]
        yield arm["name"], ", ".join(f"{k}: {plain_value(v)}" for k, v in changed.items()) or NONE


def plain_value(value: Any) -> str:
    """As it stands in a recipe."""
    return str(value).lower() if isinstance(value, bool) else plain(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
