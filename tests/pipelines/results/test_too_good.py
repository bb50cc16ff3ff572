"""What is likelier a mistake than a success is said first on a page."""

import copy

from nitrogen.pipelines.results.dataset_page import dataset_page


def test_a_better_distance_than_the_teachers_is_a_warning(file):
    assert "Check twice" not in dataset_page(file, {}, None)
    for row in file.content["headline"]:
        if row["group"] == "ours":
            row["fd_lite0"] |= {"value": 100.0, "low": 90.0, "high": 110.0}
    page = dataset_page(file, {}, None)
    [told] = [line for line in page.splitlines() if "Check twice" in line]
    assert "fd_lite0 of `ours low`, `ours middle` and `ours high` lies below" in told
    assert "The file has no row of it to compare with." in told
    teachers = [row for row in file.content["headline"] if row["group"] == "teacher"]
    longest = max(teachers, key=lambda row: row["setting"]["num_steps"])
    longest["fd_lite0"] |= {"value": 90.0, "low": 80.0, "high": 100.0}
    longest["setting"]["num_steps"] = 16
    page = dataset_page(file, {}, None)
    longer = "None lies below its longest row here too, {} at 16 steps, by the ends of both"
    assert longer.format("90.0 (80.0 to 100)") in page
    assert "By value" not in page
    longest["fd_lite0"] |= {"value": 105.0, "low": 80.0, "high": 120.0}
    page = dataset_page(file, {}, None)
    assert longer.format("105 (80.0 to 120)") in page
    assert "By value `ours low`, 100 (90.0 to 110) and `ours middle`, 100" in page
    longest["fd_lite0"] |= {"value": 9000.0, "low": 8999.0, "high": 9001.0}
    assert "So does the teacher itself at " in dataset_page(file, {}, None)


def test_the_reference_decides_where_the_file_has_it(file):
    for row in file.content["headline"]:
        if row["group"] == "ours":
            row["fd_lite0"] |= {"value": 100.0, "low": 90.0, "high": 110.0}
            row["fd_over_reference"] = {"value": 1.01, "low": 0.99, "high": 1.03, "n": 5000}
    page = dataset_page(file, {}, None)
    assert "None lie below that of the 64-step reference" in page
    assert "paired: 1.01 (0.990 to 1.03) of `ours low`, " in page
    low = next(r for r in file.content["headline"] if r["name"] == "headline: ours low")
    low["fd_over_reference"] |= {"value": 0.97, "low": 0.96, "high": 0.98}
    assert "`ours low` lies below that of the 64-step" in dataset_page(file, {}, None)
    teacher = next(row for row in file.content["headline"] if row["group"] == "teacher")
    steps = teacher["setting"]["num_steps"]
    reference = copy.deepcopy(low) | {"group": "reference", "name": "headline: the reference"}
    reference["fd_lite0"]["value"] = 750.0
    file.content["headline"].append(reference)
    assert "so does the teacher" not in dataset_page(file, {}, None)
    teacher["fd_lite0"]["value"] = 700.0
    told = f"so does the teacher itself: 700 at {steps} steps for the reference's 750."
    assert told in dataset_page(file, {}, None)


def test_one_tier_that_is_too_good_is_enough_for_a_warning(file):
    ours = [row for row in file.content["headline"] if row["group"] == "ours"]
    for row in ours:
        row["fd_over_teacher"] = {"value": 1.01, "low": 0.99, "high": 1.03, "n": 5000}
    assert "Check twice" not in dataset_page(file, {}, None)
    ours[-1]["fd_over_teacher"] = {"value": 0.98, "low": 0.97, "high": 0.99, "n": 5000}
    assert "Check twice: fd_lite0 of `ours high` lies" in dataset_page(file, {}, None)
