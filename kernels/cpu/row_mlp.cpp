// residual[row] = w_out gelu(w_in x[row] + b_in) + b_out at the row's width.
#include "mlp.h"
#include "operators.h"

// x, residual: [m, channels]; weights as in mlp.h.
void row_mlp(const float* x, const float* w_in, const float* b_in, const float* w_out,
             const float* b_out, const int64_t* rows, const int64_t* counts, long channels,
             long hidden, long per_quarter, float* residual, int threads) {
  Mlp mlp{w_in, b_in, w_out, b_out, channels, hidden, per_quarter};
  std::vector<Block> blocks = blocks_by_width(counts, mlp, threads);
  share(blocks.size(), threads, [&](long i) {
    const Block& block = blocks[i];
    const float* from[MAX_ROWS];
    for (long r = 0; r < block.rows; r++) {
      from[r] = x + rows[block.begin + r] * channels;
      // Rows of a large map come from memory whatever their width: they are on their way while the
      // first ones are multiplied (64 and 128 channels, 16,384 rows at 1/4: 3 to 5 % of the time).
      for (long c = 0; c < channels; c += CACHE_LINE) __builtin_prefetch(from[r] + c, 0, 2);
    }
    mlp_rows(mlp, from, rows, block, residual);
  });
}
