"""Embedded sentence tasks for offline use: English sentences drawn from small grammars.

Four tasks have the shapes of GLUE's: ``grammar-single`` (one sentence, two classes), ``grammar-pair`` (two sentences,
two classes), ``grammar-inference`` (two sentences, three classes) and ``grammar-similarity`` (two sentences, a score
from 0 to 5). Classes are balanced and depend on how words are combined (negation, concession, who does what to whom,
synonyms, passive voice, more general words), not on which words occur. They measure nothing but whether a network still
computes what it was trained to compute, which is what fault injection needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crossvote.sim.common.later import Later
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.tasks.base import Example, Task
from crossvote.swstack.tasks.named import TASKS, NamedTask

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")

TRAIN_ROWS = 2400
DEV_ROWS = 1000

_WORKS = ("film", "novel", "play", "concert", "opera", "series", "album", "musical", "show", "story")
_ASPECTS = (
    "plot", "ending", "music", "dialogue", "pacing", "cast", "script", "melody", "opening", "staging", "humour",
    "performance",
)  # fmt: skip
_PRAISE = (
    "brilliant", "moving", "charming", "delightful", "clever", "superb", "gripping", "elegant", "graceful", "inspired",
    "wonderful", "vivid", "witty", "fresh", "splendid", "touching",
)  # fmt: skip
_BLAME = (
    "dull", "clumsy", "boring", "awful", "shallow", "tedious", "stale", "messy", "lifeless", "dreadful", "weak",
    "silly", "bland", "tiresome", "crude", "pointless",
)  # fmt: skip
_STRENGTH = ("", "", "very ", "truly ", "rather ", "quite ")
# Frames around a claim that keep its verdict, and frames that turn it round.
_KEEP = ("nobody would deny that {}", "few doubted that {}", "it is true that {}", "they rightly wrote that {}")
_TURN = (
    "the critics were wrong to say that {}", "it is a lie that {}", "nobody would agree that {}",
    "few believed that {}",
)  # fmt: skip
_NEGATION = ("was not {}", "was never {}", "was anything but {}", "was far from {}", "was hardly {}")

# Each entry: a word and its synonym.
_NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "artist": (("actor", "performer"), ("singer", "vocalist"), ("author", "writer"), ("composer", "songwriter")),
    "official": (("judge", "magistrate"), ("senator", "lawmaker"), ("policeman", "officer"), ("envoy", "diplomat")),
    "criminal": (("thief", "robber"), ("killer", "murderer"), ("pirate", "buccaneer"), ("forger", "counterfeiter")),
    "scholar": (("professor", "lecturer"), ("scientist", "researcher"), ("pupil", "student"), ("teacher", "tutor")),
    "worker": (("farmer", "grower"), ("cook", "chef"), ("sailor", "mariner"), ("cleaner", "janitor")),
    "expert": (("doctor", "physician"), ("lawyer", "attorney"), ("pilot", "aviator"), ("banker", "financier")),
}
_QUALITIES = (
    ("old", "elderly"), ("rich", "wealthy"), ("angry", "furious"), ("clever", "smart"), ("brave", "courageous"),
    ("tired", "exhausted"), ("quiet", "silent"), ("famous", "renowned"), ("polite", "courteous"), ("sad", "unhappy"),
    ("strange", "odd"), ("lucky", "fortunate"),
)  # fmt: skip
# Each entry: a verb, its synonym, its opposite and the opposite's synonym; past tense and participle are equal.
_VERBS = (
    ("praised", "commended", "criticised", "condemned"),
    ("helped", "assisted", "hindered", "obstructed"),
    ("hired", "employed", "fired", "dismissed"),
    ("trusted", "believed", "doubted", "distrusted"),
    ("welcomed", "greeted", "rejected", "refused"),
    ("defended", "protected", "attacked", "assaulted"),
    ("loved", "adored", "hated", "despised"),
    ("freed", "released", "jailed", "imprisoned"),
)
_PLACES = (
    ("in the kitchen", "in the cookhouse"), ("near the river", "by the stream"),
    ("behind the church", "behind the chapel"), ("in the woods", "in the forest"),
    ("at the market", "at the bazaar"), ("on the ship", "on the vessel"),
    ("in the street", "on the road"), ("at the harbour", "in the port"), ("in the shop", "in the store"),
    ("outside the hospital", "outside the clinic"),
)  # fmt: skip


@dataclass(frozen=True)
class _Person:
    kind: str
    noun: int
    quality: int | None


@dataclass(frozen=True)
class _Event:
    """Who did what to whom and where; indices into the word lists above."""

    agent: _Person
    patient: _Person
    verb: int
    opposite: bool
    place: int | None


def generate_task(name: str, seed: int, max_length: int) -> Task:
    """The embedded task name (a key of ``GRAMMAR_TASKS``), TRAIN_ROWS + DEV_ROWS distinct examples from ``seed``."""
    make, labels, metrics = GRAMMAR_TASKS[name]
    rng = np.random.default_rng(seed_sequence(seed, "task", name))
    examples: dict[tuple[str, str | None], Example] = {}
    while len(examples) < TRAIN_ROWS + DEV_ROWS:
        example = make(rng, len(examples))
        examples.setdefault((example.sentence1, example.sentence2), example)
    rows = tuple(examples.values())
    provenance = f"embedded task {name}, drawn from its grammar; train: {TRAIN_ROWS} rows, dev: {DEV_ROWS} rows"
    return Task(name, rows[:TRAIN_ROWS], rows[TRAIN_ROWS:], labels, metrics, provenance, max_length)


def _pick(rng: np.random.Generator, count: int, other_than: int | None = None) -> int:
    if other_than is None:
        return int(rng.integers(count))
    return int((other_than + 1 + rng.integers(count - 1)) % count)


def _word(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


# Single sentences: is the verdict positive?


def _opinion(rng: np.random.Generator, positive: bool) -> str:
    """A clause with the given verdict; half of them say it by denying the opposite."""
    if _chance(rng, 0.5):
        predicate = _word(rng, _NEGATION).format(_word(rng, _BLAME if positive else _PRAISE))
    else:
        predicate = f"was {_word(rng, _STRENGTH)}{_word(rng, _PRAISE if positive else _BLAME)}"
    return f"the {_word(rng, _ASPECTS)} of the {_word(rng, _WORKS)} {predicate}"


def _claim(rng: np.random.Generator, positive: bool, depth: int) -> str:
    """An opinion inside ``depth`` frames, with the given verdict as a whole."""
    if depth == 0:
        return _opinion(rng, positive)
    turn = _chance(rng, 0.5)
    return _word(rng, _TURN if turn else _KEEP).format(_claim(rng, positive != turn, depth - 1))


def _single(rng: np.random.Generator, index: int) -> Example:
    """Label 1 where the claim that counts is positive; a conceded claim has a verdict of its own."""
    positive = bool(index % 2)
    other = _opinion(rng, _chance(rng, 0.5))
    frame = int(rng.integers(6))
    if frame == 0:
        sentence = f"although {other} , {_opinion(rng, positive)}"
    elif frame == 1:
        sentence = f"{_opinion(rng, positive)} , even though {other}"
    elif frame == 2:
        sentence = f"they claimed that {other} , but {_opinion(rng, positive)}"
    else:
        sentence = _claim(rng, positive, depth=frame - 3)
    return Example(f"{sentence} .", None, int(positive))


# Sentence pairs about one event.


def _draw_person(rng: np.random.Generator, other_than: _Person | None = None) -> _Person:
    kinds = tuple(_NOUNS)
    taken = None if other_than is None else kinds.index(other_than.kind)
    kind = kinds[_pick(rng, len(kinds), taken)]
    quality = _pick(rng, len(_QUALITIES), None if other_than is None else other_than.quality)
    return _Person(kind, _pick(rng, len(_NOUNS[kind])), quality)


def _draw_event(rng: np.random.Generator) -> _Event:
    agent = _draw_person(rng)
    patient = _draw_person(rng, other_than=agent)
    return _Event(agent, patient, _pick(rng, len(_VERBS)), _chance(rng, 0.5), _pick(rng, len(_PLACES)))


def _say_person(rng: np.random.Generator, person: _Person, general: bool) -> str:
    noun = person.kind if general else _word(rng, _NOUNS[person.kind][person.noun])
    quality = "" if person.quality is None else f"{_word(rng, _QUALITIES[person.quality])} "
    return f"{quality}{noun}"


def _say(
    rng: np.random.Generator, event: _Event, negated: bool = False, general: tuple[bool, bool] = (False, False)
) -> str:
    """A sentence for ``event``: synonyms, voice and the place's position are free.

    general: whether agent and patient are named by their more general word.
    """
    agent = f"the {_say_person(rng, event.agent, general[0])}"
    patient = f"the {_say_person(rng, event.patient, general[1])}"
    verb = _VERBS[event.verb][2 * event.opposite + int(rng.integers(2))]
    never = "never " if negated else ""
    passive = _chance(rng, 0.5)
    clause = f"{patient} was {never}{verb} by {agent}" if passive else f"{agent} {never}{verb} {patient}"
    if event.place is None:
        return f"{clause} ."
    place = _word(rng, _PLACES[event.place])
    return f"{place} , {clause} ." if _chance(rng, 0.3) else f"{clause} {place} ."


def _pair(rng: np.random.Generator, index: int) -> Example:
    """Label 1 for a paraphrase; otherwise one thing differs, often only the roles."""
    event = _draw_event(rng)
    first = _say(rng, event)
    if index % 2:
        return Example(first, _say(rng, event), 1)
    change = int(rng.integers(4))
    if change == 0:
        second = _say(rng, replace(event, agent=event.patient, patient=event.agent))
    elif change == 1:
        second = _say(rng, replace(event, opposite=not event.opposite))
    elif change == 2:
        second = _say(rng, event, negated=True)
    else:
        second = _say(rng, replace(event, patient=_draw_person(rng, other_than=event.agent)))
    return Example(first, second, 0)


def _inference(rng: np.random.Generator, index: int) -> Example:
    """Labels 0 entailment, 1 neutral, 2 contradiction."""
    event = _draw_event(rng)
    label = index % 3
    agent, patient = event.agent, event.patient
    dropped = replace(
        event,
        agent=replace(agent, quality=agent.quality if _chance(rng, 0.5) else None),
        patient=replace(patient, quality=patient.quality if _chance(rng, 0.5) else None),
        place=event.place if _chance(rng, 0.5) else None,
    )
    general = (_chance(rng, 0.5), _chance(rng, 0.5))
    if label == 0:
        return Example(_say(rng, event), _say(rng, dropped, general=general), 0)
    if label == 1:
        # The second sentence says more than the first: what was left out or said in general words.
        if dropped == event and not any(general):
            dropped = replace(event, place=None)
        return Example(_say(rng, dropped, general=general), _say(rng, event), 1)
    kept = replace(dropped, agent=agent, patient=patient)
    if _chance(rng, 0.5):
        return Example(_say(rng, event), _say(rng, kept, negated=True, general=general), 2)
    return Example(_say(rng, event), _say(rng, replace(kept, opposite=not event.opposite), general=general), 2)


def _similarity(rng: np.random.Generator, index: int) -> Example:
    """Score 5 for the same event, less for what differs: place and quality 0.5, agent 1.25, patient 1, verb 1.75."""
    event = _draw_event(rng)
    other, score = event, 5.0
    if _chance(rng, 0.4):
        other, score = replace(other, place=_pick(rng, len(_PLACES), event.place)), score - 0.5
    if _chance(rng, 0.4):
        quality = _pick(rng, len(_QUALITIES), event.agent.quality)
        other, score = replace(other, agent=replace(other.agent, quality=quality)), score - 0.5
    if _chance(rng, 0.4):
        kinds = tuple(_NOUNS)
        kind = kinds[_pick(rng, len(kinds), kinds.index(event.agent.kind))]
        other, score = replace(other, agent=replace(other.agent, kind=kind)), score - 1.25
    if _chance(rng, 0.4):
        kinds = tuple(_NOUNS)
        kind = kinds[_pick(rng, len(kinds), kinds.index(event.patient.kind))]
        other, score = replace(other, patient=replace(other.patient, kind=kind)), score - 1.0
    if _chance(rng, 0.4):
        other, score = replace(other, opposite=not event.opposite), score - 1.75
    return Example(_say(rng, event), _say(rng, other), score)


#: Name -> (generator of the example with a running index, class names, metrics).
GRAMMAR_TASKS: dict[str, tuple[Callable[[np.random.Generator, int], Example], tuple[str, ...], tuple[str, ...]]] = {
    "grammar-single": (_single, ("negative", "positive"), ("accuracy", "f1")),
    "grammar-pair": (_pair, ("different", "same"), ("accuracy", "f1")),
    "grammar-inference": (_inference, ("entailment", "neutral", "contradiction"), ("accuracy",)),
    "grammar-similarity": (_similarity, (), ("spearman", "pearson")),
}


def _named(name: str) -> NamedTask:
    return NamedTask(lambda config, seed: generate_task(name, seed, config.max_length))


for _name in GRAMMAR_TASKS:
    TASKS.register(_name)(_named(_name))
