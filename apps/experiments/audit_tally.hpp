#pragma once

// What weir_audit counts, and the tests that make verdicts of the counts.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "weir/sample/sizing.hpp"

namespace weir::experiments {

/// What a bound promises: it holds except with this probability.
inline constexpr double promised_misses = 0.01;
/// A bound that misses so often must be caught.
inline constexpr double misses_to_catch = 0.03;
/// Goals of the audit: relative biases of values and of probabilities, and the rate of false draws.
inline constexpr double largest_bias = 0.005;
inline constexpr double rate_of_false_draws = 1e-6;

enum class Verdict : std::uint8_t {
  yes,   ///< Consistent with the promise, and there are enough draws to see it broken.
  no,    ///< The data reject the promise.
  few,   ///< Consistent with the promise, but so few draws would not show it broken.
  wide,  ///< Of a bound: half of it would keep the promise.
};

/// A number that weir prints, beside the true one.
struct Number {
  double value = 0;
  double truth = 0;
  std::optional<double> bound = {};  ///< Nothing where no error is printed.

  /// Whether the truth is farther away than `part` of the bound. Rounding is forgiven.
  [[nodiscard]] bool misses(double part = 1) const {
    return std::abs(value - truth) > part * bound.value_or(0) + 1e-9 * std::abs(truth);
  }
};

/// A draw, or an entry that was asked for, of one state.
struct Drawn {
  std::uint64_t index = 0;
  std::optional<std::size_t> cell = {};  ///< In which its law counts it; nothing where it does not.
  Number value;
  std::optional<Number> probability = {};

  /// More than ten times off with a printed share above 0.02, or an entry that is zero.
  [[nodiscard]] bool is_false() const {
    if (!probability) return false;
    if (value.truth == 0) return true;
    const double ratio = value.value / value.truth;
    return (ratio > 10 || ratio < 0.1) && probability->value > 0.02;
  }
};

/// What one state has printed.
struct StateResult {
  double accepted = 0;                ///< Share of the lanes that drew.
  std::optional<bool> is_short = {};  ///< Whether fewer draws came than were asked for.
  std::vector<Drawn> drawn = {};
  std::optional<Number> norm = {};
  std::optional<Number> mass = {};
  std::optional<Number> norm_p = {};
};

/// P[X >= count], X ~ Binomial(trials, probability).
inline double upper_tail(std::uint64_t trials, double probability, std::uint64_t count) {
  return 1 - binomial_lower_tail(trials, probability, count);
}

/// The z that a normal variable exceeds with this probability.
inline double normal_quantile(double probability) {
  double low = 0, high = 40;
  for (int step = 0; step < 200; ++step) {
    const double z = (low + high) / 2;
    (std::erfc(z / std::numbers::sqrt2) / 2 > probability ? low : high) = z;
  }
  return low;
}

/// Independent numbers with which a bound that misses `misses_to_catch` of them is rejected with probability 0.99, by a test
/// at this significance of the promise.
inline std::uint64_t numbers_to_catch(double significance) {
  for (std::uint64_t trials = 100;; trials += trials / 50) {
    std::uint64_t critical = 0;
    while (upper_tail(trials, promised_misses, critical) >= significance) ++critical;
    if (upper_tail(trials, misses_to_catch, critical) >= 0.99) return trials;
  }
}

/// Mean over states of one number a state: what a state is expected to show, however many draws it has.
class StateMean {
 public:
  void add(double value) {
    count_ += 1;
    sum_ += value;
    squares_ += value * value;
  }
  [[nodiscard]] double count() const { return count_; }
  [[nodiscard]] double mean() const { return count_ > 0 ? sum_ / count_ : 0; }
  /// Infinite for fewer than two states.
  [[nodiscard]] double standard_error() const {
    if (count_ < 2) return std::numeric_limits<double>::infinity();
    return std::sqrt(std::max(0.0, squares_ / count_ - mean() * mean()) / (count_ - 1));
  }

 private:
  double count_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

/// How often numbers are farther from the truth than their bounds. Numbers of one state are not independent: an entry that
/// several lanes draw has one value, and probabilities share the estimate of the mass. So states are the units of the
/// variance, and tests count as many numbers as independent ones would have that variance (design effect; Korn and Graubard
/// 1998). It is at least what equal values in a state make.
class Misses {
 public:
  struct Trial {
    double value = 0;
    bool missed = false;
  };
  void add_state(std::vector<Trial> trials) {
    if (trials.empty()) return;
    const auto count = static_cast<double>(trials.size());
    std::ranges::sort(trials, {}, &Trial::value);
    double repeats = 0;  // sum of the squares of how often each value is there
    for (std::size_t begin = 0, end = 0; begin < trials.size(); begin = end) {
      while (end < trials.size() && trials[end].value == trials[begin].value) ++end;
      repeats += std::pow(static_cast<double>(end - begin), 2);
    }
    numbers_ += count;
    repeats_ += repeats;
    const auto missed = static_cast<double>(std::ranges::count_if(trials, &Trial::missed));
    rate_.add(missed / count);
  }

  [[nodiscard]] double numbers() const { return numbers_; }
  [[nodiscard]] double rate() const { return rate_.mean(); }
  /// Independent numbers that would tell as much.
  [[nodiscard]] double effective() const {
    if (numbers_ == 0) return 0;
    double effect = std::max(1.0, repeats_ / numbers_);
    const double variance = rate() * (1 - rate()) / numbers_;
    if (variance > 0 && rate_.count() > 1) effect = std::max(effect, std::pow(rate_.standard_error(), 2) / variance);
    return numbers_ / effect;
  }
  /// P[as many misses or more], when the bound keeps its promise.
  [[nodiscard]] double p_value() const { return upper_tail(trials(), promised_misses, missed()); }
  /// P[as few misses or fewer], when it misses as often as promised or more.
  [[nodiscard]] double p_value_of_few() const { return binomial_lower_tail(trials(), promised_misses, missed() + 1); }

 private:
  [[nodiscard]] std::uint64_t trials() const { return static_cast<std::uint64_t>(effective()); }
  [[nodiscard]] std::uint64_t missed() const {
    return static_cast<std::uint64_t>(std::lround(rate() * static_cast<double>(trials())));
  }

  double numbers_ = 0;
  double repeats_ = 0;
  StateMean rate_;
};

/// The bounds of one column of numbers: whether they cover, and whether half of them would.
class Bounds {
 public:
  /// The numbers of one state.
  void add_state(const std::vector<Number>& numbers) {
    std::vector<Misses::Trial> whole, half;
    for (const Number& number : numbers) {
      all_ += 1;
      if (!number.bound) continue;
      whole.push_back({number.value, number.misses()});
      if (*number.bound > 0) half.push_back({number.value, number.misses(0.5)});
    }
    whole_.add_state(std::move(whole));
    half_.add_state(std::move(half));
  }

  [[nodiscard]] const Misses& whole() const { return whole_; }
  /// Of the bounds above 0.
  [[nodiscard]] const Misses& half() const { return half_; }
  /// Share of the numbers that have a bound.
  [[nodiscard]] double bounded() const { return all_ > 0 ? whole_.numbers() / all_ : 0; }

  [[nodiscard]] Verdict covers(double significance, std::uint64_t needed) const {
    if (whole_.p_value() < significance) return Verdict::no;
    return whole_.effective() < static_cast<double>(needed) ? Verdict::few : Verdict::yes;
  }
  [[nodiscard]] Verdict is_tight(double significance) const {
    if (half_.p_value_of_few() < significance) return Verdict::wide;
    return half_.p_value() < significance ? Verdict::yes : Verdict::few;
  }

 private:
  double all_ = 0;
  Misses whole_;
  Misses half_;
};

/// Relative errors of one column of numbers, without those that are false or truly zero.
class Errors {
 public:
  void add_state(const std::vector<double>& errors) {
    if (errors.empty()) return;
    const auto count = static_cast<double>(errors.size());
    means_.add(std::accumulate(errors.begin(), errors.end(), 0.0) / count);
    for (const double error : errors) squares_ += error * error;
    count_ += count;
  }
  [[nodiscard]] const StateMean& bias() const { return means_; }
  [[nodiscard]] double root_mean_square() const { return count_ > 0 ? std::sqrt(squares_ / count_) : 0; }
  [[nodiscard]] double count() const { return count_; }
  [[nodiscard]] Verdict is_unbiased(double significance) const {
    const double error = normal_quantile(significance / 2) * bias().standard_error();
    if (std::abs(bias().mean()) - error > largest_bias) return Verdict::no;
    return error > largest_bias ? Verdict::few : Verdict::yes;
  }

 private:
  StateMean means_;
  double squares_ = 0;
  double count_ = 0;
};

/// How draws are spread over cells.
struct LawFit {
  double draws = 0;
  double total_variation = 0;
  double by_chance = 0;           ///< What it is on average when the law is exact.
  double squared_distortion = 0;  ///< sum (q - P)^2 / P, less what sampling explains.
  double cells = 0;               ///< Those with too few draws to be expected are pooled.

  /// epsilon is the root mean square relative distortion that is promised.
  [[nodiscard]] Verdict keeps(double epsilon, double significance) const {
    const double z = normal_quantile(significance);
    const double noise = z * (std::sqrt(2 * std::max(1.0, cells - 1)) / draws + 2 * epsilon / std::sqrt(draws));
    if (squared_distortion > epsilon * epsilon + noise) return Verdict::no;
    return noise > 3 * epsilon * epsilon ? Verdict::few : Verdict::yes;  // twice the distortion would be seen
  }
};

inline LawFit fit_law(const std::vector<double>& counts, const std::vector<double>& probability) {
  constexpr double least_expected = 10;
  LawFit fit;
  fit.draws = std::accumulate(counts.begin(), counts.end(), 0.0);
  if (fit.draws == 0) return fit;
  std::vector<std::size_t> order(counts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t cell) { return probability[cell]; });
  double count = 0, share = 0;
  const auto close = [&] {
    const double difference = count / fit.draws - share;
    fit.total_variation += std::abs(difference) / 2;
    fit.by_chance += std::sqrt(2 * share * std::max(0.0, 1 - share) / (std::numbers::pi * fit.draws)) / 2;
    fit.squared_distortion += difference * difference / share;
    fit.cells += 1;
    count = share = 0;
  };
  double left = 1;
  for (const std::size_t cell : order) {
    count += counts[cell];
    share += probability[cell];
    left -= probability[cell];
    if (share * fit.draws >= least_expected && (left * fit.draws >= least_expected || cell == order.back())) close();
  }
  if (share > 0) close();
  fit.squared_distortion -= (fit.cells - 1) / fit.draws;
  return fit;
}

/// All that the states of a line have printed.
struct Tally {
  explicit Tally(std::size_t number_of_cells) : cells(number_of_cells) {}

  double states = 0;
  double draws = 0;
  StateMean accepted;
  double asked = 0;  ///< States that were asked for a number of draws.
  double is_short = 0;
  double false_draws = 0;
  std::vector<double> cells;
  Bounds values, probabilities, norms, masses, norms_p;
  Errors value_errors, probability_errors, norm_errors, mass_errors, norm_p_errors;

  void add(const StateResult& state) {
    states += 1;
    draws += static_cast<double>(state.drawn.size());
    accepted.add(state.accepted);
    if (state.is_short) {
      asked += 1;
      is_short += *state.is_short ? 1 : 0;
    }
    std::vector<Number> printed_values, printed_probabilities;
    std::vector<double> errors, errors_of_probability;
    for (const Drawn& drawn : state.drawn) {
      if (drawn.cell) cells[*drawn.cell] += 1;
      printed_values.push_back(drawn.value);
      if (drawn.probability) printed_probabilities.push_back(*drawn.probability);
      if (drawn.is_false()) {
        false_draws += 1;
      } else if (drawn.value.truth != 0) {
        errors.push_back(drawn.value.value / drawn.value.truth - 1);
        if (drawn.probability) errors_of_probability.push_back(drawn.probability->value / drawn.probability->truth - 1);
      }
    }
    values.add_state(printed_values);
    probabilities.add_state(printed_probabilities);
    value_errors.add_state(errors);
    probability_errors.add_state(errors_of_probability);
    add_one(state.norm, norms, norm_errors);
    add_one(state.mass, masses, mass_errors);
    add_one(state.norm_p, norms_p, norm_p_errors);
  }

 private:
  static void add_one(const std::optional<Number>& number, Bounds& bounds, Errors& errors) {
    if (!number) return;
    bounds.add_state({*number});
    if (number->truth != 0) errors.add_state({number->value / number->truth - 1});
  }
};

}  // namespace weir::experiments
