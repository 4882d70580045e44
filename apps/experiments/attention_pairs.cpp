// Pairs (query, key) drawn by their squared score while queries arrive token by token: both ways of drawing them, on real
// heads, against the exact law. README.md beside it says how to run it and what came out.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <ctime>
#include <functional>
#include <iostream>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "program.hpp"
#include "vectors.hpp"
#include "weir/sample/dense_tensor.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sample/two_stage.hpp"
#include "weir/state/streamed_factor.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;

/// Of this thread of the process: other work on the machine does not count.
double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Queries that arrive one by one, and leave when `window` younger ones have come; keys that are there before.
struct Stream {
  std::string name;
  DenseMatrix queries;  ///< A1: n1 x d
  DenseMatrix keys;     ///< A2: n2 x d
  std::size_t window = 0;
  std::vector<std::size_t> moments;  ///< Numbers of queries that have arrived when something is asked.

  [[nodiscard]] std::size_t d() const { return keys.columns; }
  [[nodiscard]] std::size_t first_held(std::size_t arrived) const { return arrived - std::min(arrived, window); }
  [[nodiscard]] std::span<const double> query(std::size_t i) const {
    return std::span(queries.values).subspan(i * d(), d());
  }
  [[nodiscard]] std::span<const double> key(std::size_t j) const {
    return std::span(keys.values).subspan(j * d(), d());
  }
  [[nodiscard]] double score(std::size_t i, std::size_t j) const {
    return std::inner_product(query(i).begin(), query(i).end(), key(j).begin(), 0.0) / std::sqrt(d());
  }
  [[nodiscard]] KroneckerShape shape() const { return {queries.rows, keys.rows, d(), d()}; }
  /// X = I / sqrt(d).
  [[nodiscard]] DenseMatrix core() const {
    DenseMatrix core{d(), d(), std::vector<double>(d() * d())};
    for (std::size_t j = 0; j < d(); ++j) core.values[j * (d() + 1)] = 1 / std::sqrt(d());
    return core;
  }

  /// Calls add(rows of A1, weights, values) for one query after the other: the query, and the one that leaves.
  template <class Add>
  void arrive(std::size_t first, std::size_t last, const Add& add) const {
    std::vector<std::uint64_t> rows;
    std::vector<double> values;
    for (std::size_t t = first; t < last; ++t) {
      rows.assign(1, t);
      values.assign(query(t).begin(), query(t).end());
      if (t >= window) {
        rows.push_back(t - window);
        values.insert(values.end(), query(t - window).begin(), query(t - window).end());
      }
      add(rows, std::span<const double>(std::array{1.0, -1.0}).first(rows.size()), values);
    }
  }
};

DenseMatrix rows_of(const DenseMatrix& matrix, std::size_t first, std::size_t count) {
  const auto begin = matrix.values.begin() + static_cast<std::ptrdiff_t>(first * matrix.columns);
  return {count, matrix.columns, {begin, begin + static_cast<std::ptrdiff_t>(count * matrix.columns)}};
}

/// Two streams of one head: all queries against all keys, as queries arrive; and the keys of the first quarter of the
/// tokens as a knowledge base, for a window of the queries of the others.
std::vector<Stream> streams_of(const QueriesAndKeys& head) {
  const auto& [name, queries, keys] = head;
  const std::size_t n = queries.rows;
  const std::size_t base = n / 4;
  return {{name, queries, keys, n, {n / 8, n / 4, n / 2, n}},
          {name, rows_of(queries, base, n - base), rows_of(keys, 0, base), n / 8, {n / 8, n / 4, n - base}}};
}

constexpr std::size_t blocks = 4;
constexpr std::size_t octaves = 16;

/// The exact law at one moment, in two partitions of the entries.
struct Law {
  const Stream* stream = nullptr;
  std::size_t arrived = 0;
  double squares = 0;
  std::vector<double> by_place = std::vector<double>(blocks * blocks);  ///< Blocks of the queries held and of keys.
  std::vector<double> by_size = std::vector<double>(octaves);           ///< Octaves of y^2 / its mean, 2^-12 to 2^3.

  Law(const Stream& of, std::size_t arrived_now) : stream(&of), arrived(arrived_now) {
    const std::size_t first = of.first_held(arrived);
    std::vector<double> y((arrived - first) * of.keys.rows);
    std::size_t at = 0;
    for (std::size_t i = first; i < arrived; ++i) {
      for (std::size_t j = 0; j < of.keys.rows; ++j, ++at) {
        y[at] = of.score(i, j);
        squares += y[at] * y[at];
      }
    }
    at = 0;
    for (std::size_t i = first; i < arrived; ++i) {
      for (std::size_t j = 0; j < of.keys.rows; ++j, ++at) {
        by_place[place(i, j)] += y[at] * y[at] / squares;
        by_size[octave(y[at])] += y[at] * y[at] / squares;
      }
    }
  }
  [[nodiscard]] std::size_t held() const { return arrived - stream->first_held(arrived); }
  [[nodiscard]] bool holds(std::uint64_t i) const { return i < arrived && i >= stream->first_held(arrived); }
  [[nodiscard]] std::size_t place(std::size_t i, std::size_t j) const {
    return (i - stream->first_held(arrived)) * blocks / held() * blocks + j * blocks / stream->keys.rows;
  }
  [[nodiscard]] std::size_t octave(double y) const {
    const double ratio = y * y * static_cast<double>(held() * stream->keys.rows) / squares;
    return static_cast<std::size_t>(ratio > 0 ? std::clamp(std::ilogb(ratio) + 12, 0, int{octaves} - 1) : 0);
  }
};

/// Draws of one method at one moment, of all seeds.
struct Tally {
  std::vector<double> by_place = std::vector<double>(blocks * blocks);
  std::vector<double> by_size = std::vector<double>(octaves);
  double draws = 0;
  double outside = 0;         ///< Of queries that are not held.
  double squared_errors = 0;  ///< Of values, relative to the true ones; at most 1 each.
  double verified_error = 0;  ///< Largest error of the values verified: relative, and absolute where the truth is 0.
  double squared_norm_error = 0;  ///< Relative, one for each seed.
  double query_seconds = 0;

  void add(const Law& law, std::uint64_t i, std::uint64_t j, double value) {
    draws += 1;
    if (!law.holds(i)) {
      outside += 1;
      return;
    }
    const double truth = law.stream->score(i, j);
    by_place[law.place(i, j)] += 1;
    by_size[law.octave(truth)] += 1;
    squared_errors += std::min(1.0, std::pow(value / truth - 1, 2));
  }
  void add_norm(const Law& law, double norm) { squared_norm_error += std::pow(norm / std::sqrt(law.squares) - 1, 2); }
};

struct Method {
  std::vector<Tally> moments;
  double ingest_seconds = 0;
  double state_bytes = 0;
};

void draw_streaming(const Stream& stream, const std::vector<Law>& laws, SketchConfig config, Method& streaming) {
  StreamedFactor factor(stream.shape(), Operand::A1, stream.core(), {});
  EventBatch batch;
  for (std::size_t j = 0; j < stream.keys.rows; ++j) batch.rows.push_back(Operand::A2, j, 1, stream.key(j));
  factor.add_fixed(batch);
  factor.multiply();
  VectorSketch y(config);
  const std::uint64_t n2 = stream.keys.rows;
  // The sketch, B, and the queries for the verification.
  streaming.state_bytes = 8.0 * static_cast<double>(config.table_size() + (n2 + stream.queries.rows) * stream.d());
  std::size_t arrived = 0;
  for (std::size_t m = 0; m < laws.size(); ++m) {
    double start = processor_seconds();
    stream.arrive(arrived, laws[m].arrived, [&](auto& rows, auto weights, auto& values) {
      batch.clear();
      for (std::size_t t = 0; t < rows.size(); ++t)
        batch.rows.push_back(Operand::A1, rows[t], weights[t], std::span(values).subspan(t * stream.d(), stream.d()));
      factor.add_events(batch, y);
    });
    streaming.ingest_seconds += processor_seconds() - start;
    arrived = laws[m].arrived;

    start = processor_seconds();
    const SampleResult result = draw_with_replacement(y, {.samples = config.lanes});
    std::vector<std::uint64_t> rows;
    std::vector<std::uint64_t> columns;
    for (const Draw& draw : result.draws) {
      rows.push_back(draw.index / n2);
      columns.push_back(draw.index % n2);
    }
    const std::vector<double> verified = factor.entries(factor.rows_of_streamed(rows), columns);
    Tally& tally = streaming.moments[m];
    tally.query_seconds += processor_seconds() - start;
    for (std::size_t t = 0; t < rows.size(); ++t) {
      tally.add(laws[m], rows[t], columns[t], result.draws[t].value);
      const double truth = laws[m].holds(rows[t]) ? stream.score(rows[t], columns[t]) : 0;
      const double error = std::abs(verified[t] - truth);
      tally.verified_error = std::max(tally.verified_error, truth == 0 ? error : error / std::abs(truth));
    }
    tally.add_norm(laws[m], result.norm);
  }
}

void draw_two_stage(const Stream& stream, const std::vector<Law>& laws, const PairsConfig& config, Method& two_stage,
                    std::vector<double>& squared_tensor_errors) {
  KroneckerSketch sketch(stream.shape(), config.sketch, config.gram);
  std::vector<std::uint64_t> all(stream.keys.rows);
  std::iota(all.begin(), all.end(), std::uint64_t{0});
  sketch.a2.update_rows(all, std::vector<double>(all.size(), 1.0), stream.keys.values);
  sketch.x = stream.core().values;
  sketch.x_events = static_cast<double>(stream.d());
  two_stage.state_bytes = 8.0 * static_cast<double>(KroneckerSketch::size(stream.shape(), config.sketch, config.gram));
  std::size_t arrived = 0;
  for (std::size_t m = 0; m < laws.size(); ++m) {
    double start = processor_seconds();
    stream.arrive(arrived, laws[m].arrived,
                  [&](auto& rows, auto weights, auto& values) { sketch.a1.update_rows(rows, weights, values); });
    two_stage.ingest_seconds += processor_seconds() - start;
    arrived = laws[m].arrived;

    start = processor_seconds();
    const SampleResult result = draw_pairs(sketch, {.samples = config.sketch.lanes});
    Tally& tally = two_stage.moments[m];
    tally.query_seconds += processor_seconds() - start;
    for (const Draw& draw : result.draws) tally.add(laws[m], draw.index, *draw.column, draw.value);
    tally.add_norm(laws[m], result.norm);
    const double tensor = std::sqrt(sketch.tensor().image().f2().value);
    squared_tensor_errors[m] += std::pow(tensor / std::sqrt(laws[m].squares) - 1, 2);
  }
}

/// Total variations of as many exact draws, over repetitions.
struct ExactDraws {
  struct Spread {
    double mean = 0;
    double deviation = 0;
  };
  Spread by_place;
  Spread by_size;
  double seconds = 0;  ///< Of one repetition.

  ExactDraws(const Law& law, double draws) {
    constexpr std::uint64_t repetitions = 20;
    const Stream& stream = *law.stream;
    DenseTensor dense(std::vector{stream.queries.rows, stream.keys.rows}, std::vector{stream.d(), stream.d()});
    std::ranges::copy(stream.keys.values, dense.factors[1].table().begin());
    const auto first = static_cast<std::ptrdiff_t>(stream.first_held(law.arrived) * stream.d());
    const auto last = static_cast<std::ptrdiff_t>(law.arrived * stream.d());
    std::copy(stream.queries.values.begin() + first, stream.queries.values.begin() + last,
              dense.factors[0].table().begin() + first);
    dense.x = stream.core().values;
    dense.x_events = static_cast<double>(stream.d());
    const auto add = [](Spread& spread, double value) {
      spread.mean += value / repetitions;
      spread.deviation += value * value / repetitions;
    };
    for (std::uint64_t seed = 1; seed <= repetitions; ++seed) {
      const double start = processor_seconds();
      const SampleResult result = draw_pairs(dense, {.samples = static_cast<std::uint32_t>(draws), .seed = seed});
      seconds += (processor_seconds() - start) / repetitions;
      Tally tally;
      for (const Draw& draw : result.draws) tally.add(law, draw.index, *draw.column, draw.value);
      add(by_place, total_variation(tally.by_place, law.by_place));
      add(by_size, total_variation(tally.by_size, law.by_size));
    }
    for (Spread* spread : {&by_place, &by_size})
      spread->deviation = std::sqrt(std::max(0.0, spread->deviation - spread->mean * spread->mean));
  }
};

/// What drawing by squares means for attention, at the end of a stream: no sketch.
void meaning_row(const Law& law) {
  const Stream& stream = *law.stream;
  const std::size_t n2 = stream.keys.rows;
  std::vector<double> squares;
  std::vector<double> weights(n2);
  double negative = 0;
  double of_squares = 0;
  double of_softmax = 0;
  for (std::size_t i = stream.first_held(law.arrived); i < law.arrived; ++i) {
    double sum = 0;
    double row = 0;
    double weighted = 0;
    for (std::size_t j = 0; j < n2; ++j) {
      const double y = stream.score(i, j);
      weights[j] = std::exp(y);
      sum += weights[j];
      weighted += y * y * weights[j];
      row += weights[j] * weights[j];
      squares.push_back(y * y);
      if (y < 0) negative += y * y / law.squares;
    }
    of_squares += weighted / sum / law.squares * static_cast<double>(n2);
    of_softmax += row / (sum * sum) / static_cast<double>(law.held()) * static_cast<double>(n2);
  }
  const auto percent = static_cast<std::ptrdiff_t>(squares.size() / 100);
  std::nth_element(squares.begin(), squares.begin() + percent, squares.end(), std::greater<>());
  std::cout << fmt::format("| {} | {} x {} | {:.3f} | {:.3f} | {:.1f} | {:.1f} |\n", stream.name, law.held(), n2,
                           std::accumulate(squares.begin(), squares.begin() + percent, 0.0) / law.squares, negative,
                           of_squares, of_softmax);
}

struct Report {
  std::string law;
  std::string cost;
  double verified_error = 0;
};

Report run(const Stream& stream, const std::vector<Law>& laws, std::uint32_t samples, std::uint64_t seeds) {
  const std::uint64_t n1 = stream.queries.rows;
  const std::uint64_t n2 = stream.keys.rows;
  SketchConfig config = suggest_config({.dimension = n1 * n2, .samples = samples});
  config.row_length = n2;
  PairsConfig pairs = suggest_pairs_config({.dimension = n1, .samples = samples}, n2, true);
  pairs.gram.buckets = 2048;  // of the TensorSketch: with an exact Gram matrix the draws do not look at it
  Method streaming{.moments = std::vector<Tally>(laws.size())};
  Method two_stage{.moments = std::vector<Tally>(laws.size())};
  std::vector<double> squared_tensor_errors(laws.size());
  for (config.seed = 1; config.seed <= seeds; ++config.seed) {
    draw_streaming(stream, laws, config, streaming);
    pairs.sketch.seed = config.seed;
    draw_two_stage(stream, laws, pairs, two_stage, squared_tensor_errors);
  }

  Report report;
  double exact_seconds = 0;
  const auto count = static_cast<double>(seeds);
  for (std::size_t m = 0; m < laws.size(); ++m) {
    for (const Method* method : {&streaming, &two_stage}) {
      const Tally& tally = method->moments[m];
      const ExactDraws exact(laws[m], tally.draws);
      exact_seconds = exact.seconds;
      report.law +=
          fmt::format("| {} | {} | {} | {} | {:.3f} | {:.3f} +- {:.3f} | {:.3f} | {:.3f} +- {:.3f} | {:.3f} | {} |\n",
                      stream.name, laws[m].arrived, method == &streaming ? "streaming" : "two-stage", tally.draws,
                      total_variation(tally.by_place, laws[m].by_place), exact.by_place.mean, exact.by_place.deviation,
                      total_variation(tally.by_size, laws[m].by_size), exact.by_size.mean, exact.by_size.deviation,
                      std::sqrt(tally.squared_errors / tally.draws), tally.outside);
    }
  }
  const auto last = laws.size() - 1;
  const auto norm_error = [&](const Method& method) {
    double sum = 0;
    for (const Tally& tally : method.moments) sum += tally.squared_norm_error;
    return std::sqrt(sum / count / static_cast<double>(laws.size()));
  };
  const double tensor_error =
      std::sqrt(std::accumulate(squared_tensor_errors.begin(), squared_tensor_errors.end(), 0.0) / count /
                static_cast<double>(laws.size()));
  const auto queries = static_cast<double>(laws.back().arrived);
  const auto cost = [&](const char* name, const std::string& buckets, const std::string& lanes, double bytes,
                        double error, const std::string& times) {
    report.cost +=
        fmt::format("| {} | {} x {} | {} | {} | {} | {:.2f} | {:.3f} | {:.2g} | {} |\n", stream.name, n1, n2, name,
                    buckets, lanes, bytes / 0x1p20, bytes / 8 / static_cast<double>(n1 * n2), error, times);
  };
  const auto times = [&](const Method& method) {
    return fmt::format("{:.1f} | {:.0f}", 1e6 * method.ingest_seconds / count / queries,
                       1e3 * method.moments[last].query_seconds / count);
  };
  cost("streaming", std::to_string(config.buckets), std::to_string(config.lanes), streaming.state_bytes,
       norm_error(streaming), times(streaming));
  cost("two-stage", std::to_string(pairs.sketch.buckets), std::to_string(pairs.sketch.lanes), two_stage.state_bytes,
       norm_error(two_stage), times(two_stage));
  cost("TensorSketch", std::to_string(pairs.gram.buckets), "",
       8.0 * 5 * 2 * static_cast<double>(pairs.gram.buckets * stream.d()), tensor_error, "|");
  cost("exact", "", "", 8.0 * static_cast<double>((n1 + n2) * stream.d()), 0,
       fmt::format("| {:.0f}", 1e3 * exact_seconds));
  for (const Tally& tally : streaming.moments)
    report.verified_error = std::max(report.verified_error, tally.verified_error);
  return report;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Draws of pairs of a query and a key by their squared score, on real heads: Markdown tables on stdout",
               "weir_attention_pairs");
  HeadFiles files(app);
  std::uint32_t samples = 64;
  app.add_option("--samples", samples, "Draws that the sketches are sized for, with epsilon 0.1")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  std::uint64_t seeds = 10;
  app.add_option("--seeds", seeds, "Sketches of each method, whose draws are pooled")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  return run_program(app, argc, argv, [&] {
    std::vector<Stream> streams;
    for (const QueriesAndKeys& head : files.load(16))
      for (Stream& stream : streams_of(head)) streams.push_back(std::move(stream));
    std::vector<std::vector<Law>> laws;
    for (const Stream& stream : streams) {
      laws.emplace_back();
      for (const std::size_t arrived : stream.moments) laws.back().emplace_back(stream, arrived);
    }
    std::cout
        << "## What the law is\n\n"
           "| head | queries x keys | largest 1% hold | negative scores hold | softmax weight of a draw | of a draw "
           "by softmax |\n|---|---|---|---|---|---|\n";
    for (const std::vector<Law>& of_stream : laws) meaning_row(of_stream.back());
    std::cout << std::flush;
    std::vector<Report> reports;
    for (std::size_t s = 0; s < streams.size(); ++s) reports.push_back(run(streams[s], laws[s], samples, seeds));
    for (std::size_t kind = 0; kind < 2; ++kind) {
      std::cout << fmt::format(
          "\n## {}\n\n"
          "| head | queries arrived | method | draws | TV by place | of exact draws | TV by size | of "
          "exact draws | value | outside |\n|---|---|---|---|---|---|---|---|---|---|\n",
          kind == 0 ? "All queries, all keys" : "A fixed knowledge base, a window of live queries");
      for (std::size_t s = kind; s < reports.size(); s += 2) std::cout << reports[s].law;
    }
    std::cout << "\n## Cost\n\n"
                 "| head | queries x keys | method | B | lanes | MiB | of y's | norm | us a query | ms for the "
                 "draws |\n|---|---|---|---|---|---|---|---|---|---|\n";
    double verified_error = 0;
    for (const Report& report : reports) {
      std::cout << report.cost;
      verified_error = std::max(verified_error, report.verified_error);
    }
    std::cout << fmt::format("\nVerified values of `streaming`: largest relative error {:.1e}\n", verified_error);
  });
}
