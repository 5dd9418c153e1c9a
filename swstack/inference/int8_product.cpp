// Products of 8-bit integers on x86 processors without dot products of 8 bits: 16-bit pairs are multiplied and added
// (vpmaddwd), which saturates nowhere, and sums are of 32 bits. A block of vectors is quantized or widened to 16 bits
// once; then a panel of 16 outputs at a time stays in the first-level cache while the vectors pass by it.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr int64_t WIDTH = 16;     // outputs of a panel
constexpr int64_t DEPTH = 1024;   // inputs at a time: 32 KiB of a panel
constexpr int64_t VECTORS = 64;   // vectors at a time: 4 KiB of sums

struct Product {
    int64_t vectors, inputs, outputs;  // outputs: those that are packed
    const int8_t *integers;            // [vectors, inputs], or none and
    const float *values, *steps;       // [vectors, inputs], [vectors], of which integers up to `top` are made; without
    float top;                         // steps each vector has the one that makes its largest value `top`
    const int16_t *panels;
    const int64_t *places;  // of the outputs in a row of the result, the rest of which is 0; none: they are the row
    int64_t row;
    int32_t *sums;  // [vectors, row], or none and
    const float *scale, *bias;  // [row] each; bias: or none
    float *y;                   // [vectors, row], sum * step * scale + bias
};

int64_t even(int64_t inputs) { return inputs + inputs % 2; }

__m256i load(const void *from) { return _mm256_loadu_si256(static_cast<const __m256i *>(from)); }

__m256i pair(const int16_t *x) {
    int32_t both;
    std::memcpy(&both, x, sizeof both);
    return _mm256_set1_epi32(both);
}

// sum + more, in place: left to itself, GCC 12 adds into new registers and copies all of them at the loop's end.
__m256i plus(__m256i sum, __m256i more) {
    asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(more));
    return sum;
}

void add(int32_t *sums, __m256i low, __m256i high) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(sums), _mm256_add_epi32(load(sums), low));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(sums + 8), _mm256_add_epi32(load(sums + 8), high));
}

// Adds to int32[1, 16] what a vector makes of so many pairs of inputs of a panel.
void one(const int16_t *x, const int16_t *panel, int64_t pairs, int32_t *sums) {
    __m256i low = _mm256_setzero_si256(), high = low;
    for (int64_t k = 0; k < pairs; ++k) {
        const __m256i v = pair(x + 2 * k);
        low = _mm256_add_epi32(low, _mm256_madd_epi16(v, load(panel + 32 * k)));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(v, load(panel + 32 * k + 16)));
    }
    add(sums, low, high);
}

// The same of four vectors, `stride` apart: their sums have names, for compilers keep an array of them in memory.
void four(const int16_t *x, int64_t stride, const int16_t *panel, int64_t pairs, int32_t *sums) {
    const int16_t *x0 = x, *x1 = x0 + stride, *x2 = x1 + stride, *x3 = x2 + stride;
    __m256i a0 = _mm256_setzero_si256(), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    for (int64_t k = 0; k < pairs; ++k) {
        const __m256i low = load(panel + 32 * k), high = load(panel + 32 * k + 16);
        const __m256i v0 = pair(x0 + 2 * k), v1 = pair(x1 + 2 * k), v2 = pair(x2 + 2 * k), v3 = pair(x3 + 2 * k);
        a0 = plus(a0, _mm256_madd_epi16(v0, low));
        b0 = plus(b0, _mm256_madd_epi16(v0, high));
        a1 = plus(a1, _mm256_madd_epi16(v1, low));
        b1 = plus(b1, _mm256_madd_epi16(v1, high));
        a2 = plus(a2, _mm256_madd_epi16(v2, low));
        b2 = plus(b2, _mm256_madd_epi16(v2, high));
        a3 = plus(a3, _mm256_madd_epi16(v3, low));
        b3 = plus(b3, _mm256_madd_epi16(v3, high));
    }
    add(sums, a0, b0);
    add(sums + WIDTH, a1, b1);
    add(sums + 2 * WIDTH, a2, b2);
    add(sums + 3 * WIDTH, a3, b3);
}

// Largest magnitude of a vector over `top`, 1 where all is 0. Without their signs, floats are ordered like integers, and
// what is no number comes last.
float own_step(const float *x, int64_t inputs, float top) {
    int32_t most = 0;
    for (int64_t k = 0; k < inputs; ++k) {
        int32_t bits;
        std::memcpy(&bits, x + k, sizeof bits);
        most = std::max(most, bits & 0x7fffffff);
    }
    float largest;
    std::memcpy(&largest, &most, sizeof largest);
    const float step = largest / top;
    return step == 0 ? 1.0f : step;
}

// A vector as 16-bit numbers, the last 0 where their number is odd; returns its step.
float widen(const Product &p, int64_t vector, int16_t *to) {
    float own = 1;
    int64_t k = 0;
    if (p.integers) {
        const int8_t *from = p.integers + vector * p.inputs;
        for (; k < p.inputs; ++k) to[k] = from[k];
    } else {
        const float *from = p.values + vector * p.inputs;
        own = p.steps ? p.steps[vector] : own_step(from, p.inputs, p.top);
        const __m256 step = _mm256_set1_ps(own), top = _mm256_set1_ps(p.top);
        const __m256 bottom = _mm256_set1_ps(-p.top);
        for (; k < p.inputs; k += 8) {
            alignas(32) float last[8] = {};
            if (k + 8 > p.inputs) std::memcpy(last, from + k, sizeof(float) * (p.inputs - k));
            __m256 x = k + 8 > p.inputs ? _mm256_load_ps(last) : _mm256_loadu_ps(from + k);
            x = _mm256_round_ps(_mm256_div_ps(x, step), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
            const __m256 number = _mm256_cmp_ps(x, x, _CMP_ORD_Q);  // what is none becomes 0
            x = _mm256_and_ps(_mm256_min_ps(_mm256_max_ps(x, bottom), top), number);
            const __m256i wide = _mm256_cvtps_epi32(x);
            const __m128i eight = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
            std::memcpy(to + k, &eight, sizeof(int16_t) * std::min<int64_t>(8, p.inputs - k));
        }
    }
    if (p.inputs % 2) to[p.inputs] = 0;
    return own;
}

// Sums of so many vectors with the outputs of a panel go to their places.
void put(const Product &p, const int32_t *sums, const float *steps, int64_t first, int64_t count, int64_t output) {
    const int64_t outputs = std::min(WIDTH, p.outputs - output);
    int64_t places[WIDTH];
    float scale[WIDTH] = {}, bias[WIDTH] = {};
    for (int64_t n = 0; n < outputs; ++n) {
        places[n] = p.places ? p.places[output + n] : output + n;
        if (p.scale) scale[n] = p.scale[places[n]];
        if (p.bias) bias[n] = p.bias[places[n]];
    }
    for (int64_t v = 0; v < count; ++v, sums += WIDTH) {
        const int64_t at = (first + v) * p.row;
        if (p.sums) {
            for (int64_t n = 0; n < outputs; ++n) p.sums[at + places[n]] = sums[n];
            continue;
        }
        float own[WIDTH];
        for (int64_t n = 0; n < WIDTH; ++n) own[n] = static_cast<float>(sums[n]) * steps[v] * scale[n];
        if (p.bias)
            for (int64_t n = 0; n < WIDTH; ++n) own[n] += bias[n];
        for (int64_t n = 0; n < outputs; ++n) p.y[at + places[n]] = own[n];
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

void multiply_rows(const Product &p, int64_t from, int64_t to) {
    const int64_t depth = even(p.inputs);
    std::vector<int16_t> wide(std::min(to - from, VECTORS) * depth);
    std::vector<int32_t> sums(VECTORS * WIDTH);
    for (int64_t first = from; first < to; first += VECTORS) {
        const int64_t count = std::min(VECTORS, to - first);
        float steps[VECTORS];
        for (int64_t v = 0; v < count; ++v) steps[v] = widen(p, first + v, wide.data() + v * depth);
        if (p.outputs < p.row) clear(p, steps, first, count);
        for (int64_t n = 0; n < p.outputs; n += WIDTH) {
            std::fill(sums.begin(), sums.end(), 0);
            for (int64_t k = 0; k < depth; k += DEPTH) {
                const int16_t *panel = p.panels + n * depth + k * WIDTH;
                const int64_t pairs = std::min(DEPTH, depth - k) / 2;
                int64_t v = 0;
                for (; v + 4 <= count; v += 4)
                    four(wide.data() + v * depth + k, depth, panel, pairs, sums.data() + v * WIDTH);
                for (; v < count; ++v) one(wide.data() + v * depth + k, panel, pairs, sums.data() + v * WIDTH);
            }
            put(p, sums.data(), steps, first, count, n);
        }
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

// Some outputs of weights int8[., inputs], all where none are named, as panels: int16[panels, pairs of inputs, 16, 2].
extern "C" void pack(const int8_t *weight, int64_t outputs, int64_t inputs, const int64_t *chosen, int16_t *panels) {
    const int64_t depth = even(inputs);
    for (int64_t n = 0; n < outputs; n += WIDTH, panels += WIDTH * depth) {
        const int8_t *rows[WIDTH];
        const int64_t count = std::min(WIDTH, outputs - n);
        for (int64_t i = 0; i < count; ++i) rows[i] = weight + (chosen ? chosen[n + i] : n + i) * inputs;
        if (count < WIDTH) std::fill_n(panels, WIDTH * depth, int16_t{0});
        for (int64_t k = 0; k < inputs; k += 2)
            for (int64_t i = 0; i < count; ++i) {
                panels[k * WIDTH + 2 * i] = rows[i][k];
                panels[k * WIDTH + 2 * i + 1] = k + 1 < inputs ? rows[i][k + 1] : 0;
            }
    }
}

// sums int32[vectors, row] of integers int8[vectors, inputs]; below 2^17 inputs no sum wraps.
extern "C" void multiply(const int8_t *integers, int64_t vectors, int64_t inputs, const int16_t *panels,
                         int64_t outputs, const int64_t *places, int64_t row, int32_t *sums, int64_t threads) {
    Product p{};
    p.vectors = vectors, p.inputs = inputs, p.outputs = outputs, p.panels = panels, p.places = places, p.row = row;
    p.integers = integers, p.sums = sums;
    run(p, threads);
}

// y float[vectors, row] of values that are quantized by a step each; see Product.
extern "C" void multiply_values(const float *values, const float *steps, float top, int64_t vectors, int64_t inputs,
                                const int16_t *panels, int64_t outputs, const int64_t *places, int64_t row,
                                const float *scale, const float *bias, float *y, int64_t threads) {
    Product p{};
    p.vectors = vectors, p.inputs = inputs, p.outputs = outputs, p.panels = panels, p.places = places, p.row = row;
    p.values = values, p.steps = steps, p.top = top, p.scale = scale, p.bias = bias, p.y = y;
    run(p, threads);
}
