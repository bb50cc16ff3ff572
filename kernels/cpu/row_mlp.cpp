// residual[row] = w_out gelu(w_in x[row] + b_in) + b_out at the row's width, fused over blocks of
// rows: the hidden layer exists 256 units at a time, in a workspace that stays in L2.
#include "operators.h"
#include "team.h"

constexpr long HIDDEN = 256;

static void mlp_block(const float* x, const float* w_in, const float* b_in, const float* w_out,
                      const float* b_out, const int64_t* rows, long channels, long hidden,
                      long num_hidden, const Block& block, float* residual) {
  long padded = (channels + COLUMNS - 1) / COLUMNS * COLUMNS;
  float* units = workspace(0, MAX_ROWS * HIDDEN);
  float* sums = workspace(1, MAX_ROWS * padded);
  const float* from[MAX_ROWS];
  const float* middle_in[MAX_ROWS];
  float *middle[MAX_ROWS], *to[MAX_ROWS];
  for (long r = 0; r < block.rows; r++) {
    from[r] = x + rows[block.begin + r] * channels;
    middle_in[r] = middle[r] = units + r * HIDDEN;
    // Whole panels go straight to their place; else through a workspace with room to spare.
    to[r] = padded == channels ? residual + rows[block.begin + r] * channels : sums + r * padded;
  }
  for (long unit = 0; unit < num_hidden; unit += HIDDEN) {
    long count = std::min(HIDDEN, num_hidden - unit);
    gemm<FROM_BIAS, GELU>(from, block.rows, w_in, channels, 0, channels, b_in, unit, unit + count,
                          middle, true);
    if (unit == 0)
      gemm<FROM_BIAS, PLAIN>(middle_in, block.rows, w_out, hidden, 0, count, b_out, 0, channels,
                             to, true);
    else
      gemm<FROM_OUT, PLAIN>(middle_in, block.rows, w_out, hidden, unit, count, nullptr, 0,
                            channels, to, true);
  }
  if (padded != channels)
    for (long r = 0; r < block.rows; r++)
      memcpy(residual + rows[block.begin + r] * channels, to[r], channels * sizeof(float));
}

// x, residual: [m, channels]; w_in, w_out: packed with their biases padded to whole panels.
EXPORT void row_mlp(const float* x, const float* w_in, const float* b_in, const float* w_out,
                    const float* b_out, const int64_t* rows, const int64_t* counts, long channels,
                    long hidden, long per_quarter, float* residual, int threads) {
  std::vector<Block> blocks;
  long begin[NUM_WIDTHS + 1] = {0}, units = 0;
  for (int q = 1; q < NUM_WIDTHS; q++) begin[q + 1] = begin[q] + counts[q];
  for (int q = 1; q <= NUM_WIDTHS; q++) units += counts[q] * q * per_quarter;
  if (4.0 * units * channels < WORTH_A_TEAM) threads = 1;
  for (int q = NUM_WIDTHS; q >= 1; q--) cut(blocks, begin[q], counts[q], q, threads);
  share(blocks.size(), threads, [&](long i) {
    const Block& block = blocks[i];
    mlp_block(x, w_in, b_in, w_out, b_out, rows, channels, hidden, per_quarter * block.quarters,
              block, residual);
  });
}
