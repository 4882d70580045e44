// Are outputs of attention sparse? The error of the best approximation with few entries, or few rows.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "planted.hpp"
#include "study.hpp"
#include "weir/attention/comparison.hpp"
#include "weir/attention/exact.hpp"

namespace weir::experiments {
namespace {

Json measure_head(const Head& head) {
  const DenseMatrix exact = exact_attention(head.queries, head.keys, head.values);
  DenseMatrix centred = exact;
  for (std::uint64_t c = 0; c < exact.columns; ++c) {
    double sum = 0;
    for (std::uint64_t i = 0; i < exact.rows; ++i) sum += exact.values[i * exact.columns + c];
    for (std::uint64_t i = 0; i < exact.rows; ++i)
      centred.values[i * exact.columns + c] -= sum / static_cast<double>(exact.rows);
  }
  Json points = Json::array();
  for (std::uint64_t k = 1; k < exact.rows; k *= 2)
    points.push_back({{"k", k},
                      {"columns", quantile(best_sparse_errors(exact, k), 0.5)},
                      {"columns_least", quantile(best_sparse_errors(exact, k), 0)},
                      {"columns_centred", quantile(best_sparse_errors(centred, k), 0.5)},
                      {"rows", best_rows_error(exact, k)},
                      {"rows_centred", best_rows_error(centred, k)}});
  return {{"n", exact.rows}, {"mean_only", mean_only_error(exact)}, {"points", points}};
}

void measure(const Study& study, Parts& parts) {
  for (const Head& head : study.heads) parts.part(head.name, [&] { return measure_head(head); });
  parts.part("planted", [] { return measure_head(make_planted({})); });
}

/// Heads of one network are drawn alike: "layer1_head0" and "layer2_head3" are of one family.
std::string family(const std::string& head) {
  if (head.starts_with("layer")) return "text recogniser, d = 15";
  if (head.starts_with("kwt1")) return "speech network, d = 64";
  if (head.starts_with("lm_rope")) return "rotary positions, d = 64";
  if (head == "planted") return "planted, k = 32";
  return head;
}

std::vector<Figure> draw(const Json& parts) {
  plot::Grid grid{.title = "Are outputs sparse? Errors of the best sparse approximation",
                  .columns = 2,
                  .share_x = true,
                  .share_y = true};
  for (const auto& [field, title] : {std::pair{"columns", "k entries of each column (median column)"},
                                     {"rows", "k whole rows"},
                                     {"columns_centred", "k entries of each column, less its mean"},
                                     {"rows_centred", "k whole rows, less the mean row"}}) {
    plot::Chart chart{.title = title,
                      .x = {.label = "k / n", .scale = plot::Scale::logarithmic},
                      .y = {.label = "relative error", .least = 0, .most = 1.03}};
    for (const auto& [head, part] : parts.items()) {
      plot::Series series{.name = family(head), .marker = plot::Marker::none};
      if (head == "planted") series.line = plot::Line::dashed;
      for (const Json& p : part.at("points")) add_point(series, number(p, "k") / number(part, "n"), number(p, field));
      chart.series.push_back(series);
    }
    grid.charts.push_back(chart);
  }
  grid.notes = {
      "Exact outputs. A line is a head. Planted: 32 of 4096 queries have a score of 6 with a heavy key of their own."};
  return {{"sparsity.svg", plot::to_svg(grid, {900, 200})}};
}

std::string table(const Json& parts) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [head, part] : parts.items()) {
    std::vector<std::string> row{head, digits(number(part, "n"), 6), digits(number(part, "mean_only"))};
    for (const double k : {32.0, 128.0, 512.0})
      for (const char* field : {"columns", "columns_centred", "rows_centred"})
        for (const Json& p : part.at("points"))
          if (number(p, "k") == k) row.push_back(digits(number(p, field)));
    rows.push_back(row);
  }
  return markdown({"head", "n", "mean only", "k = 32: columns", "less mean", "rows less mean", "128: columns",
                   "less mean", "rows less mean", "512: columns", "less mean", "rows less mean"},
                  rows);
}

}  // namespace

Experiment sparsity() { return {"sparsity", "best sparse approximations of outputs against k", measure, draw, table}; }

}  // namespace weir::experiments
