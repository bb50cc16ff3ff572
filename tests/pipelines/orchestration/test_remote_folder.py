"""Reading a run folder in a bucket: fetched first, but never under the hands of a run."""

from pathlib import Path

import pytest

from nitrogen.pipelines import remote_folder
from nitrogen.pipelines.run_folder import RunFolder
from nitrogen.pipelines.run_lock import run_lock


class Bucket:
    def __init__(self):
        self.pulls = 0

    def pull(self):
        self.pulls += 1


def test_a_folder_is_fetched_unless_a_run_works_in_it(tmp_path, monkeypatch):
    bucket = Bucket()
    monkeypatch.setattr(remote_folder, "open_out", lambda _: (tmp_path, bucket))
    assert remote_folder.fetched("s3://bucket/run") == tmp_path
    assert bucket.pulls == 1
    with run_lock(RunFolder(tmp_path).lock_path):
        assert remote_folder.fetched("s3://bucket/run") == tmp_path
    assert bucket.pulls == 1


@pytest.mark.parametrize("named", ["shipped", "shipped:fashion"])
def test_shipped_weights_are_no_folder_to_fetch(named):
    assert remote_folder.fetched(named) == Path(named)
