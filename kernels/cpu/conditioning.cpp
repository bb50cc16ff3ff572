// What depends on the sample alone: EDM's preconditioning, and the modulations of every block.
#include <cmath>
#include <stdexcept>

#include "operators.h"
#include "team.h"

// Karras et al. 2022, table 1. out: [4, b], c_skip, c_out, c_in and c_noise of each sigma.
void preconditioning(const float* sigma, float sigma_data, long samples, float* out) {
  for (long s = 0; s < samples; s++) {
    float total = sigma[s] * sigma[s] + sigma_data * sigma_data;
    out[s] = sigma_data * sigma_data / total;
    out[samples + s] = sigma[s] * sigma_data / std::sqrt(total);
    out[2 * samples + s] = 1.0f / std::sqrt(total);
    out[3 * samples + s] = (float)(std::log((double)sigma[s]) / 4);
  }
}

static float silu(float x) { return x / (1.0f + std::exp(-x)); }

// [cos, sin] of value times every frequency. to: [2 n].
static void fourier(float value, const float* frequencies, long n, float* to) {
  for (long i = 0; i < n; i++) {
    float angle = value * frequencies[i];
    to[i] = std::cos(angle);
    to[n + i] = std::sin(angle);
  }
}

// A layer on every sample, the columns shared by the team: few rows, many columns.
static void layer(const float* x, long samples, const float* weight, const float* bias,
                  long channels, long features, float* out, int threads) {
  for (long begin = 0; begin < samples; begin += MAX_ROWS) {
    long rows = std::min(MAX_ROWS, samples - begin);
    const float* from[MAX_ROWS];
    for (long r = 0; r < rows; r++) from[r] = x + (begin + r) * channels;
    long panels = (features + COLUMNS - 1) / COLUMNS;
    share_range(panels, 2.0 * rows * channels * features, threads, [&](long one, long other) {
      if (one == other) return;
      float* to[MAX_ROWS];
      for (long r = 0; r < rows; r++) to[r] = out + (begin + r) * features + one * COLUMNS;
      gemm<FROM_BIAS, PLAIN>(from, rows, weight, channels, 0, channels, bias, one * COLUMNS,
                             std::min(features, other * COLUMNS), to, false);
    });
  }
}

// out [b, outputs] = W_out silu(W_joint silu(W_sigma fourier(c_noise) + b + classes[label]
// (+ W_stride fourier(stride) + b)) + b) + b; stride null for a network that is not strided.
// Throws std::out_of_range for a label that is no row of classes.
void conditioning(const float* c_noise, const int64_t* labels, const float* stride,
                  const float* frequencies, long num_frequencies, const float* classes,
                  long num_classes, const float* w_sigma, const float* b_sigma,
                  const float* w_stride, const float* b_stride, const float* w_joint,
                  const float* b_joint, const float* w_out, const float* b_out, long samples,
                  long channels, long outputs, float* out, int threads) {
  long waves = 2 * num_frequencies;
  Workspace angles(MIXED, samples * waves), hidden(UNITS, samples * channels);
  Workspace joint(SUMS, samples * channels);
  for (long s = 0; s < samples; s++) {
    if (labels[s] < 0 || labels[s] >= num_classes) throw std::out_of_range("labels");
    fourier(c_noise[s], frequencies, num_frequencies, angles + s * waves);
  }
  layer(angles, samples, w_sigma, b_sigma, waves, channels, hidden, threads);
  for (long s = 0; s < samples; s++)
    for (long c = 0; c < channels; c++)
      hidden[s * channels + c] += classes[labels[s] * channels + c];
  if (stride) {
    for (long s = 0; s < samples; s++)
      fourier(stride[s], frequencies, num_frequencies, angles + s * waves);
    layer(angles, samples, w_stride, b_stride, waves, channels, joint, threads);
    for (long i = 0; i < samples * channels; i++) hidden[i] += joint[i];
  }
  for (long i = 0; i < samples * channels; i++) hidden[i] = silu(hidden[i]);
  layer(hidden, samples, w_joint, b_joint, channels, channels, joint, threads);
  for (long i = 0; i < samples * channels; i++) joint[i] = silu(joint[i]);
  layer(joint, samples, w_out, b_out, channels, outputs, out, threads);
}
