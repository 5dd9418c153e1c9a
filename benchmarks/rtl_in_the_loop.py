"""A whole sequence through an encoder, every ADC code of every crossbar through the compiled Verilog of the OPC.

``python benchmarks/rtl_in_the_loop.py [minilm-l6|bert-base] [TOKENS] [SCHEME] [LAYERS]``. Weights and activations are
random integers (time does not depend on them); the chip has stuck cells. Goals on two cores: BERT-base with 128
tokens in under 5 minutes, the 6-layer encoder in under 45 s, all integers equal to the reference.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.machine import cores
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral import create_peripheral
from crossvote.sim.system.cosim import cosim_requests
from crossvote.sim.system.dimensions import BERT_BASE, MINILM_L6, Dimensions
from crossvote.sim.system.model import simulate
from crossvote.sim.system.workload import Workload
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS


def layer_image(d: Dimensions, scheme: str, layer: int) -> Image:
    """One layer of random integers, 30 % of the outputs pruned, under a protection scheme."""
    rng = np.random.default_rng(layer)
    shapes = {
        "qkv": (d.hidden, 3 * d.hidden),
        "o": (d.hidden, d.hidden),
        "ffn1": (d.hidden, d.intermediate),
        "ffn2": (d.intermediate, d.hidden),
    }
    groups, pair = [], 0
    for role, (inputs, outputs) in shapes.items():
        kept = rng.random(outputs) >= 0.3
        q = (rng.integers(-127, 128, (inputs, outputs)) * kept).astype(np.int32)
        name = f"layer{layer}.{role}"
        matrices = (MatrixImage(f"{name}.m", 0, outputs, np.ones(1, np.float32), None),)
        quantized = QuantizedGroup(name, q, matrices, np.ones(inputs, np.bool_), kept)
        groups.append(place_group(quantized, PRESETS[scheme], 7, 128, 128, pair))
        pair += groups[-1].pairs
    return Image(tuple(groups), {"name": scheme}, input_bits=8, adc_bits=8)


def main(encoder: str = "minilm-l6", tokens: int = 128, scheme: str = "best", layers: int = 0) -> None:
    """Run layer after layer (memory then is that of one layer) and print the totals."""
    d = {"minilm-l6": MINILM_L6, "bert-base": BERT_BASE}[encoder]
    layers = layers or d.layers
    chip = load_chip("crossvote")
    parameters = opc_parameters(chip)
    create_peripheral("verilator", parameters)  # compiled once, then kept in the user's cache
    threads = cores()
    pairs = cycles = mismatches = simulated = 0
    seconds = inside = 0.0
    processor = time.process_time()
    for layer in range(layers):
        image = layer_image(d, scheme, layer)
        faults = FaultMap.sample(128, 128, image.crossbars, 0.002, seed_sequence(0, "faults", layer))
        rng = np.random.default_rng(1000 + layer)
        x = {g.name: rng.integers(-128, 128, (tokens, g.inputs)) for g in image.groups}
        start = time.perf_counter()
        real = cosim_requests(
            chip,
            {g.name: g for g in image.groups},
            x,
            make_peripheral=lambda: create_peripheral("verilator", parameters),
            faults=faults,
            threads=threads,
        )
        result = simulate(Workload.from_image(image, chip, d.heads, tokens), chip, computed=real)
        seconds += time.perf_counter() - start
        pairs += sum(c.code_pairs for c in result.computed.values())
        cycles += sum(c.cycles for c in result.computed.values())
        inside += sum(c.peripheral_seconds for c in result.computed.values())
        mismatches += sum(c.mismatches for c in result.computed.values())
        simulated += result.latency_ps
        print(f"layer {layer}: {seconds:.1f} s so far, {pairs / 1e6:.0f} M code pairs, {mismatches} mismatches")
    print(
        f"{encoder}, {tokens} tokens, {layers} layer(s), scheme {scheme}, {threads} core(s): {seconds:.1f} s, of which "
        f"peripherals {inside:.1f} s; {time.process_time() - processor:.1f} s of CPU time\n"
        f"{2 * pairs / seconds / 1e6:.1f} M ADC codes/s, {cycles / 1e6:.0f} M RTL cycles, {mismatches} mismatches, "
        f"{simulated / 1e6:.0f} us simulated, simulated to wall 1 : {seconds / (simulated * 1e-12):.3g}"
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    defaults = ("minilm-l6", "128", "best", "0")
    encoder, tokens, scheme, layers = (*arguments, *defaults[len(arguments) :])
    main(encoder, int(tokens), scheme, int(layers))
