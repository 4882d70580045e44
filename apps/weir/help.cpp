#include "help.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <sstream>
#include <string_view>
#include <utility>

namespace weir::app {
namespace {

constexpr std::string_view exit_codes =
    "Exit codes:\n"
    "  0 done; 1 bad input or a failure at run time; 2 wrong usage; 3 nothing could be drawn";
constexpr std::string_view numbers =
    "Whole numbers:\n"
    "  1000000, 1_000_000, 1e6, 2^20, 64Ki (also Mi, Gi, Ti; KiB and so on of bytes), 0xFF; never rounded";
constexpr std::string_view examples_title = "Examples";

/// Insertions, deletions, substitutions, and exchanges of neighbours that make `b` of `a`.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last, last(b.size() + 1), now(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = std::min(now[j], before_last[j - 2] + 1);
    }
    before_last = std::exchange(last, now);
  }
  return last[b.size()];
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

/// "weir query", of the commands that have the option.
std::vector<std::string> commands_with(const CLI::App& app, const std::string& option) {
  std::vector<std::string> found;
  for (const CLI::App* command : commands_of(app))
    if (std::ranges::count(option_names(*command), option) > 0) found.push_back("weir " + command->get_name());
  return found;
}

std::string question(const std::vector<std::string>& meant) {
  return meant.empty() ? std::string() : fmt::format("; did you mean {}?", fmt::join(meant, " or "));
}

}  // namespace

void set_help(CLI::App& command, const std::string& sections, const std::vector<std::string>& examples) {
  const auto paragraph = [](std::string_view text) { return fmt::format("{}{}", text, text.empty() ? "" : "\n\n"); };
  command.footer(paragraph(sections) + paragraph(command.get_option_no_throw("--n") == nullptr ? "" : numbers) +
                 paragraph(exit_codes) + fmt::format("{}:\n  {}", examples_title, fmt::join(examples, "\n  ")));
}

std::vector<HelpSection> help_sections(const CLI::App& command) {
  std::vector<HelpSection> sections;
  std::istringstream text(command.get_footer());
  bool is_new = true;
  for (std::string line; std::getline(text, line);) {
    if (line.empty()) {
      is_new = true;
      continue;
    }
    const bool is_title = line.front() != ' ' && line.ends_with(':');
    if (is_new) sections.push_back({is_title ? line.substr(0, line.size() - 1) : std::string(), {}});
    if (!is_new || !is_title) sections.back().lines.push_back(line);
    is_new = false;
  }
  return sections;
}

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

std::vector<std::string> similar(const std::string& given, const std::vector<std::string>& candidates) {
  const auto bare = [](std::string_view name) {
    return name.substr(std::min(name.find_first_not_of('-'), name.size()));
  };
  const std::string_view wanted = bare(given);
  std::vector<std::pair<std::size_t, std::string>> found;
  for (const std::string& candidate : candidates) {
    const std::string_view name = bare(candidate);
    const std::size_t distance = edit_distance(wanted, name);
    const bool is_beginning = wanted.size() > 1 && name.starts_with(wanted);
    // A third of the letters, and of names of one or two letters those that differ in case alone or have one more.
    if (is_beginning || (distance <= std::max(wanted.size(), name.size()) / 3) ||
        (distance == 1 && std::min(wanted.size(), name.size()) > 1))
      found.emplace_back(is_beginning ? std::min<std::size_t>(distance, 1) : distance, candidate);
  }
  std::ranges::stable_sort(found, {}, [](const auto& entry) { return entry.first; });
  std::vector<std::string> names;
  for (const auto& [distance, name] : found)
    if (names.size() < 3 && distance == found.front().first) names.push_back(name);
  return names;
}

std::string unknown_option(const CLI::App& app, const CLI::App* command, const std::string& given) {
  const std::string name = given.substr(0, given.find('='));
  std::string message = fmt::format("unknown option '{}'", name);
  const std::vector<std::string> meant = similar(name, option_names(command == nullptr ? app : *command));
  if (!meant.empty()) return message + question(meant);
  const std::vector<std::string> others = commands_with(app, name);
  return others.empty() ? message : message + fmt::format("; it belongs to {}", fmt::join(others, ", "));
}

std::string unknown_command(const CLI::App& app, const std::string& given) {
  std::vector<std::string> names;
  for (const CLI::App* command : commands_of(app)) names.push_back(command->get_name());
  const std::string message = fmt::format("unknown command '{}'", given);
  const std::vector<std::string> meant = similar(given, names);
  if (!meant.empty()) return message + question(meant);
  const std::vector<std::string> owners = commands_with(app, "--" + given);
  if (!owners.empty()) return message + fmt::format("; --{} is an option of {}", given, fmt::join(owners, ", "));
  return message + fmt::format(": expected {}", fmt::join(names, ", "));
}

}  // namespace weir::app
