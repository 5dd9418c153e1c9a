// What the TLM-2.0 targets of an OPC and of a tile have in common: a Verilated module of `verilator --sc`, clocked by
// transport calls.
//
// Memory map, in bytes:
//   0           the registers, one 32-bit word per access (docs/opc.md, docs/tile.md; a word address times four)
//   STREAM      write: one whole vector; what it consists of says the target
//   OUTPUTS     read: the oldest outputs that have not been read, int64 each, in the order of the map
//   CELLS       write: what the cells behind a tile read as; takes no time
//
// Loosely timed, and exact about it: every call plays as many clock cycles of the hardware as it takes, in delta cycles,
// so that simulated time stands still, and adds what they took to the annotated delay. A call that arrives at time t
// (now + delay) is seen by the first rising edge after t; edges are at multiples of the period. One call that carries a
// vector ends with the edge that accepts its last beat; reading ends with the edge that delivers the last output asked
// for, or at once where that lies in the past. Calls must arrive in order of time, as those of one initiator do.
//
// Responses: ADDRESS_ERROR where there is nothing, GENERIC_ERROR for a refused write and for outputs that will not come,
// BURST_ERROR for a wrong length, BYTE_ENABLE_ERROR for byte enables, COMMAND_ERROR for a direction that is not offered.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include <systemc>
#include <tlm>
#include <tlm_utils/simple_target_socket.h>

#include "target_config.h"
#include "target_pins.h"

namespace crossvote {

// When the hardware was done with a transaction, which a late reader cannot see from the delay. Ignorable.
struct Finished : tlm::tlm_extension<Finished> {
    sc_core::sc_time time;
    tlm::tlm_extension_base *clone() const override { return new Finished(*this); }
    void copy_from(const tlm::tlm_extension_base &other) override { *this = static_cast<const Finished &>(other); }
};

// A pin of any width as 32-bit words.
inline uint32_t word_of(bool value, int) { return value; }
inline uint32_t word_of(uint32_t value, int) { return value; }
inline uint32_t word_of(uint64_t value, int word) { return static_cast<uint32_t>(value >> (32 * word)); }
template <int W> uint32_t word_of(const sc_dt::sc_bv<W> &value, int word) { return value.get_word(word); }
inline void set_words(uint32_t &value, const uint32_t *words) { value = words[0]; }
inline void set_words(uint64_t &value, const uint32_t *words) { value = words[0] | static_cast<uint64_t>(words[1]) << 32; }
template <int W> void set_words(sc_dt::sc_bv<W> &value, const uint32_t *words) {
    for (int word = 0; word < value.size(); ++word) value.set_word(word, words[word]);
}

// Bits one after the other, lowest first, as 32-bit words.
struct Words {
    std::vector<uint32_t> words;
    explicit Words(int bits) : words((bits + 63) / 32, 0) {}
    void append(uint32_t value, int bits) {
        for (int bit = 0; bit < bits; ++bit, ++at_) words[at_ / 32] |= (value >> bit & 1) << at_ % 32;
    }

  private:
    int at_ = 0;
};

class Target : public sc_core::sc_module {
  public:
    tlm_utils::simple_target_socket<Target> socket;
    // The interrupt, as it is after the last call. May stay unbound.
    sc_core::sc_port<sc_core::sc_signal_inout_if<bool>, 1, sc_core::SC_ZERO_OR_MORE_BOUND> irq;

    static constexpr uint64_t STREAM = 0x100000, OUTPUTS = 0x200000, CELLS = 0x300000;

    Target(sc_core::sc_module_name name, sc_core::sc_time period)
        : sc_module(name), socket("socket"), irq("irq"), module_("module"), period_(period) {
        pins.bind(module_);
        socket.register_b_transport(this, &Target::b_transport);
    }

    // Clock cycles of the hardware that were played.
    uint64_t played() const { return played_; }

    void b_transport(tlm::tlm_generic_payload &transaction, sc_core::sc_time &delay) {
        const sc_core::sc_time now = sc_core::sc_time_stamp(), arrival = now + delay;
        calls_.lock();
        if (!reset_) reset();
        transaction.set_dmi_allowed(false);
        sc_core::sc_time end = arrival;
        transaction.set_response_status(serve(transaction, arrival, end));
        if (irq.size()) irq->write(pins.irq.read());
        delay = std::max(arrival, end) - now;
        if (auto *finished = transaction.get_extension<Finished>()) finished->time = end;
        calls_.unlock();
    }

  protected:
    Pins pins;
    uint64_t vectors = 0;
    uint32_t row_blocks = 1;

    // A vector in the STREAM window: its bytes, and how its beats are offered.
    virtual size_t vector_bytes() const = 0;
    virtual void offer_vector(const unsigned char *data) = 0;
    // Cells in the CELLS window; false where there are none, or the length is another one.
    virtual bool take_cells(const unsigned char *, size_t) { return false; }
    // Between settled outputs and the rising edge.
    virtual void before_edge() {}

    // Offer a beat, given as its words, until it is taken.
    void offer(const std::vector<uint32_t> &words) {
        Pins::Beat payload{};
        set_words(payload, words.data());
        pins.i___05Fpayload.write(payload);
        pins.i___05Fvalid.write(true);
        do edge(); while (!accepted_);
        pins.i___05Fvalid.write(false);
    }

    // Let what was written reach the outputs: one delta cycle to evaluate, one for their signals.
    void settle() {
        wait(sc_core::SC_ZERO_TIME);
        wait(sc_core::SC_ZERO_TIME);
    }

  private:
    struct Delivered {
        int64_t value;
        uint64_t clock;
    };
    static constexpr uint64_t REGISTER_BYTES = uint64_t{16} << INDEX_BITS;

    Vmodule module_;
    sc_core::sc_time period_;
    sc_core::sc_mutex calls_;
    std::deque<Delivered> outputs_;
    uint64_t clock_ = 0, quiet_ = 0, played_ = 0;
    bool reset_ = false;

    sc_core::sc_time time_of(uint64_t clock) const { return period_ * static_cast<double>(clock); }

    tlm::tlm_response_status serve(tlm::tlm_generic_payload &t, sc_core::sc_time arrival, sc_core::sc_time &end) {
        if (t.get_byte_enable_ptr()) return tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE;
        if (t.get_streaming_width() < t.get_data_length()) return tlm::TLM_BURST_ERROR_RESPONSE;
        const uint64_t address = t.get_address();
        const bool read = t.is_read();
        if (!read && !t.is_write()) return tlm::TLM_COMMAND_ERROR_RESPONSE;
        if (address == STREAM) return read ? tlm::TLM_COMMAND_ERROR_RESPONSE : stream(t, arrival, end);
        if (address == CELLS && !read)
            return take_cells(t.get_data_ptr(), t.get_data_length()) ? tlm::TLM_OK_RESPONSE : tlm::TLM_BURST_ERROR_RESPONSE;
        if (address == OUTPUTS) return read ? collect(t, end) : tlm::TLM_COMMAND_ERROR_RESPONSE;
        if (address >= REGISTER_BYTES || address % 4) return tlm::TLM_ADDRESS_ERROR_RESPONSE;
        if (t.get_data_length() != 4) return tlm::TLM_BURST_ERROR_RESPONSE;
        advance(arrival);
        return access(t, static_cast<uint32_t>(address / 4), read, end);
    }

    tlm::tlm_response_status access(tlm::tlm_generic_payload &t, uint32_t word, bool read, sc_core::sc_time &end) {
        uint32_t data = 0;
        std::memcpy(&data, t.get_data_ptr(), 4);
        pins.bus___05Faddress.write(word);
        pins.bus___05Fwrite_data.write(data);
        pins.bus___05Fwrite.write(!read);
        pins.bus___05Fread.write(read);
        edge();
        const bool refused = refused_;
        pins.bus___05Fwrite.write(false);
        pins.bus___05Fread.write(false);
        end = time_of(clock_);
        if (read) {
            // What was read stands there after the edge.
            settle();
            if (pins.bus___05Fread_error.read()) return tlm::TLM_ADDRESS_ERROR_RESPONSE;
            data = pins.bus___05Fread_data.read();
            std::memcpy(t.get_data_ptr(), &data, 4);
        } else if (refused) {
            return tlm::TLM_GENERIC_ERROR_RESPONSE;
        } else if (word == REGISTER_ROW_BLOCKS) {
            row_blocks = data;
        }
        quiet_ = 0;
        return tlm::TLM_OK_RESPONSE;
    }

    tlm::tlm_response_status stream(tlm::tlm_generic_payload &t, sc_core::sc_time arrival, sc_core::sc_time &end) {
        if (t.get_data_length() != vector_bytes()) return tlm::TLM_BURST_ERROR_RESPONSE;
        advance(arrival);
        offer_vector(t.get_data_ptr());
        ++vectors;
        end = time_of(clock_);
        return tlm::TLM_OK_RESPONSE;
    }

    // The oldest outputs; the time is that of the last of them.
    tlm::tlm_response_status collect(tlm::tlm_generic_payload &t, sc_core::sc_time &end) {
        if (!t.get_data_length() || t.get_data_length() % 8) return tlm::TLM_BURST_ERROR_RESPONSE;
        const size_t count = t.get_data_length() / 8;
        while (outputs_.size() < count && quiet_ < SETTLED) edge();
        if (outputs_.size() < count) return tlm::TLM_GENERIC_ERROR_RESPONSE;
        for (size_t number = 0; number < count; ++number) {
            std::memcpy(t.get_data_ptr() + 8 * number, &outputs_.front().value, 8);
            end = time_of(outputs_.front().clock);
            outputs_.pop_front();
        }
        return tlm::TLM_OK_RESPONSE;
    }

    void reset() {
        pins.o___05Fready.write(true);
        pins.bus___05Fwrite_strobe.write(0xF);
        pins.rst.write(true);
        edge();
        pins.rst.write(false);
        clock_ = quiet_ = 0;
        reset_ = true;
    }

    // Play the clock edges up to a time.
    void advance(sc_core::sc_time until) {
        const auto clocks = static_cast<uint64_t>(until.value() / period_.value());
        while (clock_ < clocks && quiet_ < SETTLED) edge();
        clock_ = std::max(clock_, clocks);
    }

    bool accepted_ = false, refused_ = false;

    // One rising edge, with the inputs as they were written.
    void edge() {
        pins.clk.write(false);
        settle();
        before_edge();
        const bool offered = pins.i___05Fvalid.read();
        accepted_ = offered && pins.i___05Fready.read();
        refused_ = pins.bus___05Ferror.read();
        const bool delivered = pins.o___05Fvalid.read() && !pins.rst.read();
        ++clock_;
        ++played_;
        if (delivered) outputs_.push_back({value_of(pins.o___05Fpayload.read()), clock_});
        quiet_ = offered || delivered ? 0 : quiet_ + 1;
        pins.clk.write(true);
        wait(sc_core::SC_ZERO_TIME);
    }

    static int64_t value_of(const Pins::Output &payload) {
        uint64_t sum = word_of(payload, 0);
        if (VALUE_BITS > 32) sum |= static_cast<uint64_t>(word_of(payload, 1)) << 32;
        return static_cast<int64_t>(sum << (64 - VALUE_BITS)) >> (64 - VALUE_BITS);
    }
};

} // namespace crossvote
