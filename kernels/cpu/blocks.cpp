// Whole blocks of the network in one call, made of the operators beside: on a small map a call from
// Python costs as much as its arithmetic. Bits are those of the operators one by one.
#include "operators.h"
#include "team.h"

// out = x + gate * residual, residual[active] = MLP(modulate(depthwise(rms_norm(x)))).
// shift, scale, gate: [samples, channels] with `stride` floats from sample to sample.
EXPORT void mlp_block(const float* x, const float* taps, const float* shift, const float* scale,
                      const float* gate, long stride, const float* w_in, const float* b_in,
                      const float* w_out, const float* b_out, const int64_t* rows,
                      const int64_t* counts, long samples, long height, long width, long channels,
                      long hidden, long per_quarter, float* residual, float* out, int threads) {
  long num_rows = samples * height * width;
  float* mixed = workspace(2, num_rows * channels);
  depthwise(x, taps, shift, scale, stride, stride, rows, counts, num_rows, height, width, channels,
            mixed, threads);
  row_mlp(mixed, w_in, b_in, w_out, b_out, rows, counts, channels, hidden, per_quarter, residual,
          threads);
  gated_add(x, gate, stride, residual, num_rows, height * width, channels, out, threads);
}

// out = x + gate * attended, attended[active] = w_proj attention(qkv), and
// qkv[active] = w_qkv modulate(rms_norm(x)).
EXPORT void attention_block(const float* x, const float* shift, const float* scale,
                            const float* gate, long stride, const float* w_qkv,
                            const float* w_proj, const int64_t* rows, const int64_t* counts,
                            long samples, long height, long width, long channels, long num_heads,
                            float* attended, float* qkv, float* out, int threads) {
  long per_sample = height * width, num_rows = samples * per_sample;
  float* mixed = workspace(2, num_rows * channels);
  row_linear(x, shift, scale, stride, per_sample, 1e-6f, w_qkv, nullptr, rows, counts, channels,
             3 * channels, qkv, threads);
  row_attention(qkv, rows, counts, samples, height, width, channels, num_heads, mixed, threads);
  row_linear(mixed, nullptr, nullptr, 0, 1, 0.0f, w_proj, nullptr, rows, counts, channels, channels,
             attended, threads);
  gated_add(x, gate, stride, attended, num_rows, per_sample, channels, out, threads);
}
