"""No sentence without its record: what ran is named, and a model at chance level is not praised."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import synthetic_run as synthetic

from crossvote.swstack.evaluation.results import CosimRecord
from crossvote.swstack.report import claims, pictures, tables
from crossvote.swstack.report import page as report
from crossvote.swstack.tasks.chance import Chance

CHANCE = Chance("accuracy", 50.0, 3.1, 1000)


def verdict(**changes):
    return " ".join(claims.verdict(synthetic.results(**changes)))


def records(backend, equal=True, outputs=960):
    return [{**synthetic.results()["cosim"]["matrices"][0], "backend": backend, "equal": equal, "outputs": outputs}]


def test_verdict_names_the_most_telling_rate_and_the_crossbars():
    text = verdict()
    assert "0.2 % of the cells stuck" in text
    assert "52.0 % (chance level) with 'none', 82.1 % with 'paper', 89.9 % with 'best'" in text
    assert "with 'best' (mean over the same 5 chips); in floating point, without crossbars and faults, it is " in text


@pytest.mark.parametrize(
    ("backend", "subject", "verilog", "rtl"),
    [
        ("verilator", "The Verilog of the output peripheral (compiled by Verilator) gave", True, False),
        ("amaranth", "The RTL of the output peripheral in Amaranth's simulator gave", False, True),
        ("numpy", "The NumPy model of the output peripheral gave", False, False),
        ("somebody's", "The output peripheral 'somebody's' gave", False, False),
    ],
)
def test_only_the_back_end_that_ran_is_said_to_have_run(backend, subject, verilog, rtl):
    (sentence,) = claims.cosimulation_claims({"matrices": records(backend), "left_out": []})
    assert sentence.startswith(subject)
    assert "960 integers, all equal to the reference" in sentence
    assert ("Verilog" in sentence, "RTL" in sentence) == (verilog, rtl)
    assert ("no hardware description was simulated" in sentence) == (not (verilog or rtl))
    (wrong,) = claims.cosimulation_claims({"matrices": records(backend, equal=False), "left_out": []})
    assert "DIFFERS from the reference in 1 of 1" in wrong
    assert "equal" not in wrong


def test_a_model_trained_for_faults_is_said_to_be_one():
    results = synthetic.results()
    assert "trained for" not in " ".join(claims.verdict(results))
    results["fault-training"] = {"scheme": None, "noise": None, "design_rate": None}
    assert "trained for" not in " ".join(claims.verdict(results))
    results["fault-training"] = {"scheme": "code", "noise": {"kind": "stuck"}, "design_rate": 0.1}
    results["eval"]["fault_free"]["trained"] = 90.3
    (sentence,) = [text for text in claims.verdict(results) if "trained for" in text]
    assert "up to 10 % of stuck cells under 'code' (noise of the kind 'stuck')" in sentence
    assert "accuracy is 90.3 %, 91.2 % before that training" in sentence


@pytest.mark.parametrize(("share", "said"), [(0.0, None), (0.0004, "0.04 %"), (0.123, "12 %")])
def test_what_the_tokenizer_does_not_know_is_said(share, said):
    results = synthetic.results()
    assert "unknown" not in " ".join(claims.verdict(results))
    results["score-dense"] = {"unknown_tokens": share, "dev_examples": 872}
    found = [text for text in claims.verdict(results) if "unknown" in text]
    sentence = f"{said} of the tokens of the 872 dev examples are unknown to the model's tokenizer."
    assert found == ([sentence] if said else [])


def test_a_scheme_that_no_output_peripheral_runs_is_said_to_be_left_out():
    results = synthetic.results()
    results["cosim"]["left_out"] = [{"scheme": "five", "reason": "it has five replicas"}]
    assert "Scheme 'five' was not co-simulated: it has five replicas." in claims.verdict(results)


def test_two_back_ends_are_two_claims():
    assert len(claims.cosimulation_claims({"matrices": records("numpy") + records("verilator"), "left_out": []})) == 2


@pytest.mark.parametrize("nothing", [[], records("verilator", outputs=0)])
def test_nothing_compared_is_nothing_claimed(nothing):
    assert claims.cosimulation_claims({"matrices": nothing, "left_out": []}) == [
        "No output was co-simulated, so nothing is said about the hardware description."
    ]
    assert not claims.equal(nothing)


@pytest.mark.parametrize(
    ("backend", "cycles"),
    [("numpy", "by formula"), ("verilator", "counted"), ("amaranth", "counted")],
)
def test_a_terminal_line_says_where_cycles_come_from(backend, cycles):
    assert f"{backend}: equal to the reference, 34,816 clock cycles {cycles}" in claims.cosimulation_line(
        records(backend)[0]
    )


def test_tolerance_is_the_highest_rate_before_the_first_loss():
    points = synthetic.results()["eval"]["points"]
    assert claims.tolerance(points, 91.2) == (
        "The mean stays within 1 point of that at no rate measured with 'none'; "
        "up to 0.05 % with 'paper' (with its whole 95 % interval at no rate); "
        "up to 0.1 % with 'best' (with its whole 95 % interval at no rate)."
    )
    assert "up to 0.2 %, the highest measured with 'best'" in claims.tolerance(points, 90.0)
    assert "'best' (with its whole 95 % interval up to 0.1 %)" in claims.tolerance(points, 85.4)


def test_a_loss_without_faults_is_not_tolerated_with_faults():
    """Luck at a higher rate does not make good what quantization lost."""
    points = [
        {"scheme": "none", "rate": rate, "mean": mean, "low": mean, "chips": 1}
        for rate, mean in ((0.0, 80.0), (0.001, 91.0))
    ]
    assert claims.highest_rate_within(points, "none", 91.0) == 0.0


def test_a_metric_of_which_less_is_better_is_lost_when_it_rises():
    points = [
        {
            "scheme": "none",
            "rate": rate,
            "metric": "perplexity",
            "mean": mean,
            "low": mean - 1,
            "high": mean + 1,
            "chips": 3,
        }
        for rate, mean in ((0.0, 20.0), (0.001, 20.2), (0.002, 20.9), (0.003, 40.0))
    ]
    assert claims.highest_rate_within(points, "none", 20.0) == 0.002
    assert claims.highest_rate_within(points, "none", 20.0, bound="worst") == 0.0
    points[1]["high"] = 20.3
    assert claims.highest_rate_within(points, "none", 20.0, bound="worst") == 0.001


def test_no_rate_is_tolerated_at_chance_level():
    points = [
        {"scheme": "none", "rate": rate, "mean": mean, "low": mean, "chips": 1}
        for rate, mean in ((0.0, 54.0), (0.001, 53.5), (0.002, 53.0), (0.003, 54.0))
    ]
    assert claims.highest_rate_within(points, "none", 54.0) == 0.003
    assert claims.highest_rate_within(points, "none", 54.0, CHANCE) == 0.001


@pytest.mark.parametrize(("dense", "pruned"), [(51.0, 50.0), (50.0, 53.1), (92.0, 53.0), (92.0, float("nan"))])
def test_a_model_at_chance_level_is_not_praised(dense, pruned):
    text = verdict(dense=dense, pruned=pruned)
    assert "AT CHANCE LEVEL" in text
    assert "always giving one answer scores 50.0 %" in text
    assert not re.search(r"stays within|tolerate", text)


def test_a_model_above_chance_is_not_accused():
    assert "THE MODEL IS AT CHANCE" not in verdict()
    assert "stays within" in verdict()


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("numpy", "ADC codes through the NumPy model of the output peripheral"),
        ("verilator", "ADC codes through the Verilog of the output peripheral (compiled by Verilator)"),
        ("amaranth", "ADC codes through the RTL of the output peripheral in Amaranth's simulator"),
    ],
)
def test_a_system_run_names_the_back_end_that_computed(backend, said):
    check = CosimRecord("layer.0.qkv", "best", backend, 4, 9, 2, 100, 0, True, 5_000_000, 1_000_000, 0, 0)
    line = claims.computed_line([check], wall_seconds=2.0, simulated_seconds=1e-6)
    assert said in line
    assert "5.0 M codes/s" in line
    assert f"1.0 M clock cycles {'by formula' if backend == 'numpy' else 'counted'}" in line
    assert line.endswith("every integer equal")
    assert claims.computed_line([dataclasses.replace(check, equal=False)], 2.0, 1e-6).endswith("1 groups DIFFER")
    miscounted = dataclasses.replace(check, equal=False, checksum_mismatches=2, checksum_reference=3)
    told = "1 groups DIFFER (it counted 2 checksums that do not hold, there are 3)"
    assert claims.computed_line([check, miscounted], 2.0, 1e-6).endswith(told)
    assert claims.computed_line([dataclasses.replace(check, outputs=0)], 2.0, 1e-6).endswith("nothing compared")


def test_costs_are_said_against_the_dense_encoder():
    (said,) = claims.cost_claims(synthetic.results()["simulate"])
    assert said.startswith(
        "Costs on the simulated chip against the dense, unprotected model, for sequences of 64 tokens: "
        "'none' latency +0.0 %, throughput +0.0 %"
    )
    paper = "'paper' latency +75.0 %, throughput -42.9 %, energy of a sequence -10.0 %, tile area +0.0 %"
    assert f"; {paper}; 'best'" in said


def test_what_was_skipped_is_said_and_nothing_else():
    skipped = {"tokens": 64, "skipped": "the chip has no digital pairs.", "schemes": {}}
    assert claims.cost_claims(skipped) == [
        "Latency, energy and area were not simulated: the chip has no digital pairs."
    ]
    assert claims.relative_costs(skipped) == {}
    left_out = [{"scheme": "best", "reason": "cells of 2 bits"}]
    assert claims.cosimulation_claims({"matrices": [], "left_out": left_out}) == [
        "No output was co-simulated, so nothing is said about the hardware description.",
        "Scheme 'best' was not co-simulated: cells of 2 bits.",
    ]


@pytest.mark.parametrize("lost", ["one scheme at one rate", "everything"])
def test_what_is_no_number_is_said_to_be_none_wherever_it_is_shown(lost: str) -> None:
    """It is not left out, not called chance level, and the rate at which it occurs is the most telling one."""
    results = synthetic.results()
    nothing = dict.fromkeys(("mean", "sd", "low", "high"), math.nan)
    points = results["eval"]["points"]
    for point in points:
        if lost == "everything" or (point["scheme"], point["rate"]) == ("paper", 0.0005):
            point.update(nothing, scores=[math.nan] * point["chips"])
    if lost == "everything":
        results["eval"]["fault_free"] = {"dense": math.nan, "pruned": math.nan}
    results["eval"]["all_points"] = [{**point, "metric": "f1"} for point in points]
    sentences = claims.verdict(results)
    assert any("not a number with 'paper'" in sentence for sentence in sentences)
    assert claims.telling_rate(points) == 0.0005
    assert ("without faults is not a number; always" in sentences[0]) == (lost == "everything")
    stub = pictures.Drawing("<svg></svg>", "data:,", "a picture")
    page = report.page(results, dict.fromkeys(pictures.NAMES, stub), synthetic.images(), synthetic.chip())
    shown = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert "not a number" in shown
    assert not re.search(r"\bnan\b", shown, re.IGNORECASE)
    overview = {row["scheme"]: row for row in tables.overview(results)}
    assert (overview["paper"]["score"], overview["paper"]["tolerated"]) == ("not a number", "none measured")


def perplexities():
    """A run whose first metric is a perplexity."""
    results = synthetic.results()
    accuracy = results["eval"]
    accuracy["metric"], accuracy["chance"] = "perplexity", None
    for point in accuracy["points"]:
        point["metric"] = "perplexity"
        point["mean"] = 12345.678 if point["rate"] else 31.25
    accuracy["fault_free"] = {"dense": 30.5, "pruned": 31.25}
    return results


def test_what_is_no_percentage_is_not_said_to_be_one():
    results = perplexities()
    (said, *_) = claims.accuracy_claims(results["eval"])
    assert "perplexity is 1.235e+04 with 'none'" in said
    assert "in floating point, without crossbars and faults, it is 31.25." in said
    assert tables.cards(results)[0]["value"] == "30.5 → 31.25"
    assert all(row["score"] == "1.235e+04" for row in tables.overview(results))


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 93.456, "93.5 %"),
        ("matthews", -3.04, "-3.0 %"),
        ("somebody's", 93.456, "93.5 %"),
        ("perplexity", 31.2549, "31.25"),
        ("perplexity", math.nan, "not a number"),
        ("accuracy", math.nan, "not a number"),
    ],
)
def test_a_score_has_the_unit_of_its_metric(metric, value, text):
    assert claims.score_text(value, metric) == text


def test_an_axis_names_the_unit_that_the_metric_has():
    assert claims.metric_title("f1") == "f1, %"
    assert claims.metric_title("perplexity") == "perplexity (less is better)"
