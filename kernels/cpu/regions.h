// The regions of a picture, and what is summed over one of them.
#pragma once

#include <algorithm>

struct Regions {
  long height, width, ch, rows, columns;

  long count() const { return rows * columns; }

  // Of region r, counted over the whole batch: means of d per channel, of d^2, and of
  // (d - other)^2. out: [ch + 2].
  void means(const float* d, const float* other, long r, float* out) const {
    if (ch == 3)
      sums<3>(d, other, r, out);
    else if (ch == 1)
      sums<1>(d, other, r, out);
    else
      sums<0>(d, other, r, out);
    long per_y = height / rows, per_x = width / columns;
    for (long k = 0; k < ch + 2; k++) out[k] /= per_y * per_x * (k < ch ? 1 : ch);
  }

 private:
  // CH: the number of channels where it is known, for sums that stay in registers; 0 for any.
  template <int CH>
  void sums(const float* d, const float* other, long r, float* out) const {
    constexpr int KNOWN = CH ? CH : 1;
    long per_y = height / rows, per_x = width / columns, channels = CH ? CH : ch;
    long sample = r / count(), i = r / columns % rows, j = r % columns;
    float sum[KNOWN] = {}, squares = 0.0f, changes = 0.0f;
    std::fill(out, out + channels, 0.0f);
    for (long y = i * per_y; y < (i + 1) * per_y; y++) {
      long start = ((sample * height + y) * width + j * per_x) * channels;
      for (long k = start; k < start + per_x * channels; k += channels)
        for (long c = 0; c < channels; c++) {
          float value = d[k + c], change = value - other[k + c];
          (CH ? sum[c] : out[c]) += value;
          squares += value * value;
          changes += change * change;
        }
    }
    if (CH) std::copy(sum, sum + CH, out);
    out[channels] = squares, out[channels + 1] = changes;
  }
};
