// Runs @NAME@ as a system would: checks what it is, programs it, streams vectors through it with pauses on both sides, and
// compares every output; then provokes a refused write and waits for the interrupt. A tile with a self-test also tests its
// crossbars. Prints PASS, or FAIL and a reason.
//
//   with Icarus:    iverilog -g2005 -o tb -I . -I .. @SOURCES@ && vvp tb
//   with Verilator: verilator --binary -CFLAGS -std=c++20 -Wno-lint -I. -I.. --top-module @KIND@_tb @SOURCES@
//                   obj_dir/V@KIND@_tb
//   with its wheel: MAKEFLAGS=CFG_CXXFLAGS_PCH_I=-include python -m verilator --binary ..., the rest as before
`timescale 1ns / 1ps
`include "@KIND@_registers.vh"
`include "@KIND@_tb.vh"

module @KIND@_tb;
    reg clk = 0, rst = 1;
    wire irq;
    reg [63:0] writes [0:`WRITES - 1];
`ifdef SELF_TEST
    reg [63:0] verdicts [0:`VERDICTS - 1];
`endif
    reg [`BEAT_BITS - 1:0] beats [0:`BEATS - 1];
    reg [`RESULT_BITS - 1:0] expected [0:`RESULTS - 1];
    reg [`BEAT_BITS - 1:0] beat = 0;
    reg beat_valid = 0, result_ready = 0;
    wire beat_ready, result_valid;
    wire [`RESULT_BITS - 1:0] result;
    reg [31:0] lfsr = 32'h1;
    integer fed = 0, seen = 0, number;
    reg [31:0] word;
    reg refused, streaming = 0;

    always #5 clk = ~clk;

    task fail(input [8 * 40 - 1:0] reason);
        begin
            $display("FAIL %0s", reason);
            $finish;
        end
    endtask

    task step;
        begin
            @(posedge clk);
            #1;
        end
    endtask

`ifdef AXI_LITE
    reg [`ADDRESS_BITS - 1:0] awaddr = 0, araddr = 0;
    reg [31:0] wdata = 0;
    reg awvalid = 0, wvalid = 0, arvalid = 0, addressed, loaded;
    wire awready, wready, bvalid, arready, rvalid;
    wire [1:0] bresp, rresp;
    wire [31:0] rdata;

    task write_word(input [31:0] address, input [31:0] value);
        begin
            awaddr = address[`ADDRESS_BITS - 1:0];
            wdata = value;
            awvalid = 1;
            wvalid = 1;
            while (awvalid || wvalid || !bvalid) begin
                @(posedge clk);
                addressed = awready;
                loaded = wready;
                #1;
                if (addressed) awvalid = 0;
                if (loaded) wvalid = 0;
                #1;
            end
            refused = bresp != 0;
            step;
        end
    endtask

    task read_word(input [31:0] address);
        begin
            araddr = address[`ADDRESS_BITS - 1:0];
            arvalid = 1;
            while (arvalid || !rvalid) begin
                @(posedge clk);
                addressed = arready;
                #1;
                if (addressed) arvalid = 0;
                #1;
            end
            word = rdata;
            refused = rresp != 0;
            step;
        end
    endtask
`else
    reg [`ADDRESS_BITS - 1:0] address = 0;
    reg write = 0, read = 0;
    reg [31:0] write_data = 0;
    wire [31:0] read_data;
    wire read_error, error;

    // The port counts words.
    task write_word(input [31:0] byte_address, input [31:0] value);
        begin
            address = byte_address[`ADDRESS_BITS + 1:2];
            write_data = value;
            write = 1;
            #1 refused = error;
            step;
            write = 0;
        end
    endtask

    task read_word(input [31:0] byte_address);
        begin
            address = byte_address[`ADDRESS_BITS + 1:2];
            read = 1;
            step;
            read = 0;
            word = read_data;
            refused = read_error;
        end
    endtask
`endif

`ifdef AXI_STREAM
    wire [`CODE_DATA_BITS - 1:0] codes = beat[`CODE_BITS - 1:0];
    // Outputs as in the files: sum, number, last, tag, error.
    wire [`SUM_DATA_BITS - 1:0] tdata;
    wire tlast;
    wire [3:0] tid;
    wire sign_ok = tdata == {{(`SUM_DATA_BITS - `SUM_BITS + 1){tdata[`SUM_BITS - 1]}}, tdata[`SUM_BITS - 2:0]};
    assign result[`SUM_BITS - 1:0] = tdata[`SUM_BITS - 1:0];
    wire [`RESULT_BITS - 1:0] got = {result[`SUM_BITS + `OUTPUT_BITS], tid, tlast, result[`SUM_BITS + `OUTPUT_BITS - 1:0]};
`else
    wire sign_ok = 1;
    wire [`RESULT_BITS - 1:0] got = result;
`endif

    @KIND@_example dut (
        .clk(clk),
        .rst(rst),
        .irq(irq),
`ifdef AXI_STREAM
        .s_axis__tdata(codes),
`ifdef FIRST_MARKED
        .s_axis__tuser(beat[`CODE_BITS]),
`endif
        .s_axis__tlast(beat[`BEAT_BITS - 5]),
        .s_axis__tid(beat[`BEAT_BITS - 1 -: 4]),
        .s_axis__tvalid(beat_valid),
        .s_axis__tready(beat_ready),
        .m_axis__tdata(tdata),
        .m_axis__tuser(result[`SUM_BITS +: `OUTPUT_BITS + 1]),
        .m_axis__tlast(tlast),
        .m_axis__tid(tid),
        .m_axis__tvalid(result_valid),
        .m_axis__tready(result_ready),
`else
        .i__payload(beat),
        .i__valid(beat_valid),
        .i__ready(beat_ready),
        .o__payload(result),
        .o__valid(result_valid),
        .o__ready(result_ready),
`endif
`ifdef AXI_LITE
        .axi__awaddr(awaddr),
        .axi__awvalid(awvalid),
        .axi__awready(awready),
        .axi__wdata(wdata),
        .axi__wstrb(4'hF),
        .axi__wvalid(wvalid),
        .axi__wready(wready),
        .axi__bresp(bresp),
        .axi__bvalid(bvalid),
        .axi__bready(1'b1),
        .axi__araddr(araddr),
        .axi__arvalid(arvalid),
        .axi__arready(arready),
        .axi__rdata(rdata),
        .axi__rresp(rresp),
        .axi__rvalid(rvalid),
        .axi__rready(1'b1)
`else
        .bus__address(address),
        .bus__write(write),
        .bus__write_strobe(4'hF),
        .bus__write_data(write_data),
        .bus__read(read),
        .bus__read_data(read_data),
        .bus__read_error(read_error),
        .bus__error(error)
`endif
    );

    // Both streams pause now and then. Offers change behind an edge and stay until they are taken.
    always @(posedge clk) begin
        if (rst) begin
            beat_valid <= #1 0;
            result_ready <= #1 0;
        end else begin
            lfsr <= #1 {lfsr[30:0], lfsr[31] ^ lfsr[21] ^ lfsr[1] ^ lfsr[0]};
            if (streaming && (!beat_valid || beat_ready)) begin
                beat_valid <= #1 fed < `BEATS && lfsr[1:0] != 0;
                if (fed < `BEATS && lfsr[1:0] != 0) begin
                    beat <= #1 beats[fed];
                    fed = fed + 1;
                end
            end
            if (result_valid && result_ready) begin
                if (got !== expected[seen]) begin
                    $display("output %0d is %h, not %h", seen, got, expected[seen]);
                    fail("an output differs");
                end
                if (!sign_ok) fail("a sum is not sign-extended");
                seen = seen + 1;
            end
            result_ready <= #1 lfsr[4:3] != 0;
        end
    end

    initial begin
        $readmemh("writes.hex", writes);
`ifdef SELF_TEST
        $readmemh("verdicts.hex", verdicts);
`endif
        $readmemh("beats.hex", beats);
        $readmemh("outputs.hex", expected);
        repeat (3) step;
        rst = 0;
        step;
        read_word(`@UPPER@_ID_ADDRESS);
        if (word != `@UPPER@_ID_VALUE_RESET) fail("this is another component");
        read_word(`@UPPER@_VERSION_ADDRESS);
        if (word[31:16] != `@UPPER@_VERSION_MAJOR_RESET) fail("another register map");
        read_word(`@UPPER@_SIZES_ADDRESS);
        if (word[12:0] != `@UPPER@_SIZES_COLUMNS_RESET || word[20:17] != `@UPPER@_SIZES_PLANES_RESET) fail("another size");
        for (number = 0; number < `WRITES; number = number + 1) begin
            write_word(writes[number][63:32], writes[number][31:0]);
            if (refused) fail("a write was refused");
            read_word(writes[number][63:32]);
            if (refused || word != writes[number][31:0]) fail("a register reads back otherwise");
        end
        streaming = 1;
        number = 0;
        while (seen < `RESULTS && number < `PATIENCE) begin
            step;
            number = number + 1;
        end
        if (seen < `RESULTS) fail("outputs are missing");
        repeat (3 * `@UPPER@_SIZES_COLUMNS_RESET + 60) step;
        if (seen != `RESULTS) fail("there are more outputs");
`ifdef VOTER
        read_word(`@UPPER@_DISAGREEMENTS_ADDRESS);
        if (word != `DISAGREEMENTS) fail("another number of disagreements");
`endif
`ifdef CHECKED
        read_word(`@UPPER@_MISMATCHES_ADDRESS);
        if (word != `MISMATCHES) fail("another number of mismatches");
        read_word(`@UPPER@_STATUS_ADDRESS);
        if (word[`@UPPER@_STATUS_CHECKSUM_LOW] != (`MISMATCHES != 0)) fail("another status of the checksum");
`endif
        if (irq) fail("an interrupt without reason");
        write_word(`@UPPER@_INTERRUPTS_ADDRESS, 1 << `@UPPER@_INTERRUPTS_REFUSED_LOW);
        write_word(`@UPPER@_ROW_BLOCKS_ADDRESS, 0);
        if (!refused) fail("no row blocks were accepted");
        step;
        if (!irq) fail("no interrupt");
        write_word(`@UPPER@_STATUS_ADDRESS, 1 << `@UPPER@_STATUS_REFUSED_LOW);
        step;
        if (irq) fail("the interrupt stays");
`ifdef SELF_TEST
        write_word(`TILE_INTERRUPTS_ADDRESS, 1 << `TILE_INTERRUPTS_SELF_TEST_LOW);
        write_word(`TILE_SELF_TEST_ADDRESS, `SELF_TEST);
        if (refused) fail("no test begins");
        number = 0;
        while (!irq && number < `TEST_PATIENCE) begin
            step;
            number = number + 1;
        end
        if (!irq) fail("the test does not end");
        read_word(`TILE_SELF_TEST_READS_ADDRESS);
        if (word != `TEST_READS) fail("another number of reads");
        for (number = 0; number < `VERDICTS; number = number + 1) begin
            write_word(`TILE_VERDICT_ADDRESS_ADDRESS, verdicts[number][63:32]);
            read_word(`TILE_VERDICT_ADDRESS);
            if (refused || word != verdicts[number][31:0]) fail("a cell is judged otherwise");
        end
        write_word(`TILE_STATUS_ADDRESS, 1 << `TILE_STATUS_SELF_TEST_LOW);
        step;
        if (irq) fail("the interrupt of the test stays");
        $display("found the faults of %0d words of cells", number);
`endif
        $display("PASS %0d outputs", seen);
        $finish;
    end
endmodule
