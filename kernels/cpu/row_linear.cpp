// out[row] = W f(x[row]) + bias at active rows, f the identity or norm and modulation.
#include <cmath>

#include "operators.h"
#include "team.h"

// Row `r` of x, normalised and modulated, into `to`.
static void norm_modulate_row(const float* x, const float* shift, const float* scale,
                              long channels, float eps, float* to) {
  vec squares = splat(0.0f);
  long c = 0;
  for (; c + LANES <= channels; c += LANES) squares += load(x + c) * load(x + c);
  float sum = total(squares);
  for (; c < channels; c++) sum += x[c] * x[c];
  float factor = 1.0f / std::sqrt(sum / channels + eps);
  for (c = 0; c + LANES <= channels; c += LANES)
    store(to + c, load(x + c) * factor * (1.0f + load(scale + c)) + load(shift + c));
  for (; c < channels; c++) to[c] = x[c] * factor * (1.0f + scale[c]) + shift[c];
}

// shift, scale: [b, channels] with `stride` floats from sample to sample, or null: no modulation.
EXPORT void row_linear(const float* x, const float* shift, const float* scale, long stride,
                       long rows_per_sample, float eps, const float* weight, const float* bias,
                       const int64_t* rows, const int64_t* counts, long channels, long features,
                       float* out, int threads) {
  long active = num_active(counts);
  if (active == 0) return;
  double flops = 2.0 * active * channels * features;
  if (flops < WORTH_A_TEAM) threads = 1;
  std::vector<Block> blocks;
  cut(blocks, 0, active, NUM_WIDTHS, threads);
  // Few rows of a wide layer (the conditioning) are split by columns too.
  long panels = (features + COLUMNS - 1) / COLUMNS, parts = 1;
  if ((long)blocks.size() < threads) parts = std::min<long>(panels, 2 * threads);
  share(blocks.size() * parts, threads, [&](long i) {
    const Block& block = blocks[i / parts];
    long begin = panels * (i % parts) / parts * COLUMNS;
    long end = std::min(features, panels * (i % parts + 1) / parts * COLUMNS);
    float* mixed = shift ? workspace(0, MAX_ROWS * channels) : nullptr;
    const float* from[MAX_ROWS];
    float* to[MAX_ROWS];
    for (long r = 0; r < block.rows; r++) {
      long row = rows[block.begin + r], sample = shift ? row / rows_per_sample : 0;
      from[r] = x + row * channels;
      to[r] = out + row * features + begin;
      if (!shift) continue;
      norm_modulate_row(from[r], shift + sample * stride, scale + sample * stride, channels, eps,
                        mixed + r * channels);
      from[r] = mixed + r * channels;
    }
    if (bias)
      gemm<FROM_BIAS, PLAIN>(from, block.rows, weight, channels, 0, channels, bias, begin, end, to,
                             false);
    else
      gemm<FROM_ZERO, PLAIN>(from, block.rows, weight, channels, 0, channels, nullptr, begin, end,
                             to, false);
  });
}

// x: [m, channels] -> out: [m, channels] at active rows.
EXPORT void norm_modulate(const float* x, const float* shift, const float* scale,
                          long shift_stride, long scale_stride, long rows_per_sample, float eps,
                          const int64_t* rows, const int64_t* counts, long channels, float* out,
                          int threads) {
  long active = num_active(counts);
  share_range(active, 20.0 * active * channels, threads, [&](long from, long to) {
    for (long i = from; i < to; i++) {
      long row = rows[i], sample = row / rows_per_sample;
      norm_modulate_row(x + row * channels, shift + sample * shift_stride,
                        scale + sample * scale_stride, channels, eps, out + row * channels);
    }
  });
}
