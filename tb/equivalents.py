"""Random mutants of which nothing can be seen, and why: by target and by what ``tb.random_mutants`` calls them."""

from __future__ import annotations

#: Arguments that hold for several.
_LINE = "the number of a bit line beside its sum, which only a log of disagreements reads, and there is none"
_STAGE = "the sum beside a scaled output, which the scaled one replaces at the end"
_CLEARED = "what a reset leaves in an operand; the first beat replaces it before anything made of it is stored"
_BUSY = "a write to STATUS clears what is kept, and BUSY is not"
_ABOVE = "a bit above those that are taken, and lower ones do not follow from it"
_SHORT = "a test of 24 word lines ends long before its reads or writes need this bit"
_ALREADY = "turned only while another bit has decided"

EQUIVALENT: dict[str, dict[str, str]] = {
    "opc": {
        "24: cnot1 of $flatten\\readout.$48: D bit 0": _LINE,
        "187: cnot1 of $flatten\\readout.$procmux$460: A bit 0": _LINE,
        "29: const0 of $flatten\\scale.$procmux$114: A bit 4": _STAGE,
        "158: const1 of scale.passed_1: Q bit 7": _STAGE,
        "44: const0 of $flatten\\registers.$95: A bit 2": "a word with this bit is not zero, but above 3 and refused",
        "68: cnot1 of $flatten\\scale.\\scaler.$29: Y bit 30": _ABOVE,
        "115: cnot0 of $flatten\\map_check.$47: Y bit 2": _ABOVE,
        "126: cnot0 of $flatten\\registers.$140: A bit 5": _ABOVE,
        "144: inv of $flatten\\lane_2.\\shift_add.$procmux$278: B bit 10": _CLEARED,
        "196: inv of $flatten\\lane_3.\\shift_add.$procmux$254: B bit 0": _CLEARED,
        "153: cnot1 of $flatten\\sequencer.$50: A bit 0": _ALREADY,
        "160: cnot1 of $flatten\\sequencer.$54: A bit 1": _ALREADY,
        "156: inv of $flatten\\registers.$procmux$608: A bit 0": _BUSY,
        "186: cnot1 of registers.clears: Y bit 0": _BUSY,
        "164: cnot1 of $flatten\\registers.$99: A bit 24": _ALREADY,
    },
    "tile": {
        "4: cnot1 of $flatten\\control.\\march.$478: B bit 4": _ALREADY,
        "7: const1 of $flatten\\control.\\buffer.$149: Y bit 2": _ABOVE,
        "11: const0 of $flatten\\control.\\buffer.$procmux$2371: B bit 0": "a constant, tied to what it is",
        "17: cnot1 of $flatten\\control.$277: A bit 10": _ALREADY,
        "21: const1 of $flatten\\control.\\march.$886: A bit 18": _SHORT,
        "24: const0 of control.requantise.scale.passed_2.sum: Q bit 13": _STAGE,
        "31: cnot1 of $flatten\\control.\\buffer.$128: A bit 4": _ABOVE,
        "41: cnot1 of $flatten\\control.\\march.$515: A bit 44": _ALREADY,
        "42: cnot0 of $flatten\\control.\\march.$procmux$1953_CMP0: A bit 1": _ALREADY,
        "88: const1 of $flatten\\control.\\buffer.$155: B bit 1": _ABOVE,
        "90: const0 of $flatten\\control.\\march.$949: D bit 29": _SHORT,
    },
}
