"""What a report may say: every sentence follows from a record of what ran, and says less where less is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crossvote.sim.peripheral import backend_kind
from crossvote.swstack.tasks.chance import Chance, marked
from crossvote.swstack.tasks.metrics import goodness, in_percent, lost

if TYPE_CHECKING:  # needs PyTorch, which a command that only reads the result does without
    from crossvote.swstack.evaluation.results import CosimRecord

Record = Mapping[str, Any]

#: Points of the metric that a scheme may lose and still be said to tolerate the faults.
ALLOWED_LOSS = 1.0


def verdict(results: Mapping[str, Any]) -> list[str]:
    """What a run found, in a few sentences made of its numbers. ``results``: JSON artefacts by stage."""
    accuracy = results["eval"]
    return [
        *chance_claims(accuracy),
        *unknown_claims(results.get("score-dense")),
        *training_claims(results.get("fault-training"), accuracy),
        *accuracy_claims(accuracy),
        *space_claims(results["map"]),
        *cost_claims(results["simulate"]),
        *cosimulation_claims(results["cosim"]),
    ]


def chance_of(accuracy: Record) -> Chance | None:
    """The chance level beside an accuracy result; ``None`` if it has none."""
    return Chance(**accuracy["chance"]) if accuracy.get("chance") else None


def at_chance(accuracy: Record) -> bool:
    """Whether the pruned model without faults is no better than one that does not look at its input."""
    chance = chance_of(accuracy)
    return chance is not None and chance.holds(accuracy["fault_free"]["pruned"])


def chance_claims(accuracy: Record) -> list[str]:
    """Warnings about models that learned nothing, before and after pruning."""
    chance = chance_of(accuracy)
    if chance is None:
        return []
    limit = (
        f"always giving one answer scores {chance.score:.1f} %, and {chance.examples} examples tell no difference "
        f"below {chance.noise:.1f} points"
    )
    dense, pruned = (accuracy["fault_free"][name] for name in ("dense", "pruned"))
    if chance.holds(dense) and chance.holds(pruned):
        return [
            f"THE MODEL IS AT CHANCE LEVEL: {chance.metric} without faults is {score_text(pruned, chance.metric)}; "
            f"{limit}. How it stands faults says nothing about fault tolerance."
        ]
    if chance.holds(pruned):
        return [
            f"PRUNING LEFT THE MODEL AT CHANCE LEVEL: {chance.metric} fell from {score_text(dense, chance.metric)} to "
            f"{score_text(pruned, chance.metric)}; {limit}. How it stands faults says nothing about fault tolerance."
        ]
    return []


def unknown_claims(score: Record | None) -> list[str]:
    """How much of the text the model could not read, if anything."""
    if score is None or not score["unknown_tokens"]:
        return []
    share = f"{100 * score['unknown_tokens']:.2g}"
    return [
        f"{share} % of the tokens of the {score['dev_examples']} dev examples are unknown to the model's tokenizer."
    ]


def training_claims(training: Record | None, accuracy: Record) -> list[str]:
    """Which model was mapped, where it was trained for faults, and what that cost without faults."""
    if training is None or training["scheme"] is None:
        return []
    metric, scores = accuracy["metric"], accuracy["fault_free"]
    kind = training["noise"]["kind"]
    how = "errors of its law" if kind == "code" else f"noise of the kind '{kind}'"
    return [
        f"All schemes were measured on a model trained for up to {100 * training['design_rate']:g} % of stuck cells "
        f"under '{training['scheme']}' ({how}): without faults its {metric} is "
        f"{score_text(scores['trained'], metric)}, {score_text(scores['pruned'], metric)} before that training."
    ]


def accuracy_claims(accuracy: Record) -> list[str]:
    """Scores at the rate where the schemes differ most, and the rates that each tolerates."""
    points, metric = accuracy["points"], accuracy["metric"]
    rate = telling_rate(points)
    if rate is None:
        return []
    at = {point["scheme"]: point for point in points if point["rate"] == rate}
    chance = chance_of(accuracy)
    held = ", ".join(
        f"{marked(score_text(point['mean'], metric), point['mean'], chance)} with '{scheme}'"
        for scheme, point in at.items()
    )
    chips = sorted({point["chips"] for point in at.values()})
    measured = (
        f"mean over the same {chips[0]} chips" if len(chips) == 1 and chips[0] > 1 else
        "one chip" if chips == [1] else f"means over {chips[0]} to {chips[-1]} chips"
    )  # fmt: skip
    sentences = [
        f"With {100 * rate:g} % of the cells stuck, {metric} is {held} ({measured}); in floating point, without "
        f"crossbars and faults, it is {score_text(accuracy['fault_free']['pruned'], metric)}."
    ]
    if not at_chance(accuracy):
        sentences.append(tolerance(points, accuracy["fault_free"]["pruned"], chance))
    return sentences


def metric_of(points: Sequence[Record]) -> str:
    """The metric of points, which they have in common."""
    return str(points[0].get("metric", "")) if points else ""


def telling_rate(points: Sequence[Record]) -> float | None:
    """The fault rate at which the schemes differ most; ``None`` without a faulty point.

    A score and none are further apart than any two scores.
    """
    spread = {}
    for rate in {point["rate"] for point in points if point["rate"] > 0}:
        means = [point["mean"] for point in points if point["rate"] == rate]
        known = [mean for mean in means if not math.isnan(mean)]
        spread[rate] = max(known) - min(known) if len(known) == len(means) else math.inf if known else 0.0
    return max(sorted(spread), key=lambda rate: spread[rate]) if spread else None


def highest_rate_within(
    points: Sequence[Record], scheme: str, fault_free: float, chance: Chance | None = None, bound: str = "mean"
) -> float:
    """The highest measured rate up to which a scheme loses at most ``ALLOWED_LOSS``; 0 if there is none.

    A score at chance level is never a tolerated one. ``bound`` is "mean", or "worst" for that end of its interval.
    """
    kept, metric = 0.0, metric_of(points)
    end = bound if bound == "mean" else "low" if goodness(metric, 1) > 0 else "high"
    for point in sorted((p for p in points if p["scheme"] == scheme), key=lambda p: p["rate"]):
        value = point[end] if point["rate"] > 0 else point["mean"]
        if not lost(metric, fault_free, value) <= ALLOWED_LOSS or (chance is not None and chance.holds(value)):
            break
        kept = point["rate"]
    return float(kept)


def tolerance(points: Sequence[Record], fault_free: float, chance: Chance | None = None) -> str:
    """How far each scheme keeps within ``ALLOWED_LOSS`` points of the fault-free metric, over the rates measured."""
    held = []
    for scheme in dict.fromkeys(point["scheme"] for point in points):
        faulty = [point for point in points if point["scheme"] == scheme and point["rate"] > 0]
        kept = highest_rate_within(points, scheme, fault_free, chance)
        if not kept:
            held.append(f"at no rate measured with '{scheme}'")
            continue
        highest = ", the highest measured" if kept == max(point["rate"] for point in faulty) else ""
        surely = highest_rate_within(points, scheme, fault_free, chance, "worst")
        several = any(point["chips"] > 1 for point in faulty)
        interval = (
            "" if not several or surely == kept else
            f" (with its whole 95 % interval up to {100 * surely:g} %)" if surely else
            " (with its whole 95 % interval at no rate)"
        )  # fmt: skip
        held.append(f"up to {100 * kept:g} %{highest} with '{scheme}'{interval}")
    return f"The mean stays within {ALLOWED_LOSS:g} point of that {'; '.join(held)}."


def space_claims(mapping: Record) -> list[str]:
    """What the protections with replicas need beside the dense, unprotected model, in one sentence."""
    needed = [
        f"'{scheme['name']}' in {sum(group['zero_space'] for group in scheme['groups'])} of {len(scheme['groups'])} "
        f"word-line groups ({scheme['crossbars']:,} crossbars)"
        for scheme in mapping["schemes"]
        if scheme["replicas"]
    ]
    if not needed:
        return []
    dense = f"the dense, unprotected model needs {mapping['dense_crossbars']:,} crossbars"
    return [f"Protection has zero space cost with {', '.join(needed)}; {dense}."]


def equal(records: Sequence[Record]) -> bool:
    """Whether something was compared and every integer of it was equal."""
    return any(record["outputs"] for record in records) and all(record["equal"] for record in records)


#: What a cost is called, and its key in the system model's summary.
COSTS = {
    "latency": "latency_us",
    "throughput": "sequences_per_s",
    "energy of a sequence": "energy_uj_per_sequence",
    "tile area": "area_mm2",
}


def relative_costs(system: Record) -> dict[str, dict[str, float]]:
    """Scheme -> cost -> change against the dense, unprotected model as a fraction; nothing where none ran.

    A cost that was not measured is left out.
    """
    if not system["schemes"]:
        return {}
    base = system["schemes"][system["baseline"]]
    return {
        name: {title: own[key] / base[key] - 1 for title, key in COSTS.items() if base.get(key) and own.get(key)}
        for name, own in system["schemes"].items()
        if name not in system["unprotected"]
    }


def cost_claims(system: Record) -> list[str]:
    """What the schemes cost on the simulated chip, in one sentence."""
    if "skipped" in system:
        return [f"Latency, energy and area were not simulated: {system['skipped']}"]
    costs = [
        f"'{name}' {', '.join(f'{title} {100 * change:+z.1f} %' for title, change in changes.items())}"
        for name, changes in relative_costs(system).items()
    ]
    against = f"against the dense, unprotected model, for sequences of {system['tokens']} tokens"
    return [f"Costs on the simulated chip {against}: {'; '.join(costs)}."] if costs else []


def cosimulation_claims(cosim: Record) -> list[str]:
    """What every back end that ran was, how much was compared, with which outcome; and what was left out."""
    records, sentences = cosim["matrices"], []
    for name in dict.fromkeys(record["backend"] for record in records):
        own = [record for record in records if record["backend"] == name]
        compared = sum(record["outputs"] for record in own)
        if not compared:
            continue
        kind, wrong = backend_kind(name), sum(not record["equal"] for record in own)
        subject = f"{kind.what[:1].upper()}{kind.what[1:]}"
        outcome = (
            f"gave {compared:,} integers, all equal to the reference"
            if not wrong
            else f"DIFFERS from the reference in {wrong} of {len(own)} co-simulated matrices"
            + _checksums_line(sum(map(_counted, own)), sum(map(_expected, own)))
        )
        rest = "." if kind.hardware else "; no hardware description was simulated."
        sentences.append(f"{subject} {outcome}{rest}")
    if not sentences:
        sentences = ["No output was co-simulated, so nothing is said about the hardware description."]
    return [*sentences, *map(left_out_line, cosim["left_out"])]


def cosimulation_line(record: Record) -> str:
    """One co-simulated matrix on one line of a terminal."""
    kind = backend_kind(record["backend"])
    told = _checksums_line(_counted(record), _expected(record))
    outcome = "equal to the reference" if record["equal"] else f"DIFFERS from the reference{told}"
    return (
        f"{record['name']}, {record['scheme']}, {kind.name}: {outcome if record['outputs'] else 'nothing compared'}, "
        f"{record['cycles']:,} {kind.cycles}, {record['simulated_ps'] / 1e6:.3f} us simulated"
    )


def _counted(record: Record) -> int:
    found: int = record.get("checksum_mismatches", 0)
    return found


def _expected(record: Record) -> int:
    found: int = record.get("checksum_reference", _counted(record))
    return found


def _checksums_line(counted: int, expected: int) -> str:
    """That hardware miscounted checksums that do not hold; nothing if it did not."""
    return (
        "" if counted == expected else f" (it counted {counted:,} checksums that do not hold, there are {expected:,})"
    )


def left_out_line(left_out: Record) -> str:
    """Why a scheme was not co-simulated."""
    return f"Scheme '{left_out['scheme']}' was not co-simulated: {left_out['reason']}."


def computed_line(checks: Sequence[CosimRecord], wall_seconds: float, simulated_seconds: float) -> str:
    """What the word-line groups of a system run that were computed came to, on one line of a terminal."""
    kinds = [backend_kind(name) for name in dict.fromkeys(check.backend for check in checks)]
    codes, cycles = 2 * sum(check.codes for check in checks), sum(check.cycles for check in checks)
    wrong = sum(not check.equal for check in checks)
    told = _checksums_line(sum(c.checksum_mismatches for c in checks), sum(c.checksum_reference for c in checks))
    outcome = f"{wrong} groups DIFFER{told}" if wrong else "every integer equal"
    return (
        f"{codes / 1e6:,.1f} M ADC codes through {' and '.join(kind.what for kind in kinds)} in {wall_seconds:.1f} s, "
        f"{codes / wall_seconds / 1e6:.1f} M codes/s, {cycles / 1e6:,.1f} M "
        f"{' or '.join(dict.fromkeys(kind.cycles for kind in kinds))}, "
        f"simulated to wall 1 : {wall_seconds / simulated_seconds:,.0f}, "
        f"{outcome if any(check.outputs for check in checks) else 'nothing compared'}"
    )


def score_text(value: float, metric: str, digits: int = 1) -> str:
    """A score to read, with its unit if it has one; of outputs that were no numbers, that it is none."""
    unit = " %" if in_percent(metric) and not math.isnan(value) else ""
    return f"{score_number(value, metric, digits)}{unit}"


def chips_text(count: int) -> str:
    """A number of chips."""
    return "1 chip" if count == 1 else f"{count} chips"


def score_number(value: float, metric: str, digits: int = 2) -> str:
    """A score without its unit; what is no percentage has four digits, for it may be of any size."""
    if math.isnan(value):
        return "not a number"
    return f"{value:.{digits}f}" if in_percent(metric) else f"{value:,.4g}"


def metric_title(metric: str) -> str:
    """Name and unit of a metric, for an axis or the head of a table."""
    if in_percent(metric):
        return f"{metric}, %"
    return metric if goodness(metric, 1.0) > 0 else f"{metric} (less is better)"
