// Drives a Verilated OPC: register writes, single clocks, and whole runs without leaving C++.
// Parameters come as macros: LANES, COLUMNS, INPUT_BITS, ADC_BITS, SUM_BITS, OUTPUT_BITS, TAG_BITS, STATUS (register
// address), BUSY (its bit), and those of clocked.h.
#include <cstdint>
#include <cstring>

#include "clocked.h"

namespace {

constexpr int GROUPS = COLUMNS / LANES;
constexpr int CODE_BITS = 2 * LANES * ADC_BITS;

// An output with all its marks; more than 64 bits at the largest sizes.
using Payload = unsigned __int128;

struct Opc : Clocked<OpcModel> {
    uint8_t *beat() { return reinterpret_cast<uint8_t *>(&top.i___05Fpayload); }

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

    Payload output() const {
        static_assert(sizeof top.o___05Fpayload <= sizeof(Payload), "an output has too many bits");
        Payload payload = 0;
        std::memcpy(&payload, &top.o___05Fpayload, sizeof top.o___05Fpayload);
        return payload;
    }
};

int64_t sum_of(Payload payload) {
    return static_cast<int64_t>(static_cast<uint64_t>(payload) << (64 - SUM_BITS)) >> (64 - SUM_BITS);
}

uint64_t number_of(Payload payload) {
    return static_cast<uint64_t>(payload >> SUM_BITS) & ((uint64_t{1} << OUTPUT_BITS) - 1);
}

// The vector's tag, and whether its beats were marked as they should be.
uint64_t tag_of(Payload payload) {
    return static_cast<uint64_t>(payload >> (SUM_BITS + OUTPUT_BITS + 1)) & ((uint64_t{1} << TAG_BITS) - 1);
}

bool spoilt(Payload payload) { return payload >> (SUM_BITS + OUTPUT_BITS + 1 + TAG_BITS) & 1; }

// Codes of LANES bit lines, (positive, negative) alternating, into the beat's bits from bit 0 on, then the marks.
template <typename Code> void pack(uint8_t *beat, const Code *codes, bool first, bool last, int64_t tag) {
    uint64_t pending = 0;
    int bits = 0;
    if constexpr (ADC_BITS == 8) {
        for (int i = 0; i < 2 * LANES; ++i) beat[i] = static_cast<uint8_t>(codes[i]);
        beat += 2 * LANES;
    } else {
        for (int i = 0; i < 2 * LANES; ++i) {
            pending |= static_cast<uint64_t>(codes[i]) << bits;
            for (bits += ADC_BITS; bits >= 8; bits -= 8, pending >>= 8) *beat++ = static_cast<uint8_t>(pending);
        }
    }
    const uint64_t marks = first | last << 1 | (tag & ((1 << TAG_BITS) - 1)) << 2;
    pending |= marks << bits;
    for (bits += 2 + TAG_BITS; bits > 0; bits -= 8, pending >>= 8) *beat++ = static_cast<uint8_t>(pending);
}

template <typename Code>
int64_t run(Opc &opc, const Code *codes, int64_t vectors, int64_t blocks, int64_t *outputs, int64_t per_vector) {
    Vopc &top = opc.top;
    const int64_t limit = 2 * (vectors + 1) * (INPUT_BITS * blocks * GROUPS + COLUMNS) + 64;
    int64_t cycles = 0, delivered = 0, vector = 0, block = 0;
    int bit = INPUT_BITS - 1, group = 0;
    bool fresh = true;
    top.o___05Fready = 1;
    top.i___05Fvalid = vectors > 0;
    while (delivered < vectors * per_vector && cycles < limit) {
        if (fresh && top.i___05Fvalid) {
            const bool begins = bit == INPUT_BITS - 1 && block == 0 && group == 0;
            const bool ends = bit == 0 && block == blocks - 1 && group == GROUPS - 1;
            const int64_t read = (vector * blocks + block) * INPUT_BITS + bit;
            pack(opc.beat(), codes + (read * GROUPS + group) * 2 * LANES, begins, ends, vector);
        }
        // Neither "ready" of the input nor the output depends on this clock's inputs: both are settled already.
        fresh = top.i___05Fready;
        if (top.o___05Fvalid) {
            const Payload payload = opc.output();
            if (spoilt(payload) || tag_of(payload) != (delivered / per_vector & ((1 << TAG_BITS) - 1))) return -1;
            outputs[delivered / per_vector * per_vector + number_of(payload)] = sum_of(payload);
            ++delivered;
        }
        opc.clock();
        ++cycles;
        if (fresh && top.i___05Fvalid && ++group == GROUPS) {
            group = 0;
            if (++block == blocks) {
                block = 0;
                if (bit-- == 0) {
                    bit = INPUT_BITS - 1;
                    top.i___05Fvalid = ++vector < vectors;
                }
            }
        }
    }
    // Unused map entries are read after the last output; settings are refused until that is over.
    const int64_t rest = cycles + 2 * COLUMNS;
    top.bus___05Faddress = STATUS;
    opc.tick();
    for (int64_t clock = cycles; top.bus___05Fread_data >> BUSY & 1 && clock < rest; ++clock) opc.tick();
    top.o___05Fready = 0;
    opc.eval();
    return delivered == vectors * per_vector ? cycles : -1;
}

} // namespace

extern "C" {

void *opc_new() {
    Opc *opc = new Opc;
    opc->reset();
    return opc;
}

void opc_free(void *handle) { delete static_cast<Opc *>(handle); }

// Write a register; 1 when the OPC refuses it.
int opc_write(void *handle, uint32_t address, uint32_t word) { return static_cast<Opc *>(handle)->write(address, word); }

uint32_t opc_read(void *handle, uint32_t address) { return static_cast<Opc *>(handle)->read(address); }

// One clock. `beat` holds the payload's bytes, little-endian; `output` takes 16. Returns bit 0: beat accepted, bit 1:
// output delivered.
int opc_step(void *handle, int valid, const uint8_t *beat, int ready, uint8_t *output) {
    Opc &opc = *static_cast<Opc *>(handle);
    opc.top.i___05Fvalid = valid;
    opc.top.o___05Fready = ready;
    if (valid) std::memcpy(opc.beat(), beat, (CODE_BITS + 2 + TAG_BITS + 7) / 8);
    opc.eval();
    const int result = (valid && opc.top.i___05Fready) | (ready && opc.top.o___05Fvalid) << 1;
    const Payload payload = opc.output();
    std::memcpy(output, &payload, sizeof payload);
    opc.tick();
    return result;
}

// Vectors back to back, output always ready. codes: [vectors][blocks][INPUT_BITS][COLUMNS][2] of `code_bytes` each,
// outputs: [vectors][per_vector]. Returns clock cycles from the first beat to the last output, -1 if outputs fail to come
// or are not those of their vector.
int64_t opc_run(void *handle, const void *codes, int code_bytes, int64_t vectors, int64_t blocks, int64_t *outputs,
                int64_t per_vector) {
    Opc &opc = *static_cast<Opc *>(handle);
    if (code_bytes == 1) return run(opc, static_cast<const uint8_t *>(codes), vectors, blocks, outputs, per_vector);
    return run(opc, static_cast<const uint16_t *>(codes), vectors, blocks, outputs, per_vector);
}
}
