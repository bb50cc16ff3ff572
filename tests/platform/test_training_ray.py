"""run_ray on a real Ray: a failure in one sentence, more workers than there are.

test_training_s3.py shows what workers see; tests/pipelines/training/test_kill_ray.py kills a real
training and resumes it.
"""

import pytest

from nitrogen.platform.errors import ClusterError, DataError

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


def test_a_failure_is_the_trainings_own(embedded_ray, tmp_path):
    from nitrogen.platform.training_ray import run_ray

    options = {"storage_path": tmp_path, "num_workers": 1, "max_failures": 0}
    with pytest.raises(DataError, match=r"^data must exist, got nothing\. Prepare it first\.$"):
        run_ray("ray_train_fns:mistaken", {}, name="mistaken", **options)
    assert "DataError" in (tmp_path / "mistaken" / "error.txt").read_text()


def test_more_workers_than_the_cluster_holds(embedded_ray, tmp_path):
    from nitrogen.platform.training_ray import run_ray

    with pytest.raises(ClusterError, match="num_workers must fit the cluster, got 3"):
        run_ray("ray_train_fns:linear", {}, name="big", storage_path=tmp_path, num_workers=3)
