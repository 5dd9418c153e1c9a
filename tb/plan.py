"""The verification plan: which tests, coverage points, properties and mutants each feature of the hardware has.

    python -m tb.plan                     # the tables of docs/verification.md

The page is written from here, and a test refuses a plan that leaves something out or names what is not there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tb.formal.properties import PROPERTIES
from tb.named_mutants import MUTANTS


@dataclass(frozen=True)
class Feature:
    """A feature and what is done about it; every entry is a pattern.

    Attributes:
        name: what the hardware does. tests: cocotb tests, "module.test". coverage: crosses of ``tb.test_random`` and
            ``tb.test_tile_random``.
        properties: proofs. mutants: "file: fault".
    """

    name: str
    tests: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    mutants: tuple[str, ...] = ()


PLAN = (
    Feature(
        "differences of code pairs",
        ("test_difference.*", "test_opc.extremes"),
        ("codes, flip, top bit",),
        ("differences_are_exact",),
        ("difference.py: *",),
    ),
    Feature(
        "column sums over input bits and row blocks",
        ("test_shift_add.*", "test_lane.*", "test_opc.extremes"),
        ("codes, flip, top bit", "row blocks, vectors"),
        ("column_sums_fit", "results_are_right"),
        ("shift_add.py: *", "sequencer.py: wrong sign*", "sequencer.py: lowest bit*", "sequencer.py: every row block*",
         "sequencer.py: one row block*"),
    ),
    Feature(
        "two banks: one vector is read out while the next one is accumulated",
        ("test_opc.random_vectors", "test_opc.one_beat_per_clock"),
        ("row blocks, vectors", "stalls"),
        ("results_are_right",),
        ("lane.py: *", "opc.py: bank*", "opc.py: full bank*"),
    ),
    Feature(
        "streams: nothing lost, doubled or changed under back-pressure",
        ("test_opc.random_vectors", "test_random.*", "test_lockstep.*"),
        ("stalls",),
        ("output_is_stable", "results_are_right"),
        ("opc.py: beat dropped*", "opc.py: input accepts*", "readout.py: output lost*"),
    ),
    Feature(
        "marks and tags: what is right can be told from what is not",
        ("test_opc.wrong_marks", "test_opc.a_lost_beat*", "test_opc.tags*", "test_opc.reset*", "test_marks.*",
         "test_settings.marks*"),
        (),
        (),
        ("sequencer.py: error*", "sequencer.py: tag*", "sequencer.py: mark*", "opc.py: tag*",
         "readout.py: last output*"),
    ),
    Feature(
        "median of three replicas, and the count of disagreements",
        ("test_voter.*", "test_opc.disagreements*", "test_opc.votes*", "test_real_layers.*"),
        ("vote", "copies", "value, advance", "value, tail"),
        ("median",),
        ("voter.py: *", "readout.py: newest*", "readout.py: disagreement*", "registers.py: *disagreements*"),
    ),
    Feature(
        "log of disagreements: which bit line, how often",
        ("test_log.*",),
        mutants=("disagreement_log.py: *", "voter.py: log*", "readout.py: log*"),
    ),
    Feature(
        "checksum bit lines: vectors in which the crossbars contradict them",
        ("test_checksum.*",),
        properties=("mismatches_are_those",),
        mutants=(
            "checksum.py: *", "map_check.py: checksum*", "column_map.py: skips are*", "registers.py: mismatches*",
        ),
    ),
    Feature(
        "outputs: values with signs and weights, added in map order",
        ("test_opc.summed_and_missing_copies", "test_opc.unprotected_layout", "test_opc.extremes",
         "test_real_layers.*"),
        ("flip, plane, copy", "value, advance", "value, tail"),
        ("output_sums_fit", "outputs_add_up"),
        ("accumulate.py: *", "readout.py: ends*", "readout.py: outputs*", "readout.py: sum of*"),
    ),
    Feature(
        "column map: any order and place of bit lines, new maps between vectors",
        ("test_opc.reconfiguration", "test_opc.skips*", "test_opc.the_map_is_read*"),
        ("shape", "copies", "reconfigured"),
        ("map_reads_back",),
        ("column_map.py: *", "registers.py: map reads back*"),
    ),
    Feature(
        "illegal maps: said, never hanging, over with the next legal one",
        ("test_opc.illegal_maps", "test_opc.votes_of_an_illegal_map", "test_settings.the_largest_weights*"),
        (),
        (),
        ("map_check.py: *", "readout.py: illegal map*"),
    ),
    Feature(
        "registers: what is refused, and settings only between vectors",
        ("test_opc.refused_writes", "test_opc.row_blocks_written*", "test_opc.reset*", "test_settings.every*"),
        ("reconfigured",),
        ("map_reads_back",),
        ("registers.py: *while busy", "registers.py: *range*", "registers.py: parts*", "registers.py: nothing there*",
         "sequencer.py: row blocks change*"),
    ),
    Feature(
        "identity, status and interrupt",
        ("test_opc.identity_and_interrupt",),
        (),
        (),
        ("registers.py: status bits*", "registers.py: interrupt*"),
    ),
    Feature(
        "AXI4-Lite: rules of the bus, errors, any order and pauses",
        ("test_axi_lite.*",),
        (),
        ("axi_*",),
        ("axi_lite.py: *",),
    ),
    Feature(
        "scale stage: rounding, table, order",
        ("test_scale.*",),
        (),
        ("scaled_sums_fit",),
        ("scale.py: *", "opc.py: scale stage*", "registers.py: scales*", "registers.py: shift range*"),
    ),
    Feature(
        "tile: activations in, quantized activations out",
        ("test_tile*",),
        ("tile: value*", "tile: row blocks*", "tile: stalls", "tile: votes"),
        mutants=("tile_control.py: *", "requantise.py: *", "input_buffer.py: *", "reader.py: *"),
    ),
    Feature(
        "tile: vectors that are not whole are dropped and said; events that interrupt",
        ("test_tile.a_lost*", "test_march.registers*", "test_tile_random.*"),
        ("tile: frame*",),
        properties=("only_whole_vectors",),
        mutants=(
            "input_buffer.py: short*", "input_buffer.py: what strays*", "input_buffer.py: long*",
            "tile_control.py: misframed*", "tile_control.py: events*",
        ),
    ),
    Feature(
        "tile: registers, on AXI4-Lite, too; refusals, settings only between vectors",
        ("test_tile_axi.*", "test_tile_settings.every*", "test_tile_settings.what*", "test_tile_settings.tags*",
         "test_tile_pace.an_event*"),
        (),
        ("axi_*",),
        ("tile_control.py: busy*", "tile_control.py: disagreements of all*"),
    ),
    Feature(
        "compiled tile: what it plays otherwise than clock by clock",
        ("test_tile.*", "test_settings.the_clock*"),
        properties=("beats_may_wait", "counting_may_be_left_out"),
    ),
    Feature(
        "tile: the March engine finds its own stuck cells",
        ("test_march*", "test_tile_random.*", "test_tile_settings.crossbars*"),
        ("march: *",),
        ("cells_are_asked_in_turn",),
        ("march.py: *",),
    ),
)  # fmt: skip


def cocotb_tests() -> list[str]:
    """Every cocotb test as "module.test"."""
    found = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            decorators = (
                [ast.unparse(one) for one in node.decorator_list] if isinstance(node, ast.AsyncFunctionDef) else []
            )
            if any(one.startswith("cocotb.test") for one in decorators):
                found.append(f"{path.stem}.{node.name}")
    return found


def coverage_crosses() -> list[str]:
    """Names of the crosses that constrained-random tests must meet; read, because their modules need a simulator."""
    names: list[str] = []
    for module in ("test_random.py", "test_tile_random.py"):
        tree = ast.parse(Path(__file__).with_name(module).read_text(encoding="utf-8"))
        body = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "crosses")
        table = next(node.value for node in body.body if isinstance(node, ast.Return))
        assert isinstance(table, ast.Dict)
        names += [str(key.value) for key in table.keys if isinstance(key, ast.Constant)]
    return names


def known() -> dict[str, list[str]]:
    """Everything that a plan must place, by the attribute of ``Feature`` that names it."""
    return {
        "tests": cocotb_tests(),
        "coverage": coverage_crosses(),
        "properties": [prop.name for prop in PROPERTIES],
        "mutants": [f"{mutant.file}: {mutant.fault}" for mutant in MUTANTS],
    }


def chosen(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """Those of ``names`` that some pattern means, in their order."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def problems() -> list[str]:
    """What is in no feature, and patterns that mean nothing."""
    found = []
    for kind, names in known().items():
        patterns = [pattern for feature in PLAN for pattern in getattr(feature, kind)]
        found += [f"{kind}: '{name}' is in no feature" for name in names if not chosen(patterns, [name])]
        found += [f"{kind}: '{pattern}' means nothing" for pattern in patterns if not chosen([pattern], names)]
    return found


def tables() -> str:
    """The plan as Markdown: a table of features, and the mutants of each."""
    names = known()
    lines = ["| feature | benches | coverage | properties | mutants |", f"|{'---|' * 5}"]
    for feature in PLAN:
        cells = [
            ", ".join(f"`{name}`" for name in chosen(getattr(feature, kind), names[kind]))
            for kind in ("tests", "coverage", "properties")
        ]
        lines.append(f"| {' | '.join([feature.name, *cells, str(len(chosen(feature.mutants, names['mutants'])))])} |")
    lines += ["", "| feature | named mutants |", f"|{'---|' * 2}"]
    for feature in PLAN:
        if found := chosen(feature.mutants, names["mutants"]):
            lines.append(f"| {feature.name} | {'; '.join(found)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(tables(), end="")
