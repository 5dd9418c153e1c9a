// Adding up what the bit lines of a word-line group hold: see cell_program.py for what the arguments mean.

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace {

// What a row of the result adds up: bit lines by their places [column block][2][column] in the positive crossbars, what
// each counts, and which crossbars of its pairs: 0 both, the negative one subtracted, 1 the positive one, 2 the negative
// one, subtracted.
struct Rows {
    int64_t count;
    const int64_t* offsets;
    const int64_t* place;
    const int32_t* factor;
    const int64_t* row;  // of the result
    int64_t side;
};

// A word-line group: words of its programmed bits [row block][cell bit][column block][2][column][word], and of its stuck
// cells [row block][column block][2][column][word].
struct Group {
    const uint64_t *programmed, *stuck, *sa1;
    const uint64_t* driven;  // [row block][word]; null if all word lines are
    int64_t row_blocks, cell_bits, column_blocks, columns, words, rows, inputs;
};

// Word lines of a word at which a cell counts up, and those at which it counts down.
struct Change {
    uint64_t up, down;
};

inline Change change(uint64_t positive, uint64_t negative, int64_t side, uint64_t driven) {
    const uint64_t more = side == 2 ? 0 : positive & driven, less = side == 1 ? 0 : negative & driven;
    return {more & ~less, less & ~more};
}

template <typename T>
struct Sums {
    T values[64] = {};

    void add(Change change, int32_t factor) {
        for (int i = 0; i < 64; ++i) {
            const int32_t step = static_cast<int32_t>(change.up >> i & 1) - static_cast<int32_t>(change.down >> i & 1);
            values[i] = static_cast<T>(values[i] + step * factor);
        }
    }
    void store(T* result, int64_t count) const { std::memcpy(result, values, sizeof(T) * static_cast<size_t>(count)); }
};

#ifdef __AVX2__

// 64 sums of 8 bits in two registers.
template <>
struct Sums<int8_t> {
    __m256i low = _mm256_setzero_si256(), high = _mm256_setzero_si256();

    // A byte of -1 for every bit that is set.
    static __m256i spread(uint64_t bits) {
        const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
        const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201u));
        const __m256i all = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int32_t>(bits)), which);
        return _mm256_cmpeq_epi8(_mm256_and_si256(all, bit), bit);
    }
    void add(Change change, int32_t factor) {
        const __m256i step = _mm256_set1_epi8(static_cast<char>(factor));
        low = _mm256_add_epi8(low, _mm256_and_si256(spread(change.up), step));
        low = _mm256_sub_epi8(low, _mm256_and_si256(spread(change.down), step));
        high = _mm256_add_epi8(high, _mm256_and_si256(spread(change.up >> 32), step));
        high = _mm256_sub_epi8(high, _mm256_and_si256(spread(change.down >> 32), step));
    }
    void store(int8_t* result, int64_t count) const {
        if (count == 64) {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(result), low);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(result + 32), high);
            return;
        }
        alignas(32) int8_t values[64];
        _mm256_store_si256(reinterpret_cast<__m256i*>(values), low);
        _mm256_store_si256(reinterpret_cast<__m256i*>(values + 32), high);
        std::memcpy(result, values, static_cast<size_t>(count));
    }
};

#endif

// Rows by which bit lines are fetched ahead: those of a row lie in as many places as it has terms, more than a processor
// follows by itself.
constexpr int64_t kAhead = 4;

template <typename T>
void add_up(const Group& group, const Rows& rows, T* result) {
    const int64_t crossbar = group.columns * group.words, plane = group.column_blocks * 2 * crossbar;
    for (int64_t block = 0; block < group.row_blocks; ++block) {
        const uint64_t* programmed = group.programmed + block * group.cell_bits * plane;
        const uint64_t *stuck = group.stuck + block * plane, *sa1 = group.sa1 + block * plane;
        const int64_t first = block * group.rows;
        const int64_t used = std::min(group.rows, group.inputs - first);
        for (int64_t own = 0; own < rows.count; ++own) {
            T* row = result + rows.row[own] * group.inputs + first;
            const int64_t soon = std::min(own + kAhead, rows.count - 1);
            for (int64_t term = rows.offsets[soon]; term < rows.offsets[soon + 1]; ++term) {
                const int64_t positive = rows.place[term] * group.words, negative = positive + crossbar;
                for (const int64_t place : {positive, negative}) {
                    __builtin_prefetch(programmed + place);
                    __builtin_prefetch(stuck + place);
                    __builtin_prefetch(sa1 + place);
                }
            }
            for (int64_t word = 0; word * 64 < used; ++word) {
                const uint64_t driven = group.driven ? group.driven[block * group.words + word] : ~uint64_t{0};
                Sums<T> sums;
                for (int64_t term = rows.offsets[own]; term < rows.offsets[own + 1]; ++term) {
                    const int64_t positive = rows.place[term] * group.words + word;
                    const int64_t negative = positive + crossbar;
                    for (int64_t bit = 0; bit < group.cell_bits; ++bit) {
                        const uint64_t* own_bits = programmed + bit * plane;
                        const Change found =
                            change((own_bits[positive] & ~stuck[positive]) | sa1[positive],
                                   (own_bits[negative] & ~stuck[negative]) | sa1[negative], rows.side, driven);
                        sums.add(found, rows.factor[term] * (1 << bit));
                    }
                }
                sums.store(row + word * 64, std::min<int64_t>(used - word * 64, 64));
            }
        }
    }
}

}  // namespace

extern "C" {

void add_up_8(const Group* group, const Rows* rows, int8_t* result) { add_up(*group, *rows, result); }
void add_up_16(const Group* group, const Rows* rows, int16_t* result) { add_up(*group, *rows, result); }
void add_up_32(const Group* group, const Rows* rows, int32_t* result) { add_up(*group, *rows, result); }

}  // extern "C"
