// The TLM-2.0 target with an OPC behind it. A vector in the STREAM window is its ADC codes:
// [row blocks][input bits, lowest first][columns][positive, negative], of one or two bytes each.
#pragma once

#include "layer.h"
#include "target.h"

namespace crossvote {

class OpcTarget : public Target {
  public:
    using Target::Target;
    static constexpr const char *MAGIC = "CVLAYER1";

    // What the initiator sends of a layer's vector: here it is the initiator that plays the crossbars.
    static std::vector<unsigned char> vector_of(const Layer &layer, size_t number, int64_t vector) {
        return layer.codes(number, vector, COLUMNS, INPUT_BITS, ADC_BITS);
    }
    static std::vector<unsigned char> cells_of(const Layer &, size_t) { return {}; }

  protected:
    size_t vector_bytes() const override { return READ_BYTES * INPUT_BITS * row_blocks; }

    void offer_vector(const unsigned char *codes) override {
        for (int bit = INPUT_BITS - 1; bit >= 0; --bit)
            for (uint32_t block = 0; block < row_blocks; ++block)
                for (int group = 0; group < COLUMNS / LANES; ++group) {
                    const bool first = bit == INPUT_BITS - 1 && block == 0 && group == 0;
                    const bool last = bit == 0 && block == row_blocks - 1 && group == COLUMNS / LANES - 1;
                    const unsigned char *own = codes + (block * INPUT_BITS + bit) * READ_BYTES;
                    Words beat(2 * LANES * ADC_BITS + 2 + TAG_BITS);
                    for (int code = 0; code < 2 * LANES; ++code) {
                        uint16_t value = 0;
                        std::memcpy(&value, own + (size_t{2} * LANES * group + code) * CODE_BYTES, CODE_BYTES);
                        beat.append(value, ADC_BITS);
                    }
                    beat.append(first, 1);
                    beat.append(last, 1);
                    beat.append(static_cast<uint32_t>(vectors), TAG_BITS);
                    offer(beat.words);
                }
    }

  private:
    static constexpr int CODE_BYTES = ADC_BITS > 8 ? 2 : 1;
    static constexpr size_t READ_BYTES = size_t{2} * COLUMNS * CODE_BYTES;
};

using ModuleTarget = OpcTarget;

} // namespace crossvote
