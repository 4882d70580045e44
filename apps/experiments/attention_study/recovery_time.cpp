// Time of recovery, against the number of queries and the number of non-zeros.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "study.hpp"
#include "weir/attention/recovery.hpp"

namespace weir::experiments {
namespace {

constexpr std::uint64_t columns = 16;

/// Noise, with k large entries in each column.
DenseMatrix outputs_of(std::uint64_t n, std::uint64_t k) {
  DenseMatrix outputs = gaussian(n, columns, 0.05, 3);
  for (std::uint64_t c = 0; c < columns; ++c)
    for (std::uint64_t t = 0; t < k; ++t) outputs.values[(t * 7919 + c * 1009) % n * columns + c] += 2;
  return outputs;
}

Json measure_case(std::uint64_t n, std::uint64_t k, int repetitions) {
  const DenseMatrix outputs = outputs_of(n, k);
  const auto rows = row_numbers(n);
  const PhiSize size = phi_size(0.5, k, n);
  const RecoveryOptions options{.k = k};
  // The least of some runs: others use the machine too.
  const auto least = [&](const std::function<void()>& work) {
    double seconds = seconds_of(work);
    for (int run = 1; run < repetitions; ++run) seconds = std::min(seconds, seconds_of(work));
    return seconds;
  };
  OutputSketch sketch(Phi(n, size.rows, size.buckets, 1), columns);
  Json out{{"n", n}, {"k", k}, {"rows", size.rows}, {"buckets", size.buckets}};
  out["sketch"] = seconds_of([&] { sketch.add(rows, outputs); });
  SparseOutputs candidates;
  out["candidates"] = least([&] { candidates = recovery_candidates(sketch, options); });
  out["decoding"] = least([&] { (void)refine_candidates(sketch, candidates, options); });
  out["direct"] = least([&] {
    LargestOutputs largest(n, columns, options);
    largest.add(rows, outputs);
    (void)largest.outputs();
  });
  return out;
}

void measure(const Study& study, Parts& parts) {
  const int largest = study.quick ? 16 : 20;
  const std::uint64_t n_of_k = std::uint64_t{1} << (study.quick ? 14U : 17U);
  for (int power = 10; power <= largest; power += 2) {
    const std::uint64_t n = std::uint64_t{1} << static_cast<unsigned>(power);
    parts.part(fmt::format("n/{}", n), [&] { return measure_case(n, 32, 3); });
  }
  for (std::uint64_t k = 4; k <= 1024; k *= study.quick ? 16 : 4)
    parts.part(fmt::format("k/{}", k), [&] { return measure_case(n_of_k, k, 3); });
}

std::vector<Figure> draw(const Json& parts) {
  plot::Grid grid{.title = "Time of recovery", .columns = 2, .share_y = true};
  for (const std::string axis : {"n", "k"}) {
    plot::Chart chart{.x = {.label = axis == "n" ? "queries n (k = 32)" : "non-zeros k of a column",
                            .scale = plot::Scale::logarithmic},
                      .y = {.label = "time", .scale = plot::Scale::logarithmic, .unit = plot::Unit::seconds}};
    std::uint64_t n = 0;
    for (const auto& [field, name, colour] : {std::tuple{"sketch", "outputs are sketched", 6U},
                                              {"candidates", "candidates are found", 0U},
                                              {"decoding", "candidates are decoded", 1U},
                                              {"direct", "without a sketch: the k largest of all outputs", 2U}}) {
      plot::Series series{.name = name, .colour = colour};
      for (const auto& [key, part] : parts.items())
        if (key.starts_with(axis + "/")) {
          add_point(series, number(part, axis), number(part, field));
          n = part.at("n").get<std::uint64_t>();
        }
      chart.series.push_back(series);
    }
    chart.title = axis == "n" ? "against n, k = 32" : fmt::format("against k, n = {}", n);
    grid.charts.push_back(chart);
  }
  grid.notes = {
      "16 columns on one core, the least of three runs; m1 by the formula for eps1 = 0.5, in proportion to k."};
  return {{"recovery_time.svg", plot::to_svg(grid, {900, 240})}};
}

std::string table(const Json& parts) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, part] : parts.items())
    rows.push_back({digits(number(part, "n"), 8), digits(number(part, "k"), 5),
                    fmt::format("{} x {}", part.at("rows").get<int>(), part.at("buckets").get<int>()),
                    digits(1e3 * number(part, "sketch"), 3), digits(1e3 * number(part, "candidates"), 3),
                    digits(1e3 * number(part, "decoding"), 3), digits(1e3 * number(part, "direct"), 3)});
  return markdown({"n", "k", "Phi", "sketch, ms", "candidates, ms", "decoding, ms", "direct, ms"}, rows);
}

}  // namespace

Experiment recovery_time() {
  return {"recovery_time", "time of recovery and decoding against n and k", measure, draw, table};
}

}  // namespace weir::experiments
