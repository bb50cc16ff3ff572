// The operators that blocks.cpp puts together; each is described where it is defined.
#pragma once

#include <cstdint>

extern "C" {
void depthwise(const float* x, const float* weight, const float* shift, const float* scale,
               long shift_stride, long scale_stride, const int64_t* rows, const int64_t* counts,
               long num_rows, long height, long width, long channels, float* out, int threads);
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
}
