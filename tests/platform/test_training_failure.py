"""From Ray Train's error to the one that a user can act on; no Ray runs here."""

from types import SimpleNamespace

import pytest
from ray.train import WorkerGroupError

from nitrogen.platform.errors import DataError, TrainingError
from nitrogen.platform.training_failure import TRACEBACK_NAME, explain_failure


def failed(**causes):
    """As Ray hands it over: each rank's error inside one that carries its traceback."""
    ranks = {int(rank[1:]): SimpleNamespace(_base_exc=cause) for rank, cause in causes.items()}
    return WorkerGroupError("Traceback ...\nworkers failed", ranks)


def test_an_error_with_an_exit_code_is_the_trainings_own(tmp_path):
    own = DataError("data must exist, got nothing. Prepare it first.")
    assert explain_failure(failed(r0=RuntimeError("lost"), r1=own), "x", tmp_path) is own


def test_a_bug_names_its_rank_and_where_its_traceback_lies(tmp_path):
    told = explain_failure(failed(r1=ZeroDivisionError("a bug\nin two lines")), "x", tmp_path)
    with pytest.raises(TrainingError, match=r"x failed on rank 1 \(ZeroDivisionError: a bug\)"):
        raise told
    assert "\n" not in str(told)
    assert "Traceback" in (tmp_path / TRACEBACK_NAME).read_text()
    assert str(tmp_path / TRACEBACK_NAME) in str(told)
