// The thread team, the memory of a call, and the blocks of rows that the team works on.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <new>
#include <vector>

#include "gemm.h"

constexpr int NUM_WIDTHS = 4;
constexpr double WORTH_A_TEAM = 4e5;    // FLOPs: below, waking the second thread costs more
constexpr long KEPT_FLOATS = 1L << 20;  // 4 MiB: what a thread keeps of a slot between calls

// Who uses which memory; two slots of one call may not be the same.
enum Slot {
  FACTORS, MIXED, UNITS, SUMS, KEYS, SCORES, ATTENDED, PLANS, MAPS, MODULATIONS,
  STEPS_MADE, STEPS_PAST, NUM_SLOTS
};

// Aligned memory for one call, at least this many floats. What a call took its thread keeps for
// the next one until the thread ends, up to KEPT_FLOATS a slot (48 MiB a thread at the very most);
// more goes back at once. Throws std::bad_alloc.
class Workspace {
 public:
  Workspace(Slot slot, long floats) : mine(kept(slot)) {
    if (mine.size >= floats) return;
    mine.release();
    long size = (floats + 1023) / 1024 * 1024;
    mine.data = (float*)aligned_alloc(64, size * sizeof(float));
    if (!mine.data) throw std::bad_alloc();
    mine.size = size;
  }
  ~Workspace() {
    if (mine.size > KEPT_FLOATS) mine.release();
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  operator float*() const { return mine.data; }

 private:
  struct Kept {
    float* data = nullptr;
    long size = 0;
    void release() {
      free(data);
      data = nullptr;
      size = 0;
    }
    ~Kept() { free(data); }
  };
  static Kept& kept(Slot slot) {
    static thread_local Kept all[NUM_SLOTS];
    return all[slot];
  }
  Kept& mine;
};

struct Block {
  long begin, rows;  // in the list of rows
  int quarters;
};

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
// What is thrown inside first is thrown again behind the team: nothing may leave a thread of OpenMP.
template <class Body>
INLINE void share(long count, int threads, const Body& body) {
  if (threads <= 1 || count <= 1) {
    for (long i = 0; i < count; i++) body(i);
    return;
  }
  std::atomic<bool> failed{false};
  std::exception_ptr first;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (long i = 0; i < count; i++) try {
      body(i);
    } catch (const std::exception&) {  // a vector throws more than bad_alloc
      if (!failed.exchange(true)) first = std::current_exception();
    }
  if (failed) std::rethrow_exception(first);
}

// The same over [0, count) in even ranges: body(from, to).
template <class Body>
INLINE void share_range(long count, double flops, int threads, const Body& body) {
  if (flops < WORTH_A_TEAM) threads = 1;
  share(threads, threads, [&](long i) { body(count * i / threads, count * (i + 1) / threads); });
}
