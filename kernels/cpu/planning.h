// The two ends of a step around the network: what its planning reads and writes, and its end.
#pragma once

#include <cstdint>

// Addresses and numbers in the order of planning.py; its fields are described there.
struct Planning {
  const float *x_t, *denoised, *sigmas;
  const int64_t *step, *num_steps, *labels, *branches, *dense_from, *late_from;
  const double *ceiling, *spent, *reserve;
  const float *change, *age, *log_residual;
  const int64_t *quarters, *calm;
  const bool* exited;
  const float *classes, *w_enter, *b_enter, *w_middle, *b_middle, *w_residual, *b_residual,
      *w_widths, *b_widths;
  const double *region_flops, *bounded_flops;
  const float* lowest;
  const int64_t* schedule;
  float* pair;
  int64_t* widths;
  bool* exits;
  int64_t* calm_now;
  float* residual_now;
  double* flops;
  int64_t* found;
  int64_t samples, height, width, ch, region_rows, region_columns, longest, heun, num_bins,
      num_scheduled, equal_shares, num_classes, class_channels, hidden, patience, max_age, threads;
  double fixed_flops, full_flops, predictor_flops, slack, price, exit_threshold, sigma_data,
      low, high;
};

enum Found { BROKEN, EVERYONE_BUSY, SOMEONE_EXITED };

// What is known once a step was computed: see closing.cpp.
void close_step(const float* x, const float* fresh, const float* last, const float* before,
                const float* sigma, const float* sigma_next, const float* sigma_last,
                const int64_t* widths, const float* change, const float* age,
                const int64_t* quarters, long samples, long height, long width, long ch,
                long region_rows, long region_columns, float* denoised, float* x_next,
                float* change_now, float* age_now, int64_t* quarters_now);

// The bin of noise levels that `sigma` falls into.
inline long noise_bin(const Planning& in, float sigma) {
  long bin = 0;
  for (long i = 0; i + 1 < in.num_bins; i++) bin += sigma < in.lowest[i];
  return bin;
}
