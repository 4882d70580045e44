#include "study.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <limits>
#include <numeric>

#include "weir/attention/comparison.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"

namespace weir::experiments {

Parts::Parts(const Study& study, std::string experiment, bool again)
    : path_((std::filesystem::path(study.folder) / (experiment + ".json")).string()) {
  Json heads = Json::array();
  for (const Head& head : study.heads) heads.push_back(head.name);
  if (!again && std::filesystem::exists(path_)) {
    const auto refuse = [&](const char* what) {
      throw InputError(fmt::format("{}: {}; give another folder, or --again", path_, what));
    };
    try {
      document_ = Json::parse(read_whole_file(InputFile(path_)));
    } catch (const Json::exception&) {
      refuse("this is no JSON");
    }
    if (!document_.is_object() || document_.value("experiment", "") != experiment || !document_.contains("parts"))
      refuse("these are no numbers of this experiment");
    const bool is_quick = document_.value("quick", false);
    if (study.quick && !is_quick && !is_finished()) refuse("this is a part of a run that is not quick");
    if (study.quick || !is_quick) {
      if (study.quick == is_quick && document_.value("heads", Json()) != heads)
        refuse("these are numbers of other heads");
      std::cerr << fmt::format("{}: {} {}\n", experiment,
                               is_finished() ? "finished; the numbers are those of" : "goes on from", path_);
      return;
    }
    std::cerr << fmt::format("{}: {} is of a quick run; measured again\n", experiment, path_);
  }
  document_ = {{"experiment", experiment},
               {"quick", study.quick},
               {"heads", heads},
               {"finished", false},
               {"parts", Json::object()}};
}

void Parts::part(const std::string& key, const std::function<Json()>& work) {
  Json& parts = document_.at("parts");
  if (parts.contains(key)) return;
  const std::string name = document_.at("experiment").get<std::string>();
  std::cerr << fmt::format("{}: {} ...", name, key) << std::flush;
  const double seconds = seconds_of([&] { parts[key] = work(); });
  std::cerr << fmt::format(" {:.1f} s\n", seconds);
  write();
}

void Parts::finish() {
  document_["finished"] = true;
  write();
}

void Parts::write() const {
  OutputFile file(path_);
  file.write(document_.dump(1) + '\n');
  file.commit();
}

double number(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found == object.end() || !found->is_number() ? std::numeric_limits<double>::quiet_NaN() : found->get<double>();
}

void add_point(plot::Series& series, double x, double y) {
  series.x.push_back(x);
  series.y.push_back(y);
}

plot::Series series_of_method(std::string_view method) {
  constexpr std::array<std::pair<std::string_view, std::size_t>, 8> colours{{{"anisotropic", 0},
                                                                             {"uniform", 1},
                                                                             {"window", 2},
                                                                             {"random_features", 3},
                                                                             {"value_norm", 4},
                                                                             {"balance", 5},
                                                                             {"polynomial", 6},
                                                                             {"exact", 7}}};
  plot::Series series;
  for (const auto& [name, colour] : colours)
    if (name == method) series.colour = colour;
  series.name = method == "random_features" ? "random features"
                : method == "value_norm"    ? "by value norm"
                : method == "window"        ? "first and last tokens"
                : method == "polynomial"    ? "polynomial, centred"
                                            : std::string(method);
  return series;
}

std::string markdown(const std::vector<std::string>& headers, const std::vector<std::vector<std::string>>& rows) {
  std::string text = fmt::format("| {} |\n|", fmt::join(headers, " | "));
  for (std::size_t c = 0; c < headers.size(); ++c) text += "---|";
  text += '\n';
  for (const auto& row : rows) text += fmt::format("| {} |\n", fmt::join(row, " | "));
  return text;
}

std::string digits(double value, int count) {
  return std::isnan(value) ? std::string("-") : fmt::format("{:.{}g}", value, count);
}

std::string bytes_text(double bytes) { return plot::tick_label(bytes, plot::Unit::bytes); }

Json errors_of(const DenseMatrix& exact, const DenseMatrix& outputs) {
  const OutputErrors errors = compare_outputs(exact, outputs);
  return {{"error", errors.frobenius}, {"median", errors.median}, {"p99", errors.percentile_99}};
}

double estimated_frobenius(const DenseMatrix& exact, const std::vector<double>& estimates) {
  double error = 0;
  double size = 0;
  for (std::uint64_t i = 0; i < exact.rows; ++i) {
    const double* row = exact.values.data() + i * exact.columns;
    const double squares = std::inner_product(row, row + exact.columns, row, 0.0);
    error += estimates[i] * estimates[i] * squares;
    size += squares;
  }
  return std::sqrt(error / size);
}

double share_covered(const DenseMatrix& exact, const DenseMatrix& outputs, const std::vector<double>& estimates) {
  const std::vector<double> errors = query_errors(exact, outputs);
  std::uint64_t covered = 0;
  for (std::size_t i = 0; i < errors.size(); ++i) covered += errors[i] <= 3 * estimates[i] ? 1U : 0U;
  return static_cast<double>(covered) / static_cast<double>(errors.size());
}

std::vector<std::uint64_t> row_numbers(std::uint64_t count) {
  std::vector<std::uint64_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0U);
  return rows;
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Json run_anisotropic(const Head& head, const DenseMatrix& exact, const AnisotropicRun& run) {
  AnisotropicOptions options{.d = head.keys.columns, .dv = head.values.columns, .budget = run.budget};
  options.calibration_rows = run.calibration_rows;
  options.expected_rows = head.keys.rows;
  options.automatic = run.is_automatic;
  try {
    validate(options);
  } catch (const UsageError&) {
    return {};  // the map alone is larger
  }
  const std::uint64_t rows = 2 * run.calibration_rows;
  const auto calibration = AnisotropicCalibration::fit(
      options, run.with_queries ? first_rows(head.queries, rows) : std::span<const double>(),
      first_rows(head.keys, rows), first_rows(head.values, rows));
  AnisotropicReader reader(state_of(head, calibration));
  const AnisotropicAnswers answers = reader.answer(head.queries.values, true);
  Json out{{"method", "anisotropic"}, {"budget", run.budget}, {"bytes", run.budget}};
  out.update(errors_of(exact, answers.outputs));
  out["estimated"] = estimated_frobenius(exact, answers.errors);
  out["covered"] = share_covered(exact, answers.outputs, answers.errors);
  out["clusters"] = calibration.clusters();
  out["directions"] = calibration.directions();
  out["features"] = calibration.features();
  out["exact_rows"] = calibration.exact_rows();
  out["fallbacks"] = answers.fallbacks;
  return out;
}

Json run_peer(const Head& head, const DenseMatrix& exact, Peer peer, std::uint64_t budget, bool causal) {
  PeerAnswer answer;
  try {
    answer = answer_by_peer(peer, head.queries, head.keys, head.values, {.budget = budget, .causal = causal});
  } catch (const UsageError&) {
    return {};  // not one row or feature fits
  }
  Json out{{"method", to_string(peer)}, {"budget", budget}, {"bytes", answer.bytes}, {"kept", answer.kept}};
  out.update(errors_of(exact, answer.outputs));
  return out;
}

}  // namespace weir::experiments
