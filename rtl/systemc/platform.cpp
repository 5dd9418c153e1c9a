// An example platform: an initiator that streams a layer, and a target behind each bundle of bit lines: an OPC, for which the
// initiator plays the crossbars, or a tile, which has them.
//
//     platform LAYER LOG [QUANTUM_PS]
//
// The initiator programs every target over its socket, then sends vector by vector: activations, or codes: word-line bits
// of activations times cells, stuck ones included. Everything runs ahead of simulated time by up to a
// quantum; LOG does not depend on it. Exit status 0 if all went well.
#include <cstdio>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/tlm_quantumkeeper.h>

#include "layer.h"
#include "module_target.h"

namespace {

using crossvote::Finished;
using crossvote::Layer;
using crossvote::ModuleTarget;

sc_core::sc_time ps(int64_t value) { return sc_core::sc_time(static_cast<double>(value), sc_core::SC_PS); }

struct Crossbars : sc_core::sc_module {
    SC_HAS_PROCESS(Crossbars);
    sc_core::sc_vector<tlm_utils::simple_initiator_socket<Crossbars>> sockets;

    Crossbars(sc_core::sc_module_name name, const Layer &layer, FILE *log)
        : sc_module(name), sockets("socket", layer.opcs.size()), layer_(layer), log_(log) {
        SC_THREAD(run);
    }

    std::string error;

  private:
    const Layer &layer_;
    FILE *log_;
    tlm_utils::tlm_quantumkeeper keeper_;

    // One call at the local time given as `delay`; returns when the hardware was done.
    sc_core::sc_time call(size_t opc, tlm::tlm_command command, uint64_t address, void *data, size_t bytes,
                          sc_core::sc_time &delay) {
        tlm::tlm_generic_payload transaction;
        Finished finished;
        transaction.set_command(command);
        transaction.set_address(address);
        transaction.set_data_ptr(static_cast<unsigned char *>(data));
        transaction.set_data_length(static_cast<unsigned>(bytes));
        transaction.set_streaming_width(static_cast<unsigned>(bytes));
        transaction.set_byte_enable_ptr(nullptr);
        transaction.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
        transaction.set_extension(&finished);
        sockets[opc]->b_transport(transaction, delay);
        transaction.clear_extension(&finished);
        if (transaction.is_response_error())
            throw std::runtime_error(transaction.get_response_string() + " from " + crossvote::KIND + " " + std::to_string(opc) +
                                     " at address " + std::to_string(address));
        return finished.time;
    }

    uint32_t read_word(size_t opc, uint32_t word, sc_core::sc_time &delay) {
        uint32_t value = 0;
        call(opc, tlm::TLM_READ_COMMAND, 4 * word, &value, 4, delay);
        return value;
    }

    void run() {
        try {
            keeper_.reset();
            program();
            stream();
        } catch (const std::exception &problem) {
            error = problem.what();
        }
        sc_core::sc_stop();
    }

    // All OPCs are programmed side by side; the slowest ends it.
    void program() {
        const sc_core::sc_time start = keeper_.get_local_time();
        sc_core::sc_time end = start;
        for (size_t opc = 0; opc < layer_.opcs.size(); ++opc) {
            sc_core::sc_time delay = start;
            if (read_word(opc, crossvote::REGISTER_ID, delay) != crossvote::IDENTIFIER)
                throw std::runtime_error("something else is behind socket " + std::to_string(opc));
            for (auto [word, value] : layer_.opcs[opc].writes)
                call(opc, tlm::TLM_WRITE_COMMAND, 4 * word, &value, 4, delay);
            auto cells = ModuleTarget::cells_of(layer_, opc);
            if (!cells.empty())
                call(opc, tlm::TLM_WRITE_COMMAND, ModuleTarget::CELLS, cells.data(), cells.size(), delay);
            for (int refill = 0; refill < crossvote::MAP_REFILL; ++refill)
                read_word(opc, crossvote::REGISTER_STATUS, delay);
            end = std::max(end, delay);
        }
        keeper_.set(end);
        if (keeper_.need_sync()) keeper_.sync();
    }

    void stream() {
        const size_t opcs = layer_.opcs.size();
        const sc_core::sc_time interval = ps(layer_.interval_ps);
        std::vector<std::vector<sc_core::sc_time>> sent(opcs), accepted(opcs);
        keeper_.inc(interval);
        for (int64_t vector = 0; vector < layer_.vectors; ++vector) {
            if (keeper_.need_sync()) keeper_.sync();
            const sc_core::sc_time start = keeper_.get_local_time(), arrival = keeper_.get_current_time();
            sc_core::sc_time end = start;
            for (size_t opc = 0; opc < opcs; ++opc) {
                auto data = ModuleTarget::vector_of(layer_, opc, vector);
                sc_core::sc_time delay = start;
                sent[opc].push_back(arrival);
                accepted[opc].push_back(call(opc, tlm::TLM_WRITE_COMMAND, ModuleTarget::STREAM, data.data(), data.size(), delay));
                end = std::max(end, delay);
            }
            // The next vector is read while this one streams out of the converters.
            keeper_.set(std::max(end, start + interval));
        }
        std::fprintf(log_, "opc,vector,sent_ps,accepted_ps,finished_ps,outputs\n");
        for (size_t opc = 0; opc < opcs; ++opc) {
            std::vector<int64_t> outputs(layer_.opcs[opc].outputs);
            for (int64_t vector = 0; vector < layer_.vectors; ++vector) {
                sc_core::sc_time delay = keeper_.get_local_time();
                const auto finished =
                    call(opc, tlm::TLM_READ_COMMAND, ModuleTarget::OUTPUTS, outputs.data(), 8 * outputs.size(), delay);
                std::fprintf(log_, "%zu,%lld,%llu,%llu,%llu,", opc, static_cast<long long>(vector),
                             static_cast<unsigned long long>(sent[opc][vector].value()),
                             static_cast<unsigned long long>(accepted[opc][vector].value()),
                             static_cast<unsigned long long>(finished.value()));
                for (size_t at = 0; at < outputs.size(); ++at)
                    std::fprintf(log_, "%s%lld", at ? " " : "", static_cast<long long>(outputs[at]));
                std::fprintf(log_, "\n");
            }
        }
    }
};

} // namespace

int sc_main(int count, char **arguments) {
    if (count < 3) {
        std::fprintf(stderr, "usage: platform LAYER LOG [QUANTUM_PS]\n");
        return 2;
    }
    std::unique_ptr<Layer> layer;
    try {
        layer = std::make_unique<Layer>(arguments[1], ModuleTarget::MAGIC);
        tlm_utils::tlm_quantumkeeper::set_global_quantum(ps(count > 3 ? std::stoll(arguments[3]) : layer->quantum_ps));
    } catch (const std::exception &problem) {
        std::fprintf(stderr, "error: %s\n", problem.what());
        return 2;
    }
    FILE *log = std::fopen(arguments[2], "w");
    if (!log) {
        std::fprintf(stderr, "error: %s cannot be written\n", arguments[2]);
        return 2;
    }
    Crossbars crossbars("crossbars", *layer, log);
    std::vector<std::unique_ptr<ModuleTarget>> targets;
    for (size_t opc = 0; opc < layer->opcs.size(); ++opc) {
        targets.push_back(std::make_unique<ModuleTarget>((crossvote::KIND + ("_" + std::to_string(opc))).c_str(), ps(layer->clock_ps)));
        crossbars.sockets[opc].bind(targets.back()->socket);
    }
    sc_core::sc_start();
    std::fclose(log);
    if (!crossbars.error.empty()) {
        std::fprintf(stderr, "error: %s\n", crossbars.error.c_str());
        return 1;
    }
    uint64_t played = 0;
    for (const auto &target : targets) played += target->played();
    std::printf("%zu %ss, %lld vectors, %llu clock cycles of hardware\n", targets.size(), crossvote::KIND,
                static_cast<long long>(layer->vectors), static_cast<unsigned long long>(played));
    return 0;
}
