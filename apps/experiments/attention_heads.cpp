// How close is attention from a state of a given size to exact attention? Real heads, at several budgets.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "program.hpp"
#include "weir/attention/anisotropic.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Head {
  std::string name;
  DenseMatrix queries;
  DenseMatrix keys;
  DenseMatrix values;
};

/// A head from NAME_q.npy, NAME_k.npy, NAME_v.npy; `prefix` is the path up to NAME.
Head load_head(const std::string& prefix, double scale) {
  Head head{std::filesystem::path(prefix).filename().string(), load_npy(prefix + "_q.npy"), load_npy(prefix + "_k.npy"),
            load_npy(prefix + "_v.npy")};
  if (head.queries.columns != head.keys.columns || head.keys.rows != head.values.rows) {
    throw InputError(fmt::format("{}: the shapes of queries, keys and values do not fit each other", prefix));
  }
  const double factor = scale / std::sqrt(static_cast<double>(head.keys.columns));
  for (double& number : head.queries.values) number *= factor;
  return head;
}

/// All heads of the folders and prefixes.
std::vector<std::string> prefixes_of(const std::vector<std::string>& paths) {
  std::vector<std::string> prefixes;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      prefixes.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      const std::string file = entry.path().string();
      if (file.ends_with("_q.npy")) prefixes.push_back(file.substr(0, file.size() - 6));
    }
  }
  std::sort(prefixes.begin(), prefixes.end());
  return prefixes;
}

DenseMatrix exact_attention(const Head& head) {
  const std::size_t d = head.keys.columns;
  const std::size_t dv = head.values.columns;
  DenseMatrix out{head.queries.rows, dv, std::vector<double>(head.queries.rows * dv, 0)};
  std::vector<double> scores(head.keys.rows);
  for (std::size_t i = 0; i < head.queries.rows; ++i) {
    const double* query = head.queries.values.data() + i * d;
    for (std::size_t j = 0; j < head.keys.rows; ++j) {
      scores[j] = std::inner_product(query, query + d, head.keys.values.data() + j * d, 0.0);
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    double* output = out.values.data() + i * dv;
    for (std::size_t j = 0; j < head.keys.rows; ++j) {
      const double power = std::exp(scores[j] - largest);
      total += power;
      for (std::size_t c = 0; c < dv; ++c) output[c] += power * head.values.values[j * dv + c];
    }
    for (std::size_t c = 0; c < dv; ++c) output[c] /= total;
  }
  return out;
}

struct Measured {
  double frobenius = 0;
  double median = 0;
  double ninety_nine = 0;
  double largest = 0;
  double covered = 0;  ///< Share of queries whose error is below three times the estimate.
};

Measured compare(const AnisotropicAnswers& answers, const DenseMatrix& exact) {
  const std::size_t dv = exact.columns;
  std::vector<double> errors(exact.rows);
  double squared_error = 0;
  double squared = 0;
  std::size_t covered = 0;
  for (std::size_t i = 0; i < exact.rows; ++i) {
    double error = 0;
    double norm = 0;
    for (std::size_t c = 0; c < dv; ++c) {
      const double truth = exact.values[i * dv + c];
      const double difference = answers.outputs.values[i * dv + c] - truth;
      error += difference * difference;
      norm += truth * truth;
    }
    squared_error += error;
    squared += norm;
    errors[i] = std::sqrt(error / norm);
    if (errors[i] <= 3 * answers.errors[i]) ++covered;
  }
  Measured measured;
  measured.frobenius = std::sqrt(squared_error / squared);
  measured.covered = static_cast<double>(covered) / static_cast<double>(exact.rows);
  std::sort(errors.begin(), errors.end());
  measured.median = errors[errors.size() / 2];
  measured.ninety_nine = errors[static_cast<std::size_t>(0.99 * static_cast<double>(errors.size() - 1))];
  measured.largest = errors.back();
  return measured;
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
    for (const std::string& prefix : prefixes_of(paths)) {
      const Head head = load_head(prefix, scale);
      const DenseMatrix exact = exact_attention(head);
      for (const std::uint64_t kibibytes : budgets) {
        AnisotropicOptions options{.d = head.keys.columns, .dv = head.values.columns, .budget = kibibytes << 10U};
        options.calibration_rows = calibration_rows;
        options.clusters = clusters;
        options.directions = directions;
        options.exact_rows = exact_rows;
        options.degree = degree;
        options.automatic = !fixed;
        options.expected_rows = expected_rows.value_or(head.keys.rows);
        const auto prefix_of = [&](const DenseMatrix& matrix) {
          const std::size_t rows = std::min<std::size_t>(matrix.rows, calibration_rows + rows_beyond);
          return std::span(matrix.values).first(rows * matrix.columns);
        };
        auto start = Clock::now();
        const auto calibration =
            AnisotropicCalibration::fit(options, prefix_of(head.queries), prefix_of(head.keys), prefix_of(head.values));
        const double calibration_seconds = seconds_since(start);
        std::vector<std::uint64_t> tokens(head.keys.rows);
        std::iota(tokens.begin(), tokens.end(), 0U);
        AnisotropicState state(calibration);
        start = Clock::now();
        state.add({head.keys.values, head.values.values, tokens});
        const double add_seconds = seconds_since(start);
        AnisotropicReader reader(state);
        start = Clock::now();
        static_cast<void>(reader.answer(head.queries.values));
        const double answer_seconds = seconds_since(start);
        start = Clock::now();
        const AnisotropicAnswers answers = reader.answer(head.queries.values, true);
        const double error_seconds = seconds_since(start);
        const Measured measured = compare(answers, exact);
        const auto tokens_count = static_cast<double>(head.keys.rows);
        const auto query_count = static_cast<double>(head.queries.rows);
        std::cout << fmt::format(
                         "| {} | {} | {} | {} | {} | {} | {} | {:.2g} | {:.2g} | {:.2g} | {:.2g} | {:.2g} | {} | "
                         "{:.4f} | {:.2f} | "
                         "{:.2f} | {:.2f} | {:.2f} |\n",
                         head.name, kibibytes, calibration.clusters(), calibration.directions(), calibration.features(),
                         calibration.exact_rows(), calibration.varied_directions(), calibration.expected_error(),
                         measured.frobenius, measured.median, measured.ninety_nine, measured.largest, answers.fallbacks,
                         measured.covered, calibration_seconds, 1e6 * add_seconds / tokens_count,
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
                        {"q99", measured.ninety_nine},
                        {"largest", measured.largest},
                        {"fallbacks", answers.fallbacks},
                        {"covered", measured.covered},
                        {"token_seconds", add_seconds / tokens_count},
                        {"query_seconds", answer_seconds / query_count}});
      }
    }
    json_file.write(json);
  });
}
