// How good are the draws of a sketch of B buckets? The experiment behind weir/sample/sizing.hpp: README.md beside it
// says how to run it and what came out.

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "program.hpp"
#include "vectors.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/moment.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;

double quantile(std::vector<double>& values, double level) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::ptrdiff_t>(level * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return values[static_cast<std::size_t>(rank)];
}

struct LawRow {
  std::string shape;
  std::size_t n = 0;
  std::uint64_t buckets = 0;
  double p = 2;
  double threshold = 1;
  std::uint64_t draws = 0;
  double distortion = 0;        ///< sqrt of sum (q - P)^2 / P over the cells, less what sampling explains.
  double distortion_error = 0;  ///< Root of the standard deviation of its square when there is none: what can be seen.
  double total_variation = 0;   ///< Of q against P, sampling included.
  double wrong = 0;             ///< Share of lanes that end in another cell, or another verdict, than without noise.
  double value_rms = 0;
  double value_p95 = 0;
  double acceptance = 0;
};

/// For each scaled lane, the cell of the exact argmax, or -1 where the exact test would not accept.
std::vector<int> exact_cells(const SketchConfig& config, const std::vector<double>& y, const Cells& cells,
                             double bound) {
  constexpr std::size_t chunk = 1024;
  const ScaleFunction scales(config.randomness, config.seed, config.independence, config.law, config.p, config.lanes);
  AlignedVector<float> scale(chunk * config.lanes);
  std::vector<std::uint64_t> keys(chunk);
  std::vector<double> largest(config.lanes, 0.0);
  std::vector<std::size_t> argmax(config.lanes, 0);
  for (std::size_t first = 0; first < y.size(); first += chunk) {
    const std::size_t count = std::min(chunk, y.size() - first);
    std::iota(keys.begin(), keys.end(), std::uint64_t{first});
    scales.fill(std::span(keys).first(count), 0, config.lanes, scale);
    for (std::size_t t = 0; t < count; ++t) {
      for (std::uint32_t lane = 1; lane < config.lanes; ++lane) {
        const double scaled = std::abs(y[first + t]) * static_cast<double>(scale[t * config.lanes + lane]);
        if (scaled > largest[lane]) {
          largest[lane] = scaled;
          argmax[lane] = first + t;
        }
      }
    }
  }
  std::vector<int> result(config.lanes, -1);
  for (std::uint32_t lane = 1; lane < config.lanes; ++lane) {
    if (std::pow(largest[lane], config.p) >= bound) result[lane] = static_cast<int>(cells.of_key[argmax[lane]]);
  }
  return result;
}

/// Draws beside exact ones with the same scales: most agree, so that the difference of the two frequencies of a cell,
/// whose mean is the distortion, has far less noise than either. `wrong` lanes are those that disagree.
LawRow measure_law(const Shape& shape, std::uint64_t buckets, double p, double threshold, double seconds) {
  const std::size_t n = shape.y.size();
  const Cells cells = make_cells(shape.y, p);
  const std::size_t cell_count = cells.probability.size();
  double moment = 0;
  for (const double value : shape.y) moment += std::pow(std::abs(value), p);
  std::vector<std::uint64_t> keys(n);
  std::iota(keys.begin(), keys.end(), std::uint64_t{0});
  std::vector<double> drawn(cell_count);
  std::vector<double> exact(cell_count);
  std::vector<double> disagreements(cell_count);
  std::vector<double> errors;
  LawRow row{.shape = shape.name, .n = n, .buckets = buckets, .p = p, .threshold = threshold};
  double tried = 0;
  double square_sum = 0;
  const double end = now() + seconds;
  for (std::uint64_t seed = 1; now() < end; ++seed) {
    const SketchConfig config{.dimension = n, .buckets = buckets, .lanes = 16, .p = p, .seed = seed};
    VectorSketch sketch(config);
    sketch.update(keys, shape.y);
    const SampleResult result = draw_with_replacement(sketch, {.samples = config.lanes, .threshold = threshold});
    std::vector<int> of_lane(config.lanes, -1);
    for (const Draw& draw : result.draws) {
      of_lane[draw.lane] = static_cast<int>(cells.of_key[draw.index]);
      const double error = std::abs(draw.value / shape.y[draw.index] - 1);
      errors.push_back(error);
      square_sum += std::min(error * error, 1.0);
    }
    const std::vector<int> expected = exact_cells(config, shape.y, cells, threshold * moment);
    for (std::uint32_t lane = 1; lane < config.lanes; ++lane) {
      if (of_lane[lane] >= 0) drawn[static_cast<std::size_t>(of_lane[lane])] += 1;
      if (expected[lane] >= 0) exact[static_cast<std::size_t>(expected[lane])] += 1;
      if (of_lane[lane] == expected[lane]) continue;
      row.wrong += 1;
      if (of_lane[lane] >= 0) disagreements[static_cast<std::size_t>(of_lane[lane])] += 1;
      if (expected[lane] >= 0) disagreements[static_cast<std::size_t>(expected[lane])] += 1;
    }
    row.draws += result.draws.size();
    tried += config.lanes - 1;
  }
  const auto total = static_cast<double>(row.draws);
  const double exact_total = std::accumulate(exact.begin(), exact.end(), 0.0);
  double squared = 0;
  double variance = 0;
  for (std::size_t cell = 0; cell < cell_count; ++cell) {
    if (!(cells.probability[cell] > 0)) continue;
    const double difference = drawn[cell] / total - exact[cell] / exact_total;
    const double noise = disagreements[cell] / (total * total);
    squared += (difference * difference - noise) / cells.probability[cell];
    variance += 2 * std::pow(noise / cells.probability[cell], 2);
    row.total_variation += std::abs(difference) / 2;
  }
  row.distortion = std::sqrt(std::max(0.0, squared));
  row.distortion_error = std::sqrt(std::sqrt(variance));
  row.wrong /= tried;
  row.value_rms = std::sqrt(square_sum / total);
  row.value_p95 = quantile(errors, 0.95);
  row.acceptance = total / tried;
  return row;
}

struct FailureRow {
  std::uint32_t samples = 0;
  double promised = 0;
  double p = 2;
  std::uint64_t buckets = 0;
  std::uint32_t lanes = 0;
  std::uint64_t trials = 0;
  double observed = 0;
};

FailureRow measure_failure(std::uint32_t samples, double failure, double p, std::uint64_t buckets, double seconds) {
  constexpr std::size_t n = 1024;
  const std::vector<double> y = shapes(n)[1].y;
  std::vector<std::uint64_t> keys(n);
  std::iota(keys.begin(), keys.end(), std::uint64_t{0});
  FailureRow row{.samples = samples,
                 .promised = failure,
                 .p = p,
                 .buckets = buckets,
                 .lanes = suggest_lanes(samples, failure, 1.0)};
  std::uint64_t failed = 0;
  const double end = now() + seconds;
  for (std::uint64_t seed = 1; now() < end; ++seed) {
    VectorSketch sketch({.dimension = n, .buckets = buckets, .lanes = row.lanes, .p = p, .seed = seed});
    sketch.update(keys, y);
    failed += draw_with_replacement(sketch, {.samples = samples}).draws.size() < samples;
    ++row.trials;
  }
  row.observed = static_cast<double>(failed) / static_cast<double>(row.trials);
  return row;
}

struct WideRow {
  std::string shape;
  std::size_t n = 0;
  std::uint32_t samples = 0;
  std::uint64_t buckets = 0;
  double p = 2;
  double recall = 0;
  double value_rms = 0;
  double moment_bias =
      0;  ///< Of the Horvitz-Thompson sum, relative, against the sum from exact values of the exact bottom-k.
};

WideRow measure_wide(const Shape& shape, std::uint32_t samples, std::uint64_t buckets, double p, double seconds) {
  const std::size_t n = shape.y.size();
  std::vector<std::uint64_t> keys(n);
  std::iota(keys.begin(), keys.end(), std::uint64_t{0});
  DenseVector dense(n);
  dense.update(keys, shape.y);
  WideRow row{.shape = shape.name, .n = n, .samples = samples, .buckets = buckets, .p = p};
  double right = 0;
  double drawn = 0;
  double square_sum = 0;
  double estimated = 0;
  double exact = 0;
  const double end = now() + seconds;
  std::uint64_t seed = 1;
  do {
    VectorSketch sketch({.dimension = n, .buckets = buckets, .lanes = 2, .p = p, .seed = seed});
    sketch.update(keys, shape.y);
    const SampleResult result = draw_without_replacement(sketch, {.samples = samples});
    const SampleResult truth = draw_without_replacement(dense, {.samples = samples, .p = p, .seed = seed});
    for (const Draw& draw : result.draws) {
      right +=
          std::any_of(truth.draws.begin(), truth.draws.end(), [&](const Draw& t) { return t.index == draw.index; });
      square_sum += std::min(1.0, std::pow(draw.value / shape.y[draw.index] - 1, 2));
      drawn += 1;
    }
    estimated += horvitz_thompson_moment(result.draws, p);
    exact += horvitz_thompson_moment(truth.draws, p);
    ++seed;
  } while (now() < end);
  row.recall = right / (static_cast<double>(seed - 1) * samples);
  row.value_rms = std::sqrt(square_sum / drawn);
  row.moment_bias = estimated / exact - 1;
  return row;
}

using Json = nlohmann::json;

Json law_table(double seconds) {
  Json rows = Json::array();
  std::cout << "## Law and values (16 lanes, R = 5)\n\n"
               "| vector | n | p | T | B | B / ln n | draws | distortion | +- | TV | differ | value rms | value "
               "95% | accepted |\n"
               "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  const auto measure = [&](const Shape& shape, std::uint64_t buckets, double p, double threshold, double duration) {
    const LawRow r = measure_law(shape, buckets, p, threshold, duration);
    const double per_log = static_cast<double>(buckets) / std::log(static_cast<double>(r.n));
    std::cout << fmt::format(
                     "| {} | {} | {} | {} | {} | {:.0f} | {} | {:.4f} | {:.4f} | {:.4f} | {:.3f} | {:.4f} | {:.4f} | "
                     "{:.3f} |\n",
                     r.shape, r.n, p, threshold, buckets, per_log, r.draws, r.distortion, r.distortion_error,
                     r.total_variation, r.wrong, r.value_rms, r.value_p95, r.acceptance)
              << std::flush;
    rows.push_back({{"shape", r.shape}, {"n", r.n}, {"p", p}, {"threshold", threshold}, {"buckets", buckets}});
    rows.back().update({{"draws", r.draws}, {"distortion", r.distortion}, {"distortion_error", r.distortion_error}});
    rows.back().update({{"total_variation", r.total_variation}, {"differ", r.wrong}, {"value_rms", r.value_rms}});
    rows.back().update({{"value_p95", r.value_p95}, {"acceptance", r.acceptance}});
  };
  for (const Shape& shape : shapes(std::size_t{1} << 10U)) {
    for (const std::uint64_t buckets : {64U, 128U, 256U, 512U, 1024U, 2048U, 4096U}) {
      measure(shape, buckets, 2, 1, seconds);
    }
  }
  for (const Shape& shape : shapes(std::size_t{1} << 16U)) {
    for (const std::uint64_t buckets : {64U, 128U, 256U, 1024U}) measure(shape, buckets, 2, 1, 3 * seconds);
  }
  for (const Shape& shape : shapes(std::size_t{1} << 10U)) {
    for (const std::uint64_t buckets : {64U, 128U, 256U, 512U, 1024U}) measure(shape, buckets, 2, 0, seconds);
    for (const std::uint64_t buckets : {64U, 128U, 256U}) measure(shape, buckets, 1, 1, seconds);
    for (const std::uint64_t buckets : {64U, 128U}) measure(shape, buckets, 0.5, 1, seconds);
  }
  return rows;
}

Json failure_table(double seconds) {
  Json rows = Json::array();
  std::cout << "\n## Lanes and failures (zipf, n = 1024, T = 1, B = 128)\n\n"
               "Promised is what was asked for; exact is the binomial tail of the lanes, which are rounded up to a "
               "multiple of 8.\n\n"
               "| samples | p | promised | lanes | exact | trials | observed |\n|---|---|---|---|---|---|---|\n";
  for (const double p : {2.0, 1.0}) {
    for (const std::uint32_t samples : {4U, 8U, 32U}) {
      for (const double failure : {0.1, 0.01}) {
        const FailureRow r = measure_failure(samples, failure, p, 128, 3 * seconds);
        const double exact = binomial_lower_tail(r.lanes - 1, -std::expm1(-1.0), samples);
        std::cout << fmt::format("| {} | {} | {} | {} | {:.5f} | {} | {:.5f} |\n", samples, p, failure, r.lanes, exact,
                                 r.trials, r.observed)
                  << std::flush;
        rows.push_back({{"samples", samples}, {"promised", failure}, {"p", p}, {"lanes", r.lanes}, {"exact", exact}});
        rows.back().update({{"trials", r.trials}, {"observed", r.observed}});
      }
    }
  }
  return rows;
}

Json wide_table(double seconds) {
  Json rows = Json::array();
  std::cout << "\n## Without replacement (one wide lane)\n\n"
               "| vector | n | p | samples k | B | B / k | recall of the exact k | value rms | HT sum bias |\n"
               "|---|---|---|---|---|---|---|---|---|\n";
  const auto measure = [&](const Shape& shape, double p, std::uint32_t samples, std::uint64_t ratio) {
    const WideRow r = measure_wide(shape, samples, samples * ratio, p, seconds / 2);
    std::cout << fmt::format("| {} | {} | {} | {} | {} | {} | {:.3f} | {:.4f} | {:+.3f} |\n", r.shape, r.n, p, samples,
                             r.buckets, ratio, r.recall, r.value_rms, r.moment_bias)
              << std::flush;
    rows.push_back({{"shape", r.shape}, {"n", r.n}, {"p", p}, {"samples", samples}, {"buckets", r.buckets}});
    rows.back().update({{"recall", r.recall}, {"value_rms", r.value_rms}, {"moment_bias", r.moment_bias}});
  };
  for (const std::size_t n : {std::size_t{1} << 12U, std::size_t{1} << 18U}) {
    for (const Shape& shape : shapes(n)) {
      for (const std::uint64_t ratio : {16U, 32U, 64U, 128U, 256U, 512U}) {
        measure(shape, 2, 64, ratio);
        if (shape.name == "flat") measure(shape, 2, 16, ratio);
        if (shape.name == "flat" || shape.name == "zipf") measure(shape, 1, 64, ratio);
      }
    }
  }
  return rows;
}

/// What sizing.hpp makes of it: no measurement.
Json suggestions() {
  Json rows = Json::array();
  std::cout << "\n## Suggested shapes (p = 2, T = 1, 8 samples, failure 0.05)\n\n"
               "| n | epsilon | B with replacement | MiB | B without replacement | MiB |\n|---|---|---|---|---|---|\n";
  const auto mebibytes = [](const SketchConfig& config) {
    return static_cast<double>(config.table_size()) * sizeof(double) / 0x1p20;
  };
  for (const std::uint32_t bits : {10U, 20U, 30U, 40U, 63U}) {
    for (const double epsilon : {0.1, 0.03, 0.01, 0.003, 0.001}) {
      SamplingRequest request{.dimension = std::uint64_t{1} << bits, .epsilon = epsilon};
      const SketchConfig with = suggest_config(request);
      request.without_replacement = true;
      const SketchConfig without = suggest_config(request);
      std::cout << fmt::format("| 2^{} | {} | {} | {:.1f} | {} | {:.1f} |\n", bits, epsilon, with.buckets,
                               mebibytes(with), without.buckets, mebibytes(without));
      rows.push_back(
          {{"log2_n", bits}, {"epsilon", epsilon}, {"buckets", with.buckets}, {"wide_buckets", without.buckets}});
    }
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Calibration of the sizes of sketches: Markdown tables on stdout", "weir_calibration");
  double seconds = 1;
  app.add_option("--seconds", seconds, "Time for one row of the first table; the whole takes about 200 times that")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  JsonFile json_file(app);
  return run_program(app, argc, argv, [&] {
    json_file.require_creatable();
    Json json;
    json["law"] = law_table(seconds);
    json["failure"] = failure_table(seconds);
    json["wide"] = wide_table(seconds);
    json["suggestions"] = suggestions();
    json_file.write(json);
  });
}
