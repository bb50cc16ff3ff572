"""run_ray on a real Ray: what workers see, failures in one sentence, more workers than there are.

tests/pipelines/training/test_kill_ray.py kills a real training and resumes it.
"""

import pytest
import ray_train_fns

from nitrogen.platform.errors import ClusterError, DataError, TrainingError

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


def test_workers_get_variables_and_stay_in_their_folder(embedded_ray, tmp_path, monkeypatch):
    from nitrogen.platform.training_ray import run_ray

    monkeypatch.setenv("NITROGEN_TEST", "forwarded")
    result = run_ray(ray_train_fns.facts, {}, name="facts", storage_path=tmp_path, num_workers=1)
    text = (result.checkpoint / "facts.txt").read_text()
    assert text.startswith("forwarded gloo ")
    assert str(tmp_path) not in text


def test_failures_are_the_trainings_own(embedded_ray, tmp_path):
    from nitrogen.platform.training_ray import run_ray

    options = {"storage_path": tmp_path, "num_workers": 1, "max_failures": 0}
    with pytest.raises(DataError, match=r"^data must exist, got nothing\. Prepare it first\.$"):
        run_ray("ray_train_fns:mistaken", {}, name="mistaken", **options)
    with pytest.raises(TrainingError, match="ZeroDivisionError: a bug") as caught:
        run_ray("ray_train_fns:broken", {}, name="broken", **options)
    assert "\n" not in str(caught.value)
    assert "ZeroDivisionError" in (tmp_path / "broken" / "error.txt").read_text()


def test_more_workers_than_the_cluster_holds(embedded_ray, tmp_path):
    from nitrogen.platform.training_ray import run_ray

    with pytest.raises(ClusterError, match="num_workers must fit the cluster, got 3"):
        run_ray("ray_train_fns:linear", {}, name="big", storage_path=tmp_path, num_workers=3)
