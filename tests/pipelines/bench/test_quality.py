"""What a row's pictures are measured by."""

import numpy as np
import pytest

from nitrogen.pipelines.bench.quality import psnr, squared_errors


def test_errors_are_of_pictures_in_0_1():
    black, white = np.full((1, 2, 2, 3), -1.0), np.full((1, 2, 2, 3), 3.0)
    assert squared_errors(black, white).tolist() == [1.0]
    assert psnr(0.01) == pytest.approx(20.0)
