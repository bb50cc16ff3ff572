// out[row] = W f(x[row]) + bias at active rows, f the identity or norm and modulation.
#include "operators.h"
#include "rows.h"
#include "team.h"

// shift, scale: [b, channels] with `stride` floats from sample to sample, or null: no modulation.
void row_linear(const float* x, const float* shift, const float* scale, long stride,
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
    Workspace mixed(MIXED, shift ? MAX_ROWS * channels : 0);
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
