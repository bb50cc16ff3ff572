"""Requests: bounds, unknown fields, combinations; each refusal is a sentence with a remedy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitrogen.platform.serving.problems import ProblemError
from nitrogen.platform.serving.protocol import (
    MAX_SEED,
    GenerationRequest,
    check_against_model,
    parse_request,
)


def refuse(body) -> tuple[str | None, str]:
    with pytest.raises(ProblemError) as caught:
        parse_request(body)
    problem = caught.value.problem
    assert problem.status == 400
    assert problem.message.endswith((".", "?"))
    return problem.param, problem.message


def test_defaults_are_filled_and_a_seed_is_drawn():
    request = parse_request({"class": "cat"}).for_generator()
    assert request["class"] == "cat"
    assert (request["n"], request["num_inference_steps"], request["policy"]) == (1, 12, "full")
    assert 0 <= request["seed"] <= MAX_SEED
    assert request["seed"] != parse_request({"class": "cat"}).for_generator()["seed"]


def test_prompt_is_another_name_for_the_class():
    assert parse_request({"prompt": "cat"}).for_generator()["class"] == "cat"


def test_a_budget_alone_chooses_the_budget_policy():
    assert parse_request({"class": "cat", "budget": 0.5}).for_generator()["policy"] == "budget"
    threshold = parse_request({"class": "cat", "threshold": 0.1, "budget": 0.5, "policy": "budget"})
    assert threshold.for_generator()["policy"] == "budget"


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("n", [1, 8], [0, 9, 1.5, "2", True, None, 10**30]),
        ("num_inference_steps", [1, 100], [0, 101, -1, "12", 12.5]),
        ("guidance_scale", [0, 1.5, 20], [-0.1, 20.1, "1", float("nan"), float("inf")]),
        ("seed", [0, MAX_SEED], [-1, MAX_SEED + 1, 1.0, "7", False]),
        ("budget", [0.01, 1.0], [0.0, 1.01, -1, "0.5"]),
        ("response_format", ["png", "b64_json"], ["url", "PNG", 1]),
        ("policy", ["full", "threshold"], ["oracle", "fast", 3]),
    ],
)
def test_bounds(name, good, bad):
    for value in good:
        parse_request({"class": "cat", name: value})
    for value in bad:
        param, message = refuse({"class": "cat", name: value})
        assert param == name
        assert f"{name} must be" in message
        assert "got" in message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"class": "cat", "stepz": 1}, "Known fields"),
        ({"class": "cat", "guidance": 1}, "guidance_scale"),
        ({"class": "cat", "class_name": "x"}, "Unknown field"),
        ({}, "neither"),
        ({"class": "cat", "prompt": "cat"}, "both"),
        ({"class": "cat", "policy": "budget"}, "budget must be set"),
        ({"class": "cat", "policy": "full", "budget": 0.5}, "Use the policy budget"),
        ({"class": "cat", "policy": "random", "budget": 0.5}, "Use the policy budget"),
        ({"class": "x" * 201}, "class must be"),
        ({"class": 7}, "class must be"),
        ([], "JSON object"),
        (None, "JSON object"),
    ],
)
def test_refusals_say_what_to_do(body, words):
    assert words in refuse(body)[1]


def test_static_takes_a_budget():
    body = {"class": "cat", "policy": "static", "budget": 0.5}
    asked = parse_request(body).for_generator()
    assert (asked["policy"], asked["budget"]) == ("static", 0.5)


@given(
    st.dictionaries(
        st.sampled_from(
            ["class", "prompt", "n", "seed", "budget", "policy", "size", "model", "x", ""]
        ),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
        max_size=6,
    )
)
def test_any_body_is_accepted_or_refused_with_a_sentence(body):
    try:
        request = parse_request(body).for_generator()
    except ProblemError as error:
        problem = error.problem
    else:
        assert 1 <= request["n"] <= 8
        assert 0 <= request["seed"] <= MAX_SEED
        return
    assert problem.status == 400
    assert len(problem.message) < 700


INFO = {"classes": ["apple / noto", "cat", "dog"], "image_size": 32, "policies": ["full", "budget"]}


def check(**body):
    return check_against_model(GenerationRequest(**body).for_generator(), INFO)


def test_class_must_exist_and_near_ones_are_named():
    assert check(**{"class": "cat"}) is None
    problem = check(**{"class": "appel / noto"})
    assert (problem.code, problem.param) == ("unknown_class", "class")
    assert "'apple / noto'" in problem.message
    assert "/v1/models" in problem.message
    assert "3 classes" in check(**{"class": "\x00" * 100}).message


def test_size_and_policy_must_fit_the_model():
    assert check(**{"class": "cat", "size": "auto"}) is None
    assert check(**{"class": "cat", "size": "32x32"}) is None
    assert "32x32" in check(**{"class": "cat", "size": "1024x1024"}).message
    assert "full, budget" in check(**{"class": "cat", "policy": "static"}).message
