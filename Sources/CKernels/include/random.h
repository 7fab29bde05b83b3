// Counter-based random numbers: each is a function of (seed, stream, position), so a resumed or differently
// split run draws the same ones.
#pragma once
#include "kernel.h"

// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). The low word of `seed`
// is the first key word. Words are uniform over 32 bits.
void sw_philox4x32(uint64_t seed, const uint32_t counter[4], uint32_t out[4]);

// Both fills use for element i word i % 4 of counter {i / 4 low, i / 4 high, stream low, stream high}.

// Uniform in [low, high), in steps of (high - low) / 2^24.
void sw_fill_uniform(float *out, int64_t count, uint64_t seed, uint64_t stream, float low, float high);

// Normal, by Box and Muller's transform of the words (0, 1) and (2, 3) of each counter.
void sw_fill_normal(float *out, int64_t count, uint64_t seed, uint64_t stream, float mean, float deviation);
