// The MLP of one block of rows, its hidden layer 256 units at a time in memory that stays in L2.
#pragma once

#include "team.h"

constexpr long HIDDEN = 256;

// w_in, w_out: packed, with their biases padded to whole panels.
struct Mlp {
  const float *w_in, *b_in, *w_out, *b_out;
  long channels, hidden, per_quarter;
};

// Blocks of active rows by width, the widest first, and whether a team is worth its while.
INLINE std::vector<Block> blocks_by_width(const int64_t* counts, const Mlp& mlp, int& threads) {
  std::vector<Block> blocks;
  long begin[NUM_WIDTHS + 1] = {0}, units = 0;
  for (int q = 1; q < NUM_WIDTHS; q++) begin[q + 1] = begin[q] + counts[q];
  for (int q = 1; q <= NUM_WIDTHS; q++) units += counts[q] * q * mlp.per_quarter;
  if (4.0 * units * mlp.channels < WORTH_A_TEAM) threads = 1;
  for (int q = NUM_WIDTHS; q >= 1; q--) cut(blocks, begin[q], counts[q], q, threads);
  return blocks;
}

// residual[row] = w_out gelu(w_in from[r] + b_in) + b_out for the rows of the block.
INLINE void mlp_rows(const Mlp& mlp, const float* const* from, const int64_t* rows,
                     const Block& block, float* residual) {
  long channels = mlp.channels, num_hidden = mlp.per_quarter * block.quarters;
  long padded = (channels + COLUMNS - 1) / COLUMNS * COLUMNS;
  Workspace units(UNITS, MAX_ROWS * HIDDEN), sums(SUMS, MAX_ROWS * padded);
  const float* middle_in[MAX_ROWS];
  float *middle[MAX_ROWS], *to[MAX_ROWS];
  for (long r = 0; r < block.rows; r++) {
    middle_in[r] = middle[r] = units + r * HIDDEN;
    // Whole panels go straight to their place; else through a workspace with room to spare.
    to[r] = padded == channels ? residual + rows[block.begin + r] * channels : sums + r * padded;
  }
  for (long unit = 0; unit < num_hidden; unit += HIDDEN) {
    long count = std::min(HIDDEN, num_hidden - unit);
    gemm<FROM_BIAS, GELU>(from, block.rows, mlp.w_in, channels, 0, channels, mlp.b_in, unit,
                          unit + count, middle, true);
    if (unit == 0)
      gemm<FROM_BIAS, PLAIN>(middle_in, block.rows, mlp.w_out, mlp.hidden, 0, count, mlp.b_out, 0,
                             channels, to, true);
    else
      gemm<FROM_OUT, PLAIN>(middle_in, block.rows, mlp.w_out, mlp.hidden, unit, count, nullptr, 0,
                            channels, to, true);
  }
  if (padded != channels)
    for (long r = 0; r < block.rows; r++)
      memcpy(residual + rows[block.begin + r] * channels, to[r], channels * sizeof(float));
}
