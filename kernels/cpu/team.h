// The thread team, the workspaces that each thread keeps, and the blocks of rows they work on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "gemm.h"

constexpr int NUM_WIDTHS = 4;
constexpr double WORTH_A_TEAM = 4e5;  // FLOPs: below, waking the second thread costs more

struct Block {
  long begin, rows;  // in the list of rows
  int quarters;
};

// At least this many floats of aligned memory that the thread keeps until it ends. A slot belongs
// to one operator of a translation unit: each has its own set.
INLINE float* workspace(int slot, long floats) {
  struct Kept {
    float* data = nullptr;
    long size = 0;
    ~Kept() { free(data); }
  };
  static thread_local Kept kept[3];
  Kept& mine = kept[slot];
  if (mine.size < floats) {
    free(mine.data);
    mine.size = (floats + 1023) / 1024 * 1024;
    mine.data = (float*)aligned_alloc(64, mine.size * sizeof(float));
  }
  return mine.data;
}

// Blocks of [begin, begin + count): equal, at most MAX_ROWS, a whole number a thread.
INLINE void cut(std::vector<Block>& blocks, long begin, long count, int quarters, int threads) {
  if (count <= 0) return;
  long pieces = (count + MAX_ROWS - 1) / MAX_ROWS;
  if (count >= 4 * threads) pieces = (pieces + threads - 1) / threads * threads;
  for (long i = 0; i < pieces; i++) {
    long from = count * i / pieces, to = count * (i + 1) / pieces;
    blocks.push_back({begin + from, to - from, quarters});
  }
}

INLINE long num_active(const int64_t* counts) {
  return counts[1] + counts[2] + counts[3] + counts[4];
}

// Runs body(i) for i in [0, count) on the team that torch keeps; the caller's thread is one of it.
template <class Body>
INLINE void share(long count, int threads, const Body& body) {
  if (threads <= 1 || count <= 1) {
    for (long i = 0; i < count; i++) body(i);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (long i = 0; i < count; i++) body(i);
}

// The same over [0, count) in even ranges: body(from, to).
template <class Body>
INLINE void share_range(long count, double flops, int threads, const Body& body) {
  if (flops < WORTH_A_TEAM) threads = 1;
  share(threads, threads, [&](long i) { body(count * i / threads, count * (i + 1) / threads); });
}
