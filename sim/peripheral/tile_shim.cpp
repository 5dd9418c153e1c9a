// Drives a Verilated tile and plays the crossbars behind it: cells, word-line drivers, sample-and-hold, converters.
// Parameters come as macros: OPCS, BLOCKS (most row blocks of an OPC), ROWS, PORT, LANES, COLUMNS, INPUT_BITS, ADC_BITS,
// VALUE_BITS, OUTPUT_BITS, TAG_BITS, STATUS (register address), BUSY (its bit), and those of clocked.h.
// tile_ports.h has word_lines(top, n) and codes(top, n), the ports of OPC n, and is written beside the model.
#include <cstdint>
#include <cstring>
#include <vector>

#include "clocked.h"
#include "tile_ports.h"

namespace {

constexpr int GROUPS = COLUMNS / LANES;
constexpr int WORDS = (ROWS + 63) / 64;
constexpr int ACTIVATION_BYTES = (PORT * INPUT_BITS + TAG_BITS + 7) / 8;

struct Tile : Clocked {
    int64_t blocks = 1;
    // Bits of word lines, 64 in a word: cells [opc][block][group][code of a beat][word], lines [opc][block][word].
    std::vector<uint64_t> cells, kept, driven, held;
    int shown_block = -1, shown_group = -1;

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
        shown_block = -1;
    }

    // What the converters make of the held sums of a group of bit lines, on the ports of all OPCs.
    void show(int block, int group) {
        if (block == shown_block && group == shown_group) return;
        shown_block = block;
        shown_group = group;
        if (block >= blocks) return;
        for (int opc = 0; opc < OPCS; ++opc) {
            const uint64_t *lines = &held[(opc * blocks + block) * WORDS];
            const uint64_t *own = &cells[((opc * blocks + block) * COLUMNS + group * LANES) * 2 * WORDS];
            uint8_t beat[(2 * LANES * ADC_BITS + 7) / 8 + 8];
            put(beat, lines, own);
            std::memcpy(codes(top, opc), beat, (2 * LANES * ADC_BITS + 7) / 8);
        }
    }

    void put(uint8_t *beat, const uint64_t *lines, const uint64_t *own) const {
#if defined(__x86_64__) && defined(__GNUC__)
        if (counts()) return put_counting(beat, lines, own);
#endif
        put_with(beat, lines, own);
    }

#if defined(__x86_64__) && defined(__GNUC__)
    // Every processor of the last ten years counts the bits of a word at once, but compilers must be told.
    static bool counts() {
        static const bool does = __builtin_cpu_supports("popcnt");
        return does;
    }
    __attribute__((target("popcnt"))) static void put_counting(uint8_t *beat, const uint64_t *lines,
                                                               const uint64_t *own) {
        put_with(beat, lines, own);
    }
#endif

    static inline void put_with(uint8_t *beat, const uint64_t *lines, const uint64_t *own) {
        uint64_t pending = 0;
        int bits = 0;
        for (int i = 0; i < 2 * LANES; ++i, own += WORDS) {
            uint64_t sum = 0;
            for (int word = 0; word < WORDS; ++word) sum += __builtin_popcountll(lines[word] & own[word]);
            constexpr uint64_t most = (uint64_t{1} << ADC_BITS) - 1;
            pending |= (sum < most ? sum : most) << bits;
            for (bits += ADC_BITS; bits >= 8; bits -= 8, pending >>= 8) *beat++ = static_cast<uint8_t>(pending);
        }
        *beat = static_cast<uint8_t>(pending);
    }

    // A clock. The tile's outputs follow from registers, so they are settled; codes are those of the sums held so far.
    void clock() {
        show(top.array___05Fconvert_block, top.array___05Fconvert_group);
        if (top.array___05Fsample) {
            held = driven;
            shown_block = -1;
        }
        if (top.array___05Fdrive) driven = kept;
        if (top.array___05Fload && top.array___05Fload_block < blocks)
            for (int opc = 0; opc < OPCS; ++opc)
                std::memcpy(&kept[(opc * blocks + top.array___05Fload_block) * WORDS], word_lines(top, opc),
                            (ROWS + 7) / 8);
        tick();
    }
};

// PORT activations and the tag.
void pack(uint8_t *beat, const int32_t *x, int64_t tag) {
    uint64_t pending = 0;
    int bits = 0;
    for (int i = 0; i < PORT; ++i) {
        pending |= (static_cast<uint64_t>(x[i]) & ((1 << INPUT_BITS) - 1)) << bits;
        for (bits += INPUT_BITS; bits >= 8; bits -= 8, pending >>= 8) *beat++ = static_cast<uint8_t>(pending);
    }
    pending |= static_cast<uint64_t>(tag & ((1 << TAG_BITS) - 1)) << bits;
    for (bits += TAG_BITS; bits > 0; bits -= 8, pending >>= 8) *beat++ = static_cast<uint8_t>(pending);
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

// Vectors back to back, output always ready. x: [vectors][OPCS * blocks * ROWS], values: [vectors][per_vector].
// finished: [vectors], the clock, from the first beat on, in which a vector's last output was delivered. Returns the
// clocks in all, -1 if outputs fail to come or are not those of their vector.
int64_t tile_run(void *handle, const int32_t *x, int64_t vectors, int8_t *values, int64_t per_vector, int64_t patience,
                 int64_t *finished) {
    Tile &tile = *static_cast<Tile *>(handle);
    MODEL &top = tile.top;
    const int64_t beats = OPCS * tile.blocks * ROWS / PORT;
    int64_t clocks = 0, quiet = 0, delivered = 0, beat = 0;
    bool fresh = true;
    top.o___05Fready = 1;
    top.i___05Fvalid = vectors > 0;
    while (delivered < vectors * per_vector && quiet < patience) {
        if (fresh && top.i___05Fvalid) {
            uint8_t payload[ACTIVATION_BYTES];
            pack(payload, x + beat * PORT, beat / beats);
            std::memcpy(&top.i___05Fpayload, payload, ACTIVATION_BYTES);
        }
        fresh = top.i___05Fready;
        ++quiet;
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
        if (fresh && top.i___05Fvalid) top.i___05Fvalid = ++beat < vectors * beats;
    }
    // Unused map entries are read after the last output; settings are refused until that is over.
    top.bus___05Faddress = STATUS;
    tile.clock();
    for (int rest = 2 * COLUMNS; top.bus___05Fread_data >> BUSY & 1 && rest > 0; --rest) tile.clock();
    top.o___05Fready = 0;
    tile.eval();
    return delivered == vectors * per_vector ? clocks : -1;
}
}
