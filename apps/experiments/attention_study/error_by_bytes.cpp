// Error against bytes, of our states and of what else could be kept.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "study.hpp"
#include "weir/attention/causal.hpp"
#include "weir/attention/exact.hpp"
#include "weir/attention/polynomial.hpp"
#include "weir/error.hpp"

namespace weir::experiments {
namespace {

constexpr std::array methods{"anisotropic",     "uniform", "value_norm", "window",
                             "random_features", "balance", "polynomial"};

constexpr double least_bytes = 7000;  ///< Of what is drawn: some states of 8 KiB do not fill them.

/// Powers of 2 from 8 KiB on, below the bytes of all keys and values: with those an answer is exact.
std::vector<std::uint64_t> budgets_of(const Head& head, bool quick) {
  std::vector<std::uint64_t> budgets;
  for (std::uint64_t budget = quick ? 16384 : 8192; budget <= 1048576 && budget < head.cache_bytes();
       budget *= quick ? 4 : 2)
    budgets.push_back(budget);
  return budgets;
}

/// All monomials up to a degree, about the means of all queries and of all keys, which favours it.
void run_polynomials(const Head& head, const DenseMatrix& exact, Json& out) {
  const std::uint64_t d = head.keys.columns;
  const auto mean = [&](const DenseMatrix& matrix) {
    std::vector<double> sums(d, 0);
    for (std::size_t t = 0; t < matrix.values.size(); ++t)
      sums[t % d] += matrix.values[t] / static_cast<double>(matrix.rows);
    return sums;
  };
  const Centres centres{mean(head.queries), mean(head.keys)};
  for (std::uint32_t degree = 1; degree <= 12; ++degree) {
    const PolynomialConfig config{.dimension = d, .degree = degree, .centres = centres};
    const std::uint64_t bytes = sizeof(float) * (config.features() * (head.values.columns + 1) + 2 * d);
    if (bytes > 1048576 || bytes >= head.cache_bytes()) return;
    PolynomialState state(config, head.values.columns, bytes);
    Json run{{"method", "polynomial"}, {"budget", bytes}, {"bytes", bytes}, {"degree", degree}};
    try {
      state.add(head.keys, head.values);
      run.update(errors_of(exact, state.answer(head.queries)));
    } catch (const InputError&) {
      run["error"] = nullptr;  // a denominator is not positive, or a feature is larger than floats are
    }
    out.push_back(run);
  }
}

/// Query t from the tokens up to t, with a window as `weir attend --causal` chooses it.
Json run_causal(const Head& head, const DenseMatrix& exact, std::uint64_t budget) {
  const std::uint64_t d = head.keys.columns;
  const std::uint64_t dv = head.values.columns;
  const std::uint64_t row_bytes = sizeof(float) * (d + dv);
  CausalOptions causal{.window = std::min<std::uint64_t>(CausalAttention::block, budget / 8 / row_bytes)};
  AnisotropicOptions options{.d = d, .dv = dv};
  options.expected_rows = head.keys.rows;
  const auto fit = [&] {
    options.budget = budget - sizeof(float) * causal_numbers(causal, d, dv);
    const std::uint64_t rows = 2 * options.calibration_rows;
    return AnisotropicCalibration::fit(options, first_rows(head.queries, rows), first_rows(head.keys, rows),
                                       first_rows(head.values, rows));
  };
  try {
    auto calibration = fit();
    if (calibration.varied_directions() > 20) {
      causal.window = budget * 5 / 8 / row_bytes;
      calibration = fit();
    }
    CausalAttention attention(AnisotropicState(calibration), causal, 0, {}, {});
    DenseMatrix outputs{head.queries.rows, dv, {}};
    for (std::uint64_t first = 0; first < head.keys.rows; first += CausalAttention::block) {
      const std::uint64_t count = std::min(CausalAttention::block, head.keys.rows - first);
      const auto block = [&](const DenseMatrix& matrix) {
        return std::span(matrix.values).subspan(first * matrix.columns, count * matrix.columns);
      };
      const AnisotropicAnswers answers =
          attention.answer(block(head.queries), block(head.keys), block(head.values), {});
      outputs.values.insert(outputs.values.end(), answers.outputs.values.begin(), answers.outputs.values.end());
    }
    Json run{{"method", "anisotropic"}, {"budget", budget}, {"bytes", budget}, {"window", causal.window}};
    run.update(errors_of(exact, outputs));
    run["clusters"] = calibration.clusters();
    run["features"] = calibration.features();
    return run;
  } catch (const UsageError&) {
    return {};  // too few bytes
  }
}

Json measure_head(const Head& head, bool causal, bool quick) {
  const DenseMatrix exact = exact_attention(head.queries, head.keys, head.values, {.causal = causal});
  Json runs = Json::array();
  for (const std::uint64_t budget : budgets_of(head, quick)) {
    runs.push_back(causal ? run_causal(head, exact, budget) : run_anisotropic(head, exact, {.budget = budget}));
    for (const Peer peer : all_peers()) runs.push_back(run_peer(head, exact, peer, budget, causal));
  }
  if (!causal) run_polynomials(head, exact, runs);
  std::erase_if(runs.get_ref<Json::array_t&>(), [](const Json& run) { return run.is_null(); });
  return {{"tokens", head.keys.rows}, {"d", head.keys.columns}, {"cache_bytes", head.cache_bytes()}, {"runs", runs}};
}

constexpr std::array<std::pair<bool, std::string_view>, 2> kinds{{{false, "all"}, {true, "causal"}}};

void measure(const Study& study, Parts& parts) {
  for (const Head& head : study.heads)
    for (const auto& [causal, kind] : kinds)
      parts.part(fmt::format("{}/{}", head.name, kind),
                 [&, is_causal = causal] { return measure_head(head, is_causal, study.quick); });
}

std::vector<Figure> draw(const Json& parts) {
  std::vector<Figure> figures;
  for (const auto& [causal, kind] : kinds) {
    plot::Grid grid{.title = causal ? "Error of causal attention against the bytes that are kept"
                                    : "Error of attention against the bytes that are kept",
                    .columns = 4,
                    .share_x = true,
                    .share_y = true};
    for (const auto& [key, part] : parts.items()) {
      if (!key.ends_with(fmt::format("/{}", kind))) continue;
      plot::Chart chart{.title = key.substr(0, key.find('/')),
                        .x = {.label = "bytes", .scale = plot::Scale::logarithmic, .unit = plot::Unit::bytes},
                        .y = {.label = "relative error", .scale = plot::Scale::logarithmic, .most = 3}};
      for (const char* method : methods) {
        plot::Series series = series_of_method(method);
        for (const Json& run : part.at("runs"))
          if (run.at("method") == method && number(run, "bytes") >= least_bytes)
            add_point(series, number(run, "bytes"), number(run, "error"));
        if (!series.x.empty()) chart.series.push_back(series);
      }
      chart.vertical = {{number(part, "cache_bytes"), "all"}};
      grid.charts.push_back(chart);
    }
    grid.notes = {
        "Relative Frobenius error against exact softmax attention. The dotted line is where all keys and values fit."};
    figures.push_back({fmt::format("error_by_bytes{}.svg", causal ? "_causal" : ""), plot::to_svg(grid, {900, 150})});
  }
  return figures;
}

std::string table(const Json& parts) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, part] : parts.items())
    for (const double budget : {16384.0, 65536.0, 262144.0}) {
      std::vector<std::string> row{key, bytes_text(budget)};
      for (const char* method : methods) {
        // Of polynomials the best that fits.
        double error = std::nan("");
        for (const Json& run : part.at("runs"))
          if (run.at("method") == method && number(run, "budget") <= budget &&
              (method == std::string_view("polynomial") || number(run, "budget") == budget))
            error = std::fmin(error, number(run, "error"));
        row.push_back(digits(error));
      }
      if (std::any_of(row.begin() + 2, row.end() - 1, [](const std::string& cell) { return cell != "-"; }))
        rows.push_back(row);
    }
  std::vector<std::string> headers{"head", "bytes"};
  headers.insert(headers.end(), methods.begin(), methods.end());
  return markdown(headers, rows);
}

}  // namespace

Experiment error_by_bytes() {
  return {"error_by_bytes", "error against bytes of all methods, for all queries and causal", measure, draw, table};
}

}  // namespace weir::experiments
