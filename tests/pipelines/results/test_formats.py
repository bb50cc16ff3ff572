"""Files of another version are refused in a sentence; those that are published are of this one."""

import json

import pytest

from nitrogen.pipelines.results.dataset_page import dataset_page
from nitrogen.pipelines.results.files import read_files
from nitrogen.pipelines.results.headline import headline
from nitrogen.pipelines.results.verdicts import verdicts
from nitrogen.platform.errors import ConfigError


def test_a_frontier_of_another_format_is_refused(result, tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(result | {"format": 1}))
    with pytest.raises(ConfigError, match=r"format 2, got .*old\.json of 1\. Run"):
        read_files([path])


def test_what_is_published_can_be_published_again(repository):
    published = sorted((repository / "docs/results").glob("*.json"))
    assert published
    for file in read_files(published):
        if file.kind == "frontier":
            page = dataset_page(file, {}, None)
            assert all(verdict.figure in page for verdict in verdicts(file))
            assert headline(file, next(iter(file.content["summary"]))) in page
