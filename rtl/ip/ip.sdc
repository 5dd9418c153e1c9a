# Constraints of @NAME@: one clock, all inputs and outputs synchronous to it, reset included.
# A third of the period is left to whatever drives an input and to whatever takes an output.
set period @PERIOD_NS@
create_clock -name clk -period $period [get_ports clk]
set outside [expr {$period / 3.0}]
set_input_delay $outside -clock clk [get_ports {@DATA_INPUTS@}]
set_output_delay $outside -clock clk [all_outputs]
