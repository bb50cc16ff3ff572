// Queries of active rows to the keys and values of their sample, pooled to at most 16 x 16 tokens.
#include <cmath>

#include "operators.h"
#include "team.h"

constexpr long KEY_SIDE = 16;

struct Map {
  const float* qkv;  // [b, height, width, 3 channels]
  long height, width, channels, num_heads;
  long depth() const { return channels / num_heads; }
  long keys() const { return std::min(height, KEY_SIDE) * std::min(width, KEY_SIDE); }
};

INLINE long padded(long n) { return (n + COLUMNS - 1) / COLUMNS * COLUMNS; }

static void normalise(float* x, long depth, float factor) {
  float sum = 0.0f;
  for (long d = 0; d < depth; d++) sum += x[d] * x[d];
  float scale = factor / std::sqrt(sum / depth + 1e-6f);
  for (long d = 0; d < depth; d++) x[d] *= scale;
}

// Mean of one head's slice (at `offset` of a row) over the window of token (i, j).
static void pool(const Map& map, const float* sample, long offset, long i, long j, float* out) {
  long p = std::min(map.height, KEY_SIDE), q = std::min(map.width, KEY_SIDE), depth = map.depth();
  long y0 = i * map.height / p, y1 = ((i + 1) * map.height + p - 1) / p;
  long x0 = j * map.width / q, x1 = ((j + 1) * map.width + q - 1) / q;
  std::fill(out, out + depth, 0.0f);
  for (long y = y0; y < y1; y++)
    for (long x = x0; x < x1; x++) {
      const float* row = sample + (y * map.width + x) * 3 * map.channels + offset;
      for (long d = 0; d < depth; d++) out[d] += row[d];
    }
  float share = 1.0f / ((y1 - y0) * (x1 - x0));
  for (long d = 0; d < depth; d++) out[d] *= share;
}

// Keys as panels of 16 tokens [panel][depth][16], values as panels of 16 channels [panel][keys][16].
static void pack(const Map& map, const float* sample, long head, float* keys, float* values) {
  long depth = map.depth(), columns = std::min(map.width, KEY_SIDE);
  std::vector<float> token(depth);
  for (long key = 0; key < map.keys(); key++) {
    long i = key / columns, j = key % columns;
    pool(map, sample, map.channels + head * depth, i, j, token.data());
    normalise(token.data(), depth, 1.0f);
    float* to = keys + key / COLUMNS * COLUMNS * depth + key % COLUMNS;
    for (long d = 0; d < depth; d++) to[d * COLUMNS] = token[d];
    pool(map, sample, 2 * map.channels + head * depth, i, j, token.data());
    for (long d = 0; d < depth; d++)
      values[(d / COLUMNS * map.keys() + key) * COLUMNS + d % COLUMNS] = token[d];
  }
}

// In place; returns 1 / sum.
static float softmax(float* scores, long count) {
  float top = scores[0];
  for (long k = 1; k < count; k++) top = std::max(top, scores[k]);
  for (long k = count; k < padded(count); k++) scores[k] = -INFINITY;
  vec sum = splat(0.0f);
  for (long k = 0; k < padded(count); k += LANES) {
    vec e = exp_negative(load(scores + k) - top);
    store(scores + k, e);
    if (k + LANES <= count) sum += e;
    else
      for (long lane = 0; lane < count - k; lane++) sum[lane] += e[lane];
  }
  return 1.0f / total(sum);
}

static void attend(const Map& map, long head, const int64_t* rows, long count, const float* keys,
                   const float* values, float* space, float* out) {
  long depth = map.depth(), wide = padded(map.keys()), deep = padded(depth);
  float *queries = space, *scores = queries + TILE * deep, *mixed = scores + TILE * wide;
  for (long begin = 0; begin < count; begin += TILE) {
    long size = std::min<long>(TILE, count - begin);
    const float *query[TILE], *weight[TILE];
    float *score[TILE], *result[TILE];
    for (long r = 0; r < size; r++) {
      query[r] = queries + r * deep;
      weight[r] = score[r] = scores + r * wide;
      result[r] = mixed + r * deep;
      const float* row = map.qkv + rows[begin + r] * 3 * map.channels + head * depth;
      memcpy(queries + r * deep, row, depth * sizeof(float));
      normalise(queries + r * deep, depth, 1.0f / std::sqrt((float)depth));
    }
    gemm<FROM_ZERO, PLAIN>(query, size, keys, depth, 0, depth, nullptr, 0, map.keys(), score, true);
    float share[TILE];
    for (long r = 0; r < size; r++) share[r] = softmax(score[r], map.keys());
    gemm<FROM_ZERO, PLAIN>(weight, size, values, map.keys(), 0, map.keys(), nullptr, 0, depth,
                           result, true);
    for (long r = 0; r < size; r++) {
      float* to = out + rows[begin + r] * map.channels + head * depth;
      for (long d = 0; d < depth; d++) to[d] = result[r][d] * share[r];
    }
  }
}

void row_attention(const float* qkv, const int64_t* rows, const int64_t* counts, long samples,
                   long height, long width, long channels, long num_heads, float* out,
                   int threads) {
  Map map{qkv, height, width, channels, num_heads};
  long active = num_active(counts), per_sample = height * width;
  if (active == 0) return;
  // Active rows by sample, in their order.
  std::vector<long> first(samples + 1, 0);
  std::vector<int64_t> sorted(active);
  for (long i = 0; i < active; i++) first[rows[i] / per_sample + 1]++;
  for (long s = 0; s < samples; s++) first[s + 1] += first[s];
  std::vector<long> next(first.begin(), first.end() - 1);
  for (long i = 0; i < active; i++) sorted[next[rows[i] / per_sample]++] = rows[i];
  double flops = 4.0 * active * map.keys() * channels + 4.0 * samples * per_sample * channels;
  if (flops < WORTH_A_TEAM) threads = 1;
  share(samples * num_heads, threads, [&](long i) {
    long sample = i / num_heads, head = i % num_heads, count = first[sample + 1] - first[sample];
    if (count == 0) return;
    long depth = map.depth(), wide = padded(map.keys()), deep = padded(depth);
    Workspace keys(KEYS, wide * depth + map.keys() * deep), space(SCORES, TILE * (2 * deep + wide));
    float* values = keys + wide * depth;
    pack(map, qkv + sample * per_sample * 3 * channels, head, keys, values);
    attend(map, head, sorted.data() + first[sample], count, keys, values, space, out);
  });
}
