"""A Ray of two CPUs for the tests marked `ray`, shared by those of one module."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def embedded_ray():
    """An embedded Ray whose workers can import the functions that lie beside the tests."""
    from nitrogen.platform.cluster import start_embedded

    folder = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
        with start_embedded(num_cpus=2, object_store_bytes=150 * 1024**2) as cluster:
            yield cluster
