"""CrossVote: transformers on ReRAM crossbars with stuck cells, from checkpoint to accuracy, cost and Verilog."""
