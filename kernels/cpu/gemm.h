// The micro-kernel: 1 to 6 rows times 16 columns of packed weights, held in registers.
//
// Weights are packed in panels of 16 columns, [panel][k][16]. A row's dot products are added up in
// the order of k, one lane a column, whatever rows share its tile: its bits never depend on them.
#pragma once

#include "simd.h"

constexpr int COLUMNS = 2 * LANES;  // of a panel
constexpr int TILE = 6;             // rows: 12 accumulators, 2 weights and 1 value fill 16 registers
constexpr long MAX_ROWS = 96;       // of a block
constexpr long CACHE_LINE = 16;     // floats
constexpr long LINE_BYTES = CACHE_LINE * sizeof(float);

// What the sums start from. A bias is padded to whole panels.
enum Start { FROM_BIAS, FROM_ZERO, FROM_OUT };
enum Finish { PLAIN, GELU };

// Lines of the panel behind this one, asked for while it is multiplied: where another network ran
// before, weights come from memory, and what the processor fetches by itself ends with each page.
struct Ahead {
  const char* first;
  long step;  // bytes from k to k + 1: the tiles of a panel share the lines of the next, if there is one
};

// out[r][0 .. 16) = start[r][0 .. 16) + a[r][0 .. depth) panel. Inlined by force it is as fast
// (docs/LOG.md, 2026-11-26).
template <int ROWS>
__attribute__((noinline)) static void multiply(const float* const* a, const float* panel,
                                               long depth, const float* const* start,
                                               float* const* out, long column, Ahead ahead) {
  const float* row[ROWS];
  vec acc[ROWS][2];
  for (int r = 0; r < ROWS; r++) {
    row[r] = a[r];
    __builtin_prefetch(out[r] + column, 1);
    acc[r][0] = load(start[r]);
    acc[r][1] = load(start[r] + LANES);
  }
#pragma GCC unroll 4
  for (long k = 0; k < depth; k++) {
    __builtin_prefetch(ahead.first + k * ahead.step);
    vec left = load(panel + k * COLUMNS), right = load(panel + k * COLUMNS + LANES);
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
      vec value = splat(row[r][k]);
      acc[r][0] += value * left;
      acc[r][1] += value * right;
    }
  }
  for (int r = 0; r < ROWS; r++) {
    store(out[r] + column, acc[r][0]);
    store(out[r] + column + LANES, acc[r][1]);
  }
}

template <Start START, Finish FINISH>
static void tile(int rows, const float* const* a, const float* panel, long depth,
                 const float* bias, float* const* out, long column, Ahead ahead) {
  static const float zeros[COLUMNS] = {};
  const float* from[TILE];
  for (int r = 0; r < rows; r++)
    from[r] = START == FROM_OUT ? out[r] + column : START == FROM_BIAS ? bias : zeros;
  switch (rows) {
    case 6: multiply<6>(a, panel, depth, from, out, column, ahead); break;
    case 5: multiply<5>(a, panel, depth, from, out, column, ahead); break;
    case 4: multiply<4>(a, panel, depth, from, out, column, ahead); break;
    case 3: multiply<3>(a, panel, depth, from, out, column, ahead); break;
    case 2: multiply<2>(a, panel, depth, from, out, column, ahead); break;
    default: multiply<1>(a, panel, depth, from, out, column, ahead);
  }
  if (FINISH == GELU)
    for (int r = 0; r < rows; r++) {
      store(out[r] + column, gelu(load(out[r] + column)));
      store(out[r] + column + LANES, gelu(load(out[r] + column + LANES)));
    }
}

// Columns [begin, end) of a layer, begin a multiple of 16. packed: [panels][stride][16], of which
// `depth` values from `skip` on are used; a and out: one pointer a row; out's columns start at 0
// for `begin`. `wide`: out has room up to the next multiple of 16 behind `end`.
template <Start START, Finish FINISH>
static void gemm(const float* const* a, long rows, const float* packed, long stride, long skip,
                 long depth, const float* bias, long begin, long end, float* const* out,
                 bool wide) {
  long tiles = (rows + TILE - 1) / TILE;
  for (long column = begin; column < end; column += COLUMNS) {
    const float* panel = packed + (column * stride + skip * COLUMNS);
    const float* start = START == FROM_BIAS ? bias + column : nullptr;
    const char* next = (const char*)(column + COLUMNS < end ? panel + COLUMNS * stride : panel);
    bool whole = wide || end - column >= COLUMNS;
    for (long i = 0; i < tiles; i++) {
      long from = rows * i / tiles;  // 8 rows as 4 and 4, not as 6 and 2
      int size = rows * (i + 1) / tiles - from;
      Ahead ahead{next + i * depth * LINE_BYTES / tiles, (LINE_BYTES + tiles - 1) / tiles};
      if (whole) {
        tile<START, FINISH>(size, a + from, panel, depth, start, out + from, column - begin,
                            ahead);
        continue;
      }
      float space[TILE][COLUMNS];
      float* aside[TILE];
      for (int r = 0; r < size; r++) aside[r] = space[r];
      tile<START, FINISH>(size, a + from, panel, depth, start, aside, 0, ahead);
      for (int r = 0; r < size; r++)
        memcpy(out[from + r] + column - begin, space[r], (end - column) * sizeof(float));
    }
  }
}
