"""Headline rows: their seeds and labels, their pairs, and the ratio of their distances."""

from types import SimpleNamespace

import numpy as np
import pytest

from nitrogen.pipelines.bench.contenders import at_full_width, dense
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.headline_rows import fd_over, headline, teachers_of
from nitrogen.pipelines.bench.row_store import Row
from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.twins import with_twins
from nitrogen.pipelines.sampling import draws

N = 400


def row(value, influence):
    fd = None if value is None else {"value": value, "n": N}
    return Row("k", {"fd_lite0": fd}, {"fd_influence": influence})


def test_a_ratio_is_paired_over_the_same_seeds():
    noise = np.random.default_rng(0).normal(size=(2, N)) * 200
    alike = fd_over(row(1100.0, 1.1 * noise[0]), row(1000.0, noise[0]))
    assert [alike[name] for name in ("value", "low", "high")] == pytest.approx([1.1] * 3)
    assert alike["n"] == N
    apart = fd_over(row(1100.0, 1.1 * noise[0]), row(1000.0, noise[1]))
    # Two independent means of N, each with a spread of about a fifth of its value.
    assert apart["high"] - apart["low"] == pytest.approx(2 * 1.96 * 1.1 * 0.2 * (2 / N) ** 0.5, 0.1)
    assert fd_over(row(None, noise[0]), row(1.0, noise[0])) is None
    assert fd_over(row(1.0, noise[0]), None) is None


def contest(labels, num_images=50, num_headline=20_000):
    config = SimpleNamespace(num_images=num_images, num_headline=num_headline, seed=3)
    drawn = draws("evaluate", num_images, labels, 3)
    return Contest(config, None, labels, drawn, None, None, {}, None)


def test_classes_are_drawn_from_the_report_split_once():
    labels = np.arange(100)
    some = contest(labels)
    more = some.draw(20_000)
    assert len(set(some.drawn.labels)) < 50
    assert len(set(more.labels)) == 100, "a draw of a draw has the first one's classes alone"
    assert more.labels[:50] == some.drawn.labels
    assert more.seeds[:50] == some.drawn.seeds


def test_every_row_of_ours_is_set_over_its_teacher(monkeypatch, models):
    ours = [budget_method(n, 0.6, tier=tier) for n, tier in ((4, "low"), (6, "high"))]
    known = with_twins(list(at_full_width(models, [*ours, ours[0]])))
    assert {m.setting["num_steps"] for m in known} == {4, 6}
    full = [m for m in known if m.group == "static"]
    assert [m.setting["widths"] for m in full] == [[4] * 4] * 2 + [[4] * 6] * 2
    teachers = teachers_of(ours, known)
    assert [m.name for m in teachers] == [f"teacher dpmpp_2m {n}, by rows" for n in (4, 6)]
    long_run = with_twins([dense("teacher", "teacher", "dpmpp_2m", n) for n in (9, 16)])
    names = [m.name for m in teachers_of(ours, [*known, *long_run])]
    assert names == [f"teacher dpmpp_2m {n}, by rows" for n in (4, 6, 16)]
    seen, distance = [], {"ours": 21.0, "teacher": 10.0, "reference": 1.0}

    def drawn(self, method):
        seen.append(self.drawn)
        steps = method.setting["num_steps"]
        return row(distance[method.group] * steps, np.zeros(N))

    monkeypatch.setattr(Contest, "row", drawn)
    monkeypatch.setattr(Contest, "expect", lambda self, methods: None)
    found = headline(contest(np.arange(100)), [*ours, *teachers])
    ratios = {
        name: [one.get(f"fd_over_{name}", {}).get("value") for one in found]
        for name in ("teacher", "reference")
    }
    assert ratios["teacher"] == [2.1, 2.1, None, None, None]
    long_run = 64.0  # its distance here: one a step
    assert ratios["reference"] == pytest.approx([84 / long_run, 126 / long_run, *[None] * 3])
    assert {len(set(one.labels)) for one in seen} == {100}
    assert headline(contest(np.arange(9), num_headline=50), ours) == []
