// out[row] = modulate(depthwise3x3(rms_norm(x))) at active rows, and the gated residual.
#include <cmath>

#include "operators.h"
#include "team.h"

// 1 / rms of rows [from, to) of x.
static void inverse_rms(const float* x, long channels, long from, long to, float* out) {
  for (long row = from; row < to; row++) {
    const float* p = x + row * channels;
    vec squares = splat(0.0f);
    long c = 0;
    for (; c + LANES <= channels; c += LANES) squares += load(p + c) * load(p + c);
    float sum = total(squares);
    for (; c < channels; c++) sum += p[c] * p[c];
    out[row] = 1.0f / std::sqrt(sum / channels + 1e-6f);
  }
}

struct Tap {
  const float* x;  // the neighbour's row
  const float* weight;
  float factor;  // 1 / its rms
};

static void mix(const Tap* taps, int count, const float* shift, const float* scale, long channels,
                float* out) {
  long c = 0;
  for (; c + LANES <= channels; c += LANES) {
    vec sum = splat(0.0f);
    for (int t = 0; t < count; t++)
      sum += load(taps[t].x + c) * taps[t].factor * load(taps[t].weight + c);
    store(out + c, sum * (1.0f + load(scale + c)) + load(shift + c));
  }
  for (; c < channels; c++) {
    float sum = 0.0f;
    for (int t = 0; t < count; t++) sum += taps[t].x[c] * taps[t].factor * taps[t].weight[c];
    out[c] = sum * (1.0f + scale[c]) + shift[c];
  }
}

// x: [b, height, width, channels]; weight: [3, 3, channels]; shift, scale: [b, channels].
EXPORT void depthwise(const float* x, const float* weight, const float* shift, const float* scale,
                      long shift_stride, long scale_stride, const int64_t* rows,
                      const int64_t* counts, long num_rows, long height, long width, long channels,
                      float* out, int threads) {
  long active = num_active(counts);
  if (active == 0) return;
  float* factors = workspace(2, num_rows);
  share_range(num_rows, 4.0 * num_rows * channels, threads,
              [&](long from, long to) { inverse_rms(x, channels, from, to, factors); });
  share_range(active, 40.0 * active * channels, threads, [&](long from, long to) {
    for (long i = from; i < to; i++) {
      long row = rows[i], sample = row / (height * width), y = row / width % height,
           left = row % width;
      Tap taps[9];
      int count = 0;
      for (long dy = -1; dy <= 1; dy++)
        for (long dx = -1; dx <= 1; dx++) {
          if (y + dy < 0 || y + dy >= height || left + dx < 0 || left + dx >= width) continue;
          long near = row + dy * width + dx;
          taps[count++] = {x + near * channels, weight + ((dy + 1) * 3 + dx + 1) * channels,
                           factors[near]};
        }
      mix(taps, count, shift + sample * shift_stride, scale + sample * scale_stride, channels,
          out + row * channels);
    }
  });
}

// out = x + gate * residual at every row.
EXPORT void gated_add(const float* x, const float* gate, long gate_stride, const float* residual,
                      long num_rows, long rows_per_sample, long channels, float* out,
                      int threads) {
  share_range(num_rows, 8.0 * num_rows * channels, threads, [&](long from, long to) {
    for (long row = from; row < to; row++) {
      const float *a = x + row * channels, *r = residual + row * channels;
      const float* g = gate + row / rows_per_sample * gate_stride;
      long c = 0;
      for (; c + LANES <= channels; c += LANES)
        store(out + row * channels + c, load(a + c) + load(g + c) * load(r + c));
      for (; c < channels; c++) out[row * channels + c] = a[c] + g[c] * r[c];
    }
  });
}
