// A Verilated component with clk, rst and a register port, as a C++ object.
// Model is a structure of models.h, which is written beside the model: Top, Verilator's class; eval(top), evaluates it;
// low(top), makes it take clk as low since its last evaluation; look(top) and clock(top), as below.
// Verilator spells "__" of a port name as "___05F" in C++.
#pragma once
#include <cstdint>

#include "models.h"
#include "verilated.h"

template <typename Model> struct Clocked {
    VerilatedContext context;
    typename Model::Top top{&context};

    void eval() { Model::eval(top); }

    // A rising edge. Nothing in the design follows a falling one, so clk stays high where the model can be told that it
    // was low before: half as much to evaluate, of the same Verilog.
    void tick() {
        Model::low(top);
        top.clk = 1;
        eval();
    }

    // While no register is accessed and every output is taken: evaluate what follows from inputs; a rising edge.
    // Both set the inputs that say so.
    void look() { Model::look(top); }
    void clock() { Model::clock(top); }

    // top.eval() initialises the model when it is first called.
    void reset() {
        top.rst = 1;
        top.bus___05Fwrite_strobe = 0xF;
        top.clk = 0;
        top.eval();
        tick();
        top.rst = 0;
        top.eval();
    }
};
