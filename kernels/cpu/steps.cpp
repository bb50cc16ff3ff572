// Whole steps of a batch in one call: plan, network, what is known after it, and again. A step of the
// small model at batch 1 spent more time in Python than in C++. Bits are those of the calls one by
// one.
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "operators.h"
#include "planning.h"
#include "team.h"

// Addresses and numbers in the order of steps.py. What is written is what the planning reads: x,
// denoised, step, spent and the regions' past are those of its `Planning`.
struct Steps {
  float *x, *denoised, *older, *x_before, *sigma_last, *older_sigma;
  int64_t* step;
  double* spent;
  float *change, *age, *log_residual;
  int64_t *quarters, *calm;
  bool* exited;
  const int64_t* program;
  float* const *cache, *const *unlabelled;  // the latter null if nobody is guided
  const float* guidance;
  const int64_t* map_sizes;  // floats of a sample in each map of a cache
  const int64_t* caps;       // [bins, levels], or null without bounds
  int64_t *trace, *done;     // widths of every step; how many there were
  int64_t num_maps, levels, most, multistep, no_label;
};

class Walk {
 public:
  Walk(const Planning& planning, const Steps& steps) : in(planning), at(steps) {
    regions = in.samples * in.region_rows * in.region_columns;
    numbers = in.samples * in.height * in.width * in.ch;
  }

  // Until `most` steps are done, a sample has only regions that exited, or a prediction is not
  // finite.
  void run() {
    for (*at.done = 0; *at.done < at.most && !in.found[SOMEONE_EXITED]; ++*at.done) {
      plan_step(&in, sizeof(in));
      if (in.found[BROKEN]) return;
      compute();
      remember();
    }
  }

 private:
  void compute() {
    Workspace made(STEPS_MADE, 3 * numbers), past(STEPS_PAST, 2 * regions);
    float *fresh = made, *denoised = fresh + numbers, *x_next = denoised + numbers;
    const float *sigma = in.pair, *sigma_next = sigma + in.samples;
    float *change = past, *age = change + regions;
    std::vector<int64_t> quarters(regions);
    for_runs([&](long s) { return busy(s); },
             [&](long first, long count) { denoise(first, count, in.labels, at.cache, fresh); });
    if (at.unlabelled) guide(fresh, denoised);
    std::vector<float> unknown(in.samples, NAN);
    const float* sigma_last = at.multistep ? at.sigma_last : unknown.data();
    share(in.samples, (int)in.threads, [&](long s) {
      long first = s * numbers / in.samples, region = s * regions / in.samples;
      close_step(at.x + first, fresh + first, at.denoised + first, at.denoised + first, sigma + s,
                 sigma_next + s, sigma_last + s, in.widths + region, at.change + region,
                 at.age + region, at.quarters + region, 1, in.height, in.width, in.ch,
                 in.region_rows, in.region_columns, denoised + first, x_next + first,
                 change + region, age + region, quarters.data() + region);
    });
    std::copy(at.x, at.x + numbers, at.x_before);
    std::copy(at.denoised, at.denoised + numbers, at.older);
    std::copy(x_next, x_next + numbers, at.x);
    std::copy(denoised, denoised + numbers, at.denoised);
    std::copy(change, change + regions, at.change);
    std::copy(age, age + regions, at.age);
    std::copy(quarters.begin(), quarters.end(), at.quarters);
  }

  // work(first, count) of every run of neighbours for whom `wanted` is true.
  template <class Wanted, class Work>
  void for_runs(Wanted wanted, Work work) const {
    for (long first = 0, last; first < in.samples; first = last) {
      bool now = wanted(first);
      for (last = first + 1; last < in.samples && wanted(last) == now;) last++;
      if (now) work(first, last - first);
    }
  }

  // D_u + w (D_c - D_u), see `model.forward.guide`; bare: memory to work in.
  void guide(float* fresh, float* bare) const {
    long size = numbers / in.samples;
    std::vector<int64_t> none(in.samples, at.no_label);
    for_runs([&](long s) { return busy(s) && at.guidance[s] != 1; },
             [&](long first, long count) {
               denoise(first, count, none.data(), at.unlabelled, bare);
               for (long s = first; s < first + count; s++)
                 for (long i = s * size; i < (s + 1) * size; i++)
                   fresh[i] = bare[i] + product(at.guidance[s], fresh[i] - bare[i]);
             });
  }

  bool busy(long sample) const {
    const int64_t* widths = in.widths + sample * (regions / in.samples);
    return std::any_of(widths, widths + regions / in.samples, [](int64_t q) { return q > 0; });
  }

  // D of `count` samples from `first` on.
  void denoise(long first, long count, const int64_t* labels, float* const* cache,
               float* fresh) const {
    std::vector<int64_t> caps(at.caps ? count * at.levels : 0);
    for (long s = 0; at.caps && s < count; s++) {
      const int64_t* of = at.caps + noise_bin(in, in.pair[first + s]) * at.levels;
      std::copy(of, of + at.levels, caps.begin() + s * at.levels);
    }
    std::vector<float*> maps(at.num_maps);
    for (long i = 0; i < at.num_maps; i++) maps[i] = cache[i] + first * at.map_sizes[i];
    long picture = first * (numbers / in.samples), grid = first * (regions / in.samples);
    network(at.program, at.x + picture, in.pair + first, in.pair + in.samples + first,
            labels + first, in.widths + grid, at.caps ? caps.data() : nullptr, maps.data(),
            (float)in.sigma_data, count, in.height, in.width, in.region_rows, in.region_columns,
            fresh + picture, (int)in.threads);
  }

  void remember() {
    std::copy(in.widths, in.widths + regions, at.trace + *at.done * regions);
    std::copy(in.exits, in.exits + regions, at.exited);
    if (in.w_enter) std::copy(in.residual_now, in.residual_now + regions, at.log_residual);
    if (!in.schedule) std::copy(in.calm_now, in.calm_now + regions, at.calm);
    for (long s = 0; s < in.samples; s++) {
      at.older_sigma[s] = at.sigma_last[s], at.sigma_last[s] = in.pair[s];
      at.spent[s] += in.flops[s];
      at.step[s]++;
    }
  }

  const Planning& in;
  const Steps& at;
  long regions, numbers;
};

// sizes: of the caller's structures, which must be these.
void run_steps(const void* planning, long planning_size, const void* steps, long steps_size) {
  if (planning_size != sizeof(Planning) || steps_size != sizeof(Steps))
    throw std::out_of_range("size");
  Walk(*(const Planning*)planning, *(const Steps*)steps).run();
}
