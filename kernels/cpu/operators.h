// Every operator of this folder; each is described where it is defined. They throw std::bad_alloc
// where memory is short, and std::out_of_range; exports.cpp turns both into numbers.
#pragma once

#include <cstdint>

void plan_rows(const int64_t* widths, const int64_t* caps, long samples, long region_rows,
               long region_columns, long height, long width, int64_t* rows, int64_t* counts);
void norm_modulate(const float* x, const float* shift, const float* scale, long shift_stride,
                   long scale_stride, long rows_per_sample, float eps, const int64_t* rows,
                   const int64_t* counts, long channels, float* out, int threads);
void depthwise(const float* x, const float* weight, const float* shift, const float* scale,
               long shift_stride, long scale_stride, const int64_t* rows, const int64_t* counts,
               long num_rows, long depth, long height, long width, long channels, long deep,
               float* out, int threads);
void row_mlp(const float* x, const float* w_in, const float* b_in, const float* w_out,
             const float* b_out, const int64_t* rows, const int64_t* counts, long channels,
             long hidden, long per_quarter, float* residual, int threads);
void gated_add(const float* x, const float* gate, long gate_stride, const float* residual,
               long num_rows, long rows_per_sample, long channels, float* out, int threads);
void row_linear(const float* x, const float* shift, const float* scale, long stride,
                long rows_per_sample, float eps, const float* weight, const float* bias,
                const int64_t* rows, const int64_t* counts, long channels, long features,
                float* out, int threads);
void row_attention(const float* qkv, const int64_t* rows, const int64_t* counts, long samples,
                   long height, long width, long channels, long num_heads, float* out,
                   int threads);
void region_stats(const float* denoised, const float* last, long samples, long height, long width,
                  long ch, long region_rows, long region_columns, float* out);
void ode_exit(const float* x, const float* denoised, const float* last, const float* sigma,
              const float* sigma_next, const float* sigma_last, const bool* held, long samples,
              long height, long width, long ch, long region_rows, long region_columns, float* out);

void mlp_block(const float* x, const float* taps, const float* shift, const float* scale,
               const float* gate, long stride, const float* w_in, const float* b_in,
               const float* w_out, const float* b_out, const int64_t* rows, const int64_t* counts,
               long samples, long height, long width, long channels, long hidden, long per_quarter,
               float* residual, float* out, int threads);
void attention_block(const float* x, const float* shift, const float* scale, const float* gate,
                     long stride, const float* w_qkv, const float* w_proj, const int64_t* rows,
                     const int64_t* counts, long samples, long height, long width, long channels,
                     long num_heads, float* attended, float* qkv, float* out, int threads);

void preconditioning(const float* sigma, float sigma_data, long samples, float* out);
void conditioning(const float* c_noise, const int64_t* labels, const float* stride,
                  const float* frequencies, long num_frequencies, const float* classes,
                  long num_classes, const float* w_sigma, const float* b_sigma,
                  const float* w_stride, const float* b_stride, const float* w_joint,
                  const float* b_joint, const float* w_out, const float* b_out, long samples,
                  long channels, long outputs, float* out, int threads);
void stem(const float* x, const float* weight, const float* bias, long samples, long height,
          long width, long patch, long ch, long features, float* out, int threads);
void head(const float* x, const float* shift, const float* scale, long stride, const float* weight,
          const float* bias, long samples, long height, long width, long channels, long patch,
          long ch, float* out, int threads);
void down(const float* x, const float* weight, const float* bias, long samples, long height,
          long width, long channels, long features, float* out, int threads);
void up(const float* x, const float* weight, const float* bias, const float* skip, long samples,
        long height, long width, long channels, long features, float* out, int threads);
void region_features(const float* x_t, const float* denoised, const float* sigma,
                     const float* sigma_next, const float* budget, const float* change,
                     const float* age, const float* log_residual, const int64_t* quarters,
                     float sigma_data, long samples, long height, long width, long ch,
                     long region_rows, long region_columns, float* out);
void predict(const float* features, const int64_t* labels, const float* classes, long num_classes,
             long class_channels, const float* w_enter, const float* b_enter,
             const float* w_middle, const float* b_middle, const float* w_residual,
             const float* b_residual, const float* w_widths, const float* b_widths, long samples,
             long regions, long num_features, long hidden, long widths, float low, float high,
             float* out, int threads);
void network(const int64_t* program, const float* x_t, const float* sigma, const float* sigma_next,
             const int64_t* labels, const int64_t* widths, const int64_t* caps, float* const* cache,
             float sigma_data, long samples, long height, long width, long region_rows,
             long region_columns, float* out, int threads);
void allocate(const double* gain, const double* flops, const double* available,
              const int64_t* caps, double price, long samples, long regions, long options,
              int64_t* widths);
void plan_step(const void* planning, long size);
void run_steps(const void* planning, long planning_size, const void* steps, long steps_size);
