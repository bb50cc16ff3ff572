// What is known once a step was computed, for a whole batch in one call.
#include <algorithm>
#include <vector>

#include "operators.h"
#include "planning.h"
#include "regions.h"

// fresh, last, before: [b, height, width, ch], D of this step where a region was computed, D of the
// last step, and the solver's; widths, change, age, quarters: [b, region_rows, region_columns].
// denoised: fresh, and `last` where a region was held; x_next as in ode_exit; then the three as
// `model.observation.remember` says.
void close_step(const float* x, const float* fresh, const float* last, const float* before,
                const float* sigma, const float* sigma_next, const float* sigma_last,
                const int64_t* widths, const float* change, const float* age,
                const int64_t* quarters, long samples, long height, long width, long ch,
                long region_rows, long region_columns, float* denoised, float* x_next,
                float* change_now, float* age_now, int64_t* quarters_now) {
  Regions regions{height, width, ch, region_rows, region_columns};
  long per_y = height / region_rows, per_x = width / region_columns;
  long count = samples * regions.count();
  std::vector<char> held(count);
  std::vector<float> stats(ch + 2);
  for (long r = 0; r < count; r++) held[r] = widths[r] == 0;
  for (long line = 0; line < samples * height; line++)
    for (long column = 0; column < region_columns; column++) {
      long region = (line / height * region_rows + line % height / per_y) * region_columns + column;
      long start = (line * width + column * per_x) * ch, end = start + per_x * ch;
      const float* from = held[region] ? last : fresh;
      std::copy(from + start, from + end, denoised + start);
    }
  for (long r = 0; r < count; r++) {
    if (held[r]) {
      change_now[r] = change[r], age_now[r] = age[r] + 1, quarters_now[r] = quarters[r];
      continue;
    }
    regions.means(denoised, last, r, stats.data());
    change_now[r] = stats[ch + 1], age_now[r] = 0, quarters_now[r] = widths[r];
  }
  ode_exit(x, denoised, before, sigma, sigma_next, sigma_last, (const bool*)held.data(), samples,
           height, width, ch, region_rows, region_columns, x_next);
}
