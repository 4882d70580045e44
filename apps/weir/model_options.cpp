#include "model_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "weir/error.hpp"

namespace weir::app {
namespace {

constexpr std::string_view exact_method = "exact";

/// The distinct texts that `of` makes of the settings, in their order; empty ones are left out.
template <class Of>
std::vector<std::string> distinct(const Of& of) {
  std::vector<std::string> all;
  for (const Setting* setting : settings()) {
    if (!setting->traits().has_y) continue;
    const std::string text = of(setting->traits());
    if (!text.empty() && std::ranges::find(all, text) == all.end()) all.push_back(text);
  }
  return all;
}

std::vector<std::string> method_names() {
  std::vector<std::string> names = distinct([](const SettingTraits& traits) { return traits.method; });
  names.emplace_back(exact_method);
  return names;
}

/// The models of the settings for which `has` is true, as in "kronecker and rows".
template <class Has>
std::string models_with(const Has& has) {
  return fmt::format(
      "{}", fmt::join(distinct([&](const SettingTraits& traits) { return has(traits) ? traits.model : std::string(); }),
                      " and "));
}

/// The same with their methods, as in "--model rows and --model kronecker --method two-stage".
template <class Has>
std::string labels_with(const Has& has) {
  std::vector<std::string> labels;
  for (const Setting* setting : settings())
    if (has(setting->traits())) labels.push_back(setting->label());
  return fmt::format("{}", fmt::join(labels, " and "));
}

bool has_side(const SettingTraits& traits, const std::string& name) {
  return std::ranges::find(traits.sides, name, &SideUse::name) != traits.sides.end();
}

/// NAME=..., NAME as the name of an operand may be.
bool is_assignment(std::string_view text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const std::string_view name = text.substr(0, text.find('='));
  return name.size() < text.size() && !name.empty() && is_letter(name.front()) &&
         std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

/// Throws UsageError for options that the setting has no use for.
void require_own_options(const ModelOptions& options, const Setting& setting) {
  const SettingTraits& traits = setting.traits();
  for (const auto& [name, length] : options.sides) {
    if (has_side(traits, name)) continue;
    std::vector<std::string> own;
    for (const SideUse& side : traits.sides) own.push_back("--" + side.name);
    throw UsageError(
        fmt::format("--{} belongs to --model {}; --model {} has the sides {}", name,
                    models_with([&, &side = name](const SettingTraits& other) { return has_side(other, side); }),
                    traits.model, fmt::join(own, ", ")));
  }
  if (options.method && traits.method.empty())
    throw UsageError(fmt::format("--method belongs to --model {}; the model is {}",
                                 models_with([](const SettingTraits& other) { return !other.method.empty(); }),
                                 traits.model));
  if ((options.exact_gram || options.gram_buckets) && !traits.has_gram)
    throw UsageError(fmt::format("--gram and --gram-buckets: {} keeps no Gram matrix; {} do", setting.label(),
                                 labels_with([](const SettingTraits& other) { return other.has_gram; })));
}

}  // namespace

std::vector<std::string> model_names() {
  return distinct([](const SettingTraits& traits) { return traits.model; });
}

std::map<Operand, std::string> ModelOptions::files() const {
  std::map<Operand, std::string> files;
  for (const std::string& given : fixed) {
    const std::size_t equals = given.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == given.size())
      throw UsageError(fmt::format("--fixed: '{}' given, expected NAME=FILE", given));
    const std::string name = given.substr(0, equals);
    const std::optional<Operand> operand = find_operand(name);
    if (!operand) throw UsageError(fmt::format("--fixed: unknown operand '{}'", name));
    if (!files.emplace(*operand, given.substr(equals + 1)).second)
      throw UsageError(fmt::format("--fixed: the operand '{}' is given more than once", name));
  }
  return files;
}

Problem ModelOptions::problem(Keeps keeps) const {
  Problem problem;
  problem.keeps = keeps;
  std::optional<std::string> own_method = method;
  if (method == exact_method) {
    problem.keeps = Keeps::exact;
    own_method.reset();
  }
  for (const auto& [operand, file] : files()) problem.roles[operand] = Role::fixed;
  const std::string name = model.value_or(model_names().front());
  if (method)
    if (std::ranges::none_of(settings(), [&](const Setting* setting) {
          return setting->traits().model == name && !setting->traits().method.empty();
        }))
      require_own_options(*this, choose_setting(name, std::nullopt, problem));
  const Setting& setting = choose_setting(name, own_method, problem);
  const SettingTraits& traits = setting.traits();
  problem.setting = traits.name;
  require_own_options(*this, setting);
  if (problem.keeps != Keeps::sketch && (exact_gram || gram_buckets))
    throw UsageError("--gram and --gram-buckets belong to sketches; exact answers need none");
  std::vector<std::string_view> may_be_fixed;
  for (const OperandUse& use : traits.operands)
    if (use.may_be_fixed) may_be_fixed.push_back(to_string(use.operand));
  for (const auto& [operand, role] : problem.roles)
    if (std::ranges::find(may_be_fixed, to_string(operand)) == may_be_fixed.end())
      throw UsageError(fmt::format("--fixed: the operand '{}' cannot be fixed in the model {}; {}", to_string(operand),
                                   traits.model,
                                   may_be_fixed.empty() ? std::string("it has none to fix")
                                                        : fmt::format("expected {}", fmt::join(may_be_fixed, " or "))));
  problem.sides.insert(sides.begin(), sides.end());
  return problem;
}

void ModelOptions::require_consistent(const Problem& saved, const std::string& path) const {
  const Setting& setting = setting_of(saved);
  if (model && *model != setting.traits().model)
    throw UsageError(fmt::format("{} is a state of --model {}; it cannot go on with --model {}", path,
                                 setting.traits().model, *model));
  if (method && *method != setting.traits().method)
    throw UsageError(
        fmt::format("{} is a state of {}; it cannot go on with --method {}", path, setting.label(), *method));
  require_own_options(*this, setting);
  for (const auto& [name, length] : sides)
    if (const auto held = saved.sides.find(name); held != saved.sides.end() && held->second != length)
      throw UsageError(fmt::format("--{} {} contradicts the saved state, which has {}", name, length, held->second));
  if (exact_gram.value_or(saved.gram.exact) != saved.gram.exact)
    throw UsageError(fmt::format("--gram {} contradicts the saved state, which has {}",
                                 saved.gram.exact ? "sketch" : "exact", saved.gram.exact ? "exact" : "sketch"));
  if (gram_buckets.value_or(saved.gram.buckets) != saved.gram.buckets)
    throw UsageError(
        fmt::format("--gram-buckets {} contradicts the saved state, which has {}", *gram_buckets, saved.gram.buckets));
}

void add_side_options(CLI::App& app, const std::string& group,
                      const std::function<void(const std::string&, std::uint64_t)>& assign) {
  std::vector<std::string> names;
  for (const Setting* setting : settings())
    for (const SideUse& side : setting->traits().sides)
      if (setting->traits().has_y && std::ranges::find(names, side.name) == names.end()) names.push_back(side.name);
  for (const std::string& name : names) {
    // What the side is in each model, models that agree together.
    std::vector<std::pair<std::string, std::vector<std::string>>> meanings;
    std::string note;
    for (const Setting* setting : settings())
      for (const SideUse& side : setting->traits().sides) {
        if (side.name != name || !setting->traits().has_y) continue;
        if (side.note.size() > note.size()) note = side.note;
        auto meaning = std::ranges::find(meanings, side.meaning, [](const auto& entry) { return entry.first; });
        if (meaning == meanings.end()) meaning = meanings.insert(meanings.end(), {side.meaning, {}});
        const std::string& model = setting->traits().model;
        if (std::ranges::find(meaning->second, model) == meaning->second.end()) meaning->second.push_back(model);
      }
    std::string text;
    for (const auto& [meaning, models] : meanings)
      text += fmt::format("{}{} (--model {})", text.empty() ? "" : "; ", meaning, fmt::join(models, ", "));
    text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
    if (!note.empty()) text += ". " + std::string(1, static_cast<char>(std::toupper(note.front()))) + note.substr(1);
    add_whole(
        app, "--" + name, {1, max_dimension}, [assign, name](std::uint64_t value) { assign(name, value); }, text)
        ->group(group);
  }
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  const std::string group = "Model";
  const auto list = [](const std::vector<std::string>& names) { return fmt::format("{}", fmt::join(names, "|")); };
  const auto set_of = [](const std::vector<std::string>& names) {
    return std::set<std::string>(names.begin(), names.end());
  };
  app.add_option("--model", options.model,
                 "What y is. vector: y is the stream itself. product: y = A x; A, x or both stream.\n"
                 "kronecker: y = (A1 (x) A2) vec X, which is the matrix A1 X A2^T: all products of\n"
                 "rows of A1 (queries, say) with rows of A2 (keys). rows: A streams, and whole rows\n"
                 "a of it are drawn, with probability in proportion to a^T M a (--metric). A saved\n"
                 "state knows its model")
      ->check(one_of(set_of(model_names())))
      ->type_name(list(model_names()))
      ->default_str(model_names().front())
      ->group(group);
  add_side_options(app, group,
                   [&options](const std::string& name, std::uint64_t length) { options.sides[name] = length; });
  app.add_option_function<std::vector<std::string>>(
         "--fixed",
         [&options](const std::vector<std::string>& values) {
           // CLI11 hands over all that follows, up to the next option.
           for (std::size_t k = 0; k < values.size(); ++k)
             (k == 0 || is_assignment(values[k]) ? options.fixed : options.behind_fixed).push_back(values[k]);
         },
         "Operands that do not stream but are files: NAME=FILE, one or several. A matrix may\n"
         "be .npy, coordinate .mtx, or a file of events (with --n, --d and so on); all ranks\n"
         "read it in slices. x may be .npy, .mtx, or text with one number a line. While x\n"
         "streams and A is fixed, an event costs O(1). X is the identity when it is neither\n"
         "fixed nor in the stream. When all operands are fixed there is no STREAM")
      ->type_name("NAME=FILE")
      ->group(group);
  app.add_option("--method", options.method,
                 "For --model kronecker. streaming: one factor streams, the other and X are fixed. A\n"
                 "rank keeps a sketch of y and its slices of the operands, O((N1 + N2) D / ranks).\n"
                 "An event costs O(N2), or O(N1) when A2 streams. Values and probabilities are\n"
                 "exact. N1 N2 is at most 2^63. two-stage: any of A1, A2 and X may stream. A rank\n"
                 "keeps sketches of A1 and of A2, and an event costs O(1) in N1 and N2. First i1 is\n"
                 "drawn, then i2 given i1. Values are estimates. D1 and D2 are at most 32,768.\n"
                 "exact: every rank keeps A1, A2 and X themselves, 8 (N1 + N2) D bytes. The default\n"
                 "is streaming when one factor is fixed, otherwise two-stage")
      ->check(one_of(set_of(method_names())))
      ->type_name(list(method_names()))
      ->group(group);
  app.add_option_function<std::string>(
         "--gram", [&options](const std::string& text) { options.exact_gram = text == "exact"; },
         "How the Gram matrix A^T A is kept, for --model rows and --method two-stage, which\n"
         "draw by it. sketch: estimated, for every stream. exact: D^2 numbers without error,\n"
         "for rows that come and go whole and are there at most once each; nothing checks\n"
         "that. With --model rows D is at most 32,768 either way")
      ->check(one_of({"sketch", "exact"}))
      ->type_name("sketch|exact")
      ->default_str("sketch")
      ->group(group);
  add_whole(
      app, "--gram-buckets", {2, std::uint64_t{1} << 31},
      [&options](std::uint64_t value) { options.gram_buckets = value; },
      "Buckets of the sketch of A^T A, a power of two from 2 to 2^31, in place of what\n"
      "--epsilon chooses. The error that they add to the probabilities is about sqrt(2 /\n"
      "(5 BUCKETS)) / 2 in total variation")
      ->type_name("BUCKETS")
      ->group(group);
}

}  // namespace weir::app
