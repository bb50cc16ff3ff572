// The micro-kernel: 1 to 6 rows times 16 columns of packed weights, held in registers.
//
// Weights are packed in panels of 16 columns, [panel][k][16]. A row's dot products are added up in
// the order of k, one lane a column, whatever rows share its tile: its bits never depend on them.
#pragma once

#include "simd.h"

constexpr int COLUMNS = 2 * LANES;  // of a panel
constexpr int TILE = 6;             // rows: 12 accumulators, 2 weights and 1 value fill 16 registers
constexpr long MAX_ROWS = 96;       // of a block

enum Start { FROM_BIAS, FROM_ZERO, FROM_OUT };
enum Finish { PLAIN, GELU };

template <int ROWS>
INLINE void multiply(const float* const* a, long from, const float* panel, long depth,
                     vec (&acc)[ROWS][2]) {
  const float* row[ROWS];
  for (int r = 0; r < ROWS; r++) row[r] = a[r] + from;
#pragma GCC unroll 4
  for (long k = 0; k < depth; k++) {
    vec left = load(panel + k * COLUMNS), right = load(panel + k * COLUMNS + LANES);
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
      vec value = splat(row[r][k]);
      acc[r][0] += value * left;
      acc[r][1] += value * right;
    }
  }
}

// out[r][column .. column + 16) = finish(start + a[r][from .. from + depth) panel)
template <int ROWS, Start START, Finish FINISH>
static void tile(const float* const* a, long from, const float* panel, long depth,
                 const float* bias, float* const* out, long column, long width) {
  vec acc[ROWS][2];
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < 2; v++) {
      if (START == FROM_OUT) acc[r][v] = load(out[r] + column + v * LANES);
      else if (START == FROM_BIAS) acc[r][v] = load(bias + v * LANES);
      else acc[r][v] = splat(0.0f);
    }
  multiply<ROWS>(a, from, panel, depth, acc);
  for (int r = 0; r < ROWS; r++) {
    if (FINISH == GELU)
      for (int v = 0; v < 2; v++) acc[r][v] = gelu(acc[r][v]);
    if (width == COLUMNS) {
      store(out[r] + column, acc[r][0]);
      store(out[r] + column + LANES, acc[r][1]);
    } else {
      memcpy(out[r] + column, &acc[r][0], width * sizeof(float));
    }
  }
}

template <Start START, Finish FINISH>
static void tiles(const float* const* a, long rows, long from, const float* panel, long depth,
                  const float* bias, float* const* out, long column, long width) {
  long count = (rows + TILE - 1) / TILE;
  for (long i = 0, row = 0; i < count; i++) {
    long size = (rows - row) / (count - i);  // 8 rows as 4 and 4, not as 6 and 2
    if ((rows - row) % (count - i)) size++;
    const float* const* from_row = a + row;
    float* const* to_row = out + row;
    switch (size) {
      case 6: tile<6, START, FINISH>(from_row, from, panel, depth, bias, to_row, column, width); break;
      case 5: tile<5, START, FINISH>(from_row, from, panel, depth, bias, to_row, column, width); break;
      case 4: tile<4, START, FINISH>(from_row, from, panel, depth, bias, to_row, column, width); break;
      case 3: tile<3, START, FINISH>(from_row, from, panel, depth, bias, to_row, column, width); break;
      case 2: tile<2, START, FINISH>(from_row, from, panel, depth, bias, to_row, column, width); break;
      default: tile<1, START, FINISH>(from_row, from, panel, depth, bias, to_row, column, width);
    }
    row += size;
  }
}

// Columns [begin, end) of a layer, begin a multiple of 16. packed: [panels][stride][16], of which
// `depth` rows from `skip` on are used; a and out: one pointer a row; out's columns start at 0 for
// `begin`. Where end is not a multiple of 16, `wide` says that out has room up to the next one.
template <Start START, Finish FINISH>
static void gemm(const float* const* a, long rows, const float* packed, long stride, long skip,
                 long depth, const float* bias, long begin, long end, float* const* out,
                 bool wide) {
  for (long column = begin; column < end; column += COLUMNS) {
    const float* panel = packed + (column * stride + skip * COLUMNS);
    long width = wide || end - column > COLUMNS ? COLUMNS : end - column;
    tiles<START, FINISH>(a, rows, 0, panel, depth, bias ? bias + column : nullptr, out,
                         column - begin, width);
  }
}
