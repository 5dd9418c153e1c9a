// Plays a tile and the crossbars behind it: cells, word-line drivers, sample-and-hold, converters.
// The tile is what the Verilog of the tile is: its control and its OPCs, each a Verilated model, wired here as there. So an
// OPC that says that it is still need not be evaluated, and all OPCs share their code.
// Parameters come as macros: OPCS, BLOCKS (most row blocks of an OPC), ROWS, PORT, LANES, COLUMNS, INPUT_BITS, ADC_BITS,
// VALUE_BITS, OUTPUT_BITS, TAG_BITS, STATUS (register address), BUSY (its bit).
// tile_ports.h has the control's ports of OPC n, and is written beside the models: word_lines(top, n), offer(top, n),
// marks(top, n), forward(top, opc, n), backward(top, opc, n), ready(top, n).
#include <cstdint>
#include <cstring>
#include <vector>

#include "clocked.h"
#include "tile_ports.h"

namespace {

constexpr int GROUPS = COLUMNS / LANES;
constexpr int WORDS = (ROWS + 63) / 64;
constexpr int ACTIVATION_BYTES = (PORT * INPUT_BITS + 1 + TAG_BITS + 7) / 8;

// Clocks that a beat takes in an OPC until its column sums are stored.
constexpr int DEPTH = 3;

// A beat, and the clock in which its OPC took it.
struct Beat {
    int64_t clock;
    uint8_t payload[sizeof(OpcModel::Top::i___05Fpayload)];
};

struct Tile {
    Clocked<ControlModel> control;
    Clocked<OpcModel> opcs[OPCS];
    int64_t blocks = 1;
    // Bits of word lines, 64 in a word: cells [opc][block][group][code of a beat][word], lines [opc][block][word].
    std::vector<uint64_t> cells, kept, driven, held;
    // Beats of each OPC that were taken and not yet evaluated, and the clocks so far.
    std::vector<Beat> waiting[OPCS];
    int64_t now = 0;

    void set_cells(const uint8_t *bits, int64_t row_blocks) {
        blocks = row_blocks;
        cells.assign(size_t(OPCS) * blocks * COLUMNS * 2 * WORDS, 0);
        for (auto *lines : {&kept, &driven, &held}) lines->assign(size_t(OPCS) * blocks * WORDS, 0);
        for (int64_t at = 0; at < OPCS * blocks; ++at)
            for (int sign = 0; sign < 2; ++sign)
                for (int row = 0; row < ROWS; ++row)
                    for (int column = 0; column < COLUMNS; ++column)
                        if (*bits++)
                            cells[((at * COLUMNS + column) * 2 + sign) * WORDS + row / 64] |= uint64_t{1} << row % 64;
    }

    void reset() {
        for (auto &opc : opcs) opc.reset();
        control.reset();
        settle();
    }

    // Everything between control and OPCs as it is before the next edge, register accesses included.
    void settle() {
        for (int n = 0; n < OPCS; ++n)
            if (!waiting[n].empty()) catch_up(n);
        control.eval();
        for (int n = 0; n < OPCS; ++n) {
            forward(control.top, opcs[n].top, n);
            opcs[n].eval();
            backward(control.top, opcs[n].top, n);
        }
        control.eval();
    }

    // An edge of the whole tile behind settle().
    void edge() {
        for (int n = 0; n < OPCS; ++n) forward(control.top, opcs[n].top, n);
        for (auto &opc : opcs) opc.tick();
        control.tick();
        settle();
    }

    // Write a register; 1 when it is refused.
    int write(uint32_t address, uint32_t word) {
        control.top.bus___05Faddress = address;
        control.top.bus___05Fwrite_data = word;
        control.top.bus___05Fwrite = 1;
        settle();
        const int refused = control.top.bus___05Ferror;
        edge();
        control.top.bus___05Fwrite = 0;
        settle();
        return refused;
    }

    uint32_t read(uint32_t address) {
        control.top.bus___05Faddress = address;
        control.top.bus___05Fread = 1;
        settle();
        edge();
        control.top.bus___05Fread = 0;
        settle();
        return control.top.bus___05Fread_data;
    }

    // The codes that the converters make of the held sums of a group of bit lines, and the marks, as a beat of an OPC.
    void beat(uint8_t *beat, int n, int block, int group) {
        const uint64_t *lines = &held[(n * blocks + block) * WORDS];
        const uint64_t *own = &cells[((n * blocks + block) * COLUMNS + group * LANES) * 2 * WORDS];
        put(beat, lines, own, marks(control.top, n));
    }

    // Play the beats that wait, so that the OPC is where it is by now. Those of the last clocks keep their distance.
    void catch_up(int n) {
        auto &opc = opcs[n];
        auto &beats = waiting[n];
        const int64_t old = now - DEPTH;
        size_t at = 0;
        for (; at < beats.size() && beats[at].clock < old; ++at) opc_clock(opc, &beats[at]);
        for (int rest = 0; at && rest < DEPTH; ++rest) opc_clock(opc, nullptr);
        for (int64_t clock = at < beats.size() ? beats[at].clock : now; clock < now; ++clock) {
            const bool here = at < beats.size() && beats[at].clock == clock;
            opc_clock(opc, here ? &beats[at++] : nullptr);
        }
        beats.clear();
    }

    static void opc_clock(Clocked<OpcModel> &opc, const Beat *beat) {
        opc.top.i___05Fvalid = beat != nullptr;
        if (beat) std::memcpy(&opc.top.i___05Fpayload, beat->payload, sizeof beat->payload);
        opc.clock();
    }

    static void put(uint8_t *beat, const uint64_t *lines, const uint64_t *own, uint64_t marks) {
#if defined(__x86_64__) && defined(__GNUC__)
        if (counts()) return put_counting(beat, lines, own, marks);
#endif
        put_with(beat, lines, own, marks);
    }

#if defined(__x86_64__) && defined(__GNUC__)
    // Every processor of the last ten years counts the bits of a word at once, but compilers must be told.
    static bool counts() {
        static const bool does = __builtin_cpu_supports("popcnt");
        return does;
    }
    __attribute__((target("popcnt"))) static void put_counting(uint8_t *beat, const uint64_t *lines, const uint64_t *own,
                                                               uint64_t marks) {
        put_with(beat, lines, own, marks);
    }
#endif

    static inline void put_with(uint8_t *beat, const uint64_t *lines, const uint64_t *own, uint64_t marks) {
        uint64_t pending = 0;
        int bits = 0;
        for (int i = 0; i < 2 * LANES; ++i, own += WORDS) {
            uint64_t sum = 0;
            for (int word = 0; word < WORDS; ++word) sum += __builtin_popcountll(lines[word] & own[word]);
            constexpr uint64_t most = (uint64_t{1} << ADC_BITS) - 1;
            pending |= (sum < most ? sum : most) << bits;
            for (bits += ADC_BITS; bits >= 8; bits -= 8, pending >>= 8) *beat++ = static_cast<uint8_t>(pending);
        }
        pending |= marks << bits;
        for (bits += 2 + TAG_BITS; bits > 0; bits -= 8, pending >>= 8) *beat++ = static_cast<uint8_t>(pending);
    }

    // Leave out clocks in which the control only counts, most of them at the most; returns how many. OPCs are not left out.
    int64_t rest(int64_t most) {
        auto &top = control.top;
        if (!top.rest___05Fstill) return 0;
        // The control has not been evaluated since its OPCs moved.
        for (auto &opc : opcs)
            if (opc.top.o___05Fvalid) return 0;
        const int64_t settling = top.rest___05Fsettling, pace = top.rest___05Fpace, rate = top.rest___05Frate;
        const int64_t due = rate ? (CONVERT_CLOCKS - pace + rate - 1) / rate : settling ? settling : most;
        int64_t gone = 0;
        for (bool output = false; gone < due && gone < most && !output; ++gone, ++now)
            for (int n = 0; n < OPCS; ++n) {
                if (!waiting[n].empty() || opcs[n].top.still) continue;
                stream_forward(top, opcs[n].top, n);
                opcs[n].clock();
                stream_backward(top, opcs[n].top, n);
                output |= opcs[n].top.o___05Fvalid;
            }
        top.rest___05Fgone = gone < settling ? gone : settling;
        top.rest___05Fgained = gone * rate;
        control.look();
        return gone;
    }

    // A clock in which no register is accessed. Outputs of control and OPCs are settled before it, and after it.
    // A beat that ends no vector and finds its OPC still only becomes part of column sums. It waits for the next one that
    // does: beats that come together take one evaluation each, those that come one by one take DEPTH.
    void clock() {
        auto &top = control.top;
        bool moves[OPCS];
        for (int n = 0; n < OPCS; ++n) {
            auto &opc = opcs[n].top;
            const bool offered = offer(top, n), waits = !waiting[n].empty();
            moves[n] = false;
            if (offered && (waits || opc.still) && !ends(top, n)) {
                waiting[n].emplace_back().clock = now;
                beat(waiting[n].back().payload, n, top.array___05Fconvert_block, top.array___05Fconvert_group);
                continue;
            }
            if (offered && waits) catch_up(n);
            moves[n] = offered || (!waits && !opc.still);
            if (offered)
                beat(reinterpret_cast<uint8_t *>(&opc.i___05Fpayload), n, top.array___05Fconvert_block,
                     top.array___05Fconvert_group);
            if (moves[n]) stream_forward(top, opc, n);
        }
        ++now;
        if (top.array___05Fsample) held = driven;
        if (top.array___05Fdrive) driven = kept;
        if (top.array___05Fload && top.array___05Fload_block < blocks)
            for (int n = 0; n < OPCS; ++n)
                std::memcpy(&kept[(n * blocks + top.array___05Fload_block) * WORDS], word_lines(top, n),
                            (ROWS + 7) / 8);
        control.clock();
        // What comes out of the OPCs goes into registers of the control, but for what says whether they take a beat.
        bool changed = top.rest___05Fgone | top.rest___05Fgained;
        top.rest___05Fgone = top.rest___05Fgained = 0;
        for (int n = 0; n < OPCS; ++n) {
            if (!moves[n]) continue;
            opcs[n].clock();
            changed |= ready(top, n) != opcs[n].top.i___05Fready;
            stream_backward(top, opcs[n].top, n);
        }
        if (changed) control.look();
    }
};

// PORT activations, whether they are the last of their vector, and its tag.
void pack(uint8_t *beat, const int32_t *x, bool last, int64_t tag) {
    uint64_t pending = 0;
    int bits = 0;
    for (int i = 0; i < PORT; ++i) {
        pending |= (static_cast<uint64_t>(x[i]) & ((1 << INPUT_BITS) - 1)) << bits;
        for (bits += INPUT_BITS; bits >= 8; bits -= 8, pending >>= 8) *beat++ = static_cast<uint8_t>(pending);
    }
    pending |= static_cast<uint64_t>(last | (tag & ((1 << TAG_BITS) - 1)) << 1) << bits;
    for (bits += 1 + TAG_BITS; bits > 0; bits -= 8, pending >>= 8) *beat++ = static_cast<uint8_t>(pending);
}

} // namespace

extern "C" {

void *tile_new() {
    Tile *tile = new Tile;
    tile->reset();
    return tile;
}

void tile_free(void *handle) { delete static_cast<Tile *>(handle); }

// What the cells read as: [OPCS][blocks][2][ROWS][COLUMNS], one byte each.
void tile_cells(void *handle, const uint8_t *cells, int64_t blocks) {
    static_cast<Tile *>(handle)->set_cells(cells, blocks);
}

int tile_write(void *handle, uint32_t address, uint32_t word) {
    return static_cast<Tile *>(handle)->write(address, word);
}

uint32_t tile_read(void *handle, uint32_t address) { return static_cast<Tile *>(handle)->read(address); }

// A clock of a tile whose outputs are always taken. Bit 0 of the answer: the offered beat was accepted; bit 1: an output was
// delivered, whose payload is in `output`.
int tile_step(void *handle, int valid, const uint8_t *beat, uint64_t *output) {
    Tile &tile = *static_cast<Tile *>(handle);
    auto &top = tile.control.top;
    top.i___05Fvalid = valid;
    if (valid) std::memcpy(&top.i___05Fpayload, beat, ACTIVATION_BYTES);
    if (!top.o___05Fready) {
        top.o___05Fready = 1;
        tile.settle();
    }
    tile.control.eval();
    const int happened = (valid && top.i___05Fready) | top.o___05Fvalid << 1;
    *output = 0;
    std::memcpy(output, &top.o___05Fpayload, sizeof top.o___05Fpayload);
    tile.clock();
    return happened;
}

// Vectors back to back, output always ready. x: [vectors][OPCS * blocks * ROWS], values: [vectors][per_vector].
// finished: [vectors], the clock, from the first beat on, in which a vector's last output was delivered. Returns the
// clocks in all, -1 if outputs fail to come or are not those of their vector.
int64_t tile_run(void *handle, const int32_t *x, int64_t vectors, int8_t *values, int64_t per_vector, int64_t patience,
                 int64_t *finished) {
    Tile &tile = *static_cast<Tile *>(handle);
    auto &top = tile.control.top;
    const int64_t beats = OPCS * tile.blocks * ROWS / PORT;
    int64_t clocks = 0, quiet = 0, delivered = 0, beat = 0;
    bool fresh = true;
    top.o___05Fready = 1;
    top.i___05Fvalid = vectors > 0;
    tile.control.eval();
    while (delivered < vectors * per_vector && quiet < patience) {
        if (fresh && top.i___05Fvalid) {
            uint8_t payload[ACTIVATION_BYTES];
            pack(payload, x + beat * PORT, (beat + 1) % beats == 0, beat / beats);
            std::memcpy(&top.i___05Fpayload, payload, ACTIVATION_BYTES);
        }
        fresh = top.i___05Fready;
        const int64_t gone = tile.rest(patience);
        clocks += gone;
        quiet += gone + 1;
        if (top.o___05Fvalid) {
            uint64_t word = 0;
            std::memcpy(&word, &top.o___05Fpayload, sizeof top.o___05Fpayload);
            const uint64_t number = word >> VALUE_BITS & ((1 << OUTPUT_BITS) - 1), marks = word >> (VALUE_BITS + OUTPUT_BITS);
            const int64_t vector = delivered / per_vector;
            if (marks >> (1 + TAG_BITS) & 1 || number >= uint64_t(per_vector)) return -1;
            if ((marks >> 1 & ((1 << TAG_BITS) - 1)) != uint64_t(vector & ((1 << TAG_BITS) - 1))) return -1;
            values[vector * per_vector + number] = static_cast<int8_t>(word);
            if (++delivered % per_vector == 0) finished[vector] = clocks;
            quiet = 0;
        }
        tile.clock();
        ++clocks;
        if (fresh && top.i___05Fvalid && ++beat == vectors * beats) {
            top.i___05Fvalid = 0;
            tile.control.eval();
        }
    }
    // Unused map entries are read after the last output; settings are refused until that is over.
    tile.settle();
    for (int rest = 2 * COLUMNS; tile.read(STATUS) >> BUSY & 1 && rest > 0;) --rest;
    top.o___05Fready = 0;
    tile.settle();
    return delivered == vectors * per_vector ? clocks : -1;
}
}
