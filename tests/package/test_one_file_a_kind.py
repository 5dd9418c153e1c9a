"""Every kind of thing can be added by one file, which is then known by name and runs; nothing else is touched."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

import crossvote as cv
from crossvote.sim.array.patterns import PATTERNS
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build
from crossvote.swstack.experiment.config_reference import all_keys, explain
from crossvote.swstack.mapping.scheme import SCHEMES, scheme_from
from crossvote.swstack.models.families import LAYOUTS
from crossvote.swstack.models.layouts import layers, word_line_groups
from crossvote.swstack.pruning.axes import pruning_axes
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.method import make_method
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.noise import NOISES, parse_noise
from crossvote.swstack.tasks import load_task, task_names
from crossvote.swstack.tasks.config import TaskConfig
from crossvote.swstack.tasks.kinds import KINDS, head_of, kind_of
from crossvote.swstack.tasks.metrics import METRICS, lost
from crossvote.swstack.tasks.named import TASKS
from crossvote.swstack.tasks.own import task_from_rows

PATTERN = '''
"""The first cells of every crossbar."""
import numpy as np
from crossvote.sim.array.patterns import PATTERNS, stuck_values
from crossvote.sim.common.schema import config_dataclass


@PATTERNS.register("first")
@config_dataclass
class First:
    kind = "first"

    def check(self, rows, columns): ...

    def draw(self, rng, block, rate, sa1):
        area = block.rows * block.columns
        cells = (np.arange(block.crossbars)[:, None] * area + np.arange(round(rate * area))).ravel()
        return cells, stuck_values(rng, len(cells), sa1)
'''

SCHEME = '''
"""The MSB alone, once."""
from typing import Literal
from pydantic import Field
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.mapping.scheme import SCHEMES, Allocation, Scheme, Term


@SCHEMES.register("msb-only")
@config_dataclass
class MsbOnly(Scheme):
    kind: Literal["msb-only"] = "msb-only"
    flip_it: bool = Field(default=False, description="whether it is stored inverted")

    def allocate(self, statistics, free_lines, faults=None):
        top = statistics.planes - 1
        return Allocation.uniform((Term(top, top, flipped=self.flip_it),), statistics.kept, "none")

    def describe(self):
        return "the MSB alone"
'''

METHOD = '''
"""The last columns go."""
import torch
from pydantic import Field
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.method import PruningMethod
from crossvote.swstack.pruning.methods import METHODS


@config_dataclass
class LastSettings:
    sign: float = Field(default=-1.0, description="-1: the last go; 1: the first")


@METHODS.register("last-go")
class LastGo(PruningMethod):
    Settings = LastSettings

    def __init__(self, setup):
        super().__init__(setup)
        self.sign = setup.own(LastSettings).sign

    def scores(self):
        first = {stack.name: torch.arange(float(stack.size)).repeat(len(stack.axes), 1) for stack in self.stacks}
        return {name: self.sign * scores for name, scores in first.items()}
'''

NOISE = '''
"""Every weight a half."""
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.noise import NOISES, Noise


@NOISES.register("half")
@config_dataclass
class Half(Noise):
    kind = "half"

    def perturbed(self, law, weight, rate, generator):
        return 0.5 * weight
'''

METRIC = '''
"""Share of wrong answers."""
import numpy as np
from crossvote.swstack.tasks.metrics import METRICS, Metric

METRICS.register("error")(Metric("classes", lambda labels, said: float(np.mean(labels != said)), lower_is_better=True))
'''

KIND = '''
"""Whether a sentence has many words: classes that the rows need not name."""
import dataclasses
from crossvote.swstack.tasks.base import Example
from crossvote.swstack.tasks.kinds import KINDS
from crossvote.swstack.tasks.kinds._sentences import Sentences


@dataclasses.dataclass(frozen=True)
class Counted(Example):
    asks = "long-or-short"


@KINDS.register("long-or-short")
class LongOrShort(Sentences):
    columns = ("sentence1",)
    outputs = 2
    measured_by = ("classes",)

    def usual_metrics(self, classes):
        return ("accuracy",)

    def example(self, fields):
        text = fields.text("sentence1")
        return Counted(text, None, int(len(text.split()) > 3))
'''

NAMED = '''
"""Two sentences."""
from crossvote.swstack.tasks.base import Example, Task
from crossvote.swstack.tasks.named import TASKS, NamedTask

ROWS = (Example("good", None, 1), Example("bad", None, 0))
TASKS.register("two-words")(
    NamedTask(lambda config, seed: Task("two-words", ROWS, ROWS, ("bad", "good"), ("accuracy",), "two", 8), ("2words",))
)
'''

LAYOUT = '''
"""Somebody's own layer."""
from crossvote.swstack.models.families import LAYOUTS, LayerLayout, roles

LAYOUTS.register("mine")(
    LayerLayout(("mine",), roles("look.a look.b look.c", "look.d", "think.up", "think.down"), reason="nobody looked")
)
'''

COMPONENT = '''
"""What takes the offset out of every conversion."""
from crossvote.sim.chip.components.base import Action, Estimate, component


@component(
    "offset", part="ADCs", per="adc", actions=("correction",), state="idle", follows={"correction": "conversion"}
)
def offset(chip, variant):
    return Estimate({"correction": Action(0.5)}, 10.0, 0.001)
'''


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Put a file into the folder of a sort of kinds; afterwards it was never there."""
    added = []

    def put(registry, package, file, text):
        shipped = dict(registry.items())
        (tmp_path / f"{file}.py").write_text(text)
        module = importlib.import_module(package)
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(tmp_path)])
        added.append((registry, shipped, f"{package}.{file}"))

    yield put
    for registry, before, name in added:
        registry._kinds.clear()
        registry._kinds.update(before)
        sys.modules.pop(name, None)


def test_a_fault_pattern(add):
    add(PATTERNS, "crossvote.sim.array.patterns", "first", PATTERN)
    (chip,) = cv.chips(rate=0.01, number=1, pattern="first")
    cells, _ = chip.faults(2).of_crossbars(0, 1)
    np.testing.assert_array_equal(cells, np.arange(len(cells)))
    assert len(cells) == round(0.01 * 128 * 128)


def test_a_protection_scheme(add):
    add(SCHEMES, "crossvote.swstack.mapping.schemes", "msb_only", SCHEME)
    scheme = scheme_from({"kind": "msb-only", "flip_it": True})
    q = np.array([[100, 3], [-64, 70]])
    x = np.array([[1, 2], [-3, 4]])
    np.testing.assert_array_equal(cv.multiply(q, x, scheme=scheme), x @ (np.sign(q) * (np.abs(q) & 64)))
    assert "map.protection.NAME.flip_it" in {key.name for key in all_keys()}


def test_a_pruning_method(add):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(vocab_size=16, **sizes))
    add(METHODS, "crossvote.swstack.pruning.methods", "last_go", METHOD)
    for own, sign in (({}, -1), ({"last-go": {"sign": 1.0}}, 1)):
        config = build(PruneConfig, {"method": "last-go", "methods": own}, "test")
        method = make_method(model, pruning_axes(model, 0.3, 0.0), config, steps=1)
        scores = next(iter(method.scores().values()))
        assert (sign * scores.diff(dim=1) > 0).all()
    with pytest.raises(UserError, match=r"prune\.methods\.last-go: unknown key 'sing'; did you mean 'sign'"):
        build(PruneConfig, {"methods": {"last-go": {"sing": 1.0}}}, "test")
    assert "prune.methods.last-go.sign" in {key.name for key in explain("prune.methods")}


def test_a_noise_to_train_under(add):
    add(NOISES, "crossvote.swstack.pruning.noise", "half", NOISE)
    weight = torch.ones(2, 3)
    assert (parse_noise("half").perturbed(None, weight, 0.1, torch.Generator()) == 0.5).all()


def test_a_metric(add):
    add(METRICS, "crossvote.swstack.tasks.metrics", "error", METRIC)
    task = load_task(TaskConfig(name="grammar-single", metrics=("error", "accuracy")), 0)
    kind = kind_of(task.asks)
    encoded = SimpleNamespace(labels=torch.tensor([0, 1, 1, 1]))
    logits = [np.array([1.0, 0.0])] * 2 + [np.array([0.0, 1.0])] * 2
    assert kind.score(task.metrics, logits, encoded, task.labels) == {"error": 25.0, "accuracy": 75.0}
    assert lost("error", 25.0, 30.0) == 5.0


def test_a_kind_of_task(add, tmp_path):
    add(KINDS, "crossvote.swstack.tasks.kinds", "long_or_short", KIND)
    rows = [{"sentence1": "one two"}, {"sentence1": "one two three four"}]
    task = task_from_rows("own", rows, rows, kind="long-or-short")
    assert (task.asks, [example.label for example in task.train]) == ("long-or-short", [0, 1])
    assert (head_of(task).kind, head_of(task).outputs) == ("sequence-classification", 2)
    kind = kind_of(task.asks)
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "three", "four")
    (tmp_path / "words").write_text("\n".join(words))
    encoded = kind.encode(BertTokenizerFast(vocab=str(tmp_path / "words")), task.dev, 8)
    assert (encoded.asks, encoded.labels.tolist(), encoded.lengths.tolist()) == ("long-or-short", [0, 1], [4, 6])
    logits = [np.array([2.0, 0.0]), np.array([0.0, 2.0])]
    assert kind.score(task.metrics, logits, encoded, task.labels) == {"accuracy": 100.0}
    assert TaskConfig(kind="long-or-short", train="a.csv", dev="b.csv").kind == "long-or-short"


def test_a_task_that_is_known_by_name(add):
    add(TASKS, "crossvote.swstack.tasks.named", "two_words", NAMED)
    assert "two-words" in task_names()
    assert [example.label for example in load_task(TaskConfig(name="2Words"), 0).dev] == [1, 0]


def test_a_layer_layout(add):
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.look = nn.ModuleDict({name: nn.Linear(4, 4) for name in "abcd"})
            self.think = nn.ModuleDict({"up": nn.Linear(4, 8), "down": nn.Linear(8, 4)})

    model = nn.Sequential(Layer(), Layer())
    model.config = SimpleNamespace(model_type="mine", num_attention_heads=2)
    add(LAYOUTS, "crossvote.swstack.models.families", "mine", LAYOUT)
    groups = word_line_groups(model)
    assert [group.name for group in groups][:4] == ["0.qkv", "0.o", "0.ffn1", "0.ffn2"]
    assert groups[0].matrices == ("0.look.a", "0.look.b", "0.look.c")


def test_a_familys_own_layout_comes_before_another_with_the_same_modules(add):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(vocab_size=16, **sizes))
    model.config.model_type = "mine"
    modules = "attention.self.query attention.self.key attention.self.value", "attention.output.dense"
    text = LAYOUT.replace('"look.a look.b look.c", "look.d"', str(modules)[1:-1])
    text = text.replace('"think.up", "think.down"', '"intermediate.dense", "output.dense"')
    (before,) = layers(model)
    assert "nobody has proven" in before.no_folding
    add(LAYOUTS, "crossvote.swstack.models.families", "mine", text)
    (layer,) = layers(model)
    assert layer.no_folding == "nobody looked"
    assert layer.groups["qkv"].matrices == before.groups["qkv"].matrices


def test_a_component_of_the_chip(tmp_path):
    """In a process of its own, for the list of all actions is made once."""
    (tmp_path / "offset.py").write_text(COMPONENT)
    code = f"""
import crossvote.sim.chip.components as components
components.__path__.append({str(tmp_path)!r})
from crossvote.sim.chip.config import load_chip
from crossvote.sim.system.dimensions import Dimensions, bert_workload
from crossvote.sim.system.energy import action_energy_pj, energy_by_part_pj, total_actions
from crossvote.sim.system.model import simulate

chip = load_chip("crossvote", {{"override": {{"offset": {{"energy_pj": {{"correction": 2.0}}}}}}}})
sizes = Dimensions(layers=1, hidden=128, intermediate=128, heads=2)
found = simulate(bert_workload(sizes, chip, tokens=4), chip, resolution="analytic")
totals = total_actions(found.actions)
assert totals["correction"] == totals["conversion"] > 0, totals
spent = sum(scope.get("correction", 0) for scope in action_energy_pj(chip, found.actions).values())
assert spent == 2.0 * totals["conversion"]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
