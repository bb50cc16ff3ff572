"""A rival that steps in Python is charged what its network calls take in C++, never more."""

import numpy as np

from nitrogen.pipelines.bench.charged import charged, charged_p50
from nitrogen.pipelines.bench.figures import Measured


def row(solver, steps, ms, model="teacher", operators="rows"):
    return Measured(
        name=f"{model} {solver} {steps} {operators}",
        group="teacher" if model == "teacher" else "thin",
        mse=np.ones(3), kid=1.0, kid_influence=np.zeros(3), ms=np.array(ms), flops=1.0,
        num_steps=steps, setting={"model": model, "solver": solver}, operators=operators,
    )  # fmt: skip


def test_unipc_takes_the_smaller_time_of_each_round():
    rows = [
        row("dpmpp_2m", 6, [10.0, 30.0]), row("unipc", 6, [20.0, 25.0]),
        row("unipc", 7, [22.0, 22.0]), row("unipc", 6, [50.0, 50.0], operators="torch"),
        row("unipc", 6, [9.0, 9.0], model="thin quarter"), row("heun", 6, [40.0, 40.0]),
    ]  # fmt: skip
    found = charged(rows)
    assert [one.name for one in found] == [one.name for one in rows]
    assert found[1].ms.tolist() == [10.0, 25.0]
    for i in (0, 2, 3, 4, 5):
        assert found[i].ms.tolist() == rows[i].ms.tolist()


def test_rows_without_times_stay_as_they_are():
    untimed = Measured("x", "control", np.ones(2), 1.0, np.zeros(2), None, 1.0)
    assert charged([untimed]) == [untimed]


def test_rows_of_a_file_take_the_smaller_of_two_medians():
    def told(solver, steps, p50, operators=None):
        found = {
            "name": f"teacher {solver} {steps}", "group": "teacher",
            "setting": {"model": "teacher", "solver": solver, "num_steps": steps},
            "ms": {"8": {"p50": p50}},
        }  # fmt: skip
        return found | ({"operators": operators} if operators else {})  # not in older files

    rows = [
        told("dpmpp_2m", 6, 10.0), told("unipc", 6, 20.0), told("unipc", 7, 22.0),
        told("unipc", 6, 9.0), told("unipc", 6, 50.0, "torch"), told("heun", 6, 40.0),
    ]  # fmt: skip
    assert charged_p50(rows, "8") == [10.0, 10.0, 22.0, 9.0, 50.0, 40.0]
