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
// share: of the way from `low` to `high` that `mid` is, in the order of the loops.
static void concave(const double* gain, const double* share, long options, double* best) {
  std::copy(gain, gain + options, best);
  for (long low = 0; low < options; low++)
    for (long high = low + 2; high < options; high++)
      for (long mid = low + 1; mid < high; mid++) {
        double line = gain[low] + product(*share++, gain[high] - gain[low]);
        // As torch.maximum: a NaN wins.
        if (line > best[mid] || std::isnan(line)) best[mid] = line;
      }
}

static std::vector<double> shares_of(const double* cost, long options) {
  std::vector<double> shares;
  for (long low = 0; low < options; low++)
    for (long high = low + 2; high < options; high++)
      for (long mid = low + 1; mid < high; mid++)
        shares.push_back((cost[mid] - cost[low]) / (cost[high] - cost[low]));
  return shares;
}

struct Offer {
  double slope;  // gain per FLOP
  long index;
};

// widths [b, r] int64 by greedy gain per FLOP. gain: [b, r, options] over holding; flops: [options]
// rising; available: [b]; caps: [b, r] the widest allowed; price: gain per FLOP below which nothing
// is bought.
void allocate(const double* gain, const double* flops, const double* available,
              const int64_t* caps, double price, long samples, long regions, long options,
              int64_t* widths) {
  long steps = options - 1, count = regions * steps;
  std::vector<double> rising(options), best(options), shares = shares_of(flops, options);
  std::vector<Offer> offers;
  offers.reserve(count);
  for (long s = 0; s < samples; s++) {
    offers.clear();
    for (long r = 0; r < regions; r++) {
      const double* of_region = gain + (s * regions + r) * options;
      for (long k = 0; k < options; k++)
        rising[k] = k ? std::max(rising[k - 1], bounded(of_region[k])) : bounded(of_region[k]);
      concave(rising.data(), shares.data(), options, best.data());
      long most = std::min(steps, (long)caps[s * regions + r]);
      for (long k = 0; k < most; k++) {
        double slope = (best[k + 1] - best[k]) / (flops[k + 1] - flops[k]);
        if (slope > price) offers.push_back({slope, r * steps + k});
      }
    }
    std::sort(offers.begin(), offers.end(), [](const Offer& a, const Offer& b) {
      return a.slope > b.slope || (a.slope == b.slope && a.index < b.index);
    });
    std::vector<bool> taken(count);
    double spent = 0.0;
    for (const Offer& offer : offers) {
      long k = offer.index % steps;
      spent += flops[k + 1] - flops[k];
      taken[offer.index] = spent <= available[s];
    }
    for (long r = 0; r < regions; r++) {
      long k = 0;
      while (k < steps && taken[r * steps + k]) k++;
      widths[s * regions + r] = k;
    }
  }
}
