// What is known of every region, and the small network that predicts its errors from it.
#include <cmath>
#include <stdexcept>

#include "operators.h"
#include "regions.h"
#include "team.h"

constexpr float EPS = 1e-8f;

static float log_of(float x) { return (float)std::log((double)x); }

// `model.observation.region_features` says what they mean. x_t, denoised: [b, height, width, ch];
// sigma, sigma_next, budget: [b]; change, age, log_residual, quarters: [b, rows, columns];
// out: [b, rows, columns, 11 + 2 ch].
void region_features(const float* x_t, const float* denoised, const float* sigma,
                     const float* sigma_next, const float* budget, const float* change,
                     const float* age, const float* log_residual, const int64_t* quarters,
                     float sigma_data, long samples, long height, long width, long ch,
                     long region_rows, long region_columns, float* out) {
  Regions regions{height, width, ch, region_rows, region_columns};
  std::vector<float> of_d(ch + 2), of_x(ch + 2);
  for (long s = 0; s < samples; s++) {
    float scale = std::sqrt(sigma[s] * sigma[s] + sigma_data * sigma_data);
    float least_next = sigma_next[s] < 1e-3f ? 1e-3f : sigma_next[s];
    float log_sigma = log_of(sigma[s]) / 4, log_next = log_of(least_next) / 4;
    for (long r = s * regions.count(); r < (s + 1) * regions.count(); r++, out += 11 + 2 * ch) {
      regions.means(denoised, x_t, r, of_d.data());
      regions.means(x_t, x_t, r, of_x.data());
      float squares = 0.0f, known = quarters[r] > 0;
      for (long c = 0; c < ch; c++) squares += of_d[c] * of_d[c];
      float variance = of_d[ch] - squares / ch, noise = of_d[ch + 1] / (sigma[s] * sigma[s]);
      // `variance > 0 ? ...` would make a number of NaN.
      float texture = variance < 0.0f ? 0.0f : variance;
      const float columns[11] = {
          log_sigma, log_next, sigma_next[s] / sigma[s], budget[s], known, age[r] / 4,
          (float)quarters[r] / 4, log_residual[r] / 8, log_of(change[r] + EPS) / 8 * known,
          log_of(noise + EPS) * known, log_of(texture + EPS) / 8 * known,
      };
      std::copy(columns, columns + 11, out);
      for (long c = 0; c < ch; c++) {
        out[11 + c] = of_x[c] / scale;
        out[11 + ch + c] = of_d[c];
      }
    }
  }
}

// out [b, regions, 1 + widths] = heads(gelu(W_middle gelu(W_enter [features, their mean over the
// picture, classes[label]] + b) + b)), bounded to [low, high], NaN where not finite; residual head
// first. Throws std::out_of_range for a label that is no row of classes.
void predict(const float* features, const int64_t* labels, const float* classes, long num_classes,
             long class_channels, const float* w_enter, const float* b_enter,
             const float* w_middle, const float* b_middle, const float* w_residual,
             const float* b_residual, const float* w_widths, const float* b_widths, long samples,
             long regions, long num_features, long hidden, long widths, float low, float high,
             float* out, int threads) {
  long inputs = 2 * num_features + class_channels, outputs = 1 + widths;
  long wide = (hidden + COLUMNS - 1) / COLUMNS * COLUMNS;
  Workspace overall(FACTORS, samples * num_features);
  for (long s = 0; s < samples; s++) {
    if (labels[s] < 0 || labels[s] >= num_classes) throw std::out_of_range("labels");
    float* mean = overall + s * num_features;
    std::fill(mean, mean + num_features, 0.0f);
    for (long r = s * regions; r < (s + 1) * regions; r++)
      for (long f = 0; f < num_features; f++) mean[f] += features[r * num_features + f];
    for (long f = 0; f < num_features; f++) mean[f] /= regions;
  }
  std::vector<Block> blocks;
  if (2.0 * samples * regions * hidden * (inputs + hidden) < WORTH_A_TEAM) threads = 1;
  cut(blocks, 0, samples * regions, NUM_WIDTHS, threads);
  share(blocks.size(), threads, [&](long i) {
    const Block& block = blocks[i];
    Workspace rows(MIXED, MAX_ROWS * inputs);
    Workspace one(UNITS, MAX_ROWS * wide), two(SUMS, MAX_ROWS * wide);
    const float *from[MAX_ROWS], *middle_in[MAX_ROWS], *last_in[MAX_ROWS];
    float *middle[MAX_ROWS], *last[MAX_ROWS], *first_head[MAX_ROWS], *second_head[MAX_ROWS];
    for (long r = 0; r < block.rows; r++) {
      long region = block.begin + r, sample = region / regions;
      float* row = rows + r * inputs;
      memcpy(row, features + region * num_features, num_features * sizeof(float));
      memcpy(row + num_features, overall + sample * num_features, num_features * sizeof(float));
      memcpy(row + 2 * num_features, classes + labels[sample] * class_channels,
             class_channels * sizeof(float));
      from[r] = row;
      middle_in[r] = middle[r] = one + r * wide;
      last_in[r] = last[r] = two + r * wide;
      first_head[r] = out + region * outputs;
      second_head[r] = first_head[r] + 1;
    }
    gemm<FROM_BIAS, GELU>(from, block.rows, w_enter, inputs, 0, inputs, b_enter, 0, hidden, middle,
                          true);
    gemm<FROM_BIAS, GELU>(middle_in, block.rows, w_middle, hidden, 0, hidden, b_middle, 0, hidden,
                          last, true);
    gemm<FROM_BIAS, PLAIN>(last_in, block.rows, w_residual, hidden, 0, hidden, b_residual, 0, 1,
                           first_head, false);
    gemm<FROM_BIAS, PLAIN>(last_in, block.rows, w_widths, hidden, 0, hidden, b_widths, 0, widths,
                           second_head, false);
    for (long k = block.begin * outputs; k < (block.begin + block.rows) * outputs; k++)
      // A bounded infinity would pass for a prediction.
      out[k] = !std::isfinite(out[k]) ? NAN : out[k] < low ? low : out[k] > high ? high : out[k];
  });
}
