"""What is simulated for ``crossvote simulate``, ``crossvote systemc`` and the costs in the report."""
