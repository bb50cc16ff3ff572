// The operators without a product: depthwise convolution, norm and modulation, gated residual.
#include "operators.h"
#include "rows.h"
#include "team.h"

// out[row] = modulate(depthwise3x3(rms_norm(x))) at active rows. x: [b, depth, height, width,
// channels]; weight: [deep, 3, 3, channels], deep 1 or 3; shift, scale: [b, channels], strides from
// sample to sample.
void depthwise(const float* x, const float* weight, const float* shift, const float* scale,
               long shift_stride, long scale_stride, const int64_t* rows, const int64_t* counts,
               long num_rows, long depth, long height, long width, long channels, long deep,
               float* out, int threads) {
  long active = num_active(counts);
  if (active == 0) return;
  Workspace factors(FACTORS, num_rows);
  share_range(num_rows, 4.0 * num_rows * channels, threads, [&](long from, long to) {
    for (long row = from; row < to; row++)
      factors[row] = inverse_rms(x + row * channels, channels, 1e-6f);
  });
  TapMap map{x, weight, factors, height, width, channels, depth, deep};
  share_range(active, 40.0 * active * channels, threads, [&](long from, long to) {
    for (long i = from; i < to; i++) {
      long row = rows[i], sample = row / (depth * height * width);
      depthwise_row(map, row, shift + sample * shift_stride, scale + sample * scale_stride,
                    out + row * channels);
    }
  });
}

// x: [m, channels] -> out: [m, channels] at active rows.
void norm_modulate(const float* x, const float* shift, const float* scale, long shift_stride,
                   long scale_stride, long rows_per_sample, float eps, const int64_t* rows,
                   const int64_t* counts, long channels, float* out, int threads) {
  long active = num_active(counts);
  share_range(active, 20.0 * active * channels, threads, [&](long from, long to) {
    for (long i = from; i < to; i++) {
      long row = rows[i], sample = row / rows_per_sample;
      norm_modulate_row(x + row * channels, shift + sample * shift_stride,
                        scale + sample * scale_stride, channels, eps, out + row * channels);
    }
  });
}

// out = x + gate * residual at every row.
void gated_add(const float* x, const float* gate, long gate_stride, const float* residual,
               long num_rows, long rows_per_sample, long channels, float* out, int threads) {
  share_range(num_rows, 8.0 * num_rows * channels, threads, [&](long from, long to) {
    for (long row = from; row < to; row++)
      gated_add_row(x + row * channels, gate + row / rows_per_sample * gate_stride,
                    residual + row * channels, channels, out + row * channels);
  });
}
