// Crossbars behind one OPC of a tile, as a model: cells of which some are stuck, word-line drivers, sample-and-hold, and
// converters. What is held are driven word lines, which say the same as their sums. In the place of this comes the analog
// part of a tile.
`timescale 1ns / 1ps
module crossbars #(
    parameter ROWS = 128, COLUMNS = 128, LANES = 8, BLOCKS = 1, OPCS = 1, ADC_BITS = 8, NUMBER = 0, WRITE_CLOCKS = 3,
    parameter BLOCK_BITS = 1, GROUP_BITS = 4
) (
    input clk,
    input load,
    input [BLOCK_BITS - 1:0] load_block,
    input [ROWS - 1:0] word_lines,
    input drive,
    input sample,
    input [BLOCK_BITS - 1:0] convert_block,
    input [GROUP_BITS - 1:0] convert_group,
    output [2 * ADC_BITS * LANES - 1:0] codes,
    input write,
    input level,
    output reg written
);
    localparam LINES = 2 * COLUMNS, MOST = (1 << ADC_BITS) - 1;
    // A word for each OPC, row block, bit line and sign (positive first); word line 0 is bit 0.
    reg [ROWS - 1:0] cells [0:OPCS * BLOCKS * LINES - 1];
    reg [ROWS - 1:0] stuck_0 [0:OPCS * BLOCKS * LINES - 1];
    reg [ROWS - 1:0] stuck_1 [0:OPCS * BLOCKS * LINES - 1];
    reg [BLOCKS * ROWS - 1:0] kept = 0, driven = 0, held = 0;
    integer clocks = 0, line, at;
    wire [31:0] first = ((NUMBER * BLOCKS + convert_block) * COLUMNS + convert_group * LANES) * 2;
    wire [ROWS - 1:0] offered = held[convert_block * ROWS +: ROWS];

    function [31:0] conducting(input [ROWS - 1:0] bits);
        integer row;
        begin
            conducting = 0;
            for (row = 0; row < ROWS; row = row + 1) conducting = conducting + {31'b0, bits[row]};
            if (conducting > MOST) conducting = MOST;
        end
    endfunction

    genvar code;
    generate
        for (code = 0; code < 2 * LANES; code = code + 1) begin : converter
            wire [ROWS - 1:0] seen = cells[first + code] & ~stuck_0[first + code] | stuck_1[first + code];
            wire [31:0] sum = conducting(seen & offered);
            assign codes[code * ADC_BITS +: ADC_BITS] = sum[ADC_BITS - 1:0];
        end
    endgenerate

    initial begin
        written = 0;
        $readmemh("cells.hex", cells);
        $readmemh("stuck_0.hex", stuck_0);
        $readmemh("stuck_1.hex", stuck_1);
    end

    always @(posedge clk) begin
        if (sample) held <= driven;
        if (drive) driven <= kept;
        if (load) kept[load_block * ROWS +: ROWS] <= word_lines;
        written <= write && !written && clocks == WRITE_CLOCKS - 2;
        clocks <= write && !written ? clocks + 1 : 0;
        if (write && written)
            for (line = 0; line < LINES; line = line + 1) begin
                at = (NUMBER * BLOCKS + load_block) * LINES + line;
                cells[at] = level ? cells[at] | kept[load_block * ROWS +: ROWS] : cells[at] & ~kept[load_block * ROWS +: ROWS];
            end
    end
endmodule
