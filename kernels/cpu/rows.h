// What operators do to one row: norm, modulation, the gated residual, and the taps around it.
#pragma once

#include <cmath>

#include "simd.h"

// A product that is rounded before it is added: the compiler would fuse the two otherwise.
template <class Number>
INLINE Number product(Number a, Number b) {
  Number made = a * b;
  asm("" : "+x"(made));
  return made;
}

// 1 / rms of a row.
INLINE float inverse_rms(const float* x, long channels, float eps) {
  vec squares = splat(0.0f);
  long c = 0;
  for (; c + LANES <= channels; c += LANES) squares += load(x + c) * load(x + c);
  float sum = total(squares);
  for (; c < channels; c++) sum += x[c] * x[c];
  return 1.0f / std::sqrt(sum / channels + eps);
}

// rms_norm(x) (1 + scale) + shift.
INLINE void norm_modulate_row(const float* x, const float* shift, const float* scale,
                              long channels, float eps, float* to) {
  float factor = inverse_rms(x, channels, eps);
  long c = 0;
  for (; c + LANES <= channels; c += LANES)
    store(to + c, load(x + c) * factor * (1.0f + load(scale + c)) + load(shift + c));
  for (; c < channels; c++) to[c] = x[c] * factor * (1.0f + scale[c]) + shift[c];
}

// x + gate * residual.
INLINE void gated_add_row(const float* x, const float* gate, const float* residual, long channels,
                          float* to) {
  long c = 0;
  for (; c + LANES <= channels; c += LANES)
    store(to + c, load(x + c) + load(gate + c) * load(residual + c));
  for (; c < channels; c++) to[c] = x[c] + gate[c] * residual[c];
}

struct Tap {
  const float* x;  // the neighbour's row
  const float* weight;
  float factor;  // 1 / its rms
};

// A map whose rows have their 1 / rms beside them, and the depthwise weights over it. A picture is a
// volume of depth 1 with taps of depth 1.
struct TapMap {
  const float *x, *weight, *factors;  // [b depth height width, channels], [9 deep, channels], [...]
  long height, width, channels;
  long depth = 1, deep = 1;
};

// The sum over the taps at channels [c, c + 8 N), modulated. Abreast they share each tap's addresses
// and factor; a channel's sum has its order whatever N is.
template <int N>
INLINE void taps_of(const Tap* taps, int count, const float* shift, const float* scale, long c,
                    float* to) {
  vec sum[N] = {};
  for (int t = 0; t < count; t++) {
    const float *x = taps[t].x + c, *weight = taps[t].weight + c;
    vec factor = splat(taps[t].factor);
#pragma GCC unroll 4
    for (int i = 0; i < N; i++) sum[i] += load(x + i * LANES) * factor * load(weight + i * LANES);
  }
#pragma GCC unroll 4
  for (int i = 0; i < N; i++) {
    long at = c + i * LANES;
    store(to + at, sum[i] * (1.0f + load(scale + at)) + load(shift + at));
  }
}

constexpr int ABREAST = 4;   // vectors of channels
constexpr long DEEPEST = 3;  // taps along the depth

// modulate(depthwise3x3(rms_norm(x))) at one row.
INLINE void depthwise_row(const TapMap& map, long row, const float* shift, const float* scale,
                          float* to) {
  long y = row / map.width % map.height, left = row % map.width, channels = map.channels;
  long z = map.depth == 1 ? 0 : row / map.width / map.height % map.depth, reach = map.deep / 2;
  Tap taps[9 * DEEPEST];
  int count = 0;
  for (long dz = -reach; dz <= reach; dz++) {
    if (z + dz < 0 || z + dz >= map.depth) continue;
    const float* slice = map.weight + (dz + reach) * 9 * channels;
    for (long dy = -1; dy <= 1; dy++)
      for (long dx = -1; dx <= 1; dx++) {
        if (y + dy < 0 || y + dy >= map.height || left + dx < 0 || left + dx >= map.width) continue;
        long near = row + (dz * map.height + dy) * map.width + dx;
        taps[count++] = {map.x + near * channels, slice + ((dy + 1) * 3 + dx + 1) * channels,
                         map.factors[near]};
      }
  }
  long c = 0;
  for (; c + ABREAST * LANES <= channels; c += ABREAST * LANES)
    taps_of<ABREAST>(taps, count, shift, scale, c, to);
  for (; c + LANES <= channels; c += LANES) taps_of<1>(taps, count, shift, scale, c, to);
  for (; c < channels; c++) {
    float sum = 0.0f;
    for (int t = 0; t < count; t++) sum += taps[t].x[c] * taps[t].factor * taps[t].weight[c];
    to[c] = sum * (1.0f + scale[c]) + shift[c];
  }
}
