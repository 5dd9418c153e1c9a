"""Formal properties of the output peripheral; ``python -m tb.formal`` proves them and shows that each can fail."""
