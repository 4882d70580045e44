#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "options.hpp"
#include "weir/event.hpp"
#include "weir/setting/setting.hpp"
#include "weir/state/problem.hpp"

namespace weir::app {

/// --model and the sides of its operands, --fixed, --method, --gram, --gram-buckets.
struct ModelOptions {
  std::optional<std::string> model;
  std::map<std::string, std::uint64_t> sides;
  std::vector<std::string> fixed;         ///< NAME=FILE
  std::vector<std::string> behind_fixed;  ///< What followed them and is not NAME=FILE: streams.
  std::optional<std::string> method;
  std::optional<bool> exact_gram;
  std::optional<std::uint64_t> gram_buckets;

  /// The files of --fixed by operand. Throws UsageError for what is not NAME=FILE, and for a name given twice.
  [[nodiscard]] std::map<Operand, std::string> files() const;
  /// What is asked for, as far as options say it: setting, sides, fixed operands, what is kept. `keeps` is what the
  /// sampler wants; --method exact wants exact states too. Throws UsageError for options that contradict each other or
  /// belong to another model.
  [[nodiscard]] Problem problem(Keeps keeps) const;
  /// Throws UsageError naming the first option that contradicts the problem of the saved state at `path`.
  void require_consistent(const Problem& saved, const std::string& path) const;
};
void add_model_options(CLI::App& app, ModelOptions& options);
/// The sides that the models have: --n, --d, ... `assign` takes the name of one, without dashes, and its length.
void add_side_options(CLI::App& app, const std::string& group,
                      const std::function<void(const std::string&, std::uint64_t)>& assign);
/// The names of the models, in the order of the settings.
[[nodiscard]] std::vector<std::string> model_names();

}  // namespace weir::app
