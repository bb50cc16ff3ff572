"""Our row and the teacher's at equal steps that the article's table compares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nitrogen.pipelines.bench.figures import MAX_FD_RATIO, MIN_SAVED
from nitrogen.pipelines.bench.headline_rows import HEADLINE
from nitrogen.pipelines.bench.settings import SOLVER
from nitrogen.pipelines.results.targets import MIN_FRECHET

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """Both rows, the figures of the summary, and fd_lite0 of both over as many pictures as there
    are. fd_over: ours over the teacher's, paired, with its interval; None in older files and where
    the headline's pictures were not drawn. within: whether ours is at most MAX_FD_RATIO of the
    teacher's, by the interval's upper end where there is one."""

    ours: Row
    teacher: Row
    saved: Mapping[str, Any]
    conversion: Mapping[str, Any]
    ours_fd: Mapping[str, Any] | None
    teacher_fd: Mapping[str, Any] | None
    fd_over: Mapping[str, Any] | None = None

    @property
    def fd_ratio(self) -> float | None:
        if self.fd_over:
            return float(self.fd_over["value"])
        if not self.ours_fd or not self.teacher_fd:
            return None
        return float(self.ours_fd["value"] / self.teacher_fd["value"])

    @property
    def within(self) -> bool:
        most = self.fd_over["high"] if self.fd_over else self.fd_ratio
        return most is not None and most <= MAX_FD_RATIO

    @property
    def better(self) -> bool:
        """Whether ours is shown to be nearer than its teacher."""
        if self.fd_over:
            return bool(self.fd_over["high"] < 1)
        both = self.ours_fd and self.teacher_fd
        return bool(both and self.ours_fd["high"] < self.teacher_fd["low"])  # type: ignore[index]

    @property
    def enough(self) -> bool:
        """Whether the distances are of so many pictures that they may be a headline."""
        both = (self.ours_fd, self.teacher_fd)
        return all(fd is not None and fd["n"] >= MIN_FRECHET for fd in both)


def pairs(content: Mapping[str, Any], batch: str) -> list[Pair]:
    """Every row of ours with its teacher at equal steps, by the operators that are faster."""
    teachers: dict[int, Row] = {}
    for row in content["rows"]:
        if is_teacher(row) and row["ms"].get(batch):
            steps = row["setting"]["num_steps"]
            other = teachers.get(steps)
            if other is None or row["ms"][batch]["p50"] < other["ms"][batch]["p50"]:
                teachers[steps] = row
    ours = {row["name"]: row for row in content["rows"] if row["group"] == "ours"}
    found = []
    for name, figures in content["summary"][batch]["latency"]["rows"].items():
        row = ours.get(name)
        teacher = teachers.get(row["setting"]["num_steps"]) if row else None
        if row is None or teacher is None:
            continue
        mine, theirs = _again(content, row), _again(content, teacher)
        over = mine.get("fd_over_teacher")
        if not (mine.get("fd_lite0") and theirs.get("fd_lite0")):
            mine, theirs, over = row, teacher, None
        both = (mine["fd_lite0"], theirs["fd_lite0"])
        found.append(Pair(row, teacher, figures["saved"], figures["conversion"], *both, over))
    return found


def tier_pairs(content: Mapping[str, Any], batch: str) -> dict[str, Pair | None]:
    """The pair of each tier, which were chosen on validation; None where it was not measured."""
    by_name = {pair.ours["name"]: pair for pair in pairs(content, batch)}
    tiers = content["summary"][batch]["tiers"]
    return {tier: by_name.get(name) for tier, name in tiers.items()}


def full_width_tiers(content: Mapping[str, Any], batch: str) -> list[str]:
    """The tiers whose budget saves next to nothing of the teacher's FLOPs at as many steps."""
    found = tier_pairs(content, batch).items()
    return [
        tier for tier, pair in found
        if pair and pair.ours["gflops"] > (1 - MIN_SAVED) * pair.teacher["gflops"]
    ]  # fmt: skip


def saving_pairs(content: Mapping[str, Any], batch: str) -> list[Pair]:
    """The pairs of the rows that were chosen, on validation, for what they save at equal steps."""
    return [pair for pair in pairs(content, batch) if pair.ours["setting"].get("saving")]


def is_teacher(row: Row) -> bool:
    """Whether ours may be compared with this row at equal steps."""
    solver = row["setting"].get("solver")
    return bool(row["group"] == "teacher" and solver == SOLVER and row["guidance"] == 1)


def best_pair(content: Mapping[str, Any], batch: str) -> Pair | None:
    """The pair within MAX_FD_RATIO whose teacher is nearest to the data: where it is far off, to be
    near to it asks little. Else the one nearest to that bound.

    Of the rows that were chosen for what they save on validation, where there are any. Where there
    are pairs whose distances are of MIN_FRECHET pictures only they count, since a distance of fewer
    is no headline. Without any distance, the middle tier.
    """
    everything = saving_pairs(content, batch) or pairs(content, batch)
    candidates = [p for p in everything if p.enough] or everything
    if within := [p for p in candidates if p.within]:
        return min(within, key=lambda p: p.teacher_fd["value"] if p.teacher_fd else math.inf)
    if known := [p for p in candidates if p.fd_ratio is not None]:
        return min(known, key=lambda p: p.fd_ratio or 0.0)
    tier = [p for p in everything if p.ours["setting"].get("tier") == "middle"]
    return next(iter(tier or everything), None)


def _again(content: Mapping[str, Any], row: Row) -> Row:
    """The row over the headline's seeds, or nothing where it was not drawn over them.

    A teacher's pictures are the same by whichever operators.
    """
    rows: Iterable[Row] = content.get("headline") or ()
    for other in rows:
        same = is_teacher(row) and is_teacher(other)
        same = same and other["setting"]["num_steps"] == row["setting"]["num_steps"]
        if same or other["name"] == HEADLINE + row["name"]:
            return other
    return {}
