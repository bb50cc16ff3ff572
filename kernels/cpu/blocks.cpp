// Whole blocks of the network in one call: on a small map a call from Python costs as much as its
// arithmetic. Bits are those of the operators one by one.
#include "mlp.h"
#include "operators.h"
#include "rows.h"

// out = x + gate * residual, residual[active] = MLP(modulate(depthwise(rms_norm(x)))).
// shift, scale, gate: [samples, channels] with `stride` floats from sample to sample.
// A block of rows is mixed, multiplied and added while it is in the cache; no mixed map exists.
void mlp_block(const float* x, const float* taps, const float* shift, const float* scale,
               const float* gate, long stride, const float* w_in, const float* b_in,
               const float* w_out, const float* b_out, const int64_t* rows, const int64_t* counts,
               long samples, long height, long width, long channels, long hidden, long per_quarter,
               float* residual, float* out, int threads) {
  long per_sample = height * width, num_rows = samples * per_sample, active = num_active(counts);
  Mlp mlp{w_in, b_in, w_out, b_out, channels, hidden, per_quarter};
  int team = threads;
  std::vector<Block> blocks = blocks_by_width(counts, mlp, team);
  Workspace factors(FACTORS, num_rows);
  if (active)
    share_range(num_rows, 4.0 * num_rows * channels, threads, [&](long from, long to) {
      for (long row = from; row < to; row++)
        factors[row] = inverse_rms(x + row * channels, channels, 1e-6f);
    });
  cut(blocks, active, num_rows - active, 0, team);  // held rows: only the sum
  TapMap map{x, taps, factors, height, width, channels};
  share(blocks.size(), team, [&](long i) {
    const Block& block = blocks[i];
    if (block.quarters) {
      Workspace mixed(MIXED, MAX_ROWS * channels);
      const float* from[MAX_ROWS];
      for (long r = 0; r < block.rows; r++) {
        long row = rows[block.begin + r], at = row / per_sample * stride;
        depthwise_row(map, row, shift + at, scale + at, mixed + r * channels);
        from[r] = mixed + r * channels;
      }
      mlp_rows(mlp, from, rows, block, residual);
    }
    for (long r = 0; r < block.rows; r++) {
      long row = rows[block.begin + r], at = row * channels;
      gated_add_row(x + at, gate + row / per_sample * stride, residual + at, channels, out + at);
    }
  });
}

// out = x + gate * attended, attended[active] = w_proj attention(qkv), and
// qkv[active] = w_qkv modulate(rms_norm(x)).
void attention_block(const float* x, const float* shift, const float* scale, const float* gate,
                     long stride, const float* w_qkv, const float* w_proj, const int64_t* rows,
                     const int64_t* counts, long samples, long height, long width, long channels,
                     long num_heads, float* attended, float* qkv, float* out, int threads) {
  long per_sample = height * width, num_rows = samples * per_sample;
  Workspace mixed(ATTENDED, num_rows * channels);
  row_linear(x, shift, scale, stride, per_sample, 1e-6f, w_qkv, nullptr, rows, counts, channels,
             3 * channels, qkv, threads);
  row_attention(qkv, rows, counts, samples, height, width, channels, num_heads, mixed, threads);
  row_linear(mixed, nullptr, nullptr, 0, 1, 0.0f, w_proj, nullptr, rows, counts, channels, channels,
             attended, threads);
  gated_add(x, gate, stride, attended, num_rows, per_sample, channels, out, threads);
}
