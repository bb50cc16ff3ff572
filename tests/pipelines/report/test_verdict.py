"""Student against the teacher with fewer steps, in a sentence: right whoever wins, in words."""

from __future__ import annotations

import pytest

from nitrogen.pipelines.report.collect import collect
from nitrogen.pipelines.report.quality import claims
from nitrogen.pipelines.report.verdict import equal_error, verdict

CURVE = [(4, 0.4, 0.16), (8, 0.8, 0.04), (12, 1.2, 0.02)]


def sweep(distance: float, gflops: float = 0.6) -> dict:
    return {
        "metric": "same-seed RMSE to the teacher",
        "split": "validation, n = 64",
        "points": [{"gflops": gflops, "distance": distance}],
        "chosen": {"gflops": gflops, "distance": distance},
        "full_curve": [
            {"num_inference_steps": s, "gflops": g, "distance": d} for s, g, d in reversed(CURVE)
        ],
    }


def evaluate(student_ms: float, spread: float | None = 0.1) -> dict:
    """A teacher of 12 steps, 1.2 GFLOPs and 120 ms."""
    speedup = 120 / student_ms
    found = {
        "teacher": {"num_inference_steps": 12, "gflops": 1.2, "ms_p50": 120.0, "num_timings": 20},
        "student": {"num_inference_steps": 12, "gflops": 0.6, "ms_p50": student_ms},
        "command": "nitrogen evaluate x", "commit": "abc1234",
    }  # fmt: skip
    if spread is not None:
        low, high = speedup * (1 - spread), speedup * (1 + spread)
        found["speedup"] = {"value": speedup, "low": low, "high": high, "n": 20}
    return found


def test_equal_error_is_read_between_the_steps_that_were_measured():
    found = equal_error(CURVE, 0.08)  # halfway between 0.16 and 0.04 in the logarithm
    assert (found.steps, found.gflops, found.place) == (pytest.approx(6), pytest.approx(0.6),
                                                        "between")  # fmt: skip
    assert equal_error(CURVE, 0.04).steps == pytest.approx(8)
    assert (equal_error(CURVE, 0.2).steps, equal_error(CURVE, 0.2).place) == (4, "fewest")
    assert (equal_error(CURVE, 0.01).steps, equal_error(CURVE, 0.01).place) == (12, "most")
    assert equal_error([(1, 1.0, 0.5), (2, 2.0, 0.0)], 0.1).steps == 2


def test_a_slower_student_is_called_slower():
    found = verdict(sweep(0.08), evaluate(120.0))  # the teacher's 6 steps take 60 ms
    assert found.sentence == (
        "At equal error the student is slower than the teacher with fewer steps: it takes 2.00 "
        "times as long (1.82 to 2.22), for 1.00 times the compute."
    )
    assert "validation, n = 64: the student's is 0.0800" in found.basis
    assert "6.00 steps, read between" in found.basis
    assert "120 ms, against 60.0 ms of the teacher" in found.basis
    assert found.claim.value == pytest.approx(0.5)
    assert (found.claim.unit, found.claim.n, found.claim.commit) == ("x", 20, "abc1234")
    assert found.claim.low == pytest.approx(0.45)


def test_a_faster_student_is_called_faster():
    found = verdict(sweep(0.08, gflops=0.3), evaluate(30.0))
    assert found.sentence == (
        "At equal error the student is 2.00 times as fast as the teacher with fewer steps (1.80 to "
        "2.20), for 0.500 times the compute."
    )


def test_an_interval_that_holds_one_decides_nothing():
    sentence = verdict(sweep(0.08), evaluate(58.0)).sentence
    assert "is not shown to be faster or slower than the teacher with fewer steps" in sentence
    assert "1.03 times as fast (0.931 to 1.14)" in sentence


def test_without_an_interval_the_claim_says_so():
    found = verdict(sweep(0.08), evaluate(120.0, spread=None))
    assert "takes 2.00 times as long, for" in found.sentence
    assert found.claim.no_interval
    assert found.claim.low is None


def test_a_student_that_is_further_than_the_fewest_steps():
    slow = verdict(sweep(0.2), evaluate(120.0))  # the teacher's 4 steps take 40 ms
    assert "it takes at least 3.00 times as long" in slow.sentence
    assert "for at least 1.50 times the compute" in slow.sentence
    assert "more than the teacher's with 4 steps" in slow.basis
    assert slow.claim is None
    quick = verdict(sweep(0.2), evaluate(20.0))
    assert quick.sentence.startswith("At equal error student and teacher were not compared: with 4")


def test_a_student_that_is_nearer_than_all_steps():
    found = verdict(sweep(0.01), evaluate(150.0))
    assert found.sentence.startswith("No number of the teacher's steps that was measured comes as")
    assert "is slower than the teacher with 12, the most: it takes 1.25 times as long" in (
        found.sentence
    )
    assert found.claim is None


def test_without_times_compute_is_compared():
    untimed = {"teacher": {"num_inference_steps": 12, "gflops": 1.2}, "student": {"ms_p50": None}}
    found = verdict(sweep(0.08, gflops=0.9), untimed)
    assert found.sentence == (
        "At equal error the student takes 1.50 times the compute of the teacher with fewer steps."
    )
    assert found.basis.endswith("Times were not measured.")
    assert verdict({}, untimed) is None
    assert verdict({**sweep(0.08), "full_curve": []}, untimed) is None


def test_it_is_on_the_page_and_first_among_the_claims():
    from nitrogen.pipelines.report.page import render

    row = {"text": "Compute saved against x", "value": 50.0}
    results = {"sweep": sweep(0.08), "evaluate": {**evaluate(120.0), "claims": [row]}}
    data = collect(results, title="t")
    assert data.claims[0].text.startswith("Speed against the teacher with fewer steps")
    page = render(data)
    assert page.count("At equal error the student is slower than the teacher") == 2
    assert page.index("slower than the teacher") < page.index('<main id="main">')
    assert "0.500 x" in page


@pytest.mark.parametrize(
    ("text", "bounds", "words", "interval"),
    [
        ("Latency saved", (-34.0, -41.0, -28.0), "34.0 % slower", "28.0 to 41.0 % slower"),
        ("Latency saved", (7.0, -3.74, 18.6), "7.00 % saved", "3.74 % slower to 18.6 % saved"),
        ("Compute saved", (37.2, 36.0, 38.0), "37.2 % saved", "36.0 to 38.0 % saved"),
        ("Compute saved", (-0.56, -0.6, -0.5), "0.560 % more", "0.500 to 0.600 % more"),
    ],
)  # fmt: skip
def test_savings_are_said_in_words(text, bounds, words, interval):
    value, low, high = bounds
    text, bounds = f"{text} against x", {"low": low, "high": high}
    row = {"text": text, "value": value, **bounds, "n": 10, "unit": "%"}
    (found,) = claims({"claims": [row]}, "abc")
    assert (found.text, found.words, found.interval_words) == (
        text.replace(" saved", ""), words, interval,
    )  # fmt: skip
    assert (found.value, found.low, found.high) == (value, low, high)


def test_other_claims_keep_their_numbers():
    (found,) = claims({"claims": [{"text": "PSNR", "value": -3.0, "unit": "dB"}]}, "abc")
    assert (found.text, found.words, found.interval_words) == ("PSNR", "", "")
