"""What a fair comparison rests on: the same seeds for all rows, and splits that nobody trained on.

Beside: equal widths of controls and shuffled positions in test_controls and test_methods, paired
rounds and warm-up in test_rounds, the splits of the search in test_frontier.
"""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nitrogen.model.pipeline import Pipeline
from nitrogen.pipelines.bench import contest as contests
from nitrogen.pipelines.bench import models as benchmarked
from nitrogen.pipelines.bench import quality
from nitrogen.pipelines.bench.contenders import contenders, controls_of, guided
from nitrogen.pipelines.bench.contest import Contest
from nitrogen.pipelines.bench.controls import Trace
from nitrogen.pipelines.bench.frontier_config import FrontierConfig
from nitrogen.pipelines.bench.methods import Drawn
from nitrogen.pipelines.bench.models import REPORT_SPLIT, TRAIN_SPLIT, TUNE_SPLIT, load_models
from nitrogen.pipelines.bench.quality import BATCH
from nitrogen.pipelines.bench.settings import budget_method
from nitrogen.pipelines.bench.twins import with_twins
from nitrogen.pipelines.data.manifest import SPLITS
from nitrogen.pipelines.training import loop
from nitrogen.platform.errors import DataError

CONFIG = FrontierConfig.quick().model_copy(
    update={"num_images": BATCH + 6, "num_controls": 5, "num_guided": 4}
)


@pytest.fixture
def contest(models, tmp_path, extract, monkeypatch) -> Contest:
    def made_up(uri, split, image_size):
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (20, image_size, image_size, 3)).astype(np.uint8)
        return images, generator.integers(0, 26, 20)

    for where in (contests, quality):
        monkeypatch.setattr(where, "pictures", made_up)
    return Contest.prepare(CONFIG, models, tmp_path, extract, lambda text: None)


def test_every_row_is_drawn_on_the_same_seeds_and_labels(contest, models, monkeypatch):
    asked: dict[str, list[tuple[int, int]]] = {}

    def watched(method, _):
        def run(labels, seeds):
            asked.setdefault(method.name, []).extend(zip(labels, seeds, strict=True))
            n = len(seeds)
            return Drawn(torch.zeros(n, 32, 32, 3), torch.ones(n), torch.ones(n))

        return run

    for where in (contests, quality):
        monkeypatch.setattr(where, "runner", watched)
    ours = budget_method(6, 0.5, tier="low")
    seeds = tuple(contest.drawn.seeds)
    trace = Trace(seeds, np.ones((len(seeds), 6, 4, 4), np.uint8))
    methods = with_twins([*contenders(CONFIG, models), ours])
    methods += [*controls_of(ours, trace, False), *guided(CONFIG, ours)]
    for method in methods:
        contest.row(method)
    expected = list(zip(contest.drawn.labels, seeds, strict=True))
    for method in methods:
        found = asked[method.name]
        num = {"control": 5}.get(method.group, len(expected)) if method.guidance == 1 else 4
        if method.operators == "torch" or method.kind == "ignored":
            # Only compared with its twin, which was asked for everything.
            assert found == expected[:16], method.name
        else:
            assert found[:num] == expected[:num], method.name


def test_a_twin_that_differs_is_sampled_itself(contest, models, monkeypatch):
    """One grey level in one picture is enough."""
    method = next(contenders(CONFIG, models))
    off = [0.0]
    real = contests.runner

    def shifted(method, models):
        run = real(method, models)

        def draw(labels, seeds):
            made = run(labels, seeds)
            if method.operators == "torch":
                made.x_0[0] += off[0]
            return made

        return draw

    monkeypatch.setattr(contests, "runner", shifted)
    few = replace(contest, drawn=contests.first(contest.drawn, 6))
    assert "quality_of" in few.row(method).values
    (few.store.folder / f"{few.key(method)}.json").unlink()
    off[0] = 1 / 127.5
    again = few.row(method)
    assert "quality_of" not in again.values
    assert again.arrays["mse"][0] != few.row(with_twins([method])[1]).arrays["mse"][0]


def test_training_opens_the_training_split_alone(monkeypatch):
    class Opened(Exception):  # noqa: N818 - a signal of this test
        pass

    def opens(uri, split):
        raise Opened(split)

    monkeypatch.setattr(loop, "ShardDataset", opens)
    session = type("Session", (), {"device": "cpu"})()
    with pytest.raises(Opened, match=f"^{TRAIN_SPLIT}$"):
        loop.train(None, None, "anywhere", 0, "fp32", session)  # type: ignore[arg-type]


def test_no_module_of_training_names_another_split():
    others = {split for split in SPLITS if split != TRAIN_SPLIT}
    assert others == {TUNE_SPLIT, REPORT_SPLIT}
    openers = set()
    for path in Path(loop.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant):
                assert node.value not in others, path
            if isinstance(node, ast.Name) and node.id == "ShardDataset":
                openers.add(path.name)
    assert openers == {"loop.py"}


def test_a_thin_model_of_other_pictures_is_refused(models, tmp_path, monkeypatch):
    thin = models.thin["thin quarter"]
    thin.save(tmp_path / "quarter")
    others = Pipeline(thin.denoiser, [f"other {i}" for i in range(26)])
    others.save(tmp_path / "others")
    models.teacher.save(tmp_path / "teacher")
    models.student.save(tmp_path / "student")
    monkeypatch.setattr(benchmarked, "model_directory", lambda run, role: tmp_path / role)
    loaded = load_models(None, [tmp_path / "quarter"])
    assert set(loaded.thin) == {"thin quarter"}
    with pytest.raises(DataError, match=r"^--thin must be a model of the teacher's 26 classes"):
        load_models(None, [tmp_path / "quarter", tmp_path / "others"])
