// Where our states are not good, and what their estimates of errors say there.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "study.hpp"
#include "weir/attention/comparison.hpp"
#include "weir/attention/exact.hpp"

namespace weir::experiments {
namespace {

constexpr std::uint64_t tokens = 4096;

/// Scores of deviation 1 that vary in all of 64 directions alike.
Head isotropic_head() {
  Head head{"isotropic", gaussian(tokens, 64, 0.125, 21), gaussian(tokens, 64, 1, 22), gaussian(tokens, 64, 1, 23)};
  return head;
}

/// 32 keys that come after the calibration, each in a direction of its own. A quarter of the queries has a score of 4 to
/// 12 with one of them.
Head heavy_head() {
  constexpr std::uint64_t d = 15;
  constexpr std::uint64_t heavy = 32;
  Head head = make_head("heavy", {.tokens = tokens, .d = d, .dv = d, .deviations = {0.42, 0.15, 0.08}, .seed = 31});
  DenseMatrix directions = gaussian(heavy, d, 1, 35);
  const DenseMatrix values = gaussian(heavy, d, 2, 36);
  std::mt19937_64 words(37);
  for (std::uint64_t j = 0; j < heavy; ++j) {
    double squares = 0;
    for (std::uint64_t c = 0; c < d; ++c) squares += std::pow(directions.values[j * d + c], 2);
    const std::uint64_t token = 1100 + 90 * j;
    for (std::uint64_t c = 0; c < d; ++c) {
      double& direction = directions.values[j * d + c];
      direction /= std::sqrt(squares);
      head.keys.values[token * d + c] = 4 * direction;
      head.values.values[token * d + c] = values.values[j * d + c];
    }
  }
  for (std::uint64_t i = 0; i < tokens; i += 4) {
    const std::uint64_t j = words() % heavy;
    const double score = 4 + std::ldexp(static_cast<double>(words() >> 11U), -50);
    for (std::uint64_t c = 0; c < d; ++c) head.queries.values[i * d + c] = score / 4 * directions.values[j * d + c];
  }
  return head;
}

/// After the first 512 tokens, by which the state is calibrated, keys and queries move away in the direction in which
/// scores vary most, at last by `shift` deviations each.
Head drifting_head(double shift) {
  constexpr std::uint64_t d = 16;
  const double deviation = std::sqrt(0.42);
  Head head = make_head("drift", {.tokens = tokens, .d = d, .dv = d, .deviations = {0.42, 0.15, 0.08}, .seed = 41});
  for (std::uint64_t t = 512; t < tokens; ++t) {
    const double moved = shift * deviation * static_cast<double>(t - 512) / static_cast<double>(tokens - 512);
    head.queries.values[t * d] += moved;
    head.keys.values[t * d] += moved;
  }
  return head;
}

/// What is measured besides the error, its estimate, and the best of the peers.
struct Besides {
  bool without_queries = false;  ///< A calibration that sees keys and values alone.
  bool by_hand = false;          ///< A tenth of the budget for exact rows.
};

Json measure_case(const Head& head, std::uint64_t budget, const Besides& besides = {}) {
  const DenseMatrix exact = exact_attention(head.queries, head.keys, head.values);
  Json out{{"budget", budget}, {"mean_only", mean_only_error(exact)}};
  out["ours"] = run_anisotropic(head, exact, {.budget = budget});
  if (besides.without_queries)
    out["without_queries"] = run_anisotropic(head, exact, {.budget = budget, .with_queries = false});
  if (besides.by_hand) out["by_hand"] = run_anisotropic(head, exact, {.budget = budget, .is_automatic = false});
  Json best;
  for (const Peer peer : all_peers()) {
    const Json run = run_peer(head, exact, peer, budget, false);
    if (!run.is_null() && (best.is_null() || number(run, "error") < number(best, "error"))) best = run;
  }
  out["peer"] = best;
  return out;
}

/// The heads whose calibration is made without queries: an ordinary and a peaked one, or the first two.
std::vector<const Head*> heads_without_queries(const Study& study) {
  std::vector<const Head*> heads;
  for (const char* name : {"layer1_head0", "layer2_head3"}) {
    const auto found = std::ranges::find(study.heads, name, &Head::name);
    if (found != study.heads.end()) heads.push_back(&*found);
  }
  for (const Head& head : study.heads)
    if (heads.size() < 2 && std::ranges::find(heads, &head) == heads.end()) heads.push_back(&head);
  return heads;
}

void measure(const Study& study, Parts& parts) {
  using Budgets = std::vector<std::uint64_t>;
  const auto by_budget = [&](const std::string& scenario, const Head& head, const Budgets& budgets,
                             const Besides& besides = {}) {
    for (const std::uint64_t budget : budgets)
      parts.part(fmt::format("{}/{}", scenario, budget), [&] {
        Json part = measure_case(head, budget, besides);
        part["x"] = budget;
        return part;
      });
  };
  const Budgets few = study.quick ? Budgets{16384, 131072} : Budgets{16384, 65536, 262144};
  by_budget("isotropic", isotropic_head(), study.quick ? few : Budgets{16384, 65536, 262144, 1048576});
  by_budget("heavy", heavy_head(), study.quick ? few : Budgets{16384, 32768, 65536, 131072, 262144}, {.by_hand = true});
  const auto rotary = std::ranges::find(study.heads, "lm_rope_layer2", &Head::name);
  if (rotary != study.heads.end()) by_budget("rotary head " + rotary->name, *rotary, few);
  for (const Head* head : heads_without_queries(study))
    by_budget("no queries, " + head->name, *head, few, {.without_queries = true});
  for (const double shift : {0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0})
    parts.part(fmt::format("drift/{}", shift), [&] {
      Json part = measure_case(drifting_head(shift), 65536);
      part["x"] = shift;
      return part;
    });
}

/// The chart of a scenario, with series that have no points yet.
plot::Chart chart_of(const std::string& scenario) {
  const auto line = [](const char* name, std::size_t colour) { return plot::Series{.name = name, .colour = colour}; };
  const auto estimate = [](const char* name, std::size_t colour) {
    return plot::Series{.name = name, .line = plot::Line::dashed, .marker = plot::Marker::none, .colour = colour};
  };
  plot::Chart chart{.title = scenario,
                    .x = {.label = "bytes", .scale = plot::Scale::logarithmic, .unit = plot::Unit::bytes},
                    .y = {.label = "relative error", .scale = plot::Scale::logarithmic, .most = 100},
                    .series = {line("error", 0), estimate("estimated error", 0), line("without queries", 1),
                               estimate("estimated, without queries", 1), line("a tenth for exact rows", 2),
                               line("best of the peers", 6)}};
  if (scenario == "drift") {
    chart.title = "drift after the calibration, 64 KiB";
    chart.x = {.label = "shift at the end, deviations"};
  }
  if (scenario == "isotropic") chart.title = "isotropic scores, d = 64";
  if (scenario == "heavy") chart.title = "32 heavy keys, scores up to 12";
  return chart;
}

std::vector<Figure> draw(const Json& parts) {
  plot::Grid grid{.title = "Where it is not good: true errors and their estimates", .columns = 3};
  std::string before;
  for (const auto& [key, part] : parts.items()) {
    const std::string scenario = key.substr(0, key.find('/'));
    if (scenario != before) grid.charts.push_back(chart_of(scenario));
    before = scenario;
    std::vector<plot::Series>& series = grid.charts.back().series;
    const double x = number(part, "x");
    const auto value = [&runs = part](const char* run, const char* field) {
      return runs.contains(run) ? number(runs.at(run), field) : std::nan("");
    };
    add_point(series[0], x, value("ours", "error"));
    add_point(series[1], x, value("ours", "estimated"));
    add_point(series[2], x, value("without_queries", "error"));
    add_point(series[3], x, value("without_queries", "estimated"));
    add_point(series[4], x, value("by_hand", "error"));
    add_point(series[5], x, value("peer", "error"));
  }
  grid.notes = {
      "Relative Frobenius errors. An estimate is what the answers of all queries say of themselves, put together in "
      "the same way; those above 100 are cut. The best of five peers is taken at each point."};
  return {{"limits.svg", plot::to_svg(grid, {900, 190})}};
}

std::string table(const Json& parts) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, part] : parts.items())
    for (const auto& [field, name] :
         {std::pair{"ours", ""}, {"without_queries", ", without queries"}, {"by_hand", ", a tenth for exact rows"}}) {
      if (!part.contains(field)) continue;
      const Json& ours = part.at(field);
      rows.push_back({key + name, digits(number(ours, "error")), digits(number(ours, "estimated")),
                      digits(number(ours, "covered"), 4), digits(number(ours, "clusters"), 3),
                      digits(number(ours, "exact_rows"), 5), digits(number(ours, "fallbacks"), 5),
                      digits(number(part.at("peer"), "error")), part.at("peer").value("method", "-"),
                      digits(number(part, "mean_only"))});
    }
  return markdown(
      {"case", "error", "estimated", "covered", "C", "exact rows", "fallbacks", "best peer", "which", "mean only"},
      rows);
}

}  // namespace

Experiment limits() {
  return {"limits", "where it is not good, and what the estimates say there", measure, draw, table};
}

}  // namespace weir::experiments
