// Products of 8-bit integers on x86 processors without dot products of 8 bits: pairs of bytes without a sign (inputs,
// 128 added) and with one (weights) are multiplied and added to 16 bits (vpmaddubsw), which would saturate where both
// weights of a pair are large: these are packed as two summands. Sums are of 32 bits. A block of vectors is quantized
// once; then a panel of 16 outputs at a time stays in the first-level cache while the vectors pass by it. What replicas
// vote on is a sum of few inputs: those are added up for a block of vectors at once, which for this lie side by side.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr int64_t WIDTH = 16;    // outputs of a panel
constexpr int64_t HALF = 8;      // outputs of a register of weights, and vectors multiplied at once
constexpr int64_t DEPTH = 1024;  // inputs at a time: 8 KiB of half a panel
constexpr int64_t VECTORS = 64;  // vectors at a time: 4 KiB of sums
constexpr int64_t FEW = 4;       // outputs that are no panel, but multiplied one by one
constexpr int64_t MOST = 128;    // of two weights of one sign whose products with bytes 16 bits hold: 255 * 128 < 2^15
constexpr int64_t NARROW = 256;  // inputs of at most 127 whose sum is one of 16 bits

// Some outputs of a matrix. `weights`: registers of 8 outputs x 4 inputs, half a panel after the other, and of each so
// many inputs after the other; registers first[i] and following belong to the i-th of these, and quads says which four
// inputs each has. Few outputs: their rows, filled up.
struct Packed {
    const int8_t *weights;
    const uint16_t *quads;
    const int64_t *first;
    const int32_t *start;  // of each output, what takes off again what 128 in every input adds
};

struct Lists;

struct Product {
    int64_t vectors, inputs, outputs;  // outputs: those that are packed
    const int8_t *integers;            // [vectors, inputs], or none and
    const float *values, *steps;       // [vectors, inputs], [vectors], of which integers up to `top` are made; without
    float top;                         // steps each vector has the one that makes its largest value `top`
    Packed packed;
    const int64_t *places;  // of the outputs in a row of the result, the rest of which is 0; none: they are the row
    int64_t row;
    int32_t *sums;  // [vectors, row], or none and
    const float *scale, *bias;  // [row] each; bias: or none
    float *y;                   // [vectors, row], sum * step * scale + bias
    const Lists *lists;         // what votes add to the sums, or none
};

// Terms of one number of replicas, whose medians are added to the sums 2^shift times. At each place (a term, or the
// part of it that a crossbar votes on) either the errors of every replica are named, or what all but the first hold
// beyond it.
struct Terms {
    int64_t count, replicas;
    const int64_t *outputs;  // [count], in a row of the result
    const float *weight;     // [count], 2^shift
    // Named, one place a term: entries offsets[i * replicas + j] and following are replica j's at place i.
    const int64_t *offsets, *k, *columns;  // input k, or columns[k] if there are columns
    const float *value;
    // Or held: int8[replicas - 1, padded, inputs], a place for every so many rows.
    const int8_t *held;
    int64_t padded, rows;
};

// Inputs up to whole registers of 16 bits: what vectors and weights are filled up to with zeros.
int64_t filled(int64_t inputs) { return (inputs + 15) / 16 * 16; }

__m256i load(const void *from) { return _mm256_loadu_si256(static_cast<const __m256i *>(from)); }

__m256i quad(const uint8_t *x) {
    int32_t four;
    std::memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

// sum + more, in place: left to itself, GCC 12 adds into new registers and copies all of them at the loop's end.
__m256i plus(__m256i sum, __m256i more) {
    asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(more));
    return sum;
}

void store(void *to, __m256i x) { _mm256_storeu_si256(static_cast<__m256i *>(to), x); }

void add(int32_t *sums, __m256i low, __m256i high) {
    store(sums, _mm256_add_epi32(load(sums), low));
    store(sums + 8, _mm256_add_epi32(load(sums + 8), high));
}

// Adds to int32[COUNT, 16], 8 outputs each, what so many vectors make of registers of weights. Four inputs of eight
// vectors lie side by side.
template <int64_t COUNT>
void multiply_quads(const uint8_t *x, const int8_t *weights, const uint16_t *quads, int64_t registers, int32_t *sums) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i own[COUNT];
#pragma GCC unroll 8
    for (int64_t v = 0; v < COUNT; ++v) own[v] = load(sums + v * WIDTH);
    for (int64_t i = 0; i < registers; ++i) {
        const __m256i weight = load(weights + 32 * i);
        const uint8_t *four = x + 4 * HALF * quads[i];
#pragma GCC unroll 8
        for (int64_t v = 0; v < COUNT; ++v)
            own[v] = plus(own[v], _mm256_madd_epi16(_mm256_maddubs_epi16(quad(four + 4 * v), weight), ones));
    }
#pragma GCC unroll 8
    for (int64_t v = 0; v < COUNT; ++v) store(sums + v * WIDTH, own[v]);
}

// The sum of one vector with one output, whose weights lie side by side.
int32_t dot(const int16_t *x, const int8_t *weight, int64_t depth) {
    __m256i sum = _mm256_setzero_si256();
    for (int64_t k = 0; k < depth; k += 16) {
        const __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(weight + k)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(load(x + k), w));
    }
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

// Largest magnitude of a vector over `top`, 1 where all is 0. Without their signs, floats are ordered like integers,
// and what is no number comes last.
float own_step(const float *x, int64_t inputs, float top) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i most[4] = {};
    int64_t k = 0;
    for (; k + 32 <= inputs; k += 32)
        for (int64_t i = 0; i < 4; ++i)
            most[i] = _mm256_max_epi32(most[i], _mm256_and_si256(load(x + k + 8 * i), magnitude));
    alignas(32) int32_t lanes[8];
    most[0] = _mm256_max_epi32(_mm256_max_epi32(most[0], most[1]), _mm256_max_epi32(most[2], most[3]));
    _mm256_store_si256(reinterpret_cast<__m256i *>(lanes), most[0]);
    int32_t largest = *std::max_element(lanes, lanes + 8);
    for (; k < inputs; ++k) {
        int32_t bits;
        std::memcpy(&bits, x + k, sizeof bits);
        largest = std::max(largest, bits & 0x7fffffff);
    }
    float value;
    std::memcpy(&value, &largest, sizeof value);
    const float step = value / top;
    return step == 0 ? 1.0f : step;
}

// Numbers between -top and top, as integers of 16 bits; what is none becomes 0.
struct Rounding {
    __m256 step, inverse;
    __m256i top, bottom;
    bool near;  // whether x * inverse is as good as x / step far from halves

    Rounding(float step_, float top_)
        : step(_mm256_set1_ps(step_)),
          inverse(_mm256_set1_ps(1 / step_)),
          top(_mm256_set1_epi16(static_cast<int16_t>(top_))),
          bottom(_mm256_set1_epi16(static_cast<int16_t>(-top_))),
          near(step_ > 1e-30f && step_ < 1e30f) {}

    // Eight quotients to the nearest integer, halves to the even one.
    __m256i divided(__m256 x) const {
        const __m256 far = _mm256_set1_ps(1024.0f);  // more than any top
        x = _mm256_round_ps(_mm256_div_ps(x, step), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        const __m256 number = _mm256_cmp_ps(x, x, _CMP_ORD_Q);
        x = _mm256_min_ps(_mm256_max_ps(x, _mm256_sub_ps(_mm256_setzero_ps(), far)), far);
        return _mm256_cvtps_epi32(_mm256_and_ps(x, number));
    }

    // How far products are from the integers that they were rounded to; without signs, floats are ordered like integers,
    // and what is no number comes last.
    static __m256i distance(__m256 x, __m256i whole) {
        const __m256 off = _mm256_sub_ps(x, _mm256_cvtepi32_ps(whole));
        return _mm256_and_si256(_mm256_castps_si256(off), _mm256_set1_epi32(0x7fffffff));
    }

    template <bool largest>
    void write_all(const float *x, int64_t count, int16_t *to) const {
        int64_t k = 0;
        for (; k + 32 <= count; k += 32) write<largest>(x + k, 32, to + k);
        if (k < count) write<false>(x + k, count - k, to + k);
    }

    // So many numbers, at most 32. A product with the inverse, which takes less time, is within 3e-5 of a quotient below
    // 128: it is taken unless one lies close to a half, or is no number that an integer holds. `largest`: whether the
    // step is that of the largest number, so that no quotient is above `top`.
    template <bool largest>
    [[gnu::always_inline]] inline void write(const float *x, int64_t count, int16_t *to) const {
        alignas(32) float some[32] = {};
        if (count < 32) std::copy_n(x, count, some), x = some;
        __m256i whole[4], off = _mm256_setzero_si256();
#pragma GCC unroll 4
        for (int64_t i = 0; i < 4; ++i) {
            const __m256 product = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse);
            whole[i] = _mm256_cvtps_epi32(product);
            off = _mm256_max_epi32(off, distance(product, whole[i]));
        }
        const __m256i limit = _mm256_castps_si256(_mm256_set1_ps(0.4999f));
        if (!near || _mm256_movemask_epi8(_mm256_cmpgt_epi32(off, limit)))
            for (int64_t i = 0; i < 4; ++i) whole[i] = divided(_mm256_loadu_ps(x + 8 * i));
        for (int64_t i = 0; i < 4 && 8 * i < count; i += 2) {
            __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(whole[i], whole[i + 1]), 0xd8);
            if (!largest) packed = _mm256_min_epi16(_mm256_max_epi16(packed, bottom), top);
            store(to + 8 * i, packed);
        }
    }
};

// A vector as 16-bit numbers, with zeros up to whole 16; returns its step.
float widen(const Product &p, int64_t vector, int16_t *to) {
    if (p.integers) {
        const int8_t *from = p.integers + vector * p.inputs;
        for (int64_t k = 0; k < p.inputs; ++k) to[k] = from[k];
        std::fill_n(to + p.inputs, filled(p.inputs) - p.inputs, int16_t{0});
        return 1;
    }
    const float *from = p.values + vector * p.inputs;
    const float own = p.steps ? p.steps[vector] : own_step(from, p.inputs, p.top);
    const Rounding rounding(own, p.top);
    // A step that is 1 since there is no largest number, or that is none itself, takes the long way.
    const bool largest = !p.steps && rounding.near;
    if (largest)
        rounding.write_all<true>(from, p.inputs, to);
    else
        rounding.write_all<false>(from, p.inputs, to);
    return own;
}

// What votes add to the sums of one term at one place: the median of what its replicas' lists of inputs come to.
struct Place {
    int32_t lane, shift, replicas;  // output of the panel; 2^shift
    bool narrow;                    // whether 16 bits hold the sum of every list
    int64_t list;                   // of the first replica
};

struct Lists {
    std::vector<int64_t> panel;   // first place of each panel; one more than there are panels
    std::vector<Place> places;
    std::vector<int64_t> bounds;  // list i adds inputs from bounds[2 i] on, and takes off those from bounds[2 i + 1] on
    std::vector<uint16_t> inputs;
};

// Which of eight bits are set, lowest first.
struct Picks {
    alignas(16) uint16_t of[256][8];

    Picks() : of{} {
        for (int64_t mask = 0; mask < 256; ++mask)
            for (int64_t bit = 0, at = 0; bit < 8; ++bit)
                if (mask >> bit & 1) of[mask][at++] = bit;
    }
};

// Writes k + i for every bit i of the mask to where it points, and up to 16 bytes beyond; returns the end.
uint16_t *write_bits(uint16_t *to, uint32_t mask, int64_t k) {
    static const Picks picks;
    for (; mask; mask >>= 8, k += 8) {
        const __m128i own = _mm_load_si128(reinterpret_cast<const __m128i *>(picks.of[mask & 255]));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm_add_epi16(own, _mm_set1_epi16(k)));
        to += __builtin_popcount(mask & 255);
    }
    return to;
}

// The lists of `held` values of one replica: inputs from `first` on that count, as often as they do. Returns how many.
int64_t list_held(Lists &lists, const int8_t *values, int64_t first, int64_t stop, std::vector<uint16_t> &taken) {
    std::vector<uint16_t> &inputs = lists.inputs;
    const int64_t before = lists.bounds.back();
    inputs.resize(before), taken.clear();
    for (int64_t k = first; k < stop; k += 32) {
        alignas(32) int8_t some[32] = {};
        if (k + 32 > stop) std::memcpy(some, values + k, stop - k);
        const __m256i at = load(k + 32 > stop ? some : values + k);
        uint32_t added = _mm256_movemask_epi8(_mm256_cmpgt_epi8(at, _mm256_setzero_si256()));
        uint32_t less = _mm256_movemask_epi8(at);
        for (int8_t times = 1; added | less; ++times) {
            uint16_t room[32 + 8];
            inputs.insert(inputs.end(), room, write_bits(room, added, k));
            taken.insert(taken.end(), room, write_bits(room, less, k));
            const __m256i most = _mm256_set1_epi8(times);
            added = _mm256_movemask_epi8(_mm256_cmpgt_epi8(at, most));
            less = _mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_sub_epi8(_mm256_setzero_si256(), most), at));
        }
    }
    lists.bounds.push_back(inputs.size());
    inputs.insert(inputs.end(), taken.begin(), taken.end());
    lists.bounds.push_back(inputs.size());
    return lists.bounds.back() - before;
}

// The same of the errors that are named of one replica.
int64_t list_named(Lists &lists, const Terms &t, int64_t replica, std::vector<uint16_t> &taken) {
    const int64_t before = lists.bounds.back();
    lists.inputs.resize(before), taken.clear();
    for (int64_t at = t.offsets[replica]; at < t.offsets[replica + 1]; ++at) {
        const auto k = static_cast<uint16_t>(t.columns ? t.columns[t.k[at]] : t.k[at]);
        const auto times = static_cast<int64_t>(t.value[at]);
        for (int64_t i = 0; i < std::abs(times); ++i) (times > 0 ? lists.inputs : taken).push_back(k);
    }
    lists.bounds.push_back(lists.inputs.size());
    lists.inputs.insert(lists.inputs.end(), taken.begin(), taken.end());
    lists.bounds.push_back(lists.inputs.size());
    return lists.bounds.back() - before;
}

// The lists of all places of so many sets of terms, panel by panel, but for those where too few replicas have any
// inputs to outvote 0. False if a term belongs to an output that has no place.
bool gather(const Product &p, const Terms *terms, int64_t count, Lists &lists) {
    std::vector<std::pair<int64_t, Place>> found;
    std::vector<uint16_t> taken;
    lists.bounds.push_back(0);
    for (const Terms *t = terms; t < terms + count; ++t) {
        std::vector<int64_t> outputs(t->outputs, t->outputs + t->count);
        if (p.places)
            for (int64_t &output : outputs) {
                const int64_t *at = std::lower_bound(p.places, p.places + p.outputs, output);
                output = at < p.places + p.outputs && *at == output ? at - p.places : p.outputs;
            }
        for (int64_t output : outputs)
            if (output < 0 || output >= p.outputs) return false;
        const int64_t rows = t->held ? t->rows : p.inputs;
        for (int64_t first = 0; first < p.inputs; first += rows)
            for (int64_t i = 0; i < t->count; ++i) {
                const int64_t list = lists.bounds.size() / 2;
                int64_t most = 0, some = 0;
                for (int64_t j = 0; j < t->replicas; ++j) {
                    int64_t size = 0;
                    if (!t->held) {
                        size = list_named(lists, *t, i * t->replicas + j, taken);
                    } else if (j > 0) {
                        const int8_t *held = t->held + ((j - 1) * t->padded + i) * p.inputs;
                        size = list_held(lists, held, first, std::min(first + rows, p.inputs), taken);
                    } else {
                        lists.bounds.insert(lists.bounds.end(), 2, lists.bounds.back());
                    }
                    most = std::max(most, size), some += size > 0;
                }
                if (some <= t->replicas / 2) {
                    lists.bounds.resize(2 * list + 1);
                    continue;
                }
                int32_t shift = 0;
                while (static_cast<float>(int64_t{1} << shift) < t->weight[i]) ++shift;
                found.emplace_back(outputs[i] / WIDTH, Place{static_cast<int32_t>(outputs[i] % WIDTH), shift,
                                                             static_cast<int32_t>(t->replicas), most <= NARROW, list});
            }
    }
    const int64_t panels = (p.outputs + WIDTH - 1) / WIDTH;
    lists.panel.assign(panels + 1, 0);
    for (const auto &one : found) ++lists.panel[one.first + 1];
    for (int64_t n = 0; n < panels; ++n) lists.panel[n + 1] += lists.panel[n];
    std::vector<int64_t> next(lists.panel.begin(), lists.panel.end() - 1);
    lists.places.resize(found.size());
    for (const auto &one : found) lists.places[next[one.first]++] = one.second;
    return true;
}

// Eight vectors by eight inputs, turned.
void turn_eight(const int16_t *from, int64_t stride, int16_t *to) {
    __m128i a[8], b[8];
    for (int64_t i = 0; i < 8; ++i) a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i * stride));
    for (int64_t i = 0; i < 4; ++i) {
        b[2 * i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (int64_t i = 0; i < 2; ++i)
        for (int64_t j = 0; j < 2; ++j) {
            a[4 * i + 2 * j] = _mm_unpacklo_epi32(b[4 * i + j], b[4 * i + 2 + j]);
            a[4 * i + 2 * j + 1] = _mm_unpackhi_epi32(b[4 * i + j], b[4 * i + 2 + j]);
        }
    for (int64_t i = 0; i < 4; ++i) {
        auto *own = reinterpret_cast<__m128i *>(to + 2 * i * VECTORS);
        _mm_storeu_si128(own, _mm_unpacklo_epi64(a[i], a[4 + i]));
        _mm_storeu_si128(own + VECTORS / 8, _mm_unpackhi_epi64(a[i], a[4 + i]));
    }
}

// What inputs from bounds[0] on add and from bounds[1] to bounds[2] take off, at most NARROW, for 64 vectors.
void narrow_sums(const Lists &lists, const int64_t *bounds, const int16_t *turned, __m256i *sums) {
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    const uint16_t *k = lists.inputs.data() + bounds[0], *taken = lists.inputs.data() + bounds[1];
    const uint16_t *stop = lists.inputs.data() + bounds[2];
    for (; k < taken; ++k) {
        const int16_t *x = turned + *k * VECTORS;
        a = _mm256_add_epi16(a, load(x)), b = _mm256_add_epi16(b, load(x + 16));
        c = _mm256_add_epi16(c, load(x + 32)), d = _mm256_add_epi16(d, load(x + 48));
    }
    for (; k < stop; ++k) {
        const int16_t *x = turned + *k * VECTORS;
        a = _mm256_sub_epi16(a, load(x)), b = _mm256_sub_epi16(b, load(x + 16));
        c = _mm256_sub_epi16(c, load(x + 32)), d = _mm256_sub_epi16(d, load(x + 48));
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

void add_wide(int32_t *to, __m256i x, int32_t shift) {
    const __m128i by = _mm_cvtsi32_si128(shift);
    const __m256i low = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(x));
    const __m256i high = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(x, 1));
    add(to, _mm256_sll_epi32(low, by), _mm256_sll_epi32(high, by));
}

// The median of three lists, all of them narrow.
void vote_of_three(const Lists &lists, const Place &place, const int16_t *turned, int32_t *added) {
    __m256i x[3][VECTORS / 16];
    for (int64_t j = 0; j < 3; ++j) narrow_sums(lists, lists.bounds.data() + 2 * (place.list + j), turned, x[j]);
    for (int64_t i = 0; i < VECTORS / 16; ++i) {
        const __m256i low = _mm256_min_epi16(x[0][i], x[1][i]), high = _mm256_max_epi16(x[0][i], x[1][i]);
        add_wide(added + 16 * i, _mm256_max_epi16(low, _mm256_min_epi16(high, x[2][i])), place.shift);
    }
}

// The median of any number of lists of any length.
void vote(const Lists &lists, const Place &place, const int16_t *turned, int32_t *added) {
    std::vector<int32_t> sums(place.replicas * VECTORS);
    for (int64_t j = 0; j < place.replicas; ++j) {
        const int64_t *whole = lists.bounds.data() + 2 * (place.list + j);
        for (int64_t first = whole[0]; first < whole[2]; first += NARROW) {
            const int64_t stop = std::min(first + NARROW, whole[2]);
            const int64_t part[3] = {first, std::clamp(whole[1], first, stop), stop};
            __m256i x[VECTORS / 16];
            narrow_sums(lists, part, turned, x);
            for (int64_t i = 0; i < VECTORS / 16; ++i) add_wide(sums.data() + j * VECTORS + 16 * i, x[i], 0);
        }
    }
    for (int64_t last = place.replicas - 1; last >= place.replicas / 2; --last)
        for (int64_t j = 0; j < last; ++j)
            for (int64_t v = 0; v < VECTORS; ++v) {
                int32_t &one = sums[j * VECTORS + v], &other = sums[(j + 1) * VECTORS + v];
                const int32_t low = std::min(one, other);
                other = std::max(one, other), one = low;
            }
    for (int64_t v = 0; v < VECTORS; ++v) added[v] += sums[place.replicas / 2 * VECTORS + v] * (1 << place.shift);
}

// Adds the votes of a panel to its sums.
void add_votes(const Lists &lists, int64_t panel, const int16_t *turned, int32_t *sums) {
    const int64_t first = lists.panel[panel], stop = lists.panel[panel + 1];
    if (first == stop) return;
    int32_t added[WIDTH * VECTORS] = {};
    for (int64_t i = first; i < stop; ++i) {
        const Place &place = lists.places[i];
        auto *own = place.replicas == 3 && place.narrow ? vote_of_three : vote;
        own(lists, place, turned, added + place.lane * VECTORS);
    }
    for (int64_t v = 0; v < VECTORS; ++v)
        for (int64_t n = 0; n < WIDTH; ++n) sums[v * WIDTH + n] += added[n * VECTORS + v];
}

// Sums of so many vectors with the outputs of a panel go to their places.
void put(const Product &p, const int32_t *sums, const float *steps, int64_t first, int64_t count, int64_t output) {
    const int64_t outputs = std::min(WIDTH, p.outputs - output);
    int64_t places[WIDTH];
    alignas(32) float scale[WIDTH] = {}, bias[WIDTH] = {};
    for (int64_t n = 0; n < outputs; ++n) {
        places[n] = p.places ? p.places[output + n] : output + n;
        if (p.scale) scale[n] = p.scale[places[n]];
        if (p.bias) bias[n] = p.bias[places[n]];
    }
    const bool together = outputs == WIDTH && places[WIDTH - 1] - places[0] == WIDTH - 1;
    for (int64_t v = 0; v < count; ++v, sums += WIDTH) {
        const int64_t at = (first + v) * p.row;
        if (p.sums) {
            for (int64_t n = 0; n < outputs; ++n) p.sums[at + places[n]] = sums[n];
            continue;
        }
        alignas(32) float own[WIDTH];
        for (int64_t n = 0; n < WIDTH; n += 8) {
            __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(load(sums + n)), _mm256_set1_ps(steps[v]));
            y = _mm256_mul_ps(y, _mm256_load_ps(scale + n));
            if (p.bias) y = _mm256_add_ps(y, _mm256_load_ps(bias + n));
            _mm256_store_ps(own + n, y);
        }
        if (together) {
            std::memcpy(p.y + at + places[0], own, sizeof own);
        } else {
            for (int64_t n = 0; n < outputs; ++n) p.y[at + places[n]] = own[n];
        }
    }
}

// Outputs without a place in the panels: no sum, and what is no number where the step is none.
void clear(const Product &p, const float *steps, int64_t first, int64_t count) {
    for (int64_t v = 0; v < count; ++v) {
        const int64_t at = (first + v) * p.row;
        if (p.sums) {
            std::fill_n(p.sums + at, p.row, 0);
            continue;
        }
        const float none = 0.0f * steps[v];
        for (int64_t n = 0; n < p.row; ++n) p.y[at + n] = p.bias ? none + p.bias[n] : none;
    }
}

// Eight vectors of 16 bits, as bytes with 128 added, four inputs of all eight after the other.
void lay_by_quads(const int16_t *wide, int64_t depth, uint8_t *to) {
    const __m256i sign = _mm256_set1_epi8(-128);
    for (int64_t k = 0; k < depth; k += 16)
        for (int64_t v = 0; v < HALF; v += 2) {
            const int16_t *from = wide + v * depth + k;
            alignas(32) int32_t four[8];  // of the first vector 0, 1, 4, 5, of the other 2, 3, 6, 7
            const __m256i both = _mm256_packs_epi16(load(from), load(from + depth));
            _mm256_store_si256(reinterpret_cast<__m256i *>(four), _mm256_xor_si256(both, sign));
            for (int64_t i = 0; i < 4; ++i) {
                const int64_t at = i / 2 * 4 + i % 2;
                std::memcpy(to + 4 * (HALF * (k / 4 + i) + v), four + at, 4);
                std::memcpy(to + 4 * (HALF * (k / 4 + i) + v + 1), four + at + 2, 4);
            }
        }
}

// Sums [VECTORS, 16] of so many vectors with the outputs of a panel.
void multiply_panel(const Product &p, const uint8_t *x, int64_t count, int64_t output, int32_t *sums) {
    const int64_t depth = filled(p.inputs), parts = (depth + DEPTH - 1) / DEPTH;
    for (int64_t half = 0; half < WIDTH && output + half < p.outputs; half += HALF) {
        int32_t *own = sums + half;
        const __m256i start = load(p.packed.start + output + half);
        for (int64_t v = 0; v < count; ++v) store(own + v * WIDTH, start);
        const int64_t *first = p.packed.first + (output + half) / HALF * parts;
        for (int64_t part = 0; part < parts; ++part) {
            const int8_t *weights = p.packed.weights + 32 * first[part];
            const uint16_t *quads = p.packed.quads + first[part];
            const int64_t registers = first[part + 1] - first[part];
            for (int64_t v = 0; v < count; v += HALF) {
                const int64_t left = count - v;
                auto *multiply = left > 4 ? multiply_quads<8> : left > 1 ? multiply_quads<4> : multiply_quads<1>;
                multiply(x + v * depth, weights, quads, registers, own + v * WIDTH);
            }
        }
    }
}

void multiply_rows(const Product &p, int64_t from, int64_t to) {
    const int64_t depth = filled(p.inputs);
    const bool few = p.outputs <= FEW;
    // Votes need a block of vectors as it is, others eight at a time at most.
    std::vector<int16_t> wide((p.lists ? VECTORS : HALF) * depth), turned(p.lists ? VECTORS * depth : 0);
    std::vector<uint8_t> x(few ? 0 : VECTORS * depth);
    std::vector<int32_t> sums(VECTORS * WIDTH);
    for (int64_t first = from; first < to; first += VECTORS) {
        const int64_t count = std::min(VECTORS, to - first);
        float steps[VECTORS];
        for (int64_t v = 0; v < count; ++v) {
            int16_t *own = wide.data() + (p.lists ? v : few ? 0 : v % HALF) * depth;
            steps[v] = widen(p, first + v, own);
            if (few)
                for (int64_t n = 0; n < p.outputs; ++n)
                    sums[v * WIDTH + n] = dot(own, p.packed.weights + n * depth, depth);
            else if (v % HALF == HALF - 1 || v == count - 1)
                lay_by_quads(own - v % HALF * depth, depth, x.data() + v / HALF * HALF * depth);
        }
        if (p.lists)
            for (int64_t v = 0; v < VECTORS; v += 8)
                for (int64_t k = 0; k < depth; k += 8)
                    turn_eight(wide.data() + v * depth + k, depth, turned.data() + k * VECTORS + v);
        if (p.outputs < p.row) clear(p, steps, first, count);
        for (int64_t n = 0; n < p.outputs; n += WIDTH) {
            if (!few) multiply_panel(p, x.data(), count, n, sums.data());
            if (p.lists) add_votes(*p.lists, n / WIDTH, turned.data(), sums.data());
            put(p, sums.data(), steps, first, count, n);
        }
    }
}

// Sums of two neighbours, of 16 bits.
__m256i pairs(__m256i weights) { return _mm256_maddubs_epi16(_mm256_set1_epi8(1), weights); }

// Whether no product of such weights with bytes saturates.
bool fits(__m256i weights) {
    const __m256i none = _mm256_setzero_si256(), most = _mm256_set1_epi16(MOST);
    const __m256i up = pairs(_mm256_max_epi8(weights, none)), down = pairs(_mm256_min_epi8(weights, none));
    const __m256i over = _mm256_or_si256(_mm256_cmpgt_epi16(up, most),
                                         _mm256_cmpgt_epi16(_mm256_sub_epi16(none, most), down));
    return _mm256_testz_si256(over, over);
}

// Eight times four inputs from k on, of `left`, of eight rows each: the same four of all rows lie side by side.
void turn_quads(const int8_t *const *rows, int64_t k, int64_t left, __m256i *turned) {
    __m256i a[8], b[8];
    for (int64_t i = 0; i < 8; ++i) {
        alignas(32) int8_t some[32] = {};
        if (left < 32) std::memcpy(some, rows[i] + k, left);
        a[i] = load(left < 32 ? some : rows[i] + k);
    }
    for (int64_t i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int64_t i = 0; i < 8; i += 4)
        for (int64_t j = 0; j < 2; ++j) {
            a[i + 2 * j] = _mm256_unpacklo_epi64(b[i + j], b[i + j + 2]);
            a[i + 2 * j + 1] = _mm256_unpackhi_epi64(b[i + j], b[i + j + 2]);
        }
    for (int64_t i = 0; i < 4; ++i) {
        turned[i] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x20);
        turned[i + 4] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x31);
    }
}

void run(const Product &p, int64_t threads) {
    const int64_t share = (p.vectors + threads - 1) / threads;
    std::vector<std::thread> others;
    for (int64_t v = share; v < p.vectors; v += share)
        others.emplace_back(multiply_rows, p, v, std::min(v + share, p.vectors));
    multiply_rows(p, 0, std::min(share, p.vectors));
    for (auto &other : others) other.join();
}

}  // namespace

// Packs some outputs of weights int8[., inputs], all where none are named; see Packed, whose `first` has an entry more
// than halves of panels times parts, and `start` one for every output of them. `weights` and `quads` have room for twice
// as many registers as there are weights for. Returns the number of registers.
extern "C" int64_t pack(const int8_t *weight, int64_t outputs, int64_t inputs, const int64_t *chosen, int8_t *weights,
                        uint16_t *quads, int64_t *first, int32_t *start) {
    if (outputs <= FEW) {
        const int64_t depth = filled(inputs);
        std::fill_n(weights, outputs * depth, int8_t{0});
        for (int64_t n = 0; n < outputs; ++n)
            std::copy_n(weight + (chosen ? chosen[n] : n) * inputs, inputs, weights + n * depth);
        return (outputs * depth + 31) / 32;
    }
    int64_t registers = 0;
    const std::vector<int8_t> none(inputs);
    const __m256i sign = _mm256_set1_epi8(-128);
    for (int64_t n = 0; n < outputs; n += HALF, start += HALF) {
        const int8_t *rows[HALF];
        for (int64_t i = 0; i < HALF; ++i)
            rows[i] = n + i < outputs ? weight + (chosen ? chosen[n + i] : n + i) * inputs : none.data();
        __m256i sum = _mm256_setzero_si256(), own[8];
        for (int64_t k = 0; k < inputs; k += 32) {
            if (k % DEPTH == 0) *first++ = registers;
            turn_quads(rows, k, inputs - k, own);
            for (int64_t i = 0; i < 8; ++i) {
                if (_mm256_testz_si256(own[i], own[i])) continue;
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs(own[i]), _mm256_set1_epi16(1)));
                quads[registers] = k / 4 + i;
                if (!fits(own[i])) {  // half of each, rounded up, and what is left of it
                    const __m256i half = _mm256_xor_si256(_mm256_avg_epu8(_mm256_xor_si256(own[i], sign), sign), sign);
                    store(weights + 32 * registers++, half);
                    own[i] = _mm256_sub_epi8(own[i], half);
                    quads[registers] = k / 4 + i;
                }
                store(weights + 32 * registers++, own[i]);
            }
        }
        store(start, _mm256_mullo_epi32(sum, _mm256_set1_epi32(-128)));
    }
    *first = registers;
    return registers;
}

// sums int32[vectors, row] of integers int8[vectors, inputs]; below 2^17 inputs no sum wraps.
extern "C" void multiply(const int8_t *integers, int64_t vectors, int64_t inputs, const Packed *packed,
                         int64_t outputs, const int64_t *places, int64_t row, int32_t *sums, int64_t threads) {
    Product p{};
    p.vectors = vectors, p.inputs = inputs, p.outputs = outputs, p.packed = *packed, p.places = places, p.row = row;
    p.integers = integers, p.sums = sums;
    run(p, threads);
}

// y float[vectors, row] of values that are quantized by a step each, with what terms that vote add to their sums; see
// Product. Returns whether all terms belong to outputs that are packed; if not, nothing is done.
extern "C" bool multiply_values(const float *values, const float *steps, float top, int64_t vectors, int64_t inputs,
                                const Packed *packed, int64_t outputs, const int64_t *places, int64_t row,
                                const Terms *terms, int64_t sets, const float *scale, const float *bias, float *y,
                                int64_t threads) {
    Product p{};
    p.vectors = vectors, p.inputs = inputs, p.outputs = outputs, p.packed = *packed, p.places = places, p.row = row;
    p.values = values, p.steps = steps, p.top = top, p.scale = scale, p.bias = bias, p.y = y;
    Lists lists;
    if (!gather(p, terms, sets, lists)) return false;
    if (!lists.places.empty()) p.lists = &lists;
    run(p, threads);
    return true;
}
