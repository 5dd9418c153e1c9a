// The TLM-2.0 target with a whole tile behind it, and crossbars behind that. A vector in the STREAM window is its
// activations: int16[OPCs * row blocks * rows]. The CELLS window takes what the cells read as, stuck ones included, a byte
// each: [OPCs][row blocks][positive, negative][rows][columns].
#pragma once

#include "layer.h"
#include "target.h"

namespace crossvote {

class TileTarget : public Target {
  public:
    using Target::Target;
    static constexpr const char *MAGIC = "CVTILES1";

    // What the initiator sends of a layer's vector: every tile gets all activations of its word-line group.
    static std::vector<unsigned char> vector_of(const Layer &layer, size_t, int64_t vector) {
        const size_t count = static_cast<size_t>(layer.row_blocks * layer.rows);
        std::vector<unsigned char> found(2 * count);
        std::memcpy(found.data(), &layer.x[vector * count], 2 * count);
        return found;
    }
    // Bit lines that the layer does not use have cells that read 0.
    static std::vector<unsigned char> cells_of(const Layer &layer, size_t number) {
        const LayerOpc &tile = layer.opcs[number];
        const size_t lines = static_cast<size_t>(tile.lines), word_lines = tile.cells.size() / lines;
        std::vector<unsigned char> found(word_lines * COLUMNS);
        for (size_t line = 0; line < word_lines; ++line)
            std::memcpy(&found[line * COLUMNS], &tile.cells[line * lines], lines);
        return found;
    }

  protected:
    size_t vector_bytes() const override { return size_t{2} * OPCS * row_blocks * ROWS; }

    void offer_vector(const unsigned char *activations) override {
        const size_t beats = vector_bytes() / 2 / PORT;
        for (size_t beat = 0; beat < beats; ++beat) {
            Words words(PORT * INPUT_BITS + 1 + TAG_BITS);
            for (size_t at = beat * PORT; at < (beat + 1) * PORT; ++at) {
                int16_t value;
                std::memcpy(&value, activations + 2 * at, 2);
                words.append(static_cast<uint32_t>(value), INPUT_BITS);
            }
            words.append(beat == beats - 1, 1);
            words.append(static_cast<uint32_t>(vectors), TAG_BITS);
            offer(words.words);
        }
    }

    bool take_cells(const unsigned char *cells, size_t bytes) override {
        if (bytes != size_t{2} * OPCS * row_blocks * ROWS * COLUMNS) return false;
        blocks_ = row_blocks;
        cells_.assign(cells, cells + bytes);
        for (auto *lines : {&kept_, &driven_, &held_}) lines->assign(size_t{OPCS} * blocks_ * ROWS, 0);
        shown_ = false;
        return true;
    }

    // The crossbars: codes of the held sums that the converters are asked for, and what the coming edge does.
    void before_edge() override {
        if (cells_.empty()) return;
        const uint32_t block = pins.convert_block(), group = pins.convert_group();
        if (block < blocks_ && !(shown_ && block == shown_block_ && group == shown_group_)) {
            for (int opc = 0; opc < OPCS; ++opc) convert(opc, block, group);
            shown_ = true, shown_block_ = block, shown_group_ = group;
            settle();
        }
        if (pins.array___05Fsample.read()) held_ = driven_, shown_ = false;
        if (pins.array___05Fdrive.read()) driven_ = kept_;
        if (pins.array___05Fload.read() && pins.load_block() < blocks_)
            for (int opc = 0; opc < OPCS; ++opc)
                for (int row = 0; row < ROWS; ++row)
                    kept_[(size_t(opc) * blocks_ + pins.load_block()) * ROWS + row] =
                        word_of(pins.word_lines[opc]->read(), row / 32) >> row % 32 & 1;
    }

  private:
    std::vector<unsigned char> cells_, kept_, driven_, held_;
    uint32_t blocks_ = 0, shown_block_ = 0, shown_group_ = 0;
    bool shown_ = false;

    void convert(int opc, uint32_t block, uint32_t group) {
        constexpr uint32_t most = (uint32_t{1} << ADC_BITS) - 1;
        const size_t at = size_t(opc) * blocks_ + block;
        Words codes(2 * LANES * ADC_BITS);
        for (int lane = 0; lane < LANES; ++lane)
            for (int sign = 0; sign < 2; ++sign) {
                const unsigned char *line = &cells_[(at * 2 + sign) * ROWS * COLUMNS + group * LANES + lane];
                uint32_t sum = 0;
                for (int row = 0; row < ROWS; ++row) sum += held_[at * ROWS + row] & line[size_t{COLUMNS} * row];
                codes.append(std::min(sum, most), ADC_BITS);
            }
        Pins::Codes value{};
        set_words(value, codes.words.data());
        pins.codes[opc]->write(value);
    }
};

using ModuleTarget = TileTarget;

} // namespace crossvote
