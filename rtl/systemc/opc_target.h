// A TLM-2.0 target with the OPC behind it: the Verilated module of `verilator --sc`, clocked by transport calls.
//
// Memory map, in bytes:
//   0           the registers of the OPC, one 32-bit word per access (docs/opc.md; a word address times four)
//   STREAM      write: ADC codes of one whole vector, [row blocks][input bits, lowest first][columns][positive, negative]
//   OUTPUTS     read: the oldest outputs that have not been read, int64 each, in the order of the map
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

#include "Vopc.h"
#include "opc_config.h"

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

class OpcTarget : public sc_core::sc_module {
  public:
    tlm_utils::simple_target_socket<OpcTarget> socket;
    // The interrupt, as it is after the last call. May stay unbound.
    sc_core::sc_port<sc_core::sc_signal_inout_if<bool>, 1, sc_core::SC_ZERO_OR_MORE_BOUND> irq;

    static constexpr uint64_t STREAM = 0x100000, OUTPUTS = 0x200000;

    OpcTarget(sc_core::sc_module_name name, sc_core::sc_time period)
        : sc_module(name), socket("socket"), irq("irq"), opc_("opc"), period_(period) {
        opc_.clk(clk_);
        opc_.rst(rst_);
        opc_.i___05Fpayload(i_payload_);
        opc_.i___05Fvalid(i_valid_);
        opc_.i___05Fready(i_ready_);
        opc_.o___05Fpayload(o_payload_);
        opc_.o___05Fvalid(o_valid_);
        opc_.o___05Fready(o_ready_);
        opc_.bus___05Faddress(address_);
        opc_.bus___05Fwrite(write_);
        opc_.bus___05Fwrite_strobe(strobe_);
        opc_.bus___05Fwrite_data(write_data_);
        opc_.bus___05Fread(read_);
        opc_.bus___05Fread_data(read_data_);
        opc_.bus___05Fread_error(read_error_);
        opc_.bus___05Ferror(error_);
        opc_.irq(irq_);
        opc_.still(still_);
        socket.register_b_transport(this, &OpcTarget::b_transport);
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
        if (irq.size()) irq->write(irq_.read());
        delay = std::max(arrival, end) - now;
        if (auto *finished = transaction.get_extension<Finished>()) finished->time = end;
        calls_.unlock();
    }

  private:
    using Beat = std::decay_t<decltype(Vopc::i___05Fpayload)>::data_type;
    using Output = std::decay_t<decltype(Vopc::o___05Fpayload)>::data_type;
    using Address = std::decay_t<decltype(Vopc::bus___05Faddress)>::data_type;
    struct Delivered {
        int64_t value;
        uint64_t clock;
    };
    static constexpr int CODE_BYTES = ADC_BITS > 8 ? 2 : 1;
    static constexpr uint64_t REGISTER_BYTES = uint64_t{16} << INDEX_BITS;
    // After so many clocks without input nothing moves any more, and clocks need not be played.
    static constexpr uint64_t SETTLED = 2 * COLUMNS + 64;

    Vopc opc_;
    sc_core::sc_signal<bool> clk_, rst_, i_valid_, i_ready_, o_valid_, o_ready_, write_, read_, read_error_, error_, irq_,
        still_;
    sc_core::sc_signal<Beat> i_payload_;
    sc_core::sc_signal<Output> o_payload_;
    sc_core::sc_signal<Address> address_;
    sc_core::sc_signal<uint32_t> strobe_, write_data_, read_data_;
    sc_core::sc_time period_;
    sc_core::sc_mutex calls_;
    std::deque<Delivered> outputs_;
    std::vector<uint32_t> beat_;
    uint64_t clock_ = 0, quiet_ = 0, played_ = 0, vectors_ = 0;
    uint32_t row_blocks_ = 1;
    bool reset_ = false;

    sc_core::sc_time time_of(uint64_t clock) const { return period_ * static_cast<double>(clock); }

    tlm::tlm_response_status serve(tlm::tlm_generic_payload &t, sc_core::sc_time arrival, sc_core::sc_time &end) {
        if (t.get_byte_enable_ptr()) return tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE;
        if (t.get_streaming_width() < t.get_data_length()) return tlm::TLM_BURST_ERROR_RESPONSE;
        const uint64_t address = t.get_address();
        const bool read = t.is_read();
        if (!read && !t.is_write()) return tlm::TLM_COMMAND_ERROR_RESPONSE;
        if (address == STREAM) return read ? tlm::TLM_COMMAND_ERROR_RESPONSE : stream(t, arrival, end);
        if (address == OUTPUTS) return read ? collect(t, end) : tlm::TLM_COMMAND_ERROR_RESPONSE;
        if (address >= REGISTER_BYTES || address % 4) return tlm::TLM_ADDRESS_ERROR_RESPONSE;
        if (t.get_data_length() != 4) return tlm::TLM_BURST_ERROR_RESPONSE;
        advance(arrival);
        return access(t, static_cast<uint32_t>(address / 4), read, end);
    }

    tlm::tlm_response_status access(tlm::tlm_generic_payload &t, uint32_t word, bool read, sc_core::sc_time &end) {
        uint32_t data = 0;
        std::memcpy(&data, t.get_data_ptr(), 4);
        address_.write(word);
        write_data_.write(data);
        write_.write(!read);
        read_.write(read);
        edge();
        const bool refused = refused_;
        write_.write(false);
        read_.write(false);
        end = time_of(clock_);
        if (read) {
            // What was read stands there after the edge.
            settle();
            if (read_error_.read()) return tlm::TLM_ADDRESS_ERROR_RESPONSE;
            data = read_data_.read();
            std::memcpy(t.get_data_ptr(), &data, 4);
        } else if (refused) {
            return tlm::TLM_GENERIC_ERROR_RESPONSE;
        } else if (word == REGISTER_ROW_BLOCKS) {
            row_blocks_ = data;
        }
        quiet_ = 0;
        return tlm::TLM_OK_RESPONSE;
    }

    tlm::tlm_response_status stream(tlm::tlm_generic_payload &t, sc_core::sc_time arrival, sc_core::sc_time &end) {
        const size_t read_bytes = size_t{2} * COLUMNS * CODE_BYTES;
        if (t.get_data_length() != read_bytes * INPUT_BITS * row_blocks_) return tlm::TLM_BURST_ERROR_RESPONSE;
        advance(arrival);
        const unsigned char *codes = t.get_data_ptr();
        for (int bit = INPUT_BITS - 1; bit >= 0; --bit) {
            for (uint32_t block = 0; block < row_blocks_; ++block) {
                for (int group = 0; group < COLUMNS / LANES; ++group) {
                    const bool first = bit == INPUT_BITS - 1 && block == 0 && group == 0;
                    const bool last = bit == 0 && block == row_blocks_ - 1 && group == COLUMNS / LANES - 1;
                    offer(codes + (block * INPUT_BITS + bit) * read_bytes, group, first, last);
                }
            }
        }
        ++vectors_;
        end = time_of(clock_);
        return tlm::TLM_OK_RESPONSE;
    }

    // Offer a beat until it is taken.
    void offer(const unsigned char *codes, int group, bool first, bool last) {
        beat_.assign((2 * LANES * ADC_BITS + 2 + TAG_BITS + 63) / 32, 0);
        int at = 0;
        const auto append = [&](uint32_t value, int bits) {
            for (int bit = 0; bit < bits; ++bit, ++at) beat_[at / 32] |= (value >> bit & 1) << at % 32;
        };
        for (int code = 0; code < 2 * LANES; ++code) {
            uint16_t value = 0;
            std::memcpy(&value, codes + (size_t{2} * LANES * group + code) * CODE_BYTES, CODE_BYTES);
            append(value, ADC_BITS);
        }
        append(first, 1);
        append(last, 1);
        append(static_cast<uint32_t>(vectors_), TAG_BITS);
        Beat payload{};
        set_words(payload, beat_.data());
        i_payload_.write(payload);
        i_valid_.write(true);
        do edge(); while (!accepted_);
        i_valid_.write(false);
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
        o_ready_.write(true);
        strobe_.write(0xF);
        rst_.write(true);
        edge();
        rst_.write(false);
        clock_ = quiet_ = 0;
        reset_ = true;
    }

    // Play the clock edges up to a time.
    void advance(sc_core::sc_time until) {
        const auto clocks = static_cast<uint64_t>(until.value() / period_.value());
        while (clock_ < clocks && quiet_ < SETTLED) edge();
        clock_ = std::max(clock_, clocks);
    }

    // Let what was written reach the outputs: one delta cycle to evaluate, one for their signals.
    void settle() {
        wait(sc_core::SC_ZERO_TIME);
        wait(sc_core::SC_ZERO_TIME);
    }

    bool accepted_ = false, refused_ = false;

    // One rising edge, with the inputs as they were written.
    void edge() {
        clk_.write(false);
        settle();
        const bool offered = i_valid_.read();
        accepted_ = offered && i_ready_.read();
        refused_ = error_.read();
        const bool delivered = o_valid_.read() && !rst_.read();
        ++clock_;
        ++played_;
        if (delivered) outputs_.push_back({value_of(o_payload_.read()), clock_});
        quiet_ = offered || delivered ? 0 : quiet_ + 1;
        clk_.write(true);
        wait(sc_core::SC_ZERO_TIME);
    }

    static int64_t value_of(const Output &payload) {
        uint64_t sum = word_of(payload, 0);
        if (SUM_BITS > 32) sum |= static_cast<uint64_t>(word_of(payload, 1)) << 32;
        return static_cast<int64_t>(sum << (64 - SUM_BITS)) >> (64 - SUM_BITS);
    }
};

} // namespace crossvote
