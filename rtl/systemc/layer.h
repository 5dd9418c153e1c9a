// A layer for the example platform: activations, cells, stuck cells, and the register writes of its OPCs.
// docs/systemc.md has the file's format; `crossvote systemc` writes it from the files of a run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace crossvote {

struct LayerOpc {
    int64_t lines, outputs, first_block, blocks;
    std::vector<std::pair<uint32_t, uint32_t>> writes; // word address, word
    std::vector<uint8_t> cells;                        // [blocks][2][rows][lines], what they read as
};

struct Layer {
    int64_t rows = 0, row_blocks = 0, vectors = 0, interval_ps = 0, clock_ps = 0, quantum_ps = 0;
    std::vector<int16_t> x; // [vectors][row_blocks * rows], 0 on word lines that are not driven
    std::vector<LayerOpc> opcs;

    Layer(const std::string &path, const char *kind) : file_(path, std::ios::binary) {
        char magic[8];
        if (!file_.read(magic, 8) || std::memcmp(magic, kind, 8))
            throw std::runtime_error(path + " is not a layer of `crossvote systemc` for this hardware");
        rows = number();
        row_blocks = number();
        vectors = number();
        const int64_t count = number();
        interval_ps = number();
        clock_ps = number();
        quantum_ps = number();
        x.resize(vectors * row_blocks * rows);
        take(x.data(), x.size() * sizeof x[0]);
        for (int64_t at = 0; at < count; ++at) opcs.push_back(opc());
    }

    // ADC codes of one vector as the stream window takes them; bit lines that the layer does not use have codes of 0.
    std::vector<unsigned char> codes(size_t number, int64_t vector, int columns, int input_bits, int adc_bits) const {
        const LayerOpc &opc = opcs[number];
        const int bytes = adc_bits > 8 ? 2 : 1;
        const uint32_t most = (uint32_t{1} << adc_bits) - 1;
        std::vector<unsigned char> found(opc.blocks * input_bits * columns * 2 * bytes);
        std::vector<uint32_t> sums(opc.lines);
        for (int64_t block = 0; block < opc.blocks; ++block) {
            const int16_t *driven = &x[(vector * row_blocks + opc.first_block + block) * rows];
            for (int bit = 0; bit < input_bits; ++bit) {
                for (int sign = 0; sign < 2; ++sign) {
                    std::fill(sums.begin(), sums.end(), 0);
                    for (int64_t row = 0; row < rows; ++row) {
                        if (!(driven[row] >> bit & 1)) continue;
                        const uint8_t *cells = &opc.cells[((block * 2 + sign) * rows + row) * opc.lines];
                        for (int64_t line = 0; line < opc.lines; ++line) sums[line] += cells[line];
                    }
                    for (int64_t line = 0; line < opc.lines; ++line) {
                        const uint16_t code = static_cast<uint16_t>(std::min(sums[line], most));
                        std::memcpy(&found[(((block * input_bits + bit) * columns + line) * 2 + sign) * bytes], &code, bytes);
                    }
                }
            }
        }
        return found;
    }

  private:
    std::ifstream file_;

    void take(void *to, size_t bytes) {
        if (!file_.read(static_cast<char *>(to), static_cast<std::streamsize>(bytes)))
            throw std::runtime_error("the layer's file is cut short");
    }

    int64_t number() {
        int64_t value;
        take(&value, sizeof value);
        return value;
    }

    LayerOpc opc() {
        LayerOpc found{};
        found.lines = number();
        found.outputs = number();
        found.first_block = number();
        found.blocks = number();
        const int64_t writes = number(), stuck = number();
        for (int64_t at = 0; at < writes; ++at) {
            uint32_t pair[2];
            take(pair, sizeof pair);
            found.writes.emplace_back(pair[0], pair[1]);
        }
        found.cells.resize(found.blocks * 2 * rows * found.lines);
        take(found.cells.data(), found.cells.size());
        for (int64_t at = 0; at < stuck; ++at) {
            int32_t cell[5]; // row block of the OPC, sign, word line, bit line, what it reads as
            take(cell, sizeof cell);
            found.cells[((cell[0] * 2 + cell[1]) * rows + cell[2]) * found.lines + cell[3]] =
                static_cast<uint8_t>(cell[4]);
        }
        return found;
    }
};

} // namespace crossvote
