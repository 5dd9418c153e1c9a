"""cocotb test benches of the output peripheral; ``python -m tb.run`` runs them under Icarus Verilog and Verilator."""
