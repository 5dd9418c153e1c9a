// Stuck cells as bits: drawing them, listing them, setting them. See stuck_planes.py for the law and the layout.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Four words at a time; a compiler makes of it what the processor has.
typedef uint64_t Lanes __attribute__((vector_size(32)));

// Every function below is part of one that is compiled for a processor of its own.
#define INLINE inline __attribute__((always_inline))

constexpr uint64_t kStep = 0x9E3779B97F4A7C15u;
constexpr int kRateLevels = 12, kShareLevels = 10, kSkipped = 12;

// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
INLINE uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

// SFC64 (Doty-Humphrey, PractRand), four of them side by side.
struct Generators {
    Lanes a, b, c;
    uint64_t count;

    INLINE void next(Lanes& random) {
        random = a + b + count++;
        a = b ^ (b >> 11);
        b = c + (c << 3);
        c = ((c << 24) | (c >> 40)) + random;
    }
};

INLINE void seed(Generators& generators, uint64_t key, uint64_t crossbar) {
    uint64_t words[12];
    uint64_t state = key + crossbar * 12 * kStep;
    for (uint64_t& word : words) word = mixed(state += kStep);
    std::memcpy(&generators.a, words, sizeof(Lanes));
    std::memcpy(&generators.b, words + 4, sizeof(Lanes));
    std::memcpy(&generators.c, words + 8, sizeof(Lanes));
    generators.count = 1;
    Lanes skipped;
    for (int i = 0; i < kSkipped; ++i) generators.next(skipped);
}

// Where a uniform number is below the threshold, by its first bits; `open` keeps where these are the threshold's.
template <int kLevels>
INLINE void first_bits(Generators& generators, uint64_t threshold, Lanes& open, Lanes& below) {
    below = open ^ open;
    for (int level = 0; level < kLevels; ++level, threshold <<= 1) {
        Lanes random;
        generators.next(random);
        if (threshold >> 63) {
            below |= open & ~random;
            open &= random;
        } else {
            open &= ~random;
        }
    }
}

// The same by all further bits, for the few that are still open.
uint64_t further_bits(uint64_t open, uint64_t threshold, uint64_t state) {
    uint64_t below = 0;
    for (; threshold != 0 && open != 0; threshold <<= 1) {
        const uint64_t random = mixed(state += kStep);
        if (threshold >> 63) {
            below |= open & ~random;
            open &= random;
        } else {
            open &= ~random;
        }
    }
    return below;
}

INLINE void settle(const Lanes& open, uint64_t threshold, uint64_t key, uint64_t place, uint64_t kind, Lanes& below) {
    if ((open[0] | open[1] | open[2] | open[3]) == 0) return;
    for (uint64_t i = 0; i < 4; ++i) {
        if (open[i]) below[i] |= further_bits(open[i], threshold, key + (2 * (place + i) + kind) * 64 * kStep);
    }
}

struct Law {
    uint64_t key, further_key, rate, share;
};

INLINE void draw(const Law& law, int64_t first, int64_t crossbars, int64_t words, uint64_t* stuck, uint64_t* sa1) {
    for (int64_t crossbar = first; crossbar < first + crossbars; ++crossbar) {
        Generators generators;
        seed(generators, law.key, static_cast<uint64_t>(crossbar));
        for (int64_t word = 0; word < words; word += 4) {
            const uint64_t place = static_cast<uint64_t>(crossbar * words + word);
            Lanes open = ~(generators.a ^ generators.a), found, ones;
            first_bits<kRateLevels>(generators, law.rate, open, found);
            settle(open, law.rate << kRateLevels, law.further_key, place, 0, found);
            open = found;
            first_bits<kShareLevels>(generators, law.share, open, ones);
            settle(open, law.share << kShareLevels, law.further_key, place, 1, ones);
            const size_t bytes = 8 * static_cast<size_t>(words - word < 4 ? words - word : 4);
            std::memcpy(stuck + word, &found, bytes);
            std::memcpy(sa1 + word, &ones, bytes);
        }
        stuck += words;
        sa1 += words;
    }
}

}  // namespace

extern "C" {

void draw_plain(const Law* law, int64_t first, int64_t crossbars, int64_t words, uint64_t* stuck, uint64_t* sa1) {
    draw(*law, first, crossbars, words, stuck, sa1);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) void draw_avx2(const Law* law, int64_t first, int64_t crossbars, int64_t words,
                                               uint64_t* stuck, uint64_t* sa1) {
    draw(*law, first, crossbars, words, stuck, sa1);
}
#endif

// Flat cells in ascending order, and whether each is SA1.
void list(const uint64_t* stuck, const uint64_t* sa1, int64_t crossbars, int64_t rows, int64_t columns, int64_t first,
          int64_t* cells, uint8_t* values) {
    const int64_t words = (rows + 63) / 64;
    std::vector<int64_t> end(static_cast<size_t>(words * 64 + 1));
    for (int64_t crossbar = 0; crossbar < crossbars; ++crossbar) {
        // First how many there are on each word line, then each to its place: bit lines come in ascending order.
        std::fill(end.begin(), end.end(), 0);
        for (int64_t at = 0; at < columns * words; ++at) {
            for (uint64_t left = stuck[at]; left; left &= left - 1) {
                ++end[static_cast<size_t>(at % words * 64 + __builtin_ctzll(left) + 1)];
            }
        }
        for (size_t line = 1; line < end.size(); ++line) end[line] += end[line - 1];
        const int64_t base = first + crossbar * rows * columns;
        for (int64_t column = 0, at = 0; column < columns; ++column) {
            for (int64_t word = 0; word < words; ++word, ++at) {
                for (uint64_t left = stuck[at]; left; left &= left - 1) {
                    const int bit = __builtin_ctzll(left);
                    const int64_t line = word * 64 + bit;
                    const int64_t place = end[static_cast<size_t>(line)]++;
                    cells[place] = base + line * columns + column;
                    values[place] = sa1[at] >> bit & 1;
                }
            }
        }
        const int64_t count = end[end.size() - 1];
        cells += count;
        values += count;
        stuck += columns * words;
        sa1 += columns * words;
    }
}

// Sets the bits of cells, which are counted from the first crossbar on.
void set(const int64_t* cells, const uint8_t* values, int64_t count, int64_t first, int64_t rows, int64_t columns,
         uint64_t* stuck, uint64_t* sa1) {
    const int64_t words = (rows + 63) / 64, area = rows * columns;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t cell = cells[i] - first, crossbar = cell / area, inside = cell - crossbar * area;
        const int64_t line = inside / columns, column = inside - line * columns;
        const int64_t at = (crossbar * columns + column) * words + (line >> 6);
        const uint64_t bit = uint64_t{1} << (line & 63);
        stuck[at] |= bit;
        if (values[i]) sa1[at] |= bit;
    }
}

}  // extern "C"
