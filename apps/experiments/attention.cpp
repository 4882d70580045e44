// How well do draws from a sketch of streamed keys serve attention? Real heads, a sliding window, against exact: README.md
// beside it says how to run it and what came out.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "program.hpp"
#include "vectors.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sketch/lift.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;
using Json = nlohmann::json;

constexpr std::uint32_t most_draws = 256;

struct Head {
  std::string name;
  DenseMatrix queries;  ///< tokens x d
  DenseMatrix keys;     ///< tokens x (d + 1): a last column of ones, with which x can shift all scores by a constant.
  DenseMatrix lifted;   ///< The keys for squares of scores.
};

Head with_lifted_keys(const QueriesAndKeys& loaded) {
  const DenseMatrix& keys = loaded.keys;
  Head head{loaded.name, loaded.queries, {}, {}};
  const std::size_t columns = keys.columns + 1;
  const std::size_t lifted_columns = lifted_size(columns);
  head.keys = {keys.rows, columns, std::vector<double>(keys.rows * columns, 1)};
  head.lifted = {keys.rows, lifted_columns, std::vector<double>(keys.rows * lifted_columns)};
  for (std::size_t t = 0; t < keys.rows; ++t) {
    const std::span key = std::span(head.keys.values).subspan(t * columns, columns);
    std::copy_n(keys.values.begin() + static_cast<std::ptrdiff_t>(t * keys.columns), keys.columns, key.begin());
    lift_row(key, std::span(head.lifted.values).subspan(t * lifted_columns, lifted_columns));
  }
  return head;
}

/// A point of the stream at which something is asked, and the exact answers.
struct Moment {
  std::size_t seen = 0;         ///< Tokens so far; the last `window` of them are held.
  std::vector<double> query;    ///< Of the newest token, divided by sqrt(d).
  std::vector<double> scores;   ///< Of all tokens; 0 outside of the window.
  std::vector<double> squared;  ///< Shares of the squared scores.
  std::vector<double> softmax;  ///< Shares of the exponentials of the scores.
  double mean = 0;              ///< Of the scores in the window.
  double deviation = 0;         ///< Theirs from the mean.

  /// x whose scores are those of the query less so many times their mean, plus so many times their deviation.
  [[nodiscard]] std::vector<double> x(double means, double deviations) const {
    std::vector<double> shifted = query;
    shifted.push_back(deviations * deviation - means * mean);
    return shifted;
  }
};

Moment make_moment(const Head& head, std::size_t window, std::size_t seen) {
  const std::size_t n = head.queries.rows;
  const std::size_t d = head.queries.columns;
  Moment moment{
      .seen = seen, .query = std::vector<double>(d), .scores = std::vector<double>(n), .squared = {}, .softmax = {}};
  for (std::size_t j = 0; j < d; ++j) {
    moment.query[j] = head.queries.values[(seen - 1) * d + j] / std::sqrt(static_cast<double>(d));
  }
  moment.squared = moment.softmax = moment.scores;
  double largest = -HUGE_VAL;
  for (std::size_t t = seen - window; t < seen; ++t) {
    for (std::size_t j = 0; j < d; ++j) moment.scores[t] += head.keys.values[t * (d + 1) + j] * moment.query[j];
    moment.mean += moment.scores[t] / static_cast<double>(window);
    largest = std::max(largest, moment.scores[t]);
  }
  for (std::size_t t = seen - window; t < seen; ++t) {
    moment.squared[t] = moment.scores[t] * moment.scores[t];
    moment.softmax[t] = std::exp(moment.scores[t] - largest);
    moment.deviation += std::pow(moment.scores[t] - moment.mean, 2) / static_cast<double>(window);
  }
  moment.deviation = std::sqrt(moment.deviation);
  for (std::vector<double>* shares : {&moment.squared, &moment.softmax}) {
    const double total = std::accumulate(shares->begin(), shares->end(), 0.0);
    for (double& share : *shares) share /= total;
  }
  return moment;
}

std::vector<Moment> make_moments(const Head& head, std::size_t window, std::size_t step) {
  std::vector<Moment> moments;
  for (std::size_t seen = window; seen <= head.queries.rows; seen += step) {
    moments.push_back(make_moment(head, window, seen));
  }
  return moments;
}

/// Streams tokens first .. last - 1; for each of them the one that leaves the window is deleted.
void stream_tokens(MatrixSketch& sketch, const DenseMatrix& keys, std::size_t window, std::size_t first,
                   std::size_t last) {
  std::vector<std::uint64_t> rows;
  std::vector<double> weights;
  std::vector<double> values;
  const auto append = [&](std::size_t token, double weight) {
    rows.push_back(token);
    weights.push_back(weight);
    const auto key = keys.values.begin() + static_cast<std::ptrdiff_t>(token * keys.columns);
    values.insert(values.end(), key, key + static_cast<std::ptrdiff_t>(keys.columns));
  };
  for (std::size_t token = first; token < last; ++token) {
    append(token, 1);
    if (token >= window) append(token - window, -1);
  }
  sketch.update_rows(rows, weights, values);
}

/// Calls ask(moment number, sketch) for each moment, when the stream has come to it.
void replay(const SketchConfig& config, const DenseMatrix& keys, std::size_t window, const std::vector<Moment>& moments,
            const std::function<void(std::size_t, const MatrixSketch&)>& ask) {
  MatrixSketch sketch(config, keys.columns);
  std::size_t seen = 0;
  for (std::size_t m = 0; m < moments.size(); ++m) {
    stream_tokens(sketch, keys, window, seen, moments[m].seen);
    seen = moments[m].seen;
    ask(m, sketch);
  }
}

/// How far counts of draws are from their law.
struct Fit {
  double total_variation = 0;
  double chi_squared = 0;
  double degrees = 0;
};

Fit fit(const std::vector<double>& counts, const std::vector<double>& probability) {
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  Fit result{.degrees = -1};
  for (std::size_t cell = 0; cell < counts.size(); ++cell) {
    const double expected = total * probability[cell];
    if (!(expected > 0)) continue;
    result.total_variation += std::abs(counts[cell] - expected) / total / 2;
    result.chi_squared += (counts[cell] - expected) * (counts[cell] - expected) / expected;
    result.degrees += 1;
  }
  return result;
}

Json law_table(const std::vector<Head>& heads, std::size_t window, std::size_t step, std::uint64_t seeds) {
  Json rows = Json::array();
  std::cout << "## Law of the draws (64 lanes, R = 5), against exact and against as many exact draws\n\n"
               "| head | B | draws | TV | TV of exact draws | chi2 / dof | chi2 / dof of exact draws | not in window | "
               "accepted |\n|---|---|---|---|---|---|---|---|---|\n";
  for (const Head& head : heads) {
    const std::vector<Moment> moments = make_moments(head, window, step);
    for (const std::uint64_t buckets : {128U, 256U, 512U, 1024U}) {
      SketchConfig config{.dimension = head.keys.rows, .buckets = buckets, .lanes = 64};
      std::vector<Cells> cells;
      for (const Moment& moment : moments) cells.push_back(make_cells(moment.scores, 2));
      std::vector<std::vector<double>> counts(moments.size(), std::vector<double>(cells[0].probability.size()));
      std::vector<std::uint32_t> draws(moments.size());
      std::uint64_t outside = 0;
      for (config.seed = 1; config.seed <= seeds; ++config.seed) {
        replay(config, head.keys, window, moments, [&](std::size_t m, const MatrixSketch& sketch) {
          const SampleResult result =
              draw_with_replacement(sketch.product(moments[m].x(0, 0)), {.samples = config.lanes});
          for (const Draw& draw : result.draws) {
            counts[m][cells[m].of_key[draw.index]] += 1;
            if (draw.index >= moments[m].seen || draw.index + window < moments[m].seen) ++outside;
          }
          draws[m] += static_cast<std::uint32_t>(result.draws.size());
        });
      }
      Fit sketched;
      Fit exact;
      const auto accumulate = [count = static_cast<double>(moments.size())](Fit& sum, const Fit& more) {
        sum.total_variation += more.total_variation / count;
        sum.chi_squared += more.chi_squared;
        sum.degrees += more.degrees;
      };
      std::vector<std::uint64_t> keys(head.keys.rows);
      std::iota(keys.begin(), keys.end(), std::uint64_t{0});
      for (std::size_t m = 0; m < moments.size(); ++m) {
        accumulate(sketched, fit(counts[m], cells[m].probability));
        DenseVector y(head.keys.rows);
        y.update(keys, moments[m].scores);
        std::vector<double> exact_counts(counts[m].size());
        for (const Draw& draw : draw_with_replacement(y, {.samples = draws[m], .seed = m + 1}).draws) {
          exact_counts[cells[m].of_key[draw.index]] += 1;
        }
        accumulate(exact, fit(exact_counts, cells[m].probability));
      }
      const std::uint64_t total = std::accumulate(draws.begin(), draws.end(), std::uint64_t{0});
      const double accepted =
          static_cast<double>(total) / static_cast<double>(seeds * moments.size() * (config.lanes - 1));
      std::cout << fmt::format("| {} | {} | {} | {:.4f} | {:.4f} | {:.3f} | {:.3f} | {} | {:.3f} |\n", head.name,
                               buckets, total, sketched.total_variation, exact.total_variation,
                               sketched.chi_squared / sketched.degrees, exact.chi_squared / exact.degrees, outside,
                               accepted)
                << std::flush;
      rows.push_back({{"head", head.name}, {"buckets", buckets}, {"draws", total}, {"outside", outside}});
      rows.back().update({{"total_variation", sketched.total_variation}, {"chi_squared", sketched.chi_squared}});
      rows.back().update({{"exact_total_variation", exact.total_variation}, {"exact_chi_squared", exact.chi_squared}});
      rows.back().update({{"degrees_of_freedom", sketched.degrees}, {"accepted", accepted}});
    }
  }
  return rows;
}

/// Shares that the distinct ones among the first s indices hold, s = 1 .. most_draws, summed over moments and seeds.
struct Curve {
  std::string sampler;
  std::vector<double> squared = std::vector<double>(most_draws);
  std::vector<double> softmax = std::vector<double>(most_draws);
  double runs = 0;

  void add(const Moment& moment, const std::vector<std::uint64_t>& indices) {
    std::vector<bool> held(moment.scores.size());
    double squares = 0;
    double exponentials = 0;
    for (std::size_t s = 0; s < most_draws; ++s) {
      if (s < indices.size() && !held[indices[s]]) {
        held[indices[s]] = true;
        squares += moment.squared[indices[s]];
        exponentials += moment.softmax[indices[s]];
      }
      squared[s] += squares;
      softmax[s] += exponentials;
    }
    runs += 1;
  }
};

/// What is added to all scores before drawing; see Moment::x.
struct Shift {
  std::string name;
  double means = 0;
  double deviations = 0;
};

std::vector<std::uint64_t> indices_of(const std::vector<Draw>& draws) {
  std::vector<std::uint64_t> indices(draws.size());
  std::transform(draws.begin(), draws.end(), indices.begin(), [](const Draw& draw) { return draw.index; });
  return indices;
}

std::vector<std::uint64_t> largest(const std::vector<double>& shares) {
  std::vector<std::uint64_t> order(shares.size());
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return shares[a] > shares[b]; });
  return order;
}

/// Adds the curves of one shape of sketch, one for each of `shifts`. Lifted keys make it draw by the fourth powers of scores.
void add_sketched_curves(const Head& head, std::size_t window, const std::vector<Moment>& moments, std::uint64_t seeds,
                         bool without_replacement, bool lifted, const std::vector<Shift>& shifts,
                         std::vector<Curve>& curves) {
  SketchConfig config =
      suggest_config({.dimension = head.keys.rows, .samples = most_draws, .without_replacement = without_replacement});
  const std::size_t first = curves.size();
  for (const Shift& shift : shifts) {
    curves.push_back({fmt::format("{} replacement{}{}", without_replacement ? "without" : "with", shift.name,
                                  lifted ? ", fourth power" : "")});
  }
  const DrawOptions options{.samples = most_draws};
  for (config.seed = 1; config.seed <= seeds; ++config.seed) {
    replay(config, lifted ? head.lifted : head.keys, window, moments, [&](std::size_t m, const MatrixSketch& sketch) {
      for (std::size_t kind = 0; kind < shifts.size(); ++kind) {
        std::vector<double> x = moments[m].x(shifts[kind].means, shifts[kind].deviations);
        if (lifted) {
          std::vector<double> pairs(head.lifted.columns);
          lift_vector(x, pairs);
          x = pairs;
        }
        const VectorSketch y = sketch.product(x);
        const SampleResult result =
            without_replacement ? draw_without_replacement(y, options) : draw_with_replacement(y, options);
        curves[first + kind].add(moments[m], indices_of(result.draws));
      }
    });
  }
}

std::vector<Curve> measure_curves(const Head& head, std::size_t window, std::size_t step, std::uint64_t seeds) {
  const std::vector<Moment> moments = make_moments(head, window, step);
  const std::vector<Shift> shifts{{"", 0, 0}, {", centred", 1, 0}, {", shifted", 1, 1}};
  std::vector<Curve> curves;
  add_sketched_curves(head, window, moments, seeds, false, false, shifts, curves);
  add_sketched_curves(head, window, moments, seeds, true, false, shifts, curves);
  add_sketched_curves(head, window, moments, seeds, true, true, {shifts[0], shifts[2]}, curves);
  curves.push_back({"uniform"});
  curves.push_back({"largest |y|"});
  curves.push_back({"largest softmax"});
  Curve* const exact = &curves[curves.size() - 3];
  for (const Moment& moment : moments) {
    for (std::uint32_t s = 0; s < most_draws; ++s) {  // distinct uniform tokens: the expectation
      exact[0].squared[s] += (s + 1.0) / static_cast<double>(window);
      exact[0].softmax[s] += (s + 1.0) / static_cast<double>(window);
    }
    exact[0].runs += 1;
    exact[1].add(moment, largest(moment.squared));
    exact[2].add(moment, largest(moment.softmax));
  }
  for (Curve& curve : curves) {
    for (double& share : curve.squared) share /= curve.runs;
    for (double& share : curve.softmax) share /= curve.runs;
  }
  return curves;
}

Json held_table(const std::vector<Head>& heads, std::size_t window, std::size_t step, std::uint64_t seeds) {
  Json rows = Json::array();
  std::cout << "\n## Share of squared scores and of softmax that the distinct drawn tokens hold\n\n"
               "| head | sampler | squares: s = 1 | 4 | 16 | 64 | 256 | softmax: s = 1 | 4 | 16 | 64 | 256 |\n"
               "|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const Head& head : heads) {
    for (const Curve& curve : measure_curves(head, window, step, seeds)) {
      std::cout << fmt::format("| {} | {} |", head.name, curve.sampler);
      for (const std::vector<double>* shares : {&curve.squared, &curve.softmax}) {
        for (const std::size_t s : {1U, 4U, 16U, 64U, 256U}) std::cout << fmt::format(" {:.3f} |", (*shares)[s - 1]);
      }
      std::cout << std::endl;
      rows.push_back({{"head", head.name}, {"sampler", curve.sampler}});
      rows.back().update({{"squared", curve.squared}, {"softmax", curve.softmax}});
    }
  }
  return rows;
}

/// What sizing.hpp makes of it: no measurement.
Json memory_table() {
  Json rows = Json::array();
  std::cout << "\n## Bytes of the suggested sketch of keys (epsilon 0.1, failure 0.05) and of the keys and values in "
               "float16\n\n"
               "| n | d | samples | replacement | B | lanes | levels | sketch, MiB | keys and values, MiB | ratio |\n"
               "|---|---|---|---|---|---|---|---|---|---|\n";
  struct Shape {
    std::uint64_t n;
    std::uint64_t d;
  };
  for (const Shape shape : {Shape{4096, 15}, Shape{1'000'000, 64}, Shape{100'000'000, 64}, Shape{1'000'000'000, 64}}) {
    for (const bool without_replacement : {false, true}) {
      for (const std::uint32_t samples : {8U, 64U}) {
        const SketchConfig config =
            suggest_config({.dimension = shape.n, .samples = samples, .without_replacement = without_replacement});
        const double sketch = static_cast<double>(MatrixSketch::table_size(config, shape.d)) * sizeof(double) / 0x1p20;
        const double cache = 2.0 * static_cast<double>(shape.n * shape.d) * 2 / 0x1p20;
        const char* const replacement = without_replacement ? "without" : "with";
        std::cout << fmt::format("| {} | {} | {} | {} | {} | {} | {} | {:.1f} | {:.1f} | {:.3g} |\n", shape.n, shape.d,
                                 samples, replacement, config.buckets, config.lanes, config.levels, sketch, cache,
                                 sketch / cache);
        rows.push_back({{"n", shape.n}, {"d", shape.d}, {"samples", samples}, {"replacement", replacement}});
        rows.back().update({{"buckets", config.buckets}, {"lanes", config.lanes}, {"levels", config.levels}});
        rows.back().update({{"sketch_mib", sketch}, {"cache_mib", cache}});
      }
    }
  }
  return rows;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Draws from a sketch of streamed keys against exact attention: Markdown tables on stdout",
               "weir_attention");
  HeadFiles files(app);
  std::size_t window = 1024;
  app.add_option("--window", window, "Tokens held; an older one is deleted")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  std::size_t step = 256;
  app.add_option("--step", step, "Tokens between two queries")->check(CLI::PositiveNumber)->capture_default_str();
  std::uint64_t seeds = 100;
  app.add_option("--seeds", seeds, "Sketches of each shape for the law; a tenth of them for the shares held")
      ->check(CLI::Range(10U, 1'000'000U))
      ->capture_default_str();
  JsonFile json_file(app);
  return run_program(app, argc, argv, [&] {
    json_file.require_creatable();
    std::vector<Head> heads;
    for (const QueriesAndKeys& head : files.load(window)) heads.push_back(with_lifted_keys(head));
    Json json{{"window", window}, {"step", step}};
    json["law"] = law_table(heads, window, step, seeds);
    json["held"] = held_table(heads, window, step, seeds / 10);
    json["memory"] = memory_table();
    json_file.write(json);
  });
}
