"""Component models: one small module each, that says what a component costs as a function of its structure.

Every function gives an ``Estimate``: dynamic energy and least interval of each action, area and leakage of one
instance, at 32 nm. A structure outside the range that the source covers is refused; ``[override.NAME]`` of a chip
file then gives measured numbers in its place. A module makes its components known with the decorator ``component`` of
``crossvote.sim.chip.components.base``; ``crossvote.sim.chip.bill`` puts them together for a chip.
"""
