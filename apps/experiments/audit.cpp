// Does every number that weir prints keep its promise? Draws, values, probabilities, norms, points and sums over many kinds
// of vectors and matrices at default sizes, each beside the truth, with a verdict. README.md beside it says how to run it,
// what the columns are and what came out.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <exception>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "audit_lines.hpp"
#include "audit_tally.hpp"
#include "program.hpp"
#include "vectors.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;
using Json = nlohmann::json;

struct Options {
  double draws = 100000;
  double seconds = 0;  ///< A line ends after so many; 0: it does not.
  double significance = 1e-4;
  std::uint64_t seed = 1;
  unsigned threads = 1;
  bool quick = false;  ///< The short form, whose lines say how many draws they need.
};

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::yes:
      return "yes";
    case Verdict::no:
      return "no";
    case Verdict::few:
      return "few";
    case Verdict::wide:
      return "wide";
  }
  return "";
}

/// A draw that was false, so that it can be looked at.
struct FalseDraw {
  std::uint64_t seed = 0;
  Drawn drawn;
};

struct Measured {
  std::vector<Tally> tallies;  ///< One for each part.
  std::vector<FalseDraw> false_draws;
};

/// Seed of state number `state` of a line. It depends on the name, so that other lines do not change it; and it stays below
/// 2^53, as seeds do that weir chooses.
std::uint64_t seed_of(std::string_view line, std::uint64_t seed, std::uint64_t state) {
  std::uint64_t word = finalise(seed);
  for (const char letter : line) word = finalise(word + static_cast<unsigned char>(letter));
  return finalise(word + state) >> 11U;
}

/// run(seeds[k]) for all k, by several threads. The results do not depend on how many.
std::vector<std::vector<StateResult>> run_states(const Prepared& line, const std::vector<std::uint64_t>& seeds,
                                                 unsigned threads) {
  std::vector<std::vector<StateResult>> results(seeds.size());
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex failing;
  const auto work = [&] {
    try {
      for (std::size_t k = next++; k < seeds.size(); k = next++) results[k] = line.run(seeds[k]);
    } catch (...) {
      const std::lock_guard lock(failing);
      failure = std::current_exception();
      next = seeds.size();
    }
  };
  std::vector<std::thread> others;
  for (unsigned k = 1; k < threads; ++k) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
  return results;
}

/// Whether the first part has the draws that are wanted, and as many independent ones as its bounds need; or 8 times the draws,
/// where draws of one state tell little more than one of them.
bool is_enough(const Tally& tally, double wanted, std::uint64_t needed) {
  if (tally.draws < wanted) return false;
  if (tally.draws >= 8 * wanted) return true;
  return std::ranges::all_of(std::vector{&tally.values, &tally.probabilities}, [&](const Bounds* bounds) {
    return bounds->bounded() == 0 || bounds->whole().effective() >= static_cast<double>(needed);
  });
}

Measured measure(const Line& line, const Prepared& prepared, const Options& options, std::uint64_t needed) {
  constexpr std::size_t largest_block = 64, most_false_draws = 20;
  Measured measured;
  for (const Part& part : prepared.parts) measured.tallies.emplace_back(part.law.size());
  const double wanted = options.quick ? line.quick_draws : std::max(1.0, options.draws * line.share), start = now();
  std::uint64_t states = 0, empty = 0;
  for (std::size_t block = 2; !is_enough(measured.tallies.front(), wanted, needed);
       block = std::min(2 * block, largest_block)) {
    if (options.seconds > 0 && states > 1 && now() - start > options.seconds) break;
    std::vector<std::uint64_t> seeds;
    for (std::size_t k = 0; k < block; ++k) seeds.push_back(seed_of(line.name, options.seed, states++));
    const auto results = run_states(prepared, seeds, options.threads);
    for (std::size_t k = 0; k < block; ++k) {
      for (std::size_t part = 0; part < results[k].size(); ++part) {
        measured.tallies[part].add(results[k][part]);
        for (const Drawn& drawn : results[k][part].drawn)
          if (drawn.is_false() && measured.false_draws.size() < most_false_draws)
            measured.false_draws.push_back({seeds[k], drawn});
      }
      if (results[k].front().drawn.empty()) ++empty;
    }
    if (empty == states && states > 1000) break;  // nothing is ever drawn
  }
  return measured;
}

/// The cells of a row of the table and its checks.
class Row {
 public:
  Row(const std::string& name, double significance, std::uint64_t needed)
      : name_(name), significance_(significance), needed_(needed) {}

  void cell(const std::string& text) { cells_.push_back(text); }
  /// A cell with a verdict.
  void cell(const std::string& text, const std::string& check, Verdict verdict, const Json& figures) {
    Json item = figures;
    item["check"] = check;
    item["verdict"] = to_string(verdict);
    checks_.push_back(std::move(item));
    if (verdict == Verdict::no) broken_.push_back(check);
    if (verdict == Verdict::yes) {
      cell(text);
    } else {
      cell(verdict == Verdict::no ? fmt::format("**{} no**", text) : fmt::format("{} {}", text, to_string(verdict)));
    }
  }

  /// Of entries that were chosen for being large no bias is judged.
  void errors(const std::string& check, const Errors& errors, bool is_chosen) {
    if (errors.count() == 0) {
      cell("");
      cell("");
      return;
    }
    const StateMean& bias = errors.bias();
    const std::string text = fmt::format("{:+.4f} ± {:.4f}", bias.mean(), bias.standard_error());
    if (is_chosen) {
      cell(text);
    } else {
      cell(text, check + " bias", errors.is_unbiased(significance_),
           {{"bias", bias.mean()},
            {"standard_error", bias.standard_error()},
            {"root_mean_square", errors.root_mean_square()}});
    }
    cell(fmt::format("{:.4f}", errors.root_mean_square()));
  }

  /// Coverage of the bounds, and of their halves.
  void bounds(const std::string& check, const Bounds& bounds, bool has_numbers) {
    if (bounds.bounded() == 0) {
      cell(has_numbers ? "not printed" : "");
      cell("");
      return;
    }
    const Misses& whole = bounds.whole();
    std::string text = fmt::format("{:.4f}", 1 - whole.rate());
    if (bounds.bounded() < 1) text += fmt::format(" of {:.2f}", bounds.bounded());
    cell(text, check + " bound", bounds.covers(significance_, needed_),
         {{"covered", 1 - whole.rate()},
          {"numbers", whole.numbers()},
          {"independent_numbers", whole.effective()},
          {"share_with_bound", bounds.bounded()},
          {"p_value", whole.p_value()}});
    const Misses& half = bounds.half();
    if (half.numbers() == 0) {
      cell("exact");
      return;
    }
    cell(fmt::format("{:.3f}", 1 - half.rate()), check + " bound, half", bounds.is_tight(significance_),
         {{"covered", 1 - half.rate()}, {"independent_numbers", half.effective()}});
  }

  /// Coverage of one number a state, with its half in the same cell.
  void bounds_of_one(const std::string& check, const Bounds& bounds, const Errors& errors, bool has_numbers) {
    if (bounds.bounded() == 0) {
      cell(has_numbers ? fmt::format("not printed ({:+.3f})", errors.bias().mean()) : "");
      return;
    }
    const Misses &whole = bounds.whole(), &half = bounds.half();
    std::string text = fmt::format("{:.4f}", 1 - whole.rate());
    if (half.numbers() > 0) text += fmt::format(" / {:.2f}", 1 - half.rate());
    Verdict verdict = bounds.covers(significance_, needed_);
    if (verdict != Verdict::no && bounds.is_tight(significance_) == Verdict::wide) verdict = Verdict::wide;
    cell(text, check + " bound", verdict,
         {{"covered", 1 - whole.rate()},
          {"half_covered", 1 - half.rate()},
          {"numbers", whole.numbers()},
          {"p_value", whole.p_value()},
          {"bias", errors.bias().mean()},
          {"root_mean_square", errors.root_mean_square()}});
  }

  [[nodiscard]] std::string text() const {
    std::string row = "| " + name_ + " |";
    for (const std::string& text : cells_) row += " " + text + (text.empty() ? "|" : " |");
    std::string names;
    for (const std::string& check : broken_) names += (names.empty() ? "" : ", ") + check;
    return row + " " + (broken_.empty() ? "yes" : "**no**: " + names) + " |";
  }
  [[nodiscard]] const Json& checks() const { return checks_; }
  [[nodiscard]] const std::vector<std::string>& broken() const { return broken_; }

 private:
  std::string name_;
  double significance_;
  std::uint64_t needed_;
  std::vector<std::string> cells_;
  Json checks_ = Json::array();
  std::vector<std::string> broken_;
};

constexpr std::string_view header =
    "| line | table | states | draws | fewer than asked | accepted | law | false | value: bias | rms | covered | half "
    "| "
    "probability: bias | rms | covered | half | norm | mass | p-norm | keeps |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";

Row row_of(const std::string& name, const std::string& table, const Part& part, const Tally& tally,
           const Options& options, std::uint64_t needed) {
  Row row(name, options.significance, needed);
  row.cell(table);
  row.cell(fmt::format("{}", tally.states));
  row.cell(fmt::format("{}", tally.draws));
  if (part.failure && tally.asked > 0) {
    const double p_value =
        upper_tail(static_cast<std::uint64_t>(tally.asked), *part.failure, static_cast<std::uint64_t>(tally.is_short));
    row.cell(
        fmt::format("{:.4f} ({})", tally.is_short / tally.asked, *part.failure), "failures",
        p_value < options.significance ? Verdict::no : Verdict::yes,
        {{"failures", tally.is_short}, {"states", tally.asked}, {"promised", *part.failure}, {"p_value", p_value}});
  } else {
    row.cell("");
  }
  if (part.acceptance > 0) {
    // Up to the distortion of the law.
    const double error = normal_quantile(options.significance / 2) * tally.accepted.standard_error();
    const double off = std::abs(tally.accepted.mean() - part.acceptance);
    row.cell(fmt::format("{:.4f} ({:.4f})", tally.accepted.mean(), part.acceptance), "acceptance",
             off - error > epsilon_of_law * part.acceptance ? Verdict::no : Verdict::yes,
             {{"accepted", tally.accepted.mean()},
              {"standard_error", tally.accepted.standard_error()},
              {"promised", part.acceptance}});
  } else {
    row.cell("");
  }
  if (!part.law.empty() && tally.draws > 0) {
    const LawFit law = fit_law(tally.cells, part.law);
    row.cell(fmt::format("{:.4f} ({:.4f})", law.total_variation, law.by_chance), "law",
             law.keeps(epsilon_of_law, options.significance),
             {{"draws", law.draws},
              {"total_variation", law.total_variation},
              {"by_chance", law.by_chance},
              {"squared_distortion", law.squared_distortion},
              {"cells", law.cells}});
    const double p_value = upper_tail(static_cast<std::uint64_t>(tally.draws), rate_of_false_draws,
                                      static_cast<std::uint64_t>(tally.false_draws));
    row.cell(fmt::format("{}", tally.false_draws), "false draws",
             p_value < options.significance ? Verdict::no : Verdict::yes,
             {{"false", tally.false_draws}, {"p_value", p_value}});
  } else {
    row.cell("");
    row.cell("");
  }
  row.errors("value", tally.value_errors, part.is_chosen);
  row.bounds("value", tally.values, tally.draws > 0);
  row.errors("probability", tally.probability_errors, part.is_chosen);
  row.bounds("probability", tally.probabilities, tally.probability_errors.count() > 0);
  row.bounds_of_one("norm", tally.norms, tally.norm_errors, tally.norm_errors.count() > 0);
  row.bounds_of_one("mass", tally.masses, tally.mass_errors, tally.mass_errors.count() > 0);
  row.bounds_of_one("p-norm", tally.norms_p, tally.norm_p_errors, tally.norm_p_errors.count() > 0);
  return row;
}

std::regex regex_of(const std::string& pattern) {
  try {
    return std::regex(pattern);
  } catch (const std::regex_error&) {
    throw UsageError(fmt::format("'{}' is not a regular expression", pattern));
  }
}

Json json_of(const FalseDraw& found) {
  const Drawn& drawn = found.drawn;
  return {{"seed", found.seed},
          {"index", std::to_string(drawn.index)},
          {"value", drawn.value.value},
          {"truth", drawn.value.truth},
          {"probability", drawn.probability->value}};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Audits what weir prints, at default sizes: a Markdown table with verdicts on stdout", "weir_audit");
  Options options;
  std::string lines_pattern = ".*", except_pattern;
  bool require = false, list = false;
  app.add_option("--draws", options.draws, "Draws of a line; fewer where states are costly. Not for --quick")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "A line ends after that time, with the draws it has. 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--significance", options.significance, "Of each check: the probability of a false 'no', at most")
      ->check(CLI::Range(1e-12, 0.1))
      ->capture_default_str();
  app.add_flag("--quick", options.quick, "The short form: fewer lines and draws");
  app.add_option("--lines,--families", lines_pattern, "Only lines whose names match this regular expression");
  app.add_option(
      "--except", except_pattern,
      "With --require: not those verdicts whose line and check match this regular expression, as in 'zipf 2.*: "
      "value bias'");
  app.add_option("--seed", options.seed, "Of the seeds of all states")->capture_default_str();
  app.add_option("--threads", options.threads, "They change no figure")
      ->check(CLI::Range(1U, 256U))
      ->capture_default_str();
  app.add_flag("--require", require, "Exit code 1 when a verdict is no");
  app.add_flag("--list", list, "Prints the names of the lines and ends");
  JsonFile json_file(app);
  bool kept = true;
  const int code = run_program(app, argc, argv, [&] {
    json_file.require_creatable();
    const std::regex lines_regex = regex_of(lines_pattern), except_regex = regex_of(except_pattern);
    std::vector<Line> lines = make_lines();
    std::erase_if(lines, [&](const Line& line) {
      return (options.quick && line.quick_draws == 0) || !std::regex_search(line.name, lines_regex);
    });
    if (lines.empty()) throw UsageError(fmt::format("no line matches '{}'", lines_pattern));
    if (list) {
      for (const Line& line : lines) std::cout << line.name << '\n';
      return;
    }

    const std::uint64_t needed = numbers_to_catch(options.significance);
    std::cout << header << std::flush;
    Json json = Json::array();
    std::size_t checks = 0;
    const double start = now();
    for (std::size_t k = 0; k < lines.size(); ++k) {
      const Line& line = lines[k];
      std::cerr << fmt::format("{:.0f} s: {} of {}, {}\n", now() - start, k + 1, lines.size(), line.name);
      const double begin = now();
      const Prepared prepared = line.prepare();
      const Measured measured = measure(line, prepared, options, needed);
      for (std::size_t part = 0; part < prepared.parts.size(); ++part) {
        const Part& what = prepared.parts[part];
        const std::string name = what.name.empty() ? line.name : line.name + ": " + what.name;
        const Row row = row_of(name, prepared.table, what, measured.tallies[part], options, needed);
        std::cout << row.text() << '\n' << std::flush;
        checks += row.checks().size();
        for (const std::string& check : row.broken()) {
          const bool is_excepted =
              !except_pattern.empty() && std::regex_search(fmt::format("{}: {}", name, check), except_regex);
          kept = kept && is_excepted;
        }
        json.push_back({{"line", name},
                        {"table", prepared.table},
                        {"states", measured.tallies[part].states},
                        {"draws", measured.tallies[part].draws},
                        {"seconds", now() - begin},
                        {"checks", row.checks()}});
        if (part > 0) continue;
        for (const FalseDraw& found : measured.false_draws) {
          json.back()["false_draws"].push_back(json_of(found));
          std::cerr << fmt::format("  false: seed {}, entry {}: {:.6g}, truth {:.6g}, probability {:.3g}\n", found.seed,
                                   found.drawn.index, found.drawn.value.value, found.drawn.value.truth,
                                   found.drawn.probability->value);
        }
      }
    }
    std::cout << fmt::format(
        "\n{} checks, each with a false 'no' at a probability of {:g} at most, all together {:.2g}. A bound that "
        "covers "
        "{} is caught with probability 0.99 by {} independent numbers.\n",
        checks, options.significance, static_cast<double>(checks) * options.significance, 1 - misses_to_catch, needed);
    json_file.write({{"draws", options.draws},
                     {"significance", options.significance},
                     {"seed", options.seed},
                     {"numbers_to_catch", needed},
                     {"lines", json}});
  });
  return code == 0 && require && !kept ? 1 : code;
}
