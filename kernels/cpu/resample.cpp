// The linear layers between the blocks, each with the moves of data around it: stem and head, down
// and up. A row goes through the cache once.
#include "operators.h"
#include "rows.h"
#include "team.h"

// A linear layer: weight packed, bias padded to whole panels.
struct Layer {
  const float *weight, *bias;
  long channels, features;
};

// For blocks of rows: `gather(row, to)` writes a row's inputs, `scatter(row, from)` takes its
// outputs.
template <class Gather, class Scatter>
INLINE void over_rows(const Layer& layer, long num_rows, int threads, const Gather& gather,
                      const Scatter& scatter) {
  if (2.0 * num_rows * layer.channels * layer.features < WORTH_A_TEAM) threads = 1;
  std::vector<Block> blocks;
  cut(blocks, 0, num_rows, NUM_WIDTHS, threads);
  long padded = (layer.features + COLUMNS - 1) / COLUMNS * COLUMNS;
  share(blocks.size(), threads, [&](long i) {
    const Block& block = blocks[i];
    Workspace inputs(MIXED, MAX_ROWS * layer.channels), outputs(SUMS, MAX_ROWS * padded);
    const float* from[MAX_ROWS];
    float* to[MAX_ROWS];
    for (long r = 0; r < block.rows; r++) {
      gather(block.begin + r, inputs + r * layer.channels);
      from[r] = inputs + r * layer.channels;
      to[r] = outputs + r * padded;
    }
    gemm<FROM_BIAS, PLAIN>(from, block.rows, layer.weight, layer.channels, 0, layer.channels,
                           layer.bias, 0, layer.features, to, true);
    for (long r = 0; r < block.rows; r++) scatter(block.begin + r, to[r]);
  });
}

// x: [b, height patch, width patch, ch], of which a row takes patch lines of patch * ch numbers.
struct Patches {
  long height, width, patch, ch;
  long line() const { return patch * ch; }
  // Where line i of a row starts.
  long start(long row, long i) const {
    long y = row / width % height, sample = row / (height * width);
    return (((sample * height + y) * patch + i) * width + row % width) * line();
  }
};

// out [b, height, width, features] = W patches(x) + bias.
void stem(const float* x, const float* weight, const float* bias, long samples, long height,
          long width, long patch, long ch, long features, float* out, int threads) {
  Patches patches{height, width, patch, ch};
  long line = patches.line();
  over_rows(
      {weight, bias, patch * line, features}, samples * height * width, threads,
      [&](long row, float* to) {
        for (long i = 0; i < patch; i++)
          memcpy(to + i * line, x + patches.start(row, i), line * sizeof(float));
      },
      [&](long row, const float* from) {
        memcpy(out + row * features, from, features * sizeof(float));
      });
}

// out [b, height patch, width patch, ch] = pixels of W modulate(rms_norm(x)) + bias.
// shift, scale: [b, channels] with `stride` floats from sample to sample.
void head(const float* x, const float* shift, const float* scale, long stride, const float* weight,
          const float* bias, long samples, long height, long width, long channels, long patch,
          long ch, float* out, int threads) {
  Patches patches{height, width, patch, ch};
  long line = patches.line(), per_sample = height * width;
  over_rows(
      {weight, bias, channels, patch * line}, samples * per_sample, threads,
      [&](long row, float* to) {
        long at = row / per_sample * stride;
        norm_modulate_row(x + row * channels, shift + at, scale + at, channels, 1e-6f, to);
      },
      [&](long row, const float* from) {
        for (long i = 0; i < patch; i++)
          memcpy(out + patches.start(row, i), from + i * line, line * sizeof(float));
      });
}

// out [b, height, width, features] = W mean2x2(x) + bias; x: [b, 2 height, 2 width, channels].
void down(const float* x, const float* weight, const float* bias, long samples, long height,
          long width, long channels, long features, float* out, int threads) {
  over_rows(
      {weight, bias, channels, features}, samples * height * width, threads,
      [&](long row, float* to) {
        const float* top = x + (row / width * 4 * width + row % width * 2) * channels;
        const float* bottom = top + 2 * width * channels;
        for (long c = 0; c < channels; c++)
          to[c] = (top[c] + top[channels + c] + bottom[c] + bottom[channels + c]) * 0.25f;
      },
      [&](long row, const float* from) {
        memcpy(out + row * features, from, features * sizeof(float));
      });
}

// out = nearest2x2(W x + bias) + skip; x: [b, height, width, channels]; skip, out: [b, 2 height,
// 2 width, features].
void up(const float* x, const float* weight, const float* bias, const float* skip, long samples,
        long height, long width, long channels, long features, float* out, int threads) {
  over_rows(
      {weight, bias, channels, features}, samples * height * width, threads,
      [&](long row, float* to) { memcpy(to, x + row * channels, channels * sizeof(float)); },
      [&](long row, const float* from) {
        for (long k = 0; k < 4; k++) {
          long fine = row / width * 4 * width + row % width * 2 + k / 2 * 2 * width + k % 2;
          for (long c = 0; c < features; c++)
            out[fine * features + c] = from[c] + skip[fine * features + c];
        }
      });
}
