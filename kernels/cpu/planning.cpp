// What a step computes at which width, for a whole batch in one call: `model.planning` and the
// policies that it names here. From Python, planning a step of the small model at batch 1 and closing
// it took a third of a half step.
#include <cmath>
#include <stdexcept>

#include "operators.h"
#include "planning.h"
#include "regions.h"
#include "rows.h"
#include "team.h"

constexpr long OPTIONS = NUM_WIDTHS + 1;  // held, and every width
constexpr double FORCED = 1e6;            // model.budget
constexpr double WARM_UP_SHARE = 0.25;    // model.confidence
constexpr double SPREAD = 5.0;            // model.predictor

// A sample at its step, and what it may spend.
struct Share {
  double left;            // FLOPs of this step, later predictions and dense steps set aside
  double forwards, to_come;  // of this step; of it and all later ones
  bool closing;           // a dense step
};

class Planner {
 public:
  explicit Planner(const Planning& given) : in(given) {
    regions = in.region_rows * in.region_columns;
    narrow = in.fixed_flops + product((double)regions, in.region_flops[1]);
  }

  void run() {
    for (long i = 0; i < in.num_scheduled; i++)
      if (in.schedule[i] < 0 || in.schedule[i] > NUM_WIDTHS) throw std::out_of_range("schedule");
    shares.resize(in.samples);
    for (long s = 0; s < in.samples; s++) shares[s] = share(s);
    in.found[BROKEN] = in.w_enter && !predicted();
    if (in.found[BROKEN]) return;
    if (in.schedule)
      follow();
    else
      buy();
    finish();
  }

 private:
  Share share(long s) {
    long last = in.longest - 1, step = in.step[s], steps_left = in.num_steps[s] - step;
    if (step < 0 || steps_left < 1) throw std::out_of_range("step");
    in.pair[s] = in.sigmas[s * in.longest + std::min(step, last)];
    float next = in.pair[in.samples + s] = in.sigmas[s * in.longest + std::min(step + 1, last)];
    long half = in.heun ? in.branches[s] / 2 : 0;  // Heun evaluates once in its step to 0
    Share made;
    made.forwards = in.branches[s] - (next == 0 ? half : 0);
    made.to_come = steps_left * in.branches[s] - half;
    int64_t predicted = std::min(in.num_steps[s], in.late_from[s]) - step - 1;
    double later = product((double)std::max(predicted, (int64_t)0), in.predictor_flops);
    made.left = in.ceiling[s] - in.spent[s] - in.predictor_flops - later;
    made.closing = step >= in.dense_from[s];
    int64_t dense = in.num_steps[s] - std::max(step + 1, in.dense_from[s]);  // behind this step
    if (dense > 0) {
      made.left -= product(in.reserve[s], (double)dense);
      made.to_come -= dense * in.branches[s] - half;
    }
    return made;
  }

  // FLOPs of the regions of one forward: an equal share of what is left.
  double equal_room(long s) {
    double room = shares[s].left / shares[s].to_come - in.fixed_flops;
    if (in.step[s] == 0) room = std::max(room, product((double)regions, in.region_flops[1]));
    return std::max(room, 0.0);
  }

  // The same, as long as every later step can still run everything at the narrowest width.
  double open_room(long s) {
    double later = product(shares[s].to_come - shares[s].forwards, narrow);
    double left = (shares[s].left - later) / shares[s].forwards - in.fixed_flops;
    return std::max(equal_room(s), left);
  }

  // What no policy may pass, whatever it claims.
  double hard_room(long s, double claimed) {
    double left = shares[s].left / shares[s].forwards - in.fixed_flops;
    return std::min(claimed, std::max(equal_room(s), left));
  }

  // Widths by the schedule: of every step, a sample of another number of steps at its own pace. No
  // region exits. See `model.spending.scheduled`.
  void follow() {
    long count = in.num_scheduled;
    auto place_of = [&](long s, long step) {
      return (2 * step + 1) * count / (2 * in.num_steps[s]);
    };
    auto price = [&](long s, long step) {  // of a forward
      int64_t width = in.schedule[place_of(s, step)];
      return width ? in.fixed_flops + product((double)regions, in.region_flops[width]) : 0.0;
    };
    std::vector<double> known(regions * OPTIONS);
    for (long k = 0; k < regions * OPTIONS; k++) known[k] = std::sqrt((double)(k % OPTIONS));
    for (long s = 0; s < in.samples; s++) {
      long place = place_of(s, in.step[s]), end = std::min(in.dense_from[s], in.num_steps[s]);
      double now = shares[s].forwards, later = 0.0, forwards = 0.0;
      for (long step = in.step[s] + 1; step < end; step++) {
        later += product(now, price(s, step));
        forwards += now;
      }
      // Heun's last step has half of them.
      if (end > in.step[s] + 1)
        later -= product(forwards - (shares[s].to_come - now), price(s, end - 1));
      double room = (shares[s].left - later) / now - in.fixed_flops;
      for (long r = s * regions; r < (s + 1) * regions; r++) {
        in.exits[r] = in.exited[r];
        in.widths[r] = in.exited[r] ? 0 : in.schedule[place];
      }
      double claimed = in.equal_shares ? equal_room(s) : std::max(equal_room(s), room);
      if (in.w_enter) gains(s, errors.data() + s * regions * OPTIONS, known.data());
      fit(s, hard_room(s, claimed), known.data());
    }
  }

  // The errors of every region and option; whether all of them are finite.
  bool predicted() {
    long features = 11 + 2 * in.ch, all = in.samples * regions;
    long size = in.height * in.width * in.ch;
    std::vector<float> seen(all * features);
    errors.resize(all * OPTIONS);
    ::share(in.samples, (int)in.threads, [&](long s) {
      double untold = product((double)in.num_steps[s], in.slack * in.full_flops);
      double part = (shares[s].left - untold) / (shares[s].to_come * in.full_flops);
      float budget = (float)std::min(std::max(part, 0.0), 1.0);
      long at = s * regions;
      region_features(in.x_t + s * size, in.denoised + s * size, in.pair + s,
                      in.pair + in.samples + s, &budget, in.change + at, in.age + at,
                      in.log_residual + at, in.quarters + at, (float)in.sigma_data, 1, in.height,
                      in.width, in.ch, in.region_rows, in.region_columns,
                      seen.data() + at * features);
    });
    predict(seen.data(), in.labels, in.classes, in.num_classes, in.class_channels, in.w_enter,
            in.b_enter, in.w_middle, in.b_middle, in.w_residual, in.b_residual, in.w_widths,
            in.b_widths, in.samples, regions, features, in.hidden, NUM_WIDTHS, (float)in.low,
            (float)in.high, errors.data(), (int)in.threads);
    for (long r = 0; r < all; r++) in.residual_now[r] = errors[r * OPTIONS];
    return std::all_of(errors.begin(), errors.end(), [](float e) { return std::isfinite(e); });
  }

  // Widths by predicted gain, see `model.policies.Budget`.
  void buy() {
    ::share(in.samples, (int)in.threads, [&](long s) {
      std::vector<double> gain(regions * OPTIONS), ranked(regions * OPTIONS);
      std::vector<int64_t> caps(regions);
      const float* of = errors.data() + s * regions * OPTIONS;
      gains(s, of, gain.data());
      decide_exits(s, of);
      std::copy(gain.begin(), gain.end(), ranked.begin());
      for (long r = 0; r < regions; r++) {
        long at = s * regions + r;
        bool stale = in.max_age >= 0 && in.age[at] >= in.max_age && !in.exited[at];
        double bonus = FORCED * ((in.quarters[at] == 0) + stale);
        for (long k = 1; k < OPTIONS; k++) ranked[r * OPTIONS + k] += bonus;
        caps[r] = in.exits[at] ? 0 : NUM_WIDTHS;
      }
      bool priced = !std::isnan(in.price);
      double room = priced ? open_room(s) : equal_room(s);
      int64_t* widths = in.widths + s * regions;
      allocate(ranked.data(), in.region_flops, &room, caps.data(), priced ? in.price : 0.0, 1,
               regions, OPTIONS, widths);
      fit(s, priced ? hard_room(s, room) : room, gain.data());
    });
  }

  // lambda(sigma, sigma') (E_held - E_option), see `model.predictor.gains`. of: sample s's errors.
  void gains(long s, const float* of, double* gain) {
    double next = in.pair[in.samples + s], kept = 1 - next / (double)in.pair[s];
    double left = SPREAD * SPREAD / (SPREAD * SPREAD + product(next, next));
    double weight = product(kept, kept) * left;
    for (long r = 0; r < regions; r++) {
      double held = std::exp((double)of[r * OPTIONS]);
      gain[r * OPTIONS] = 0.0;
      for (long k = 1; k < OPTIONS; k++)
        gain[r * OPTIONS + k] = weight * (held - std::exp((double)of[r * OPTIONS + k]));
    }
  }

  // `model.confidence.confident` and `calm_steps`.
  void decide_exits(long s, const float* of) {
    float threshold = (float)in.exit_threshold;
    bool early = in.step[s] < std::max((float)in.num_steps[s] * (float)WARM_UP_SHARE, 2.0f);
    for (long r = 0; r < regions; r++) {
      long at = s * regions + r;
      bool now = std::exp(of[r * OPTIONS]) < threshold, below = now && in.quarters[at] > 0;
      if (in.patience > 1) below = below && std::exp(in.log_residual[at]) < threshold;
      if (in.patience > 2) below = below && in.calm[at] >= in.patience - 1;
      in.exits[at] = (below && !early) || in.exited[at];
      in.calm_now[at] = in.patience <= 2 ? in.calm[at] : now ? in.calm[at] + 1 : 0;
    }
  }

  // The best part of the widths of sample s whose regions cost at most `room`.
  void fit(long s, double room, const double* gain) {
    int64_t* widths = in.widths + s * regions;
    double total = 0.0;
    for (long r = 0; r < regions; r++) {
      if (in.exited[s * regions + r]) widths[r] = 0;
      total += in.region_flops[widths[r]];
    }
    if (!(total > room)) return;
    std::vector<double> ranked(gain, gain + regions * OPTIONS);
    std::vector<int64_t> caps(widths, widths + regions);
    for (long r = 0; r < regions; r++)
      if (in.quarters[s * regions + r] == 0)
        for (long k = 1; k < OPTIONS; k++) ranked[r * OPTIONS + k] += FORCED;
    allocate(ranked.data(), in.region_flops, &room, caps.data(), 0.0, 1, regions, OPTIONS, widths);
  }

  // A dense step, what the plan costs, and what the caller would look for in it.
  void finish() {
    bool everyone = true, someone_exited = false;
    for (long s = 0; s < in.samples; s++) {
      int64_t* widths = in.widths + s * regions;
      if (shares[s].closing) std::fill(widths, widths + regions, NUM_WIDTHS);
      const double* flops = in.region_flops;
      if (in.num_bins) flops = in.bounded_flops + noise_bin(in, in.pair[s]) * OPTIONS;
      double total = 0.0;
      bool out = true;
      for (long r = 0; r < regions; r++) {
        total += flops[widths[r]];
        out = out && in.exits[s * regions + r];
      }
      double forward = total > 0 ? total + in.fixed_flops : 0.0;
      in.flops[s] = product(forward, shares[s].forwards) + in.predictor_flops;
      everyone = everyone && total > 0;
      someone_exited = someone_exited || out;
    }
    in.found[EVERYONE_BUSY] = everyone, in.found[SOMEONE_EXITED] = someone_exited;
  }

  const Planning& in;
  long regions;
  std::vector<float> errors;  // log, [b, regions, OPTIONS]
  double narrow;  // FLOPs of a forward with everything at the narrowest width
  std::vector<Share> shares;
};

// size: of the caller's structure, which must be this one's.
void plan_step(const void* planning, long size) {
  if (size != sizeof(Planning)) throw std::out_of_range("size");
  Planner(*(const Planning*)planning).run();
}
