// Plans, statistics and the ODE's step of regions: small, outside the network, one thread.
#include <cmath>
#include <stdexcept>

#include "operators.h"
#include "regions.h"
#include "team.h"

// widths: [b, region_rows, region_columns]; caps: [b]; rows: [b * height * width]; counts: [5].
// Throws std::out_of_range for a width that is not 0 to 4, and for regions that do not divide the
// map.
void plan_rows(const int64_t* widths, const int64_t* caps, long samples, long region_rows,
               long region_columns, long height, long width, int64_t* rows, int64_t* counts) {
  if (region_rows < 1 || region_columns < 1 || height % region_rows || width % region_columns ||
      height < 1 || width < 1)
    throw std::out_of_range("regions");
  long per_y = height / region_rows, per_x = width / region_columns;
  long regions = region_rows * region_columns, area = per_y * per_x;
  std::fill(counts, counts + NUM_WIDTHS + 1, 0);
  for (long r = 0; r < samples * regions; r++) {
    int64_t quarters = std::min(widths[r], caps[r / regions]);
    if (quarters < 0 || quarters > NUM_WIDTHS) throw std::out_of_range("widths");
    counts[quarters] += area;
  }
  int64_t* next[NUM_WIDTHS + 1];
  next[1] = rows;
  for (int q = 1; q < NUM_WIDTHS; q++) next[q + 1] = next[q] + counts[q];
  next[0] = next[NUM_WIDTHS] + counts[NUM_WIDTHS];
  int64_t row = 0;
  for (long s = 0; s < samples; s++)
    for (long y = 0; y < height; y++) {
      const int64_t* line = widths + s * regions + y / per_y * region_columns;
      for (long column = 0; column < region_columns; column++) {
        int64_t*& to = next[std::min(line[column], caps[s])];
        for (long x = 0; x < per_x; x++) *to++ = row++;
      }
    }
}

// denoised, last: [b, height, width, ch] -> out: [b, region_rows, region_columns, ch + 2].
void region_stats(const float* denoised, const float* last, long samples, long height, long width,
                  long ch, long region_rows, long region_columns, float* out) {
  Regions regions{height, width, ch, region_rows, region_columns};
  for (long r = 0; r < samples * regions.count(); r++, out += ch + 2)
    regions.means(denoised, last, r, out);
}

// x, denoised, last: [b, height, width, ch]; sigma, sigma_next, sigma_last: [b], the last NaN at
// the first step; held: [b, region_rows, region_columns]. A computed region takes the target
// D + half (D - last), half being half of log(sigma / sigma_next) / log(sigma_last / sigma); a held
// one takes D itself. Then x(s') = target + sigma_next / sigma (x - target).
void ode_exit(const float* x, const float* denoised, const float* last, const float* sigma,
              const float* sigma_next, const float* sigma_last, const bool* held, long samples,
              long height, long width, long ch, long region_rows, long region_columns,
              float* out) {
  long per_y = height / region_rows, per_x = width / region_columns;
  for (long s = 0; s < samples; s++) {
    double now = sigma[s], next = sigma_next[s], before = sigma_last[s];
    bool first_order = next == 0 || std::isnan(before);
    float half = first_order ? 0 : (float)(std::log(now / next) / (2 * std::log(before / now)));
    float ratio = (float)(next / now);
    for (long y = 0; y < height; y++)
      for (long column = 0; column < region_columns; column++) {
        bool hold = held[(s * region_rows + y / per_y) * region_columns + column];
        float slope = hold ? 0.0f : half;
        long start = ((s * height + y) * width + column * per_x) * ch;
        for (long k = start; k < start + per_x * ch; k++) {
          float target = denoised[k];
          if (slope != 0.0f) target += slope * (denoised[k] - last[k]);
          out[k] = target + ratio * (x[k] - target);
        }
      }
  }
}
