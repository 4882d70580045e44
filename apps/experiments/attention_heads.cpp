// How close is attention from a state of a given size to exact attention? Real heads, at several budgets.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "heads.hpp"
#include "program.hpp"
#include "weir/attention/anisotropic.hpp"
#include "weir/attention/comparison.hpp"
#include "weir/attention/exact.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Share of queries whose error is below three times its estimate.
double share_covered(const std::vector<double>& errors, const std::vector<double>& estimates) {
  std::size_t covered = 0;
  for (std::size_t i = 0; i < errors.size(); ++i) covered += errors[i] <= 3 * estimates[i] ? 1U : 0U;
  return static_cast<double>(covered) / static_cast<double>(errors.size());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Errors of attention from a state of a given size on the heads NAME_{q,k,v}.npy", "attention_heads");
  std::vector<std::string> paths;
  app.add_option("heads", paths, "Folders, or paths up to NAME")->required();
  std::vector<std::uint64_t> budgets{16, 64, 256};
  app.add_option("--budgets", budgets, "KiB")->capture_default_str();
  double scale = 1;
  app.add_option("--scale", scale, "Times 1/sqrt(d)")->capture_default_str();
  std::uint64_t calibration_rows = 512;
  app.add_option("--calibrate", calibration_rows, "Rows of the prefix that the map is fitted to")
      ->capture_default_str();
  std::uint64_t rows_beyond = 512;
  app.add_option("--judge", rows_beyond, "Rows after these by which choices are judged")->capture_default_str();
  bool fixed = false;
  app.add_flag("--fixed", fixed, "No automatic choices");
  std::optional<std::uint32_t> clusters;
  app.add_option("--clusters", clusters, "Clusters");
  std::optional<std::uint32_t> directions;
  app.add_option("--directions", directions, "Directions");
  std::optional<std::uint64_t> exact_rows;
  app.add_option("--exact-rows", exact_rows, "Exact rows");
  std::optional<std::uint32_t> degree;
  app.add_option("--degree", degree, "Cap of the degree");
  std::optional<std::uint64_t> expected_rows;
  app.add_option("--expected-rows", expected_rows, "Rows that the stream is thought to have; the number of keys");
  const JsonFile json_file(app);
  return run_program(app, argc, argv, [&] {
    json_file.require_creatable();
    nlohmann::json json = nlohmann::json::array();
    std::cout << "| head | KiB | C | R | r | exact rows | varied | expected | error | median | 99% | largest | "
                 "fallbacks | covered | "
                 "calibration s | us a token | us a query | us with errors |\n"
                 "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for (const std::string& prefix : head_prefixes(paths)) {
      const Head head = load_head(prefix, scale);
      const DenseMatrix exact = exact_attention(head.queries, head.keys, head.values);
      for (const std::uint64_t kibibytes : budgets) {
        AnisotropicOptions options{.d = head.keys.columns, .dv = head.values.columns, .budget = kibibytes << 10U};
        options.calibration_rows = calibration_rows;
        options.clusters = clusters;
        options.directions = directions;
        options.exact_rows = exact_rows;
        options.degree = degree;
        options.automatic = !fixed;
        options.expected_rows = expected_rows.value_or(head.keys.rows);
        auto start = Clock::now();
        const std::uint64_t rows = calibration_rows + rows_beyond;
        const auto calibration = AnisotropicCalibration::fit(
            options, first_rows(head.queries, rows), first_rows(head.keys, rows), first_rows(head.values, rows));
        const double calibration_seconds = seconds_since(start);
        start = Clock::now();
        const AnisotropicState state = state_of(head, calibration);
        const double add_seconds = seconds_since(start);
        AnisotropicReader reader(state);
        start = Clock::now();
        static_cast<void>(reader.answer(head.queries.values));
        const double answer_seconds = seconds_since(start);
        start = Clock::now();
        const AnisotropicAnswers answers = reader.answer(head.queries.values, true);
        const double error_seconds = seconds_since(start);
        const OutputErrors measured = compare_outputs(exact, answers.outputs);
        const double covered = share_covered(query_errors(exact, answers.outputs), answers.errors);
        const auto tokens_count = static_cast<double>(head.keys.rows);
        const auto query_count = static_cast<double>(head.queries.rows);
        std::cout << fmt::format(
                         "| {} | {} | {} | {} | {} | {} | {} | {:.2g} | {:.2g} | {:.2g} | {:.2g} | {:.2g} | {} | "
                         "{:.4f} | {:.2f} | "
                         "{:.2f} | {:.2f} | {:.2f} |\n",
                         head.name, kibibytes, calibration.clusters(), calibration.directions(), calibration.features(),
                         calibration.exact_rows(), calibration.varied_directions(), calibration.expected_error(),
                         measured.frobenius, measured.median, measured.percentile_99, measured.largest,
                         answers.fallbacks, covered, calibration_seconds, 1e6 * add_seconds / tokens_count,
                         1e6 * answer_seconds / query_count, 1e6 * error_seconds / query_count)
                  << std::flush;
        json.push_back({{"head", head.name},
                        {"KiB", kibibytes},
                        {"clusters", calibration.clusters()},
                        {"directions", calibration.directions()},
                        {"features", calibration.features()},
                        {"exact_rows", calibration.exact_rows()},
                        {"error", measured.frobenius},
                        {"median", measured.median},
                        {"q99", measured.percentile_99},
                        {"largest", measured.largest},
                        {"fallbacks", answers.fallbacks},
                        {"covered", covered},
                        {"token_seconds", add_seconds / tokens_count},
                        {"query_seconds", answer_seconds / query_count}});
      }
    }
    json_file.write(json);
  });
}
