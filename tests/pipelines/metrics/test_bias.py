"""Bias: distances with known answers, a reader that tells classes, and the floor of chance."""

import numpy as np
import pytest

from nitrogen.pipelines.metrics.bias import (
    ClassReader,
    bias_table,
    distance,
    excess,
    floor,
    statistics,
    total_variation,
)

NAMES = ("red", "green")


def pictures(num: int, share_red: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Red or green pictures, their features and labels."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(num) >= round(share_red * num)).astype(int)
    images = np.zeros((num, 8, 8, 3), np.uint8)
    images[np.arange(num), :, :, labels] = 200
    features = np.eye(2)[labels] * 3 + generator.normal(size=(num, 2)) * 0.3
    return images, features, labels


@pytest.fixture(scope="module")
def table():
    data, held_out = pictures(400, 0.5, 0), pictures(100, 0.5, 1)
    sets = {"fair": pictures(200, 0.5, 2)[:2], "red": pictures(200, 0.9, 3)[:2]}
    return bias_table(sets, data, held_out[1:], NAMES)


def test_the_table_sees_who_prefers_red(table):
    data, fair, red = table["rows"]
    assert data["classes"] is None
    assert fair["classes"]["value"] < 0.02
    assert red["classes"]["value"] == pytest.approx(0.4, abs=0.02)
    assert red["colours"]["value"] == pytest.approx(0.4, abs=0.02)
    assert red["classes"]["low"] > fair["classes"]["high"]
    assert red["largest_gap"]["class"] in NAMES
    assert abs(red["largest_gap"]["share"]) == pytest.approx(0.4, abs=0.02)
    assert table["accuracy"] > 0.98


def test_floor_is_what_chance_alone_gives(table):
    # Half the mean absolute deviation of a fair coin over n = 200: about 0.028, times 2 / 2.
    assert 0.01 < table["floor"]["classes"] < 0.05
    images, _, labels = pictures(400, 0.5, 0)
    stats = statistics(images, labels)
    assert floor(stats, 20, "classes", 2) > floor(stats, 2000, "classes", 2)


def test_statistics_of_plain_pictures():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[1, :2] = 255
    stats = statistics(images, np.array([0, 1]))
    np.testing.assert_allclose(stats.brightness, [0, 0.5])
    np.testing.assert_allclose(stats.saturation, [0, 0])
    assert stats.colours[0, 0] == 1
    assert stats.colours[1, [0, -1]].tolist() == [0.5, 0.5]


def test_the_reader_looks_at_directions_that_tell_classes_apart():
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    signal = np.eye(3)[labels]
    loud = generator.normal(size=(300, 2)) * 50  # says nothing, and is large
    features = np.concatenate([signal + generator.normal(size=(300, 3)) * 0.1, loud], axis=1)
    reader = ClassReader(features[:200], labels[:200], 4)
    assert (reader(features[200:]) == labels[200:]).mean() > 0.95
    assert 3 not in reader(features)  # a class without pictures is never told


def test_total_variation():
    assert total_variation(np.array([1.0, 0]), np.array([0, 1.0])) == 1
    assert total_variation(np.array([0.5, 0.5]), np.array([0.5, 0.5])) == 0


def test_an_interval_holds_its_value():
    images, _, labels = pictures(100, 0.7, 5)
    data = statistics(*(pictures(400, 0.5, 6)[i] for i in (0, 2)))
    found = distance(statistics(images, labels), data, "classes", 2)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(0.2, abs=0.01)
    assert found.high - found.low > 0.05


def test_the_student_is_compared_with_its_teacher_picture_by_picture(table):
    data, fair, red = table["rows"]
    assert "over_teacher" not in data
    assert "over_teacher" not in fair  # the first set is the teacher
    over = red["over_teacher"]["classes"]
    assert over["value"] == pytest.approx(red["classes"]["value"] - fair["classes"]["value"])
    assert over["low"] > 0.3
    assert sum(red["colour_shares"]) == pytest.approx(1)


def test_the_same_pictures_are_no_farther_from_the_data():
    images, _, labels = pictures(200, 0.7, 4)
    data = statistics(*(part for i, part in enumerate(pictures(400, 0.5, 0)) if i != 1))
    mine = statistics(images, labels)
    same = excess(mine, mine, data, "colours", 2)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="must be pairs"):
        excess(mine, statistics(images[:9], labels[:9]), data, "classes", 2)
