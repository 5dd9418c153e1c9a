"""A made-up set of results of the shape the stages leave, around real images and fault maps."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.chip.components.opc import synthesis
from crossvote.swstack.mapping.cost import mapping_report
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS

RATES = (0.0005, 0.001, 0.002)


def images(pruned: float = 0.35, seed: int = 0) -> dict[str, Image]:
    """Images of one 200 x 60 matrix with pruned columns and rows under three schemes."""
    rng = np.random.default_rng(seed)
    kept = rng.random(60) >= pruned
    rows = rng.random(200) >= 0.1
    q = np.rint(rng.normal(0, 18, (200, 60))).clip(-127, 127).astype(np.int32) * kept * rows[:, None]
    quantized = QuantizedGroup(
        "layer.0.ffn1",
        q.astype(np.int32),
        (MatrixImage("layer.0.dense", 0, 60, np.ones(1, np.float32), None),),
        rows,
        kept,
    )
    return {
        name: Image((place_group(quantized, PRESETS[name], 7, 128, 128),), {"name": name}, input_bits=8, adc_bits=8)
        for name in ("none", "paper", "best")
    }


def attention(pruned: tuple[int, ...] = (0, 1, 2, 9)) -> Image:
    """An image of query, key and value, 8 outputs each, of which the outputs ``pruned`` are."""
    rng = np.random.default_rng(1)
    kept = ~np.isin(np.arange(24), pruned)
    q = rng.integers(1, 128, (16, 24)).astype(np.int32) * kept
    names = ("layer.0.query", "layer.0.key", "layer.0.value")
    matrices = tuple(MatrixImage(name, 8 * i, 8, np.ones(1, np.float32), None) for i, name in enumerate(names))
    quantized = QuantizedGroup("layer.0.qkv", q.astype(np.int32), matrices, np.ones(16, np.bool_), kept)
    return Image((place_group(quantized, PRESETS["none"], 7, 128, 128),), {"name": "none"}, input_bits=8, adc_bits=8)


def chip(rate: float = 0.002) -> FaultMap:
    crossbars = max(image.crossbars for image in images().values())
    return FaultMap.sample(128, 128, crossbars, rate, np.random.SeedSequence(3))


def results(
    equal: bool = True, backend: str = "verilator", dense: float = 92.0, pruned: float = 91.2
) -> dict[str, Any]:
    """What the stages of a run would have left, with invented numbers."""
    means = {"none": (86.0, 71.5, 52.0), "paper": (90.4, 89.0, 82.1), "best": (90.9, 90.7, 89.9)}
    points = []
    for scheme, row in means.items():
        points.append(_point(scheme, 0.0, 91.0, 0.0, 1))
        points += [_point(scheme, rate, mean, 3.1, 5) for rate, mean in zip(RATES, row, strict=True)]
    schemes: list[dict[str, Any]] = []
    for name, image in images().items():
        report = mapping_report(image)
        schemes.append(
            {
                "name": name,
                "description": f"scheme {name}",
                "replicas": name != "none",
                "crossbars": sum(group.crossbars for group in report),
                "groups": [dataclasses.asdict(group) for group in report],
            }
        )
    return {
        "seed": 0,
        "finetune": {"model": "minilm-l6", "task": "grammar-single", "provenance": "invented"},
        "prune": {"groups": [_sparsity("layer.0.ffn1")], "matrices": [_sparsity("layer.0.dense")]},
        "map": {"dense_crossbars": schemes[0]["groups"][0]["dense_crossbars"], "schemes": schemes},
        "eval": {
            "metric": "accuracy",
            "chips": 5,
            "examples": 1000,
            "fault_scope": "all encoder matrices",
            "sa0_sa1": [1.75, 9.04],
            "pattern": "uniform",
            "activations": "token",
            "input_bits": 8,
            "fault_free": {"dense": dense, "pruned": pruned},
            "chance": {"metric": "accuracy", "score": 50.0, "noise": 3.1, "examples": 1000},
            "schemes": {name: image.protection for name, image in images().items()},
            "points": points,
        },
        "cosim": {
            "rate": 0.002,
            "left_out": [],
            "matrices": [
                {
                    "name": "layer.0.dense",
                    "scheme": "best",
                    "backend": backend,
                    "tokens": 16,
                    "codes": 262144,
                    "outputs": 960,
                    "equal": equal,
                    "cycles": 34816,
                    "disagreements": 12,
                    "simulated_ps": 13600000,
                }
            ],
        },
        "simulate": system(),
        "changes": [
            ["faults.chips", 5, 7],
            ["map.schemes", ["none", "paper", "best", "code"], ["none", "best"]],
            ["chip.opc.voter", True, False],
            ["task.glue_dir", None, "glue"],
        ],
        "stages": [
            {"stage": "finetune", "wall_seconds": 95.0, "finished": "2026-01-01T00:00:00Z", "key": "0123456789abcdef01"}
        ],
        "versions": {"crossvote": "0.1.0", "python": "3.11"},
        "config": "seed = 0\n",
        "occupancy": {"rate": 0.002, "chip": 0},
        "heads": (4, 4),
        "sensitivity": [
            _part("all", 8.0),
            _part("layer.0", 7.0),
            _part("layer.1", 0.5),
            _part("plane.6", 6.5),
            _part("plane.0", 0.0),
        ],
        "opc": {**synthesis(), "lanes": 32},
    }


def _part(name: str, lost: float) -> dict[str, Any]:
    return {"part": name, "rate": 0.002, "chips": 5.0, "points lost": lost, "low": lost - 0.4, "high": lost + 0.4}


def system() -> dict[str, Any]:
    """Costs of the schemes beside the dense encoder."""
    parts = {"ADCs": 900.0, "crossbars": 300.0, "output peripheral": 120.0}

    def summary(latency: float, energy: float, variant: str = "map") -> dict[str, Any]:
        return {
            "latency_us": 100.0 * latency,
            "sequences_per_s": 1e4 / latency,
            "energy_uj_per_sequence": 1320.0 * energy,
            "area_mm2": 51.5,
            "crossbars": 16,
            "tops": 3.8 / latency,
            "tops_per_w_dynamic": 0.94 / energy,
            "energy_uj_by_part": {part: value * energy for part, value in parts.items()},
            "area_mm2_by_part": {"ADCs": 20.0, "crossbars": 1.5, "output peripheral": 30.0},
            "opc_variant": variant,
            "bound_by": "crossbars (crossbar read)",
        }

    return {
        "tokens": 64,
        "stream": 16,
        "resolution": "matrix",
        "chip": "crossvote",
        "baseline": "dense, unprotected",
        "unprotected": ["dense, unprotected", "pruned, unprotected"],
        "schemes": {
            "dense, unprotected": summary(1.0, 1.0),
            "pruned, unprotected": summary(1.0, 0.9),
            "none": summary(1.0, 1.0),
            "paper": summary(1.75, 0.9, "map + voter"),
            "best": summary(1.01, 0.93),
        },
        "timeline": [
            {"unit": f"{unit}.crossbars.units", "start_us": start, "end_us": start + 4.0}
            for unit, start in (("qkv", 0.0), ("o", 5.0), ("ffn1", 10.0), ("ffn1", 16.0))
        ],
    }


def _sparsity(name: str) -> dict[str, Any]:
    shares = {"column_sparsity": 0.35, "row_sparsity": 0.1, "element_sparsity": 0.41}
    return {"name": name, "inputs": 200, "outputs": 60, **shares}


def _point(scheme: str, rate: float, mean: float, std: float, chips: int) -> dict[str, Any]:
    return {
        "scheme": scheme,
        "rate": rate,
        "mean": mean,
        "sd": std,
        "low": mean - 2 * std,
        "high": mean + 2 * std,
        "chips": chips,
        "scores": [mean] * chips,
    }
