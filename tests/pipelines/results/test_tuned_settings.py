"""What the searches chose stands on the page, with the ceiling that they were given."""

from nitrogen.pipelines.results.tuned_settings import tuned_settings

OURS = {
    "name": "ours low", "group": "ours", "kind": "policy",
    "setting": {"tier": "low", "num_steps": 4, "budget": 0.6667, "threshold": 0.0, "price": 1e-9},
}  # fmt: skip
SCHEDULE = {
    "name": "schedule low", "group": "static", "kind": "schedule",
    "setting": {"tier": "low", "num_steps": 3, "widths": [2, 4, 4]},
}  # fmt: skip
TWIN = SCHEDULE | {"name": "schedule low, by rows", "kind": "played"}


def test_settings_and_ceilings_are_told():
    content = {
        "rows": [OURS, SCHEDULE, TWIN],
        "step_overhead_gflops": 0.06,
        "tiers": {"low": 9.5, "high": 12},
    }
    text = tuned_settings(content)
    assert "60 MFLOPs" in text
    assert "9.5 and 12 forwards" in text
    assert "by one price, 1e-09" in text
    assert "2 4 4" in text
    assert "by rows" not in text


def test_an_older_file_does_not_tell_its_ceilings():
    assert "ceilings that the file does not tell" in tuned_settings({"rows": [OURS]})


def teacher(num_steps, **levels):
    setting = {"solver": "unipc", "num_steps": num_steps, **levels}
    return {"name": f"t {num_steps}", "group": "teacher", "kind": "dense", "setting": setting}


def test_noise_levels_that_were_chosen_are_told_beside_edms():
    rows = [OURS, teacher(4, spacing=[0.03, 12.0]), teacher(20)]
    text = tuned_settings({"rows": rows})
    assert "| UniPC | 4 | 0.03 and 12 |" in text
    assert "| UniPC | 20 | 0.002 and 7 |" in text
    assert "sigma_min" not in tuned_settings({"rows": [OURS, teacher(20)]})


def test_times_are_told_over_those_of_the_ceiling():
    def timed(row, ms):
        return row | {"guidance": 1, "ms": {"1": {"p50": ms}, "8": None}}

    teacher = {
        "name": "teacher dpmpp_2m 3, by rows", "group": "teacher", "kind": "played",
        "setting": {"solver": "dpmpp_2m", "num_steps": 3},
    }  # fmt: skip
    double = teacher | {"name": "teacher dpmpp_2m 6, by rows"}
    double["setting"] = {"solver": "dpmpp_2m", "num_steps": 6}
    at = 9.5  # forwards: the teacher's 1 ms and 3 ms a step make a ceiling of 1 + 3 * 9.5 ms
    rows = [timed(OURS, 1.2 * (1 + 3 * at)), timed(SCHEDULE, 40.0), timed(TWIN, 1.1 * (1 + 3 * at))]
    rows += [timed(teacher, 10.0), timed(double, 19.0)]
    text = tuned_settings({"rows": rows, "tiers": {"low": at}})
    assert "1.20 (1)" in text
    assert "1.10 (1)" in text  # by its twin's operators, which are the teacher's


def test_nothing_tuned_is_no_section():
    assert tuned_settings({"rows": []}) == ""
