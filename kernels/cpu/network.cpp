// The whole network over rows in one call, preconditioning and plan included: at one picture a call
// from Python for each block cost as much as the blocks. Bits are those of the calls one by one.
#include <array>

#include "operators.h"
#include "rows.h"
#include "team.h"

// The numbers and addresses that network.py lists, in its order.
class Program {
 public:
  explicit Program(const int64_t* first) : at(first) {}
  long number() { return *at++; }
  const float* weight() { return (const float*)*at++; }

 private:
  const int64_t* at;
};

struct Dense {
  const float *weight, *bias;
  explicit Dense(Program& program) : weight(program.weight()), bias(program.weight()) {}
};

// A level of the picture: its rows by width, and two maps that its blocks write in turn.
struct Level {
  long height, width, channels, num_blocks;
  int64_t* rows;
  int64_t counts[NUM_WIDTHS + 1];
  float *x, *other;

  long num_rows(long samples) const { return samples * height * width; }
  float* turn() {
    std::swap(x, other);
    return x;
  }
};

// What the caller hands over; see `network` below.
struct Picture {
  const float *x_t, *sigma, *sigma_next;
  const int64_t *labels, *widths, *caps;
  long samples, height, width, region_rows, region_columns;
};

class Network {
 public:
  Network(const int64_t* listed, const Picture& seen, float* const* cached, int team)
      : program(listed), picture(seen), cache(cached), threads(team) {
    num_levels = program.number(), patch = program.number(), ch = program.number();
    cond_channels = program.number(), num_frequencies = program.number();
    num_classes = program.number(), outputs = program.number();
    num_attentions = program.number(), head_channels = program.number();
    hidden_ratio = program.number();
    levels.resize(num_levels);
    for (Level& level : levels) level.channels = program.number();
    for (Level& level : levels) level.num_blocks = program.number();
    for (long i = 0; i < num_levels; i++) {
      levels[i].height = picture.height / (patch << i);
      levels[i].width = picture.width / (patch << i);
    }
  }

  void run(float sigma_data, float* out) {
    long samples = picture.samples, numbers = picture.height * picture.width * ch;
    long rows = 0, floats = 2 * samples * numbers;
    for (const Level& level : levels) {
      rows += level.num_rows(samples);
      floats += 2 * level.num_rows(samples) * level.channels;
    }
    Workspace plans(PLANS, 2 * rows), maps(MAPS, floats), all(MODULATIONS, samples * outputs);
    plan((int64_t*)(float*)plans);
    std::vector<float> factors(4 * samples);
    preconditioning(picture.sigma, sigma_data, samples, factors.data());
    const float *c_skip = factors.data(), *c_out = c_skip + samples, *c_in = c_out + samples;
    modulations = condition(c_in + samples, all);

    float *scaled = maps, *raw = scaled + samples * numbers, *next = raw + samples * numbers;
    for (Level& level : levels) {
      long size = level.num_rows(samples) * level.channels;
      level.x = next, level.other = next + size, next += 2 * size;
    }
    const float* x_t = picture.x_t;
    for (long s = 0; s < samples; s++)
      for (long i = s * numbers; i < (s + 1) * numbers; i++) scaled[i] = c_in[s] * x_t[i];
    between(scaled, raw);
    for (long s = 0; s < samples; s++)
      for (long i = s * numbers; i < (s + 1) * numbers; i++)
        out[i] = product(c_skip[s], x_t[i]) + product(c_out[s], raw[i]);
  }

 private:
  // The rows of every level, by the width that each of them runs at.
  void plan(int64_t* rows) {
    long samples = picture.samples;
    std::vector<int64_t> caps(samples, NUM_WIDTHS);
    for (long i = 0; i < num_levels; i++) {
      Level& level = levels[i];
      level.rows = rows, rows += level.num_rows(samples);
      if (picture.caps)
        for (long s = 0; s < samples; s++) caps[s] = picture.caps[s * num_levels + i];
      plan_rows(picture.widths, caps.data(), samples, picture.region_rows, picture.region_columns,
                level.height, level.width, level.rows, level.counts);
    }
  }

  const float* condition(const float* c_noise, float* out) {
    const float *frequencies = program.weight(), *classes = program.weight();
    Dense of_sigma(program), of_stride(program), joint(program), last(program);
    std::vector<float> stride;
    if (of_stride.weight)
      for (long s = 0; s < picture.samples; s++)
        stride.push_back(picture.sigma_next[s] / picture.sigma[s]);
    conditioning(c_noise, picture.labels, of_stride.weight ? stride.data() : nullptr, frequencies,
                 num_frequencies, classes, num_classes, of_sigma.weight, of_sigma.bias,
                 of_stride.weight, of_stride.bias, joint.weight, joint.bias, last.weight, last.bias,
                 picture.samples, cond_channels, outputs, out, threads);
    return out;
  }

  // From the scaled picture down to the coarsest level and up again.
  void between(const float* scaled, float* raw) {
    long samples = picture.samples, last = num_levels - 1;
    Dense enter(program), leave(program);
    std::vector<Dense> downs, ups;
    for (long i = 0; i < last; i++) downs.emplace_back(program);
    for (long i = 0; i < last; i++) ups.emplace_back(program);
    Level& top = levels[0];
    stem(scaled, enter.weight, enter.bias, samples, top.height, top.width, patch, ch, top.channels,
         top.x, threads);
    for (long i = 0; i < last; i++) {
      blocks(levels[i], 0);
      Level& below = levels[i + 1];
      down(levels[i].x, downs[i].weight, downs[i].bias, samples, below.height, below.width,
           levels[i].channels, below.channels, below.x, threads);
    }
    blocks(levels[last], num_attentions);
    for (long i = last - 1; i >= 0; i--) {
      const Level& below = levels[i + 1];
      up(below.x, ups[i].weight, ups[i].bias, levels[i].x, samples, below.height, below.width,
         below.channels, levels[i].channels, levels[i].x, threads);
      blocks(levels[i], 0);
    }
    const float* shift = modulations;
    head(top.x, shift, shift + top.channels, outputs, leave.weight, leave.bias, samples, top.height,
         top.width, top.channels, patch, ch, raw, threads);
  }

  void blocks(Level& level, long attending) {
    for (long i = 0; i < level.num_blocks; i++) {
      if (i < attending) attention(level);
      mlp(level);
    }
  }

  std::array<const float*, 3> next_modulation(long channels) {
    const float* first = modulations;
    modulations += 3 * channels;
    return {first, first + channels, first + 2 * channels};
  }

  void attention(Level& level) {
    auto [shift, scale, gate] = next_modulation(level.channels);
    const float *w_qkv = program.weight(), *w_proj = program.weight();
    const float* x = level.x;
    float *attended = *cache++, *qkv = *cache++;
    attention_block(x, shift, scale, gate, outputs, w_qkv, w_proj, level.rows, level.counts,
                    picture.samples, level.height, level.width, level.channels,
                    level.channels / head_channels, attended, qkv, level.turn(), threads);
  }

  void mlp(Level& level) {
    auto [shift, scale, gate] = next_modulation(level.channels);
    const float *taps = program.weight(), *x = level.x;
    Dense in(program), back(program);
    long hidden = level.channels * hidden_ratio;
    mlp_block(x, taps, shift, scale, gate, outputs, in.weight, in.bias, back.weight, back.bias,
              level.rows, level.counts, picture.samples, level.height, level.width, level.channels,
              hidden, hidden / NUM_WIDTHS, *cache++, level.turn(), threads);
  }

  Program program;
  Picture picture;
  float* const* cache;
  int threads;
  long num_levels, patch, ch, cond_channels, num_frequencies, num_classes, outputs;
  long num_attentions, head_channels, hidden_ratio;
  std::vector<Level> levels;
  const float* modulations = nullptr;
};

// out = D(x_t; sigma), all [b, height, width, ch] px, and the cache written at active rows.
// program: see network.py; sigma_next: [b], read by a strided network alone; labels: [b]; widths:
// [b, region_rows, region_columns]; caps: [b, levels] or null; cache: addresses of the maps in the
// order of the blocks, each block's attended and qkv before its residual.
void network(const int64_t* program, const float* x_t, const float* sigma, const float* sigma_next,
             const int64_t* labels, const int64_t* widths, const int64_t* caps, float* const* cache,
             float sigma_data, long samples, long height, long width, long region_rows,
             long region_columns, float* out, int threads) {
  Picture picture{x_t,     sigma,   sigma_next, labels, widths,      caps,
                  samples, height,  width,      region_rows, region_columns};
  Network(program, picture, cache, threads).run(sigma_data, out);
}
