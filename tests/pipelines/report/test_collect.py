"""From the steps' results to the report's data: what is read, what is missing."""

from __future__ import annotations

import numpy as np

from nitrogen.pipelines.context import StepOutput
from nitrogen.pipelines.report.collect import collect
from nitrogen.pipelines.report.curves import panels
from nitrogen.pipelines.report.data import Samples
from nitrogen.pipelines.report.data_checks import NeighbourRows
from nitrogen.pipelines.report.measured import Measured
from nitrogen.pipelines.report.operating_points import pareto
from nitrogen.pipelines.report.quality import claims, rows, tiles
from nitrogen.pipelines.report.samples_file import save_samples

TEACHER = {"fd_lite0": {"value": 603.0, "low": 585.0, "high": 621.0, "n": 2048}, "gflops": 0.54}
STUDENT = {"fd_lite0": 642.0, "fd_lite0_low": 622.0, "fd_lite0_high": 661.0, "n": 2048}


def test_curves_are_split_by_scale_and_named():
    history = [
        {"images": 64 * i, "step": i, "loss": 1.0 / (i + 1), "loss_narrow": 0.5, "loss_nll": -1.0}
        for i in range(5)
    ]
    history[2]["loss_narrow"] = None
    found = panels({"pretrain": {"history": history[:1]}, "distill": {"history": history}})
    assert [panel.title for panel in found] == ["Student", "Student: predictor"]
    assert [curve.label for curve in found[0].curves] == ["loss", "narrow widths"]
    assert list(found[0].curves[1].images) == [0, 64, 192, 256]


def test_pareto_reads_points_curves_and_choice():
    found = pareto(
        {
            "metric": "KID",
            "split": "validation",
            "num_trials": 2,
            "points": [
                {"gflops": 0.3, "distance": {"value": 0.2, "low": 0.1, "high": 0.3}},
                {"gflops": None, "distance": 0.1},
                {"gflops": 0.2, "distance": 0.4, "label": "budget 0.4"},
            ],
            "pareto": [0, 2],
            "full_curve": [{"num_inference_steps": 8, "gflops": 0.4, "distance": 0.3}],
            "chosen": {"gflops": 0.3, "distance": 0.2},
            "choice": {"within": False, "reason": "the nearest was taken"},
        }
    )
    assert [(p.gflops, p.distance, p.low) for p in found.points] == [
        (0.3, 0.2, 0.1),
        (0.2, 0.4, None),
    ]
    assert list(found.front) == [0, 1]
    assert found.full_curve[0].label == "8"
    assert found.chosen.gflops == 0.3
    assert found.reason == "the nearest was taken"
    assert found.num_trials == 2


def test_pareto_of_bare_trials_leaves_out_the_pruned_and_failed():
    trials = [
        {"metrics": {"gflops": 0.1, "distance": 3.0}, "state": "PRUNED"},
        {"metrics": {"gflops": 0.2, "distance": 2.0}, "state": "COMPLETE"},
        {"metrics": None, "state": "FAIL"},
        {"metrics": {"gflops": 0.3, "distance": 1.0}, "state": "COMPLETE"},
    ]
    found = pareto({"trials": trials, "pareto": [1, 3]})
    assert [point.gflops for point in found.points] == [0.2, 0.3]
    assert list(found.front) == [0, 1]
    assert found.num_trials == 4
    assert pareto({"trials": trials[:1]}) is None


def test_rows_come_from_rows_or_from_the_roles():
    listed = rows({"rows": [{"name": "DDIM, 50 steps", "num_inference_steps": 50, "kid": 0.9}]})
    assert (listed[0].name, listed[0].steps) == ("DDIM, 50 steps", 50)
    assert listed[0].kid == Measured(0.9)
    named = rows({"student": STUDENT, "teacher": TEACHER})
    assert [row.name for row in named] == ["Teacher", "Student"]
    assert named[1].fd_lite0 == Measured(642.0, 622.0, 661.0, 2048)


def test_tiles_need_both_models_and_prefer_fd_over_kid():
    assert tiles({"student": STUDENT}) == []
    found = tiles({"rows": [TEACHER | {"role": "teacher"}, STUDENT | {"role": "student"}]})
    assert [(tile.label, tile.value) for tile in found] == [("fd_lite0 of the student", "642")]
    space = "\N{NO-BREAK SPACE}"
    assert found[0].detail == f"teacher 603; n{space}={space}2,048"
    by_kid = tiles({"teacher": {"kid": 0.9, "gflops": 0.5}, "student": {"kid": 1.0, "gflops": 0.2}})
    assert [tile.value for tile in by_kid] == ["1.00", f"40{space}%"]


def test_claims_inherit_command_and_commit():
    evaluate = {
        "command": "nitrogen evaluate",
        "claims": [{"text": "a"}, {"text": "b", "commit": "x"}],
    }
    found = claims(evaluate, "abc")
    assert [(claim.command, claim.commit) for claim in found] == [
        ("nitrogen evaluate", "abc"),
        ("nitrogen evaluate", "x"),
    ]


def test_a_whole_run_is_collected(tmp_path):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    samples = Samples(images, images, heatmaps=np.ones((1, 3, 2, 2)))
    save_samples(tmp_path / "samples.npz", samples, NeighbourRows(images, images[:, None]))
    evaluate = {
        "teacher": TEACHER,
        "student": STUDENT,
        "samples_file": "samples.npz",
        "neighbours": {"n": 64, "closer_than_held_out": 0.05},
        "claims": [{"text": "a"}],
        "notes": ["FID was not asked for."],
    }
    data = collect(
        {
            "prepare": {"name": "emoji", "image_size": [32, 32], "splits": {"train": 8112}},
            "pretrain": {"preset": "tiny", "parameters": 420_000, "num_images": 50_000},
            "evaluate": StepOutput(tmp_path, evaluate),
            "promote": {"name": "demo", "version": 3, "promoted": True, "gates": ["kid 1 is <= 2"]},
        },
        title="demo",
        facts={"Seed": "0"},
    )
    assert data.facts == {
        "Data": "emoji, 32 x 32 px",
        "Pictures": "train 8,112",
        "Model": "tiny, 0.420 M parameters",
        "Images seen in training": "teacher 50,000",
        "Seed": "0",
    }
    assert np.array_equal(data.samples.teacher, images)
    assert data.neighbours.summary["n"] == 64
    assert data.promotion == "demo version 3 is the champion."
    assert [(gate.name, gate.passed) for gate in data.gates] == [("kid 1 is <= 2", True)]
    assert data.notes == ["FID was not asked for."]
    assert set(data.missing) == {
        "training curve of the student",
        "training curve of the teacher",  # it has no history
        "quality against compute",
    }


def test_a_refused_promotion_says_why():
    promote = {"name": "demo", "version": 4, "promoted": False, "refused": "kid 3 is above 2."}
    data = collect({"promote": promote}, title="x")
    assert data.promotion == "demo version 4 was not promoted: kid 3 is above 2."


def test_nothing_is_invented_for_an_empty_run():
    data = collect({}, title="x")
    assert (data.tiles, data.rows, data.claims, data.panels) == ([], [], [], [])
    assert (data.samples, data.pareto, data.neighbours, data.promotion) == (None, None, None, "")
    assert set(data.missing.values()) == {
        f"step {step} left no result"
        for step in ("pretrain", "distill", "sweep", "evaluate", "promote")
    }


def test_bias_of_the_evaluation():
    made = {"value": 0.2, "low": 0.1, "high": 0.3, "n": 10}
    base = {"n": 10, "class_shares": [1.0], "brightness": 0.5, "saturation": 0.25}
    table = {
        "rows": [
            {"name": "data", **base, "classes": None, "colours": None, "largest_gap": None},
            {
                "name": "teacher", **base, "classes": made, "colours": made,
                "largest_gap": {"class": "cat", "share": -0.1},
            },
        ],
        "classes": ["cat"], "accuracy": 0.5, "floor": {"classes": 0.1, "colours": 0.2},
        "n_floor": 10,
    }  # fmt: skip
    found = collect({"evaluate": {"bias": table}}, title="x").bias
    assert found.rows[0].classes is None
    assert (found.rows[1].classes.low, found.rows[1].gap_class, found.rows[1].gap) == (
        0.1, "cat", -0.1,
    )  # fmt: skip
    assert found.colour_floor == 0.2
    assert collect({}, title="x").bias is None


def test_reliability_of_the_evaluation():
    row = {"predicted": 1e-3, "actual": 2e-3, "low": 1e-3, "high": 3e-3, "n": 7}
    curve = {"rows": [row], "log_gap": 0.7, "n": 4, "num_steps": 12}
    found = collect({"evaluate": {"calibration": curve}}, title="x").reliability
    assert (found.bins[0].actual, found.bins[0].n, found.n, found.num_steps) == (2e-3, 7, 4, 12)
    assert collect({"evaluate": {"calibration": None}}, title="x").reliability is None
