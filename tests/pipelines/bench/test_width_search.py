"""The search of schedules that ship with a student: under their budgets, better than its start."""

import pytest
import torch

from nitrogen.model.pipeline import Pipeline
from nitrogen.model.width_table import WidthTable
from nitrogen.pipelines.bench.schedule_search import richest
from nitrogen.pipelines.bench.width_search import WidthSearch, teacher_pictures


@pytest.fixture(scope="module")
def search(models, drawn):
    return WidthSearch(models.student, drawn, teacher_pictures(models.teacher, drawn), num_moves=8)


def test_the_table_is_valid_and_within_its_budgets(search):
    budgets = (0.1, 0.5, 0.8)
    table = search.table((3, 5), budgets)
    assert WidthTable.from_json(table.to_json()) == table
    assert set(table.rows) == {3, 5}
    for num_steps, row in table.rows.items():
        for share, widths in row:
            assert len(widths) == num_steps
            assert share <= max(budgets) + 1e-5
            assert search.prices()[list(widths)].sum() <= share * num_steps
    assert search.row(5, (0.1,)) == ()


def test_the_search_is_no_worse_than_where_it_starts(search):
    start = richest(search.prices(), 5, 0.7 * 5)
    error, widths = search.search(5, 0.7)
    assert error <= search.error(start)
    assert error == search.error(widths)
    assert search.search(5, 0.7) == (error, widths), "found the same again"


def test_a_larger_budget_never_gets_a_worse_schedule(search):
    poorer = search.search(5, 0.65)
    assert search.search(5, 0.8, (0.0, poorer[1])) == (0.0, poorer[1])


def test_a_better_schedule_is_found(search, monkeypatch):
    """Where the error says that the first step matters most, it is widened."""
    monkeypatch.setattr(WidthSearch, "error", lambda self, widths: 1.0 / (1 + widths[0]))
    start = richest(search.prices(), 4, 0.6 * 4)
    assert search.search(4, 0.6)[1][0] > start[0]


def test_the_student_spends_what_the_table_says(search, models):
    table = search.table((4,), (0.7,))
    ((share, widths),) = table.rows[4]
    student = models.student
    shipped = Pipeline(student.denoiser, student.classes, student.predictor, schedules=table)
    stats = shipped.generate(
        [0, 5], [1, 2], num_inference_steps=4, policy="static", budget=share
    ).stats
    assert stats[0].gflops == stats[1].gflops == pytest.approx(share * stats[0].gflops_full, 1e-5)
    ran = torch.stack([one.heatmap.flatten(1).mean(dim=1) for one in stats])
    assert torch.equal(ran[0] > 0, torch.tensor(widths) > 0)
