"""Pruning methods and finished runs beside each other: the paper's tables and figures."""
