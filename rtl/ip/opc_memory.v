// A memory with one write port and one read port, read behind the clock.
//
// A read of the word that is written in the same clock may give anything. Nothing is reset. This one is what a simulator
// or an FPGA flow takes for a memory; a chip puts a macro of its technology here, or opc_memory_latch.v.
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
  reg [WIDTH-1:0] words[0:DEPTH-1];

  always @(posedge clk) begin
    if (write) words[write_address] <= write_data;
    if (read) begin
      read_data <= words[read_address];
`ifdef OPC_MEMORY_COLLISIONS
      if (write && write_address == read_address) read_data <= {WIDTH{1'bx}};
`endif
    end
  end
endmodule
