"""Names and bounds that the command line knows by heart are those of the model and the endpoint."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nitrogen.pipelines.commands import generate_options
from nitrogen.pipelines.commands.generate_options import Asked, check_names_and_bounds
from nitrogen.platform.errors import ConfigError
from nitrogen.platform.serving.problems import ProblemError
from nitrogen.platform.serving.protocol import parse_request

MODEST = {
    "class_name": None, "seed": 0, "steps": 12, "policy": "budget", "budget": 0.5,
    "threshold": None, "solver": "euler", "guidance_scale": 1.0, "dense_last": False, "size": None,
}  # fmt: skip


def test_names_are_those_of_the_model():
    from nitrogen.model.policies import POLICIES, make_policy
    from nitrogen.model.request import MAX_GUIDANCE
    from nitrogen.model.schedules import MAX_STEPS
    from nitrogen.model.solvers import SOLVERS

    assert set(generate_options.POLICIES) == set(POLICIES) - {"oracle"}
    assert set(generate_options.SOLVERS) == set(SOLVERS)
    assert (generate_options.MAX_STEPS, generate_options.MAX_GUIDANCE) == (MAX_STEPS, MAX_GUIDANCE)
    needing = [name for name in POLICIES[:-1] if make_policy(name, None, 0.5).needs_predictor]
    assert tuple(needing) == generate_options.WITH_EXITS


@pytest.mark.parametrize(
    ("option", "field", "good", "bad"),
    [
        ("budget", "budget", [1e-3, 1.0], [0.0, 1.01, -1.0, float("nan")]),
        ("threshold", "threshold", [0.0, 4.0], [-0.1, 4.1, float("nan")]),
        ("guidance_scale", "guidance_scale", [0.0, 20.0], [-0.1, 20.1, float("inf")]),
        ("seed", "seed", [0, 2**63 - 1], [-1, 2**63]),
        ("policy", "policy", ["static", "budget"], ["oracle", ""]),
    ],
)
def test_what_means_the_same_has_one_bound_here_and_at_the_endpoint(option, field, good, bad):
    for value in [*good, *bad]:
        asked, body = Asked(**{**MODEST, option: value}), {"class": "cat", "budget": 0.5}
        refused = [
            _refuses(lambda asked=asked: check_names_and_bounds(asked), ConfigError),
            _refuses(lambda body={**body, field: value}: parse_request(body), ProblemError),
        ]
        assert refused == [value not in good] * 2, value


def _refuses(ask, error) -> bool:
    try:
        ask()
    except error:
        return True
    return False


def test_the_endpoint_takes_fewer_steps_and_says_why():
    with pytest.raises(ProblemError, match="from 1 to 100, for a request holds up all others"):
        parse_request({"class": "cat", "num_inference_steps": 101})
    check_names_and_bounds(Asked(**{**MODEST, "steps": 1000}))


def test_a_refusal_loads_no_torch():
    code = (
        "import sys\nfrom nitrogen.pipelines import cli\n"
        "wrong = ['--policy=x', '--solver=x', '--budget=3', '--steps=0', '--class=x', '--out=/']\n"
        "codes = [cli.invoke(['generate', option]) for option in wrong]\n"
        "print(codes, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[2, 2, 2, 2, 2, 4] False", done.stderr
