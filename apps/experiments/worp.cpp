// Moments of Zipf vectors through draws without replacement: the table of the section on experiments of Cohen, Pagh and
// Woodruff, "WOR and p's: Sketches for l_p-Sampling Without Replacement" (NeurIPS 2020, arXiv 2007.06744), with our sketch.
// Prints Markdown tables on stdout.
//
// Errors are NRMSE, sqrt(mean over the seeds of (estimate / truth - 1)^2). The same seeds give the same scales everywhere, so
// that columns differ by the noise of the sketch alone.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "program.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/moment.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/vector_sketch.hpp"

using namespace weir;
using namespace weir::experiments;

namespace {

constexpr std::uint32_t lanes = 2;
constexpr std::array moments{1.0, 2.0, 3.0};

/// Zipf[exponent]: entry i is (i + 1)^-exponent.
struct Frequencies {
  std::string name;
  std::vector<double> values;
  [[nodiscard]] double moment(double q) const {
    return std::accumulate(values.begin(), values.end(), 0.0,
                           [q](double sum, double v) { return sum + std::pow(v, q); });
  }
};

Frequencies zipf(double exponent, std::size_t n) {
  Frequencies zipf{fmt::format("Zipf[{}]", exponent), std::vector<double>(n)};
  for (std::size_t i = 0; i < n; ++i) zipf.values[i] = std::pow(static_cast<double>(i + 1), -exponent);
  return zipf;
}

/// Squared relative errors of one moment.
struct Errors {
  double sum = 0;
  std::uint64_t count = 0;
  void add(double estimate, double truth) {
    sum += std::pow(estimate / truth - 1, 2);
    ++count;
  }
  [[nodiscard]] double nrmse() const { return std::sqrt(sum / static_cast<double>(count)); }
};

/// NRMSE of one moment, and how its error was printed.
struct Row {
  Errors perfect;    ///< The exact draws of the same scales.
  Errors one_pass;   ///< horvitz_thompson_moment().
  Errors corrected;  ///< moment_through_samples(), which takes off the bias of second order.
  Errors two_passes;
  std::uint64_t outside = 0;   ///< Of the bound of moment_through_samples().
  std::uint64_t no_bound = 0;  ///< It had none.
};

/// Values of the draws of all seeds.
struct Values {
  std::uint64_t draws = 0;
  std::uint64_t outside = 0;       ///< Of their bounds.
  std::uint64_t outside_half = 0;  ///< Of half of their bounds.
};

struct Measured {
  std::array<Row, moments.size()> rows;
  Values values;
};

/// As a second pass makes the estimates exact.
SampleResult with_exact_values(SampleResult result, const std::vector<double>& y, double p) {
  for (Draw& draw : result.draws) {
    draw.value = y[draw.index];
    draw.value_bound = 0;
  }
  fail_draws_of_zeros(result);
  follow_exact_values(result, p, p);
  return result;
}

Measured measure(const Frequencies& of, const SketchConfig& shape, std::uint32_t samples, std::uint64_t seeds) {
  Measured measured;
  std::vector<std::uint64_t> keys(of.values.size());
  std::iota(keys.begin(), keys.end(), 0U);
  DenseVector dense(of.values.size());
  dense.update(keys, of.values);
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    SketchConfig config = shape;
    config.seed = seed;
    VectorSketch sketch(config);
    sketch.update(keys, of.values);
    const SampleResult perfect = draw_without_replacement(dense, {.samples = samples, .p = config.p, .seed = seed});
    const SampleResult one_pass = draw_without_replacement(sketch, {.samples = samples});
    const SampleResult two_passes = with_exact_values(one_pass, of.values, config.p);
    for (std::size_t k = 0; k < moments.size(); ++k) {
      const double q = moments[k];
      const double truth = of.moment(q);
      Row& row = measured.rows[k];
      row.perfect.add(horvitz_thompson_moment(perfect.draws, q), truth);
      row.one_pass.add(horvitz_thompson_moment(one_pass.draws, q), truth);
      const MomentEstimate estimate = moment_through_samples(one_pass.draws, q, config.p);
      row.corrected.add(estimate.value, truth);
      row.two_passes.add(horvitz_thompson_moment(two_passes.draws, q), truth);
      row.no_bound += std::isinf(estimate.bound) ? 1U : 0U;
      row.outside += std::abs(estimate.value - truth) > estimate.bound ? 1U : 0U;
    }
    for (const Draw& draw : one_pass.draws) {
      const double error = std::abs(draw.value - of.values[draw.index]);
      ++measured.values.draws;
      measured.values.outside += error > draw.value_bound.value() ? 1U : 0U;
      measured.values.outside_half += error > 0.5 * draw.value_bound.value() ? 1U : 0U;
    }
  }
  return measured;
}

/// The most buckets, a power of two, with which so many rows stay within the memory; 0 when draws need more than that.
std::uint64_t buckets_within(std::uint64_t doubles, std::uint32_t rows, std::uint32_t samples) {
  std::uint64_t buckets = 2;
  while (2 * buckets * rows * lanes <= doubles) buckets *= 2;
  return buckets > samples && buckets * rows * lanes <= doubles ? buckets : 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Moments of Zipf vectors through draws without replacement, as WORp has them: Markdown tables on stdout",
               "weir_worp");
  std::size_t n = 10'000;
  app.add_option("--keys", n, "Entries of the vectors")->check(CLI::Range(10, 10'000'000))->capture_default_str();
  std::uint32_t samples = 100;
  app.add_option("--samples", samples, "Draws")->check(CLI::Range(1, 10'000))->capture_default_str();
  std::uint64_t seeds = 100;
  app.add_option("--seeds", seeds, "Sketches of each kind")->check(CLI::Range(1, 1'000'000))->capture_default_str();
  std::uint64_t doubles = 3100;
  app.add_option("--doubles", doubles, "Memory: rows * buckets * 2 lanes")->capture_default_str();
  std::vector<std::uint32_t> all_rows{5, 7, 9, 11, 15};
  app.add_option("--rows", all_rows, "Rows of the sketches")->check(CLI::Range(1, 15))->capture_default_str();
  const JsonFile json_file(app);
  return run_program(app, argc, argv, [&] {
    json_file.require_creatable();
    nlohmann::json json = nlohmann::json::array();
    for (const std::uint32_t rows : all_rows) {
      const std::uint64_t buckets = buckets_within(doubles, rows, samples);
      if (buckets == 0) {
        std::cout << fmt::format("\n{} rows: no number of buckets above {} draws within {} doubles\n", rows, samples,
                                 doubles);
        continue;
      }
      std::cout << fmt::format(
          "\n## {} rows x {} buckets x {} lanes = {} doubles ({} keys, {} draws, {} seeds)\n\n"
          "| vector | perfect WOR | one pass | one pass, corrected | two passes | outside of the bound | no bound "
          "|\n|---|---|---|---|---|---|---|\n",
          rows, buckets, lanes, rows * buckets * lanes, n, samples, seeds);
      std::string of_values;
      for (const double p : {2.0, 1.0}) {
        for (const double exponent : {1.0, 2.0}) {
          const Frequencies of = zipf(exponent, n);
          const Measured measured =
              measure(of, {.dimension = n, .rows = rows, .buckets = buckets, .lanes = lanes, .p = p}, samples, seeds);
          for (std::size_t k = 0; k < moments.size(); ++k) {
            const Row& row = measured.rows[k];
            std::cout << fmt::format("| l{} {} nu^{} | {:.1e} | {:.1e} | {:.1e} | {:.1e} | {} | {} |\n", p, of.name,
                                     moments[k], row.perfect.nrmse(), row.one_pass.nrmse(), row.corrected.nrmse(),
                                     row.two_passes.nrmse(), row.outside, row.no_bound)
                      << std::flush;
            json.push_back({{"rows", rows},
                            {"buckets", buckets},
                            {"p", p},
                            {"vector", of.name},
                            {"moment", moments[k]},
                            {"perfect", row.perfect.nrmse()},
                            {"one_pass", row.one_pass.nrmse()},
                            {"corrected", row.corrected.nrmse()},
                            {"two_passes", row.two_passes.nrmse()},
                            {"outside", row.outside},
                            {"no_bound", row.no_bound}});
          }
          const auto share = [&](std::uint64_t count) {
            return static_cast<double>(count) / static_cast<double>(measured.values.draws);
          };
          of_values += fmt::format("| l{} {} | {} | {:.4f} | {:.4f} |\n", p, of.name, measured.values.draws,
                                   share(measured.values.outside), share(measured.values.outside_half));
        }
      }
      std::cout << "\n| values of draws | draws | outside of the bound | of half of it |\n|---|---|---|---|\n"
                << of_values << std::flush;
    }
    json_file.write(json);
  });
}
