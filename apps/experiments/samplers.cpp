// What does the exponential law of scales buy? The sampler `perfect` against `precision`, Algorithm 2 of the paper, at
// equal samples, epsilon and failure. README.md beside it says how to run it and what came out.

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "program.hpp"
#include "vectors.hpp"
#include "weir/random/source.hpp"
#include "weir/sample/precision.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;

struct Setting {
  std::uint64_t n = 0;
  std::uint32_t samples = 0;
  double epsilon = 0;
  double failure = 0;
};

struct Sampler {
  std::string name;
  SketchConfig config;
  std::function<SampleResult(const VectorSketch&, std::uint32_t samples)> draw;
};

std::array<Sampler, 2> samplers(const Setting& setting) {
  return {Sampler{"precision",
                  suggest_precision_config({.dimension = setting.n,
                                            .samples = setting.samples,
                                            .failure = setting.failure,
                                            .epsilon = setting.epsilon}),
                  [epsilon = setting.epsilon](const VectorSketch& sketch, std::uint32_t samples) {
                    return draw_by_precision_sampling(sketch, {.samples = samples, .epsilon = epsilon});
                  }},
          Sampler{"perfect",
                  suggest_config({.dimension = setting.n,
                                  .samples = setting.samples,
                                  .failure = setting.failure,
                                  .epsilon = setting.epsilon}),
                  [](const VectorSketch& sketch, std::uint32_t samples) {
                    return draw_with_replacement(sketch, {.samples = samples});
                  }}};
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Updates a second of both samplers, in turns, random keys, in batches.
std::array<double, 2> measure_rates(const std::array<Sampler, 2>& compared, double seconds) {
  constexpr std::size_t batch = 4096;
  constexpr int turns = 9;
  const WordFunction words(Randomness::mix, 1, Purpose::draw, 0, 2);
  std::vector<std::uint64_t> keys(batch);
  for (std::size_t t = 0; t < batch; ++t) keys[t] = words(t) % compared[0].config.dimension;
  const std::vector<double> deltas(batch, 1.0);
  std::array<VectorSketch, 2> sketches{VectorSketch(compared[0].config), VectorSketch(compared[1].config)};
  std::array<std::vector<double>, 2> rates;
  for (VectorSketch& sketch : sketches) sketch.update(keys, deltas);  // touches the memory
  for (int turn = 0; turn < turns; ++turn) {
    for (std::size_t which = 0; which < 2; ++which) {
      const double begin = now();
      std::uint64_t updates = 0;
      do {
        sketches[which].update(keys, deltas);
        updates += batch;
      } while (now() < begin + seconds / (2 * turns));
      rates[which].push_back(static_cast<double>(updates) / (now() - begin));
    }
  }
  return {median(rates[0]), median(rates[1])};
}

struct Law {
  std::uint64_t draws = 0;
  double total_variation = 0;  ///< Of the cells drawn against their probabilities.
  double by_chance = 0;        ///< What it is on average when the law is exact.
  double accepted = 0;         ///< Share of the lanes.
};

/// Of about `wanted` draws, or of what comes in `seconds`.
Law measure_law(const Sampler& sampler, const Shape& shape, std::uint64_t wanted, double seconds) {
  const Cells cells = make_cells(shape.y, 2);
  std::vector<std::uint64_t> keys(shape.y.size());
  std::iota(keys.begin(), keys.end(), std::uint64_t{0});
  std::vector<double> counts(cells.probability.size());
  Law law;
  double tried = 0;
  const double end = now() + seconds;
  for (std::uint64_t seed = 1; law.draws < wanted && now() < end; ++seed) {
    SketchConfig config = sampler.config;
    config.seed = seed;
    VectorSketch sketch(config);
    sketch.update(keys, shape.y);
    const SampleResult result = sampler.draw(sketch, config.lanes);
    for (const Draw& draw : result.draws) counts[cells.of_key[draw.index]] += 1;
    law.draws += result.draws.size();
    tried += config.lanes - 1;
  }
  const auto total = static_cast<double>(law.draws);
  law.accepted = total / tried;
  for (std::size_t cell = 0; cell < counts.size(); ++cell) {
    const double probability = cells.probability[cell];
    law.total_variation += std::abs(counts[cell] / total - probability) / 2;
    law.by_chance += std::sqrt(2 * probability * (1 - probability) / (std::numbers::pi * total)) / 2;
  }
  return law;
}

using Json = nlohmann::json;

Json compare(const Setting& setting, double seconds) {
  constexpr std::uint64_t most_draws = 20000;
  const std::array<Sampler, 2> compared = samplers(setting);
  const std::array<double, 2> rates = measure_rates(compared, seconds / 4);
  std::array<std::vector<Law>, 2> laws;
  std::vector<std::string> names;
  for (const Shape& shape : shapes(setting.n)) {
    if (shape.name == "heavy-8") continue;
    names.push_back(shape.name);
    laws[0].push_back(measure_law(compared[0], shape, most_draws, seconds / 4));
    laws[1].push_back(measure_law(compared[1], shape, laws[0].back().draws, seconds));
  }
  Json rows = Json::array();
  for (std::size_t which = 0; which < 2; ++which) {
    const SketchConfig& config = compared[which].config;
    const auto counters = static_cast<double>(config.table_size());
    const double fewer = static_cast<double>(compared[0].config.table_size()) / counters;
    std::string row =
        fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {:.2f} | {:.2f} | {:.1f} | {:.1f} | {:.3f} |", setting.n,
                    setting.samples, setting.epsilon, setting.failure, compared[which].name, config.lanes,
                    config.buckets, config.table_size(), counters / 0x1p17, rates[which] / 1e6, fewer,
                    rates[which] / rates[0], laws[which][0].accepted);
    Json item{{"n", setting.n}, {"samples", setting.samples}, {"epsilon", setting.epsilon}};
    item.update({{"failure", setting.failure}, {"sampler", compared[which].name}, {"lanes", config.lanes}});
    item.update({{"buckets", config.buckets}, {"counters", counters}, {"updates_per_second", rates[which]}});
    item.update({{"fewer_counters", fewer}, {"faster", rates[which] / rates[0]}});
    for (std::size_t k = 0; k < names.size(); ++k) {
      const Law& law = laws[which][k];
      row += fmt::format(" {:.4f} ({:.4f}, {}) |", law.total_variation, law.by_chance, law.draws);
      item["laws"][names[k]] = {{"draws", law.draws},
                                {"total_variation", law.total_variation},
                                {"by_chance", law.by_chance},
                                {"accepted", law.accepted}};
    }
    std::cout << row << '\n' << std::flush;
    rows.push_back(std::move(item));
  }
  return rows;
}

/// What Lemma C.1 asks of the buckets: |what_i - w_i| <= epsilon ||z||_2, z being w without its 1/epsilon^2 largest
/// entries.
struct AdditiveError {
  double violated = 0;        ///< Share of all entries.
  double violated_large = 0;  ///< Of those with w^2 of at least a tenth of what the first test asks for.
  std::uint64_t large = 0;
};

AdditiveError measure_additive_error(const Shape& shape, double epsilon, std::uint64_t buckets, double seconds) {
  const std::size_t n = shape.y.size();
  constexpr std::uint32_t lanes = 32;
  const auto largest = static_cast<std::size_t>(std::ceil(1 / (epsilon * epsilon)));
  double f2 = 0;
  for (const double value : shape.y) f2 += value * value;
  const double large = 0.1 * precision_threshold(n, epsilon, 1) * f2;
  std::vector<std::uint64_t> keys(n);
  std::iota(keys.begin(), keys.end(), std::uint64_t{0});
  std::vector<double> estimates(n * lanes);
  std::vector<double> squares(n);
  AdditiveError result;
  double entries = 0;
  const double end = now() + seconds;
  std::uint64_t seed = 1;
  do {
    VectorSketch sketch({.dimension = n, .buckets = buckets, .lanes = lanes, .law = ScaleLaw::uniform, .seed = seed});
    sketch.update(keys, shape.y);
    sketch.estimate(keys, estimates);
    for (std::uint32_t lane = 1; lane < lanes; ++lane) {
      for (std::size_t i = 0; i < n; ++i) squares[i] = std::pow(shape.y[i] * sketch.scale_of(i, lane), 2);
      std::vector<double> sorted = squares;
      std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(largest), sorted.end(),
                       std::greater<>());
      const double tail = std::accumulate(sorted.begin() + static_cast<std::ptrdiff_t>(largest), sorted.end(), 0.0);
      for (std::size_t i = 0; i < n; ++i) {
        const double w = shape.y[i] * sketch.scale_of(i, lane);
        const bool bad = std::abs(estimates[i * lanes + lane] - w) > epsilon * std::sqrt(tail);
        result.violated += bad;
        if (squares[i] < large) continue;
        result.violated_large += bad;
        ++result.large;
      }
      entries += static_cast<double>(n);
    }
    ++seed;
  } while (now() < end);
  result.violated /= entries;
  result.violated_large /= std::max(1.0, static_cast<double>(result.large));
  return result;
}

Json additive_errors(double seconds) {
  std::cout
      << "\n| vector | n | epsilon | B | B epsilon^2 | entries off by more | large entries off by more | large entries "
         "|\n|---|---|---|---|---|---|---|---|\n";
  Json rows = Json::array();
  for (const std::size_t n : {std::size_t{1} << 10U, std::size_t{1} << 14U}) {
    for (const Shape& shape : shapes(n)) {
      if (shape.name == "heavy-8") continue;
      for (const auto& [epsilon, fewest] : {std::pair{0.3, 32U}, std::pair{0.1, 256U}}) {
        for (const std::uint64_t buckets : {fewest, 2 * fewest, 4 * fewest}) {
          const AdditiveError error = measure_additive_error(shape, epsilon, buckets, seconds);
          const double ratio = static_cast<double>(buckets) * epsilon * epsilon;
          std::cout << fmt::format("| {} | {} | {} | {} | {:.1f} | {:.5f} | {:.5f} | {} |\n", shape.name, n, epsilon,
                                   buckets, ratio, error.violated, error.violated_large, error.large)
                    << std::flush;
          rows.push_back({{"shape", shape.name}, {"n", n}, {"epsilon", epsilon}, {"buckets", buckets}});
          rows.back().update({{"violated", error.violated}, {"violated_large", error.violated_large}});
        }
      }
    }
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The samplers 'perfect' and 'precision' side by side: Markdown tables on stdout", "weir_samplers");
  double seconds = 20;
  app.add_option("--seconds", seconds, "Time for one setting, about; the whole takes eight times that")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  JsonFile json_file(app);
  return run_program(app, argc, argv, [&] {
    json_file.require_creatable();
    std::cout << "| n | samples | epsilon | failure | sampler | lanes | B | counters | MiB | M updates/s | fewer "
                 "counters | faster "
                 "| accepted | TV flat (chance, draws) | TV zipf (chance, draws) | TV heavy-1 (chance, draws) |\n"
                 "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    Json json;
    const std::array<Setting, 6> settings{{{1U << 10U, 8, 0.3, 0.05},
                                           {1U << 10U, 8, 0.1, 0.05},
                                           {1U << 10U, 8, 0.1, 0.01},
                                           {1U << 10U, 32, 0.2, 0.05},
                                           {1U << 16U, 8, 0.1, 0.05},
                                           {1U << 16U, 8, 0.3, 0.01}}};
    for (const Setting& setting : settings) {
      for (Json& row : compare(setting, seconds)) json["samplers"].push_back(std::move(row));
    }
    json["additive_error"] = additive_errors(seconds / 30);
    json_file.write(json);
  });
}
