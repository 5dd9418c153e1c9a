// A Verilated component with clk, rst and a register port, as a C++ object.
// Macros: MODEL, MODEL_HEADER (Verilator's class and its header). Where this Verilator has them: INNER_EVALUATION, the
// function inside eval(), with MODEL_ROOT and MODEL_ROOT_HEADER, its argument's class and header; and CLOCK_BEFORE, the
// model's note of what clk was at its last evaluation.
// Verilator spells "__" of a port name as "___05F" in C++.
#pragma once
#include <cstdint>

#include MODEL_HEADER
#include "verilated.h"

#ifdef INNER_EVALUATION
#include MODEL_ROOT_HEADER
void INNER_EVALUATION(MODEL_ROOT *);
#endif

struct Clocked {
    VerilatedContext context;
    MODEL top{&context};

    // The evaluation inside top.eval(), without the locks that it takes each time for threads and messages; the model
    // has neither. top.eval() initialises the model when it is first called. The inner function is not part of
    // Verilator's interface, so a version without it gets the slower call.
    void eval() {
#ifdef INNER_EVALUATION
        INNER_EVALUATION(top.rootp);
#else
        top.eval();
#endif
    }

    // A rising edge. Nothing in the design follows a falling one, so clk stays high and the model is told that it was
    // low before: half as much to evaluate, of the same Verilog.
    void tick() {
#ifdef CLOCK_BEFORE
        top.rootp->CLOCK_BEFORE = 0;
#else
        top.clk = 0;
        eval();
#endif
        top.clk = 1;
        eval();
    }

    void reset() {
        top.rst = 1;
        top.bus___05Fwrite_strobe = 0xF;
        top.clk = 0;
        top.eval();
        tick();
        top.rst = 0;
        top.eval();
    }

    // Write a register; 1 when it is refused.
    int write(uint32_t address, uint32_t word) {
        top.bus___05Faddress = address;
        top.bus___05Fwrite_data = word;
        top.bus___05Fwrite = 1;
        eval();
        const int refused = top.bus___05Ferror;
        tick();
        top.bus___05Fwrite = 0;
        eval();
        return refused;
    }

    uint32_t read(uint32_t address) {
        top.bus___05Faddress = address;
        top.bus___05Fread = 1;
        tick();
        top.bus___05Fread = 0;
        return top.bus___05Fread_data;
    }
};
