// A memory with one write port and one read port, read behind the clock, whose bits are latches.
//
// What is written waits in registers for a clock. Its word is open in the low half of that clock, when the registers and
// the decoder behind them have settled; so no enable has a glitch, and a read in that same clock gives the new word.
// A read of the word that is written in the same clock gives the old one. Nothing is reset. Timing: the path from the
// registers to a latch has half a clock, and so has that from a latch to read_data.
module opc_memory #(
    parameter WIDTH = 8,
    parameter DEPTH = 16,
    parameter ADDRESS = 4
) (
    input clk,
    input write,
    input [ADDRESS-1:0] write_address,
    input [WIDTH-1:0] write_data,
    input read,
    input [ADDRESS-1:0] read_address,
    output reg [WIDTH-1:0] read_data
);
  reg waits;
  reg [ADDRESS-1:0] address;
  reg [WIDTH-1:0] data;
  wire [WIDTH*DEPTH-1:0] words;

  always @(posedge clk) begin
    waits <= write;
    if (write) begin
      address <= write_address;
      data <= write_data;
    end
    if (read) read_data <= words[WIDTH*read_address+:WIDTH];
  end

  genvar number;
  generate
    for (number = 0; number < DEPTH; number = number + 1) begin : word
      wire open = ~clk & waits & (address == number);
      reg [WIDTH-1:0] bits;
      always @* if (open) bits = data;
      assign words[WIDTH*number+:WIDTH] = bits;
    end
  endgenerate
endmodule
