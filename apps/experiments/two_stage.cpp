// How good are pairs drawn in two stages? The experiment behind the note in weir/sample/two_stage.hpp and behind
// suggest_pairs_config: README.md beside it says how to run it and what came out.

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include "program.hpp"
#include "vectors.hpp"
#include "weir/sample/dense_tensor.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sample/two_stage.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;

struct Operands {
  std::string name;
  DenseMatrix a1;
  DenseMatrix a2;  ///< As many columns as A1: X is the identity.
};

/// Rows that are alike (normal), of lengths 1/rank (zipf), or with one row of either factor as long as all others
/// together (dominant).
std::vector<Operands> operands(std::uint64_t n1, std::uint64_t n2, std::uint64_t d) {
  const auto weighted = [d](DenseMatrix matrix, const auto& weight) {
    for (std::size_t k = 0; k < matrix.values.size(); ++k) matrix.values[k] *= weight(k / d);
    return matrix;
  };
  const auto all = [&](const std::string& name, const auto& weight) {
    return Operands{name, weighted(normal_matrix(n1, d, 1), [&](std::size_t i) { return weight(i, n1); }),
                    weighted(normal_matrix(n2, d, 2), [&](std::size_t i) { return weight(i, n2); })};
  };
  return {
      all("normal", [](std::size_t, std::uint64_t) { return 1.0; }),
      all("zipf", [](std::size_t i, std::uint64_t) { return 1.0 / static_cast<double>(i + 1); }),
      all("dominant", [](std::size_t i, std::uint64_t n) { return i == 0 ? std::sqrt(static_cast<double>(n)) : 1.0; })};
}

void add_rows(RowsSketch& sketch, const DenseMatrix& matrix) {
  std::vector<std::uint64_t> rows(static_cast<std::size_t>(matrix.rows));
  std::iota(rows.begin(), rows.end(), std::uint64_t{0});
  sketch.update_rows(rows, std::vector<double>(rows.size(), 1.0), matrix.values);
}

KroneckerSketch sketch_of(const Operands& of, const SketchConfig& config, const GramConfig& gram) {
  KroneckerSketch sketch({.n1 = of.a1.rows, .n2 = of.a2.rows, .d1 = of.a1.columns, .d2 = of.a2.columns}, config, gram);
  add_rows(sketch.a1, of.a1);
  add_rows(sketch.a2, of.a2);
  return sketch;
}

DenseTensor dense_of(const Operands& of) {
  DenseTensor tensor(std::vector{of.a1.rows, of.a2.rows}, std::vector{of.a1.columns, of.a2.columns});
  std::ranges::copy(of.a1.values, tensor.factors[0].table().begin());
  std::ranges::copy(of.a2.values, tensor.factors[1].table().begin());
  return tensor;
}

/// y, [i1][i2].
std::vector<double> entries_of(const Operands& of) {
  const std::uint64_t d = of.a1.columns;
  std::vector<double> y;
  for (std::uint64_t i1 = 0; i1 < of.a1.rows; ++i1) {
    for (std::uint64_t i2 = 0; i2 < of.a2.rows; ++i2) {
      const double* a = of.a1.values.data() + i1 * d;
      y.push_back(std::inner_product(a, a + d, of.a2.values.data() + i2 * d, 0.0));
    }
  }
  return y;
}

void law_table(double seconds) {
  constexpr std::uint64_t n1 = 1024;
  constexpr std::uint64_t n2 = 768;
  std::cout << "## Law and values (n1 = 1024, n2 = 768, d = 8, X = I, 16 lanes, R = 5, T = 1)\n\n"
               "| operands | B | B' | pairs | TV | of exact draws | distortion | can see | row error | value | "
               "first stage | pairs a sketch |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const Operands& of : operands(n1, n2, 8)) {
    const std::vector<double> y = entries_of(of);
    const Cells cells = make_cells(y, 2);
    const DenseTensor dense = dense_of(of);
    const Metric metric = metric_through({8, 8, dense.core()}, dense.factors[1].gram());
    const auto cell_of = [&](const Draw& draw) { return cells.of_key[draw.index * n2 + *draw.column]; };
    const auto measure = [&](std::uint64_t buckets, const GramConfig& gram) {
      std::vector<double> counts(cells.probability.size());
      double pairs = 0;
      double rows = 0;
      double row_errors = 0;
      double value_errors = 0;
      std::uint64_t sketches = 0;
      const double end = now() + seconds;
      while (now() < end) {
        const SketchConfig config{.dimension = n1, .buckets = buckets, .seed = ++sketches};
        const KroneckerSketch sketch = sketch_of(of, config, gram);
        for (const Draw& draw : draw_pairs(sketch, {.samples = config.lanes}).draws) {
          counts[cell_of(draw)] += 1;
          pairs += 1;
          value_errors += std::min(1.0, std::pow(draw.value / y[draw.index * n2 + *draw.column] - 1, 2));
        }
        for (const Draw& draw :
             draw_rows(sketch.a1.draws, metric, {metric.total(sketch.a1.gram())}, {.samples = config.lanes}).draws) {
          std::vector<double> error = draw.row;
          const double* truth = of.a1.values.data() + draw.index * 8;
          for (std::size_t j = 0; j < error.size(); ++j) error[j] -= truth[j];
          row_errors += metric.of_row(error) / metric.of_row({truth, 8});
          rows += 1;
        }
      }
      std::vector<double> exact(counts.size());
      for (const Draw& draw : draw_pairs(dense, {.samples = static_cast<std::uint32_t>(pairs), .seed = 1}).draws) {
        exact[cell_of(draw)] += 1;
      }
      double squared = 0;
      double used = 0;
      for (std::size_t cell = 0; cell < counts.size(); ++cell) {
        if (!(cells.probability[cell] > 0)) continue;
        squared += std::pow(counts[cell] / pairs - cells.probability[cell], 2) / cells.probability[cell];
        used += 1;
      }
      std::cout
          << fmt::format(
                 "| {} | {} | {} | {} | {:.4f} | {:.4f} | {:.4f} | {:.4f} | {:.3f} | {:.3f} | {:.3f} | {:.2f} |\n",
                 of.name, buckets, gram.exact ? "exact" : std::to_string(gram.buckets), pairs,
                 total_variation(counts, cells.probability), total_variation(exact, cells.probability),
                 std::sqrt(std::max(0.0, squared - (used - 1) / pairs)), std::sqrt(std::sqrt(2 * (used - 1)) / pairs),
                 std::sqrt(row_errors / rows), std::sqrt(value_errors / pairs),
                 rows / (15 * static_cast<double>(sketches)), pairs / static_cast<double>(sketches))
          << std::flush;
    };
    for (const std::uint64_t buckets : {64U, 128U, 256U, 512U, 1024U}) measure(buckets, {.buckets = 2, .exact = true});
    measure(512, {.buckets = 2048});
  }
}

/// The law of i1 in the metric that a Gram sketch makes, against the exact one; no draws.
void gram_table() {
  constexpr std::uint64_t n1 = 2000;
  constexpr std::uint64_t n2 = 20000;
  constexpr int sketches = 20;
  std::cout << "\n## The law of i1 by the error of the Gram sketch (n1 = 2000, n2 = 20,000, 20 sketches)\n\n"
               "| operands | d | B' | mean TV | 0.4 sqrt(2 / (5 B')) |\n|---|---|---|---|---|\n";
  for (const std::uint64_t d : {8U, 64U}) {
    for (const Operands& of : operands(n1, n2, d)) {
      const auto law = [&](const DenseMatrix& gram) {
        const Metric metric = Metric::of(gram, "G2");
        std::vector<double> masses;
        for (std::uint64_t i = 0; i < n1; ++i) masses.push_back(metric.of_row({of.a1.values.data() + i * d, d}));
        const double total = std::accumulate(masses.begin(), masses.end(), 0.0);
        for (double& mass : masses) mass /= total;
        return masses;
      };
      const std::vector<double> exact = law(dense_of(of).factors[1].gram());
      for (const std::uint64_t buckets : {128U, 512U, 2048U, 8192U}) {
        double sum = 0;
        for (std::uint64_t seed = 1; seed <= sketches; ++seed) {
          RowsSketch sketch({.dimension = n2, .buckets = 2, .lanes = 1, .seed = seed}, d, {.buckets = buckets});
          add_rows(sketch, of.a2);
          sum += total_variation(law(sketch.gram()), exact);
        }
        std::cout << fmt::format("| {} | {} | {} | {:.4f} | {:.4f} |\n", of.name, d, buckets, sum / sketches,
                                 0.4 * std::sqrt(0.4 / static_cast<double>(buckets)))
                  << std::flush;
      }
    }
  }
}

void failure_table(double seconds) {
  constexpr std::uint64_t n = 128;
  std::cout
      << "\n## Pairs and failures (normal, n1 = n2 = 128, d = 4, epsilon = 0.1, T = 1)\n\n"
         "| samples | promised | B | B' | lanes | exact | trials | observed |\n|---|---|---|---|---|---|---|---|\n";
  const Operands of = operands(n, n, 4).front();
  for (const std::uint32_t samples : {1U, 4U, 8U, 32U}) {
    for (const double failure : {0.1, 0.01}) {
      const PairsConfig suggested =
          suggest_pairs_config({.dimension = n, .samples = samples, .failure = failure}, n, false);
      std::uint64_t trials = 0;
      double failed = 0;
      const double end = now() + 3 * seconds;
      while (now() < end) {
        SketchConfig config = suggested.sketch;
        config.seed = ++trials;
        failed += draw_pairs(sketch_of(of, config, suggested.gram), {.samples = samples}).draws.size() < samples;
      }
      const double one = binomial_lower_tail(suggested.sketch.lanes - 1, -std::expm1(-1.0), samples);
      std::cout << fmt::format("| {} | {} | {} | {} | {} | {:.4f} | {} | {:.4f} |\n", samples, failure,
                               suggested.sketch.buckets, suggested.gram.buckets, suggested.sketch.lanes,
                               1 - (1 - one) * (1 - one), trials, failed / static_cast<double>(trials))
                << std::flush;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Calibration of draws of pairs in two stages: Markdown tables on stdout", "weir_two_stage");
  double seconds = 4;
  app.add_option("--seconds", seconds, "Time for one row of the first table; the whole takes about 45 times that")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  return run_program(app, argc, argv, [&] {
    law_table(seconds);
    gram_table();
    failure_table(seconds);
  });
}
