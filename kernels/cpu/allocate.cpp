// How a budget is spent on regions: `model.budget.allocate` with the same numbers to the last bit.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "operators.h"
#include "rows.h"

// NaN buys nothing, infinities are the largest numbers there are.
static double bounded(double gain) {
  constexpr double most = std::numeric_limits<double>::max();
  return std::isnan(gain) ? 0.0 : std::clamp(gain, -most, most);
}

// Raises gain [options] to its least concave majorant over cost, via every pair around a point.
static void concave(const double* gain, const double* cost, long options, double* best) {
  std::copy(gain, gain + options, best);
  for (long low = 0; low < options; low++)
    for (long high = low + 2; high < options; high++)
      for (long mid = low + 1; mid < high; mid++) {
        double share = (cost[mid] - cost[low]) / (cost[high] - cost[low]);
        double line = gain[low] + product(share, gain[high] - gain[low]);
        // As torch.maximum: a NaN wins.
        if (line > best[mid] || std::isnan(line)) best[mid] = line;
      }
}

// widths [b, r] int64 by greedy gain per FLOP. gain: [b, r, options] over holding; flops: [options]
// rising; available: [b]; caps: [b, r] the widest allowed; price: gain per FLOP below which nothing
// is bought.
void allocate(const double* gain, const double* flops, const double* available,
              const int64_t* caps, double price, long samples, long regions, long options,
              int64_t* widths) {
  long steps = options - 1, count = regions * steps;
  std::vector<double> rising(options), best(options), slope(count);
  std::vector<long> order(count);
  for (long s = 0; s < samples; s++) {
    for (long r = 0; r < regions; r++) {
      const double* of_region = gain + (s * regions + r) * options;
      for (long k = 0; k < options; k++)
        rising[k] = k ? std::max(rising[k - 1], bounded(of_region[k])) : bounded(of_region[k]);
      concave(rising.data(), flops, options, best.data());
      for (long k = 0; k < steps; k++)
        slope[r * steps + k] = k + 1 <= caps[s * regions + r]
                                   ? (best[k + 1] - best[k]) / (flops[k + 1] - flops[k])
                                   : -1.0;
    }
    for (long i = 0; i < count; i++) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](long a, long b) {
      if (std::isnan(slope[a]) || std::isnan(slope[b]))  // first, as torch sorts it
        return std::isnan(slope[a]) && !std::isnan(slope[b]);
      return slope[a] > slope[b];
    });
    std::vector<bool> taken(count);
    double spent = 0.0;
    for (long i : order) {
      if (!(slope[i] > price)) continue;
      spent += flops[i % steps + 1] - flops[i % steps];
      taken[i] = spent <= available[s];
    }
    for (long r = 0; r < regions; r++) {
      long k = 0;
      while (k < steps && taken[r * steps + k]) k++;
      widths[s * regions + r] = k;
    }
  }
}
