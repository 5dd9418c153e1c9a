"""The command line: exit codes, messages, and that nothing is written when the input is wrong."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner

import crossvote
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import load_chip
from crossvote.sim.chip.shipped import chip_presets
from crossvote.sim.common import schema
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import to_mapping
from crossvote.sim.peripheral.tile_sizes import tile_parameters
from crossvote.swstack.cli import app, work
from crossvote.swstack.cli import main as cli
from crossvote.swstack.cli.output import Output
from crossvote.swstack.experiment.run import branches
from crossvote.swstack.experiment.run.directory import RunDirectory, StageRecord

STAGES = ("run", "finetune", "prune", "map", "faults", "eval", "cosim", "report")


def call(*arguments, cwd=None):
    return CliRunner().invoke(cli.application(), list(arguments))


@pytest.mark.parametrize(
    "command",
    [
        (),
        *(
            (name,)
            for name in (*STAGES, "simulate", "tables", "compare", "verilog", "systemc", "presets", "config", "doctor")
        ),
    ],
)
def test_every_command_explains_itself(command):
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_a_command_needs_no_other_commands_module():
    script = (
        "import sys; from crossvote.swstack.cli.main import application\n"
        "found = application('run').registered_commands\n"
        "print(*(command.name or command.callback.__name__ for command in found))\n"
        "print(*(name for name in sys.modules if name.startswith('crossvote.swstack.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    names, modules = done.stdout.splitlines()
    assert sorted(names.split()) == sorted(cli.STAGES)
    assert not {"sweep", "report", "simulate"} & {name.rpartition(".")[2] for name in modules.split()}


HEAVY = {
    "numpy", "torch", "transformers", "safetensors", "matplotlib", "pandas", "pyarrow", "datasets", "scipy", "amaranth",
    "simpy",
}  # fmt: skip


#: Own modules of arithmetic beside which configurations lie.
ARITHMETIC = {
    "crossvote.rtl", "crossvote.sim.array.column_map", "crossvote.sim.array.crossbar", "crossvote.sim.array.image",
    "crossvote.sim.array.imperfect_reads", "crossvote.sim.array.silicon", "crossvote.swstack.mapping.codes",
}  # fmt: skip


def loaded_by(arguments: tuple[str, ...], folder: Path) -> set[str]:
    """The modules that a command of its own process has loaded when it ends."""
    script = (
        "import atexit, sys; from crossvote.swstack.cli.main import main\n"
        "atexit.register(lambda: print('loaded', *sys.modules))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, cwd=folder
    )
    return set(next(line for line in done.stdout.splitlines() if line.startswith("loaded ")).split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("presets",),
        ("run", "--help"),
        ("run", "nowhere"),
        ("run", "-o", "a.b=1"),
        ("config",),
        ("config", "--explain", "faults.chips"),
        ("nosuch",),
        ("list", "."),
        ("status", "."),
    ],
)
def test_what_only_reads_loads_no_heavy_library(arguments, tmp_path):
    loaded = loaded_by(arguments, tmp_path)
    assert (HEAVY | ARITHMETIC).isdisjoint(loaded)
    if arguments in (("--help",), ("--version",), ("run", "--help"), ("run", "nowhere")):
        assert {"crossvote.sim.chip.config", "crossvote.swstack.tasks"}.isdisjoint(loaded)
    if arguments == ("presets",):
        assert {"crossvote.sim.chip.config", "crossvote.swstack.experiment.config"}.isdisjoint(loaded)


def test_drawing_the_laws_of_chips_loads_neither_torch_nor_simulators(tmp_path):
    assert (HEAVY - {"numpy", "safetensors"}).isdisjoint(loaded_by(("faults", "--run-dir", "chips"), tmp_path))


@pytest.mark.parametrize(
    "arguments", [("status", "run"), ("list", "."), ("run", "run"), ("run", "run.toml", "--run-dir", "run")]
)
def test_a_finished_run_answers_without_numbers(arguments, workplace):
    """What is finished is known by digests: nothing that computes is loaded to say so, nor bars without progress.

    That holds by the name of its configuration, too: what goes together was checked when the run was made.
    """
    loaded = loaded_by(arguments, workplace.folder)
    assert (HEAVY | ARITHMETIC).isdisjoint(loaded)
    assert {"rich.console", "rich.progress"}.isdisjoint(loaded)
    schemes = {name.rpartition(".")[2] for name in loaded if name.startswith("crossvote.swstack.mapping.schemes.")}
    assert schemes <= {"replicas"}  # those of the run, which has "none" and "best"
    assert "filelock" not in loaded  # who finds everything done holds no lock


def test_a_record_is_checked_by_what_was_built_for_the_first_of_its_kind(monkeypatch, workplace):
    built = []
    monkeypatch.setattr(schema, "_adapters", {})
    monkeypatch.setattr(schema, "TypeAdapter", lambda kind: built.append(kind) or TypeAdapter(kind))
    assert branches.status(workplace.folder / "run").done > 1
    assert StageRecord in built
    assert len(built) == len(set(built))


def test_the_version_is_printed():
    assert call("--version").output.strip() == f"crossvote {crossvote.__version__}"


def test_started_as_a_module_the_command_completes_under_its_own_name(tmp_path):
    command = [sys.executable, "-m", "crossvote", "--show-completion", "bash"]
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "_CROSSVOTE_COMPLETE=complete_bash" in done.stdout
    assert done.stdout.rstrip().endswith("crossvote")


def test_json_is_one_document_and_nothing_else():
    found = json.loads(call("presets", "--json").stdout)
    assert "default" in found["configurations"]
    assert {"none", "paper", "best"} <= set(found["schemes"])


def test_json_has_null_for_what_is_no_number(capsys):
    Output(as_json=True).result({"score": math.nan, "rows": [(1.5, -math.inf)]})
    assert json.loads(capsys.readouterr().out) == {"score": None, "rows": [[1.5, None]]}


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "run.toml"),
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_trouble_of_the_machine_is_a_sentence(monkeypatch, tmp_path, error):
    monkeypatch.chdir(tmp_path)

    def fails(*arguments):
        raise error

    monkeypatch.setattr(work, "update", fails)
    result = call("run")
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("redirection", "code", "error"),
    [
        (">&-", 0, ""),
        ("> /dev/full", 2, "crossvote: No space left on device.\n"),
        ("2>&- > /dev/full", 2, ""),
    ],
)
def test_output_that_nobody_takes_ends_without_a_traceback(redirection, code, error):
    command = f"'{sys.executable}' -m crossvote.swstack.cli.main presets {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, error)


def test_a_working_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    command = f"mkdir gone; cd gone; rmdir ../gone; '{sys.executable}' -m crossvote.swstack.cli.main verilog"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "crossvote: the working directory: No such file or directory.\n"


def test_yosys_without_room_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps memories in temporary files, on a disk that may be full."""
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: Can't open\ntemporary file")
    monkeypatch.setattr("crossvote.rtl.export.subprocess.run", lambda *arguments, **options: failed)
    result = call("verilog", "--out", str(tmp_path / "v"), "--columns", "8", "--lanes", "4")
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("crossvote: Yosys, which writes the Verilog, failed (ERROR: Can't open temporary")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "v").exists()


def test_letters_that_a_terminal_lacks_are_written_another_way():
    command = [sys.executable, "-m", "crossvote.swstack.cli.main", "run", "größe"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "gr\\xf6\\xdfe: neither a TOML file" in done.stderr


def test_a_reader_that_closes_the_pipe_early_ends_the_command_quietly():
    command = f"'{sys.executable}' -m crossvote.swstack.cli.main presets --json | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "-o", "faults.chip=3"), "did you mean 'chips'?"),
        (("run", "-o", "faults.chips=0"), "greater than or equal to 1"),
        (("run", "nowhere.toml"), "neither a TOML file, a run directory nor one of the shipped configurations"),
        (("run", "-o", "model.source=./nowhere"), "no such directory"),
        (("run", "-o", "task.name=nothing"), "unknown task"),
        (("run", "mrpc", "--glue-dir", "nowhere"), "--glue-dir nowhere: no such directory"),
        (("map", "-o", "seed"), "must look like section.key=value"),
        (("verilog", "--chip", "nochip"), "neither a TOML file nor one of"),
        (("simulate", "nowhere"), "neither a run directory nor one of"),
        (("simulate", "bert-base", "--resolution", "atom"), "must be one of analytic"),
        (("tables", "nowhere"), "neither a TOML file, a run directory"),
        (("compare", "--method", "guess"), "must be one of gates"),
        (("compare", "--column-sparsity", "30"), "--column-sparsity 30: must be at least 0 and below 1"),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_no_file(monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "mrpc", "--glue-dir", ""), "--glue-dir"),
        (("run", "mrpc", "--run-dir="), "--run-dir"),
        (("run", ""), "an argument"),
        (("list", ""), "an argument"),
        (("fork", "a", ""), "an argument"),
        (("tables", "a", "--out", ""), "--out"),
        (("sweep", "run", "a.toml", "--dir", ""), "--dir"),
        (("simulate", "bert-base", "--scheme="), "--scheme"),
    ],
)
def test_an_empty_argument_is_not_the_working_directory(
    arguments: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"crossvote: {named} is empty; leave it out, or write '.' for the working directory.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["verilog", "systemc", "tables runs/a", "report runs/a runs/b"])
def test_a_place_for_the_output_is_looked_at_before_the_work(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the minutes of an export nor the runs that are asked about, which are not there, come first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    result = call(*command.split(), "--out", "file/x")
    assert result.exit_code == 2
    assert result.stderr == "crossvote: file/x: cannot be written (Not a directory); name a place that can be.\n"


@pytest.mark.parametrize(
    "command",
    [
        "simulate bert-base --stream",
        "simulate bert-base --tokens",
        "compare --seeds",
        "systemc --tokens",
        "ladder --chips",
    ],
)
def test_a_number_that_no_machine_could_work_off_is_refused(command: str) -> None:
    result = call(*command.split(), "99999999999")
    assert result.exit_code == 2
    assert "Invalid value for '--" in result.stderr


def test_glue_data_without_the_task_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glue").mkdir()
    result = call("run", "mrpc", "--glue-dir", "glue")
    assert result.exit_code == 2
    assert "MRPC" in result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["glue"]


def test_an_unknown_option_is_exit_code_2():
    assert call("run", "--nothing").exit_code == 2


@pytest.mark.parametrize(
    ("place", "said"),
    [("mine", "mine"), ("two words", "'two words'"), ("-x", "./-x"), ("$HOME", "'$HOME'"), ("it's", """'it'"'"'s'""")],
)
def test_ctrl_c_is_exit_code_130_and_says_how_to_go_on(monkeypatch, tmp_path, place, said):
    """In words that a shell takes as they are."""
    monkeypatch.chdir(tmp_path)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "update", interrupted)
    result = call("run", f"--run-dir={place}")
    assert result.exit_code == 130
    assert result.stderr == f"crossvote: interrupted. Continue with: crossvote run {said}\n"


def test_signs_in_a_name_are_shown_and_not_sent_to_the_terminal():
    result = call("run", "new\nline \x1b[31m.toml")
    assert result.exit_code == 2
    assert r"new\nline \x1b[31m.toml: " in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_scheduler_that_ends_the_command_is_told_how_to_go_on(tmp_path, name):
    """As Slurm and a closed terminal do; what is ignored, as nohup has it, stays ignored."""
    script = (
        "import os, signal, sys, time\n"
        "from crossvote.swstack.cli import work\n"
        f"work.update = lambda *_: (os.kill(os.getpid(), signal.{name}), time.sleep(0.2), print('went on'))\n"
        f"signal.signal(signal.{name}, signal.SIG_IGN if sys.argv.pop() == 'ignored' else signal.SIG_DFL)\n"
        "from crossvote.swstack.cli.main import main\n"
        "main()"
    )
    command = [sys.executable, "-c", script, "run", "--run-dir", "mine"]
    done = subprocess.run([*command, "heard"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "crossvote: interrupted. Continue with: crossvote run mine\n"
    if name == "SIGHUP":
        done = subprocess.run([*command, "ignored"], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "went on\n")


def test_text_in_messages_is_not_taken_for_markup(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def refuses(*arguments):
        raise UserError("key [map.protection.mine] is [bold]odd[/bold].")

    monkeypatch.setattr(work, "update", refuses)
    assert "key [map.protection.mine] is [bold]odd[/bold]." in call("run").stderr


def test_presets_prints_a_file_to_start_from(tmp_path):

    (tmp_path / "mine.toml").write_text(call("presets", "isaac-ce").stdout)
    assert load_chip(str(tmp_path / "mine.toml")) == load_chip("isaac-ce")
    assert json.loads(call("presets", "quick", "--json").stdout)["toml"].startswith("#")
    result = call("presets", "isaac")
    assert result.exit_code == 2
    assert "isaac-ce" in result.output


def test_presets_lists_configurations_chips_schemes_and_tasks():
    output = call("presets").output
    for word in ("default", "mrpc", "crossvote", "paper", "best", "grammar-single", "sst2"):
        assert word in output


def test_verilog_is_written_where_asked(tmp_path):
    result = call("verilog", "--out", str(tmp_path / "v"))
    assert result.exit_code == 0
    assert {"opc.v", "opc.json", "opc.rdl", "opc.sdc", "opc.vlt", "opc.f", "opc.core"} <= {
        path.name for path in (tmp_path / "v").iterdir()
    }
    assert "module opc" in (tmp_path / "v" / "opc.v").read_text()


def test_verilog_takes_every_parameter_and_refuses_what_cannot_be(tmp_path):
    options = ["--lanes", "4", "--columns", "16", "--planes", "3", "--input-bits", "4", "--adc-bits", "5"]
    options += ["--row-blocks", "3", "--no-voter", "--scale-bits", "6", "--checksum-bits", "2", "--bus", "axi"]
    options += ["--streams", "axi"]
    # What is given counts, not what the chip has: this one has more planes than an output peripheral can.
    made = call("verilog", "--chip", "isaac-ce", "--out", str(tmp_path), "--name", "my_opc", *options)
    assert made.exit_code == 0, made.stderr
    described = json.loads((tmp_path / "my_opc.json").read_text())
    assert described["parameters"] == {
        "columns": 16, "lanes": 4, "planes": 3, "input_bits": 4, "adc_bits": 5, "row_blocks": 3, "voter": False,
        "column_map": True, "scale_bits": 6, "log_bits": 0, "checksum_bits": 2,
    }  # fmt: skip
    assert {"axi__awaddr", "s_axis__tdata", "irq"} <= {port["name"] for port in described["ports"]}
    for wrong, sentence in (
        (("--name", "7up"), "name = '7up' must be an identifier"),
        (("--name", "module"), "name = 'module' is a reserved word of Verilog."),
        (("--bus", "wishbone"), "--bus wishbone: must be one of port, axi."),
        (("--streams", "avalon"), "--streams avalon: must be one of plain, axi."),
        (("--lanes", "3"), "lanes = 3 must be a power of two."),
        (("--vote", "output"), "--vote is about a whole tile; give --tile with it."),
        (("--self-test",), "--self-test is about a whole tile; give --tile with it."),
        (("--chip", "isaac-ce"), "chip 'isaac-ce': the output peripheral cannot be built: planes = 16 must be"),
    ):
        result = call("verilog", "--out", str(tmp_path / "never"), *wrong)
        assert result.exit_code == 2
        assert sentence in result.stderr
    assert not (tmp_path / "never").exists()


def test_the_help_names_the_chips_whose_verilog_needs_an_option():
    refused = {"isaac-ce"}
    for name in chip_presets():
        with pytest.raises(UserError) if name in refused else nullcontext():
            opc_parameters(load_chip(name))
    told = call("verilog", "--help").output
    page = (Path(__file__).parents[2] / "docs" / "ip.md").read_text(encoding="utf-8")
    assert all(name in told and f"`{name}`" in page for name in refused)
    assert tile_parameters(load_chip("isaac-ce"), 2, "crossbar", {"planes": 3}).opc.planes == 3


def test_verilog_of_a_tile(tmp_path):
    options = ["--tile", "2", "--vote", "crossbar", "--self-test", "--lanes", "4", "--columns", "16", "--planes", "3"]
    assert call("verilog", "--out", str(tmp_path), "--bus", "axi", *options).exit_code == 0
    described = json.loads((tmp_path / "tile.json").read_text())
    assert described["parameters"]["opcs"] == 2
    assert described["parameters"]["opc"]["columns"] == 16
    assert {"axi__awaddr", "array__drive", "cells__program"} <= {port["name"] for port in described["ports"]}
    for wrong, sentence in (
        (("--vote", "all"), "--vote all: must be one of output, crossbar."),
        (("--streams", "odd"), "--streams odd: must be one of plain, axi."),
        (("--row-blocks", "3"), "--row-blocks: the row blocks of a tile are what --tile says."),
        (("--name", "7up"), "name = '7up' must be an identifier"),
        (("--tile", "400"), "row_blocks = 400 must be a whole number from 1 to 256"),
    ):
        result = call("verilog", "--out", str(tmp_path / "never"), "--tile", "2", *wrong)
        assert result.exit_code == 2
        assert sentence in result.stderr
    assert not (tmp_path / "never").exists()


def test_a_tilde_is_the_home_folder_wherever_a_path_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "glue" / "MRPC").mkdir(parents=True)
    seen = {}
    monkeypatch.setattr(work, "update", lambda out, directory, config, *rest: seen.update(at=directory, config=config))
    assert call("run", "mrpc", "--glue-dir=~/glue", "--run-dir=~/mine").exit_code == 0
    assert seen["at"] == tmp_path / "home" / "mine"
    assert seen["config"].task.glue_dir == str(tmp_path / "home" / "glue")


def test_a_configuration_may_come_from_a_pipe(tmp_path):
    command = f"'{sys.executable}' -m crossvote.swstack.cli.main faults <(echo 'seed = 3') --run-dir run"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "seed = 3" in (tmp_path / "run" / "config.toml").read_text()


def test_glue_comes_from_the_environment_where_nothing_else_is_named(monkeypatch, tmp_path):
    (tmp_path / "GLUE data" / "MRPC").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("CROSSVOTE_GLUE_DIR", str(tmp_path / "GLUE data"))
    assert work.resolve("mrpc", [], None, None)[0].task.glue_dir == str(tmp_path / "GLUE data")
    assert work.resolve("mrpc", [], None, tmp_path / "other")[0].task.glue_dir == str(tmp_path / "other")
    assert work.resolve("sst2", [], None, None)[0].task.glue_dir is None
    assert work.resolve("default", [], None, None)[0].task.glue_dir is None


@pytest.mark.parametrize("name", ["two words", "a\"b'c", "back\\slash", "new\nline", "émoji 🙂", "#=[x]"])
def test_a_folder_of_any_name_holds_glue_and_runs(name, monkeypatch, tmp_path):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    config, run = work.resolve("mrpc", [], tmp_path / name / "run", Path(name))
    assert config.task.glue_dir == str(tmp_path / name)
    with RunDirectory.open(run) as target, target.configured(to_mapping(config)):
        pass
    assert work.resolve(f"{name}/run", [], None, None) == (config, Path(name) / "run")


def test_a_folder_name_that_is_no_text_is_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("glue\udcff").mkdir()
    result = call("run", "mrpc", "--glue-dir", "glue\udcff", "--run-dir", "run")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["status ~nosuchuser/run", "run ~nosuchuser", "run mrpc", "sweep plan own.toml"])
def test_the_home_of_nobody_is_a_sentence(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSVOTE_GLUE_DIR", "~nosuchuser/glue")
    Path("own.toml").write_text("base = '~nosuchuser/run'\n")
    result = call(*command.split())
    assert result.exit_code == 2
    assert result.stderr.count("there is no such user, so no home folder") == 1
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["own.toml"]


def test_one_run_has_its_page_inside_so_a_folder_for_it_is_refused(tmp_path):
    result = call("report", str(tmp_path / "run"), "--out", str(tmp_path / "page"))
    assert result.exit_code == 2
    assert "--out is where a page of several runs goes" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("verilog",), ("support",), ("simulate", "bert-base")])
def test_a_chip_that_is_not_there_is_said_by_the_option_that_names_it(command: tuple[str, ...]) -> None:
    result = call(*command, "--chip", "nowhere.toml")
    assert result.exit_code == 2
    assert result.stderr.startswith("crossvote: --chip = 'nowhere.toml' is neither a TOML file nor one of crossvote, ")


def test_numbers_of_a_table_stand_to_the_right_and_words_to_the_left(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table([("run", "schemes", "lost"), ("one", "none, best", "-0.5"), ("three", "none", "12.25")])
    assert capsys.readouterr().out.splitlines() == [
        "run    schemes      lost",
        "one    none, best   -0.5",
        "three  none        12.25",
    ]


def test_a_note_is_said_once_though_several_stages_load_the_model(monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
    with app._notices(Output()):
        for note in ("a head", "a head", "a tokenizer"):
            logging.getLogger("crossvote.tests").warning("the model has %s", note)
    assert capsys.readouterr().err == "the model has a head\nthe model has a tokenizer\n"
    with app._notices(Output()):
        logging.getLogger("crossvote.tests").warning("the model has %s", "a head")
    assert capsys.readouterr().err == "the model has a head\n"
