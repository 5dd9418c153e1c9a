"""What is done again and what is not, what is refused before anything is done, and where paths lead."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tiny_run import write_tiny
from typer.testing import CliRunner

from crossvote.sim.common import code
from crossvote.sim.common.errors import UserError
from crossvote.swstack.cli import main as cli
from crossvote.swstack.evaluation import cosimulation
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run import paths, pipeline
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.images import recorded_image
from crossvote.swstack.experiment.run.records import Accuracy, FaultTrained, Mapped, Score
from crossvote.swstack.experiment.work import bring_up, chosen_stages
from crossvote.swstack.tasks import TaskConfig, load_task
from crossvote.swstack.tasks.batches import Batch, Encoded
from crossvote.swstack.tasks.batches import batches as cut


@pytest.fixture(scope="module")
def home(tiny_bert, tmp_path_factory) -> Path:
    """A folder with a configuration and, beside it, the model it names by a relative path."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(tiny_bert, folder / "tiny")
    write_tiny(
        folder / "own.toml",
        "tiny",
        seed=1,
        task={"eval_limit": 16},
        prune={"column_sparsity": 0.4},
        faults={"rates": [0.01], "chips": 1},
    )
    return folder


@pytest.fixture(scope="module")
def mapped(home) -> Path:
    """A run of it, up to the images."""
    bring_up(home / "run", load_config(home / "own.toml"), "prune")
    bring_up(home / "run", load_config(home / "own.toml"), "map")
    return home / "run"


@pytest.fixture
def again(mapped, tmp_path):
    """Bring a copy of the run up to a stage with changed keys; returns what was said, by stage."""
    shutil.copytree(mapped, tmp_path / "run")

    def work(*overrides, command="map", directory=None, config=None, **options):
        said: dict[str, str] = {}
        bring_up(
            directory or tmp_path / "run",
            config or load_config((directory or tmp_path / "run") / "config.toml", overrides),
            command,
            say=said.__setitem__,
            **options,
        )
        return {stage: what for stage, what in said.items() if what != "unchanged"}

    work.directory = tmp_path / "run"
    return work


def test_finished_stages_need_none_of_their_sources(again, home, tmp_path, monkeypatch):
    """Another working directory, the run moved, the base checkpoint gone: nothing is done again, no hub is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    moved = shutil.move(again.directory, tmp_path / "elsewhere")
    os.rename(home / "tiny", home / "away")
    try:
        assert again(directory=moved) == {}
        assert again("map.schemes=['none', 'best']", directory=moved).keys() == {"map"}
        # What does need it is refused, and the finished record stays.
        result = CliRunner().invoke(cli.application(), ["finetune", str(moved), "-o", "finetune.epochs=2"])
        assert result.exit_code == 2
        assert "tiny: no such directory" in result.stderr
        assert again(directory=moved).keys() <= {"map"}
        assert "epochs = 1" in (moved / "config.toml").read_text()
    finally:
        os.rename(home / "away", home / "tiny")


def test_another_model_at_the_same_place_is_another_model(again, home, tmp_path):
    shutil.copytree(home / "tiny", tmp_path / "tiny")
    source = f'model.source="{tmp_path / "tiny"}"'
    assert again(source) == {}
    (tmp_path / "tiny" / "config.json").write_text((home / "tiny" / "config.json").read_text() + " ")
    said = again(source)
    assert said["finetune"] == "done again: what model.source contains changed"


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ("task.eval_limit=8", {"score-dense", "score-pruned"}),
        ("finetune.checkpoint_steps=7", set()),
        ("faults.chips=2", set()),
        ("eval.batch_size=4", set()),
        ("chip.network.flit_bits=64", set()),
        ("chip.adc.bits=9", {"map"}),
        ("map.schemes=['none']", {"map"}),
        ("fault_training.design_rate=0.2", set()),
    ],
)
def test_a_key_counts_only_where_it_is_read(again, change, redone):
    assert again(change, command="prune").keys() | again(change).keys() == redone


def test_training_for_faults_changes_the_model_that_is_mapped(again):
    """Only what comes after pruning is done again, and the result says which model was measured."""
    before = RunDirectory(again.directory).read(paths.RESULTS["map"], Mapped)
    training = ("fault_training.epochs=1", "fault_training.batch_size=16", "fault_training.noise=stuck")
    assert again(*training).keys() == {"fault-training", "map"}
    run = RunDirectory(again.directory)
    after = run.read(paths.RESULTS["map"], Mapped)
    assert all(old.content_hash != new.content_hash for old, new in zip(before.schemes, after.schemes, strict=True))
    record = run.read(paths.RESULTS["fault-training"], FaultTrained)
    assert (record.scheme, record.noise["kind"], len(record.history)) == ("code", "stuck", 1)
    assert again(*training, command="eval").keys() == {"faults", "calibrate", "eval"}
    assert run.read(paths.RESULTS["eval"], Accuracy).fault_free.keys() == {"dense", "pruned", "trained"}
    said = again(*training, "fault_training.design_rate=0.2")
    assert said["fault-training"] == "done again: fault_training.design_rate changed from 0.1 to 0.2"
    assert again("fault_training.epochs=0").keys() == {"fault-training", "map"}
    assert run.read(paths.RESULTS["map"], Mapped) == before


@pytest.mark.parametrize(
    ("scheme", "reason"), [("cod", "'cod' is no protection scheme"), ("closest", "no law of errors to train for")]
)
def test_a_scheme_that_cannot_be_trained_for_is_refused(home, scheme, reason):
    with pytest.raises(UserError, match=reason):
        load_config(home / "own.toml", ("fault_training.epochs=1", f"fault_training.scheme={scheme}"))


@pytest.fixture
def other_code(tmp_path, monkeypatch):
    """The package's source with a change in one file, as far as digests are concerned."""

    def change(file, old, new):
        root = Path(code.__file__).parents[2]
        copy = tmp_path / "source" / "crossvote"
        for room in ("sim", "swstack", "rtl"):
            shutil.copytree(root / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        text = (copy / file).read_text()
        assert old in text
        (copy / file).write_text(text.replace(old, new))
        monkeypatch.setattr(pipeline, "code_digest", lambda *modules: code.Sources(copy).digest(modules))

    return change


def test_a_changed_rounding_maps_again_and_trains_nothing(again, other_code):
    other_code("swstack/mapping/quantization.py", "rint", "floor")
    assert again() == {"map": "done again: its code changed"}


def test_a_finished_run_is_recognised_without_heavy_libraries():
    script = (
        "import sys; from crossvote.swstack.experiment.work import bring_up; "
        "from crossvote.swstack.experiment.stages import summary; "
        "print([name for name in ('torch', 'transformers', 'sklearn', 'scipy', 'matplotlib', 'pandas') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_comments_and_docstrings_change_nothing(again, other_code):
    other_code("swstack/mapping/quantization.py", "from __future__", "# A remark.\nfrom __future__")
    assert again() == {}


def test_training_code_trains_again(again, other_code):
    other_code("swstack/training/loop.py", "def has_bfloat16", "UNUSED = 1\n\n\ndef has_bfloat16")
    assert {"finetune", "prune"} <= again().keys()


@pytest.mark.parametrize("stage", [stage.name for stage in chosen_stages("report")])
def test_every_stage_counts_the_code_that_does_its_work(stage):
    """The modules that a stage's file imports, whatever else they import, are in its digest."""
    (found,) = [one for one in chosen_stages("report") if one.name == stage]
    sources = code.Sources(Path(code.__file__).parents[2])
    sources.digest(found.code)
    used = set(sources._read)
    expected = {
        "finetune": {"training.loop", "models.loading", "tasks.named.grammar", "training.checkpoint"},
        "score-dense": {"training.predict", "tasks.metrics", "models.loading"},
        "prune": {"pruning.axes", "pruning.methods.l0", "pruning.folding", "training.loop", "models.masks"},
        "score-pruned": {"training.predict", "tasks.metrics", "models.loading"},
        "calibrate": {"evaluation.calibration", "models.loading"},
        "fault-training": {
            *("pruning.for_faults", "pruning.noise.censored", "mapping.error_law", "mapping.schemes.fixed"),
            *("training.loop", "models.loading"),
        },
        "map": {"mapping.mapping", "mapping.quantization", "mapping.schemes.fixed", "models.layouts"},
        "faults": set(),
        "eval": {"inference.convert", "inference.crossbar_linear", "evaluation.evaluation"},
        "cosim": {"evaluation.cosimulation", "inference.convert"},
        "simulate": {"experiment.simulation.workloads", "experiment.simulation.simulate"},
        "report": {"report.page", "report.claims", "report.figures"},
    }[stage]
    assert {f"crossvote.swstack.{name}" for name in expected} <= used
    assert not any("experiment.config" in name or ".cli." in name for name in used)
    if stage == "faults":
        assert {"crossvote.sim.array.silicon", "crossvote.sim.array.patterns.clustered"} <= used
    if stage in ("finetune", "prune", "map", "faults"):
        assert not any(name.startswith("crossvote.swstack.report") for name in used)


LATE = {
    "prune.column_sparsity=0.999": "so at most",
    "map.protection.mine={replicas={msb-9=3},vote='output'}": "scheme 'mine'",
    "cosim.matrices=['nothing']": "'nothing' names no matrices",
    "cosim.backend=verilator": "there is no program 'no-such-compiler'",
    "chip.cell.variation=0.1": "scheme 'closest'",
}
EXTRA = {
    "map.protection.mine={replicas={msb-9=3},vote='output'}": ["map.schemes=['mine']"],
    "chip.cell.variation=0.1": ["map.schemes=['closest']"],
}


@pytest.fixture
def _no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")


@pytest.mark.parametrize(("change", "message"), LATE.items())
@pytest.mark.usefixtures("_no_compiler")
def test_what_a_later_stage_would_refuse_is_refused_first(home, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    extra = [part for text in EXTRA.get(change, ()) for part in ("-o", text)]
    result = CliRunner().invoke(cli.application(), ["run", str(home / "own.toml"), "-o", change, *extra])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("change", "message"), LATE.items())
@pytest.mark.usefixtures("_no_compiler")
def test_and_leaves_a_run_that_is_there_as_it_was(again, change, message):
    def files():
        return {path: path.read_bytes() for path in again.directory.rglob("*") if path.is_file()}

    before = files()
    extra = EXTRA.get(change, ())
    with pytest.raises(UserError, match=message):
        again(change, *extra, command="cosim")
    assert files() == before


def test_a_share_that_cannot_be_compared_is_refused_first(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shares = ["--column-sparsity", "0.3", "--column-sparsity", "0.999"]
    result = CliRunner().invoke(cli.application(), ["compare", str(home / "own.toml"), *shares])
    assert result.exit_code == 2, result.output
    assert "column_sparsity = 0.999" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_is_not_for_the_model_is_refused_first_or_left_out(home, tmp_path, monkeypatch):
    from transformers import AlbertConfig, AlbertForSequenceClassification

    from crossvote.swstack.experiment.comparison.in_run import check_comparable, check_methods

    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "tiny", tmp_path / "albert")  # its tokenizer
    words = json.loads((tmp_path / "albert" / "config.json").read_text())["vocab_size"]
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    AlbertForSequenceClassification(AlbertConfig(vocab_size=words, embedding_size=8, **sizes)).save_pretrained("albert")
    source, method = f"model.source={tmp_path}/albert", "prune.method=least-squares"
    result = CliRunner().invoke(cli.application(), ["run", str(home / "own.toml"), "-o", source, "-o", method])
    assert result.exit_code == 2, result.output
    assert "prune.method = 'least-squares': not for albert: its layers share their weights" in result.stderr
    config = load_config(home / "own.toml", [source])
    named = ("gates", "least-squares")
    with pytest.raises(UserError, match="not for albert"):
        check_comparable(tmp_path / "run", config, [0.3], named, named=True)
    every = check_methods(())
    assert check_comparable(tmp_path / "run", config, [0.3], every, named=False) == tuple(
        name for name in every if name != "least-squares"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["albert"]


def test_dev_examples_that_the_model_cannot_read_are_refused_first(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known, foreign = load_task(TaskConfig(name="grammar-single"), 0).train[0].sentence1, "bonjour tout le monde"
    for name, sentence in {"train": known, "dev": foreign}.items():
        Path(f"{name}.csv").write_text(f"sentence1,label\n{sentence},0\n{sentence},1\n")
    keys = [f"task.{name}={tmp_path}/{name}.csv" for name in ("train", "dev")]
    result = CliRunner().invoke(
        cli.application(), ["run", str(home / "own.toml"), "-o", keys[0], "-o", keys[1], "-o", "task.train_limit=2"]
    )
    assert result.exit_code == 2, result.output
    assert "tokens are unknown to the model's tokenizer" in result.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["dev.csv", "train.csv"]


def test_a_model_that_gives_no_numbers_is_refused_first(home, tmp_path, monkeypatch):
    """Every weight is a number, and what comes out is none."""
    from safetensors.torch import load_file, save_file

    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "tiny", tmp_path / "other")
    path = tmp_path / "other" / "model.safetensors"
    huge = {name: 1e36 * tensor for name, tensor in load_file(path).items()}
    save_file(huge, path, metadata={"format": "pt"})
    result = CliRunner().invoke(cli.application(), ["run", str(home / "own.toml"), "-o", "model.source=other"])
    assert result.exit_code == 2, result.output
    assert "bert: logits of a short input are NaN or infinite" in result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["other"]


def squeezebert():
    """Its matrices are convolutions."""
    from transformers import SqueezeBertConfig, SqueezeBertModel

    sizes = {"hidden_size": 32, "embedding_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    return SqueezeBertModel(SqueezeBertConfig(num_hidden_layers=1, **sizes))


def mobilebert(**changes):
    """It has BERT's layout and more matrices in it."""
    from transformers import MobileBertConfig, MobileBertModel

    sizes = {"hidden_size": 32, "embedding_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    sizes = {"intra_bottleneck_size": 16, "num_hidden_layers": 1, **sizes, **changes}
    return MobileBertModel(MobileBertConfig(**sizes))


@pytest.mark.parametrize(
    "make", [squeezebert, mobilebert, partial(mobilebert, use_bottleneck=False, intra_bottleneck_size=32)]
)
def test_a_family_that_cannot_be_mapped_is_refused_first(tmp_path, monkeypatch, home, make):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "tiny", tmp_path / "other")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "other" / name).unlink()
    make().save_pretrained(tmp_path / "other")
    result = CliRunner().invoke(cli.application(), ["run", str(home / "own.toml"), "-o", "model.source=other"])
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["other"]


def test_an_offline_hub_name_leaves_no_run_directory(tmp_path, monkeypatch, home):
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path.parent / "no-cache"))
    result = CliRunner().invoke(
        cli.application(), ["run", str(home / "own.toml"), "-o", "model.source=nobody/nothing-here"]
    )
    assert result.exit_code == 2, result.output
    assert "nobody/nothing-here" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_paths_are_relative_to_the_file_that_names_them_and_stored_absolute(tmp_path, monkeypatch):
    (tmp_path / "here" / "glue").mkdir(parents=True)
    (tmp_path / "here" / "model").mkdir()
    (tmp_path / "there" / "model").mkdir(parents=True)
    own = tmp_path / "here" / "own.toml"
    own.write_text("[model]\nsource = 'model'\n[task]\nname = 'sst2'\nglue_dir = 'glue'\n[chip]\npreset = 'c.toml'\n")
    shutil.copy(Path(code.__file__).parents[1] / "chip" / "presets" / "crossvote.toml", tmp_path / "here" / "c.toml")
    monkeypatch.chdir(tmp_path / "there")
    config = load_config(Path("../here/own.toml"))
    assert config.model.source == str(tmp_path / "here" / "model")
    assert config.task.glue_dir == str(tmp_path / "here" / "glue")
    over = load_config(Path("../here/own.toml"), ["model.source=model", "task.glue_dir=../glue"])
    assert over.model.source == str(tmp_path / "there" / "model")
    assert over.task.glue_dir == str(tmp_path / "glue")
    own.write_text("[model]\nsource = 'bert-base-uncased'\n")
    assert load_config(own).model.source == "bert-base-uncased"
    own.write_text("[model]\nsource = './nowhere'\n")
    assert load_config(own).model.source == str(tmp_path / "here" / "nowhere")


def test_the_cosimulation_runs_the_batches_of_the_run(
    workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs with a scale per tensor are those of the batches that the accuracy was measured on."""
    shutil.copytree(workplace.folder / "run", tmp_path / "run")
    sizes: list[int] = []

    def batches(encoded: Encoded, batch_size: int) -> Iterator[Batch]:
        sizes.append(batch_size)
        return cut(encoded, batch_size)

    monkeypatch.setattr(cosimulation, "batches", batches)
    command = ["cosim", str(tmp_path / "run"), "-o", "eval.batch_size=3"]
    result = CliRunner().invoke(cli.application(), command)
    assert result.exit_code == 0, result.output
    assert sizes == [3]


def test_another_schemes_image_copied_over_is_refused(again):
    images = again.directory / "images"
    shutil.copy(images / "paper.safetensors", images / "none.safetensors")
    result = CliRunner().invoke(cli.application(), ["simulate", str(again.directory), "--tokens", "4"])
    assert result.exit_code == 2, result.output
    assert "none.safetensors: not the image that this run made of scheme 'none' (it holds 'paper'" in result.stderr


def test_so_it_is_where_no_record_knows_its_hash(again):
    images = again.directory / "images"
    shutil.copy(images / "paper.safetensors", images / "none.safetensors")
    for record in (paths.RESULTS["map"], paths.record("map")):
        (again.directory / record).unlink()
    with pytest.raises(UserError, match=r"not the image of scheme 'none' \(it holds 'paper'\); make it again with"):
        recorded_image(again.directory, "none")
    assert recorded_image(again.directory, "paper").protection["name"] == "paper"


def test_a_damaged_artefact_is_made_again_and_nothing_after_it(again):
    (again.directory / "images" / "none.safetensors").write_bytes(b"x")
    assert again().keys() == {"map"}
    assert again() == {}


def test_the_records_are_typed_and_equal_runs_have_equal_bytes(again, home, tmp_path):
    run = RunDirectory(again.directory)
    assert [scheme.name for scheme in run.read("results/mapping.json", Mapped).schemes] == ["none", "paper"]
    again(command="finetune")
    for command in ("prune", "map", "finetune"):
        bring_up(tmp_path / "other", load_config(home / "own.toml"), command)
    assert 0 <= run.read("results/dense.json", Score).metrics["accuracy"] <= 100
    for folder in ("results", "stages", "images", "model", "pruned"):
        for path in (again.directory / folder).rglob("*"):
            if path.is_file() and not path.name.endswith("about.json"):
                twin = tmp_path / "other" / path.relative_to(again.directory)
                assert path.read_bytes() == twin.read_bytes(), path.name
