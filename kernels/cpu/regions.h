// The regions of a picture, and what is summed over one of them.
#pragma once

#include <algorithm>

struct Regions {
  long height, width, ch, rows, columns;

  long count() const { return rows * columns; }

  // Of region r, counted over the whole batch: means of d per channel, of d^2, and of
  // (d - other)^2. out: [ch + 2].
  void means(const float* d, const float* other, long r, float* out) const {
    long per_y = height / rows, per_x = width / columns;
    long sample = r / count(), i = r / columns % rows, j = r % columns;
    std::fill(out, out + ch + 2, 0.0f);
    for (long y = i * per_y; y < (i + 1) * per_y; y++) {
      long start = ((sample * height + y) * width + j * per_x) * ch;
      for (long k = start; k < start + per_x * ch; k += ch)
        for (long c = 0; c < ch; c++) {
          float value = d[k + c], change = value - other[k + c];
          out[c] += value;
          out[ch] += value * value;
          out[ch + 1] += change * change;
        }
    }
    for (long k = 0; k < ch + 2; k++) out[k] /= per_y * per_x * (k < ch ? 1 : ch);
  }
};
