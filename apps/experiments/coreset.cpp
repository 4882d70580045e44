// Least squares on a few weighted rows that a sketch of a turnstile stream of rows has drawn, against the full solution:
// README.md beside it says how to run it and what came out.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "program.hpp"
#include "vectors.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"
#include "weir/sample/dense_operand.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sketch/rows_sketch.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;

constexpr std::uint64_t d = 8;

/// min ||A x - b||, its rows and right-hand sides as the matrix [A b].
struct Regression {
  std::string name;
  DenseOperand ab;
  DenseMatrix gram;
  double least = 0;  ///< ||A x* - b||

  Regression(std::string of, const DenseMatrix& rows) : name(std::move(of)), ab(rows.rows, d + 1, "[A b]") {
    std::ranges::copy(rows.values, ab.table().begin());
    gram = ab.gram();
    least = residual(solution(gram));
  }
  /// The solution of the normal equations with [A b]^T [A b], or an estimate of it.
  [[nodiscard]] static Eigen::VectorXd solution(const DenseMatrix& gram) {
    const Eigen::Map<const Eigen::MatrixXd> g(gram.values.data(), d + 1, d + 1);
    return g.topLeftCorner(d, d).ldlt().solve(g.col(d).head(d));
  }
  /// ||A x - b||
  [[nodiscard]] double residual(const Eigen::VectorXd& x) const {
    const Eigen::Map<const Eigen::MatrixXd> g(gram.values.data(), d + 1, d + 1);
    Eigen::VectorXd v(d + 1);
    v << x, -1.0;
    return std::sqrt(v.dot(g * v));
  }
  /// ||A x' - b|| / ||A x* - b||, x' the solution, of least norm, on rows drawn: as the draws show them, or the true ones.
  [[nodiscard]] double ratio(std::span<const Draw> draws, bool as_recovered) const {
    Eigen::MatrixXd a(draws.size(), d);
    Eigen::VectorXd b(draws.size());
    for (std::size_t t = 0; t < draws.size(); ++t) {
      const std::span<const double> row = as_recovered ? std::span(draws[t].row) : ab.row(draws[t].index);
      const Eigen::Map<const Eigen::RowVectorXd> values(row.data(), d + 1);
      const double weight = 1 / std::sqrt(draws[t].probability);  // 1 / sqrt(k p) up to a constant
      a.row(static_cast<Eigen::Index>(t)) = weight * values.head(d);
      b[static_cast<Eigen::Index>(t)] = weight * values[d];
    }
    return residual(a.completeOrthogonalDecomposition().solve(b)) / least;
  }
};

/// b = A x + noise of variance 1, x = (1, .., 1). In `ordinary` the entries of A are normal. In `rare` one column is in
/// small units, a hundred times larger than the others, and the last one is zero but in 32 rows, where x_d = 200.
std::vector<Regression> regressions(std::uint64_t n) {
  constexpr std::uint64_t rare_rows = 32;
  std::vector<Regression> all;
  for (const bool rare : {false, true}) {
    DenseMatrix rows = normal_matrix(n, d + 1, 7);
    for (std::uint64_t i = 0; i < n; ++i) {
      double* const row = rows.values.data() + i * (d + 1);
      if (rare && (i * rare_rows) / n == ((i + 1) * rare_rows) / n) row[d - 1] = 0;
      row[d] += std::accumulate(row, row + d - 1, 0.0) + (rare ? 200 : 1) * row[d - 1];
      if (rare) row[0] *= 100;
    }
    all.emplace_back(rare ? "rare" : "ordinary", rows);
  }
  return all;
}

/// Streams [A b] with detours: every fourth row first comes as another one, ten times as long, which is deleted; every
/// hundredth first has another right-hand side, which is corrected.
void stream_rows(RowsSketch& sketch, const DenseOperand& ab) {
  constexpr std::uint64_t batch = 4096;
  std::vector<std::uint64_t> rows;
  std::vector<double> weights;
  std::vector<double> values;
  const auto append = [&](std::uint64_t i, double weight, double factor) {
    rows.push_back(i);
    weights.push_back(weight);
    for (const double value : ab.row(i)) values.push_back(factor * value);
  };
  const auto flush = [&] {
    sketch.update_rows(rows, weights, values);
    rows.clear();
    weights.clear();
    values.clear();
  };
  for (std::uint64_t i = 0; i < ab.rows(); ++i) {
    append(i, 1, i % 4 == 0 ? -10 : 1);
    if (i % 100 == 1) values.back() += 1000;
    if (rows.size() == batch) flush();
  }
  flush();
  std::vector<std::uint64_t> corrected;
  for (std::uint64_t i = 0; i < ab.rows(); ++i) {
    if (i % 4 == 0) append(i, -1, -10);
    if (i % 4 == 0) append(i, 1, 1);
    if (i % 100 == 1) corrected.push_back(i);
    if (rows.size() >= batch) flush();
  }
  flush();
  sketch.update(corrected, std::vector<std::uint64_t>(corrected.size(), d),
                std::vector<double>(corrected.size(), -1000.0));
}

/// Of one experiment repeated with many seeds.
struct Ratios {
  std::vector<double> values;

  [[nodiscard]] double quantile(double share) const {
    std::vector<double> sorted = values;
    std::ranges::sort(sorted);
    return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5)];
  }
  [[nodiscard]] std::string text() const { return fmt::format("{:.3f} / {:.3f}", quantile(0.5), quantile(0.9)); }
};

/// Rows drawn from sketches of one regression: more and more sketches, until there are enough.
struct SketchedDraws {
  std::vector<Draw> by_norm;
  std::vector<Draw> by_leverage;
};

SketchedDraws draw_from_sketches(const Regression& of, SketchConfig config, std::uint64_t seed, std::size_t wanted) {
  constexpr std::uint64_t most_sketches = 1000;
  SketchedDraws drawn;
  const auto append = [](std::vector<Draw>& to, SampleResult result) {
    std::ranges::move(result.draws, std::back_inserter(to));
  };
  for (std::uint64_t t = 0; std::min(drawn.by_norm.size(), drawn.by_leverage.size()) < wanted; ++t) {
    if (t == most_sketches)
      throw UsageError(fmt::format("{} buckets: {} sketches drew fewer than {} rows", config.buckets, t, wanted));
    config.seed = seed * most_sketches + t;
    RowsSketch sketch(config, d + 1, {});
    stream_rows(sketch, of.ab);
    const DenseMatrix gram = sketch.gram();
    const Metric norm = Metric::norm(d + 1);
    const SketchConfig& wide = sketch.wide.config();
    const Metric leverage = Metric::leverage_of_estimate(gram, wide.rows * wide.buckets, wide.rows);
    append(drawn.by_norm, draw_rows(sketch.draws, norm, {norm.total(gram)}, {.samples = config.lanes}));
    append(drawn.by_leverage,
           draw_rows(sketch.draws, leverage, {static_cast<double>(leverage.rank())}, {.samples = config.lanes}));
  }
  return drawn;
}

struct Result {
  Ratios norm;
  Ratios norm_true_rows;
  Ratios leverage;
  Ratios leverage_true_rows;
};

/// For every number of draws. `row_error` becomes the root mean square error of the rows drawn by leverage, relative, in
/// the metric.
std::vector<Result> measure(const Regression& of, const SketchConfig& config, const std::vector<std::size_t>& draws,
                            std::uint64_t seeds, double& row_error) {
  const Metric metric = Metric::leverage(of.gram);
  std::vector<Result> results(draws.size());
  double squares = 0;
  double count = 0;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const SketchedDraws drawn = draw_from_sketches(of, config, seed, draws.back());
    for (std::size_t t = 0; t < draws.size(); ++t) {
      const std::span by_leverage = std::span(drawn.by_leverage).first(draws[t]);
      const std::span by_norm = std::span(drawn.by_norm).first(draws[t]);
      results[t].norm.values.push_back(of.ratio(by_norm, true));
      results[t].norm_true_rows.values.push_back(of.ratio(by_norm, false));
      results[t].leverage.values.push_back(of.ratio(by_leverage, true));
      results[t].leverage_true_rows.values.push_back(of.ratio(by_leverage, false));
    }
    for (const Draw& draw : drawn.by_leverage) {
      std::vector<double> error = draw.row;
      const std::span<const double> truth = of.ab.row(draw.index);
      for (std::size_t j = 0; j < error.size(); ++j) error[j] -= truth[j];
      squares += std::min(1.0, metric.of_row(error) / metric.of_row(truth));
      count += 1;
    }
  }
  row_error = std::sqrt(squares / count);
  return results;
}

/// Uniform rows, or exact draws by leverage.
Ratios of_exact(const Regression& of, bool uniform, std::size_t draws, std::uint64_t seeds) {
  const Metric metric = Metric::leverage(of.gram);
  Ratios ratios;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    std::vector<Draw> drawn(draws);
    if (uniform) {
      for (std::size_t t = 0; t < draws; ++t) {
        drawn[t].index = finalise(seed * 0x100000001 + t) % of.ab.rows();
        drawn[t].probability = 1;
      }
    } else {
      drawn = draw_rows(of.ab, metric, {.samples = static_cast<std::uint32_t>(draws), .seed = seed}).draws;
    }
    ratios.values.push_back(of.ratio(drawn, false));
  }
  return ratios;
}

/// No draws: the solution by the Gram sketch that comes along.
Ratios of_gram_sketch(const Regression& of, std::uint64_t buckets, std::uint64_t seeds) {
  Ratios ratios;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    RowsSketch sketch({.dimension = of.ab.rows(), .buckets = 2, .lanes = 1, .seed = seed}, d + 1, {.buckets = buckets});
    stream_rows(sketch, of.ab);
    ratios.values.push_back(of.residual(Regression::solution(sketch.gram())) / of.least);
  }
  return ratios;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Least squares on rows drawn from a sketch of their stream: Markdown tables on stdout", "weir_coreset");
  std::uint64_t n = 100'000;
  app.add_option("--rows", n, "Rows of the regressions")->check(CLI::Range(1000, 100'000'000))->capture_default_str();
  std::uint64_t seeds = 50;
  app.add_option("--seeds", seeds, "Samples of each kind; ten times as many without sketches")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  std::vector<std::size_t> draws{32, 64, 128, 256};
  app.add_option("--draws", draws, "Numbers of draws, increasing")->check(CLI::Range(16, 4096))->capture_default_str();
  std::vector<std::uint64_t> buckets{32, 64, 128, 512};
  app.add_option("--buckets", buckets, "Other B for the second table, with the second number of draws")
      ->check(CLI::Range(2, 65536));
  return run_program(app, argc, argv, [&] {
    std::ranges::sort(draws);
    const SketchConfig suggested = suggest_config({.dimension = n, .samples = 64});
    const std::vector<Regression> all = regressions(n);
    std::cout << fmt::format(
        "## {} rows, {} seeds: ||A x' - b|| / ||A x* - b||, median / 90% (B = {}, {} lanes a sketch)\n\n"
        "| regression | draws | uniform | norm, recovered | norm, true rows | leverage, recovered | leverage, true "
        "rows | exact leverage "
        "|\n|---|---|---|---|---|---|---|---|\n",
        n, seeds, suggested.buckets, suggested.lanes);
    double row_error = 0;
    for (const Regression& of : all) {
      const std::vector<Result> results = measure(of, suggested, draws, seeds, row_error);
      for (std::size_t t = 0; t < draws.size(); ++t) {
        std::cout << fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", of.name, draws[t],
                                 of_exact(of, true, draws[t], 10 * seeds).text(), results[t].norm.text(),
                                 results[t].norm_true_rows.text(), results[t].leverage.text(),
                                 results[t].leverage_true_rows.text(), of_exact(of, false, draws[t], 10 * seeds).text())
                  << std::flush;
      }
    }
    const std::size_t chosen = draws[std::min<std::size_t>(1, draws.size() - 1)];
    std::cout << fmt::format(
        "\n## The noise of recovered rows ({} draws)\n\n"
        "| regression | B | row error | norm, recovered | norm, true rows | leverage, recovered | leverage, true rows "
        "|\n"
        "|---|---|---|---|---|---|---|\n",
        chosen);
    for (const Regression& of : all) {
      for (const std::uint64_t number : buckets) {
        SketchConfig config = suggested;
        config.buckets = number;
        const Result result = measure(of, config, {chosen}, seeds, row_error).front();
        std::cout << fmt::format("| {} | {} | {:.3f} | {} | {} | {} | {} |\n", of.name, number, row_error,
                                 result.norm.text(), result.norm_true_rows.text(), result.leverage.text(),
                                 result.leverage_true_rows.text())
                  << std::flush;
      }
    }
    std::cout << "\n## No draws: the solution by the Gram sketch alone\n\n"
                 "| regression | B' = 128 | 512 | 2048 |\n|---|---|---|---|\n";
    for (const Regression& of : all) {
      std::cout << fmt::format("| {} |", of.name);
      for (const std::uint64_t number : {128U, 512U, 2048U})
        std::cout << fmt::format(" {} |", of_gram_sketch(of, number, seeds).text());
      std::cout << std::endl;
    }
  });
}
