# Constraints of @NAME@: one clock, all inputs and outputs synchronous to it, reset included.
# A third of the period is left to whatever drives an input and to whatever takes an output.
set period @PERIOD_NS@
create_clock -name clk -period $period [get_ports clk]
set data_inputs [remove_from_collection [all_inputs] [get_ports clk]]
set_input_delay [expr {$period / 3}] -clock clk $data_inputs
set_output_delay [expr {$period / 3}] -clock clk [all_outputs]
