// How many features does an error need? All monomials up to a degree, and those that are chosen by a calibration.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "study.hpp"
#include "weir/attention/exact.hpp"
#include "weir/attention/polynomial.hpp"
#include "weir/error.hpp"

namespace weir::experiments {
namespace {

constexpr std::uint64_t d = 8;
constexpr std::uint64_t dv = 8;
constexpr std::uint64_t tokens = 2048;
constexpr std::uint64_t most_features = 6500;

/// Deviations are the same in all directions, or fall by half from one to the next.
enum class Shape : std::uint8_t { isotropic, falling };

std::string_view to_string(Shape shape) { return shape == Shape::isotropic ? "isotropic" : "falling"; }

/// The largest |q.k| is `range`.
Head head_of(Shape shape, double range) {
  HeadRecipe recipe{.tokens = tokens, .d = d, .dv = dv, .deviations = {1}, .seed = 11};
  if (shape == Shape::isotropic) recipe.deviations.assign(d, 1.0);
  Head head = make_head(std::string(to_string(shape)), recipe);
  double largest = 0;
  for (std::uint64_t i = 0; i < tokens; ++i)
    for (std::uint64_t j = 0; j < tokens; ++j) {
      const double* q = head.queries.values.data() + i * d;
      const double* k = head.keys.values.data() + j * d;
      largest = std::max(largest, std::abs(std::inner_product(q, q + d, k, 0.0)));
    }
  for (double& number : head.queries.values) number *= range / largest;
  return head;
}

/// The largest error of an output entry, relative to the largest |v|: what the bound is about.
double largest_error(const Head& head, const DenseMatrix& exact, const DenseMatrix& outputs) {
  double error = 0;
  double value = 0;
  for (std::size_t t = 0; t < exact.values.size(); ++t)
    error = std::max(error, std::abs(exact.values[t] - outputs.values[t]));
  for (const double v : head.values.values) value = std::max(value, std::abs(v));
  return error / value;
}

/// The largest relative error of the Taylor polynomial of exp on [-range, range].
double worst_relative_error(double range, std::uint32_t degree) {
  double worst = 0;
  for (int step = -1000; step <= 1000; ++step) {
    const double z = range * step / 1000;
    double term = 1;
    double sum = 1;
    for (std::uint32_t m = 1; m <= degree; ++m) {
      term *= z / m;
      sum += term;
    }
    worst = std::max(worst, std::abs(sum / std::exp(z) - 1));
  }
  return worst;
}

Json measure_case(Shape shape, double range, bool quick) {
  const Head head = head_of(shape, range);
  const DenseMatrix exact = exact_attention(head.queries, head.keys, head.values);
  Json taylor = Json::array();
  for (std::uint32_t degree = 1; degree <= 12; ++degree) {
    const PolynomialConfig config{.dimension = d, .degree = degree};
    if (config.features() > (quick ? 1500 : most_features)) break;
    Json run{{"degree", degree},
             {"features", config.features()},
             {"delta", taylor_relative_error(range, degree)},
             {"kernel_error", worst_relative_error(range, degree)},
             {"bound", attention_error_bound(range, degree, 1)}};
    if (!std::isfinite(run["bound"].get<double>())) run["bound"] = nullptr;
    PolynomialState state(config, dv, std::uint64_t{1} << 30U);
    try {
      state.add(head.keys, head.values);
      const DenseMatrix outputs = state.answer(head.queries);
      run["largest"] = largest_error(head, exact, outputs);
      run.update(errors_of(exact, outputs));
    } catch (const InputError&) {
      run["largest"] = nullptr;  // a denominator is not positive
    }
    taylor.push_back(run);
  }
  Json ours = Json::array();
  std::uint64_t before = 0;
  for (double budget = 1200; ours.size() < 60; budget *= quick ? 1.7 : 1.25) {
    AnisotropicOptions options{.d = d, .dv = dv, .budget = static_cast<std::uint64_t>(budget)};
    options.clusters = 1;
    options.exact_rows = 0;
    options.directions = d;
    options.degree = 12;
    options.automatic = false;
    options.expected_rows = tokens;
    try {
      validate(options);
    } catch (const UsageError&) {
      continue;  // the map alone is larger
    }
    const auto calibration =
        AnisotropicCalibration::fit(options, first_rows(head.queries, 512), first_rows(head.keys, 512), {});
    if (calibration.features() == before) continue;
    before = calibration.features();
    if (before > (quick ? 1500 : most_features)) break;
    AnisotropicReader reader(state_of(head, calibration));
    const AnisotropicAnswers answers = reader.answer(head.queries.values);
    Json run{{"features", before}, {"largest", largest_error(head, exact, answers.outputs)}};
    run.update(errors_of(exact, answers.outputs));
    ours.push_back(run);
  }
  return {{"shape", to_string(shape)}, {"range", range}, {"taylor", taylor}, {"anisotropic", ours}};
}

void measure(const Study& study, Parts& parts) {
  for (const Shape shape : {Shape::isotropic, Shape::falling})
    for (const double range : {1.0, 2.0, 4.0, 8.0})
      parts.part(fmt::format("{}/{}", to_string(shape), range),
                 [&] { return measure_case(shape, range, study.quick); });
}

std::vector<Figure> draw(const Json& parts) {
  plot::Grid grid{
      .title = "Features that an error needs, for scores in [-R, R]", .columns = 4, .share_x = true, .share_y = true};
  for (const auto& [key, part] : parts.items()) {
    plot::Chart chart{
        .title = fmt::format("{}, R = {}", part.at("shape") == "isotropic" ? "isotropic" : "few directions",
                             digits(number(part, "range"))),
        .x = {.label = "features", .scale = plot::Scale::logarithmic},
        .y = {.label = "largest error of an output", .scale = plot::Scale::logarithmic, .least = 1e-8, .most = 20}};
    plot::Series bound{.name = "bound for Taylor, 2δ/(1-δ)", .line = plot::Line::dashed, .colour = 1};
    plot::Series kernel = series_of_method("polynomial");
    kernel.name = "all monomials of degree 1, 2, ...";
    for (const Json& run : part.at("taylor")) {
      add_point(bound, number(run, "features"), number(run, "bound"));
      add_point(kernel, number(run, "features"), number(run, "largest"));
    }
    plot::Series ours = series_of_method("anisotropic");
    for (const Json& run : part.at("anisotropic")) add_point(ours, number(run, "features"), number(run, "largest"));
    chart.series = {ours, kernel, bound};
    grid.charts.push_back(chart);
  }
  grid.notes = {
      "Made heads: n = 2048, d = 8. Errors are relative to the largest |v|. In the lower row the deviations of scores "
      "fall by half from one direction to the next. Sums in single precision end near 10^-7. There is no point where a "
      "denominator is not positive, or the bound is infinite."};
  return {{"features.svg", plot::to_svg(grid, {900, 190})}};
}

std::string table(const Json& parts) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, part] : parts.items())
    for (const Json& run : part.at("taylor")) {
      const double error = number(run, "largest");
      std::string needed =
          std::isnan(error) ? "-" : "> " + fmt::to_string(part.at("anisotropic").back().at("features").get<int>());
      for (const Json& ours : part.at("anisotropic"))
        if (number(ours, "largest") <= error) {
          needed = fmt::to_string(ours.at("features").get<int>());
          break;
        }
      rows.push_back({part.at("shape").get<std::string>(), digits(number(part, "range")),
                      digits(number(run, "degree"), 3), digits(number(run, "features"), 6),
                      digits(number(run, "delta")), digits(number(run, "kernel_error")), digits(number(run, "bound")),
                      digits(error), needed});
    }
  return markdown({"scores", "R", "g", "C(d+g, g)", "δ", "kernel error", "bound of outputs", "largest error",
                   "anisotropic features"},
                  rows);
}

}  // namespace

Experiment features() {
  return {"features", "number of features against degree and range of the scores", measure, draw, table};
}

}  // namespace weir::experiments
