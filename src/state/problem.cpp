#include "weir/state/problem.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "weir/error.hpp"

namespace weir {
namespace {

using Json = nlohmann::ordered_json;
using Parsed = nlohmann::json;  // finds members in logarithmic time, however many a text has

constexpr std::array roles{Role::streams, Role::fixed, Role::forgotten, Role::absent};
constexpr std::array all_keeps{Keeps::sketch, Keeps::exact, Keeps::exact_shared};
constexpr std::array laws{ScaleLaw::exponential, ScaleLaw::uniform};

/// A text from a file as a message may show it: as JSON has it, and cut.
std::string excerpt(const std::string& text) {
  return Json(text.substr(0, 40)).dump(-1, ' ', true, Json::error_handler_t::replace);
}

/// The same in single quotes.
std::string quoted(const std::string& text) {
  std::string shown = excerpt(text);
  shown.front() = shown.back() = '\'';
  return shown;
}

/// A value from a file as a message may show it. (dump() of an array would go as deep as the array does.)
std::string excerpt(const Parsed& value) {
  if (value.is_string()) return excerpt(value.get_ref<const std::string&>());
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  return value.dump();
}

/// Reads the members of one JSON object, each exactly once, and refuses what nobody has asked for.
class Members {
 public:
  Members(const Parsed& object, std::string what, const std::string& source)
      : object_(&object), what_(std::move(what)), source_(&source) {
    if (!object.is_object()) fail("expected an object");
  }

  [[nodiscard]] const Parsed& at(const std::string& name) {
    const auto member = object_->find(name);
    if (member == object_->end()) fail(fmt::format("has no {}", quoted(name)));
    ++asked_;
    return *member;
  }
  [[nodiscard]] bool has(const std::string& name) const { return object_->contains(name); }
  [[nodiscard]] const Parsed* find(const std::string& name) { return object_->contains(name) ? &at(name) : nullptr; }
  [[nodiscard]] std::uint64_t whole(const std::string& name, std::uint64_t most) {
    const Parsed& value = at(name);
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most)
      fail(fmt::format("{} is {}, expected a whole number up to {}", quoted(name), excerpt(value), most));
    return value.get<std::uint64_t>();
  }
  [[nodiscard]] std::uint32_t small(const std::string& name) {
    return static_cast<std::uint32_t>(whole(name, UINT32_MAX));
  }
  [[nodiscard]] double real(const std::string& name) {
    const Parsed& value = at(name);
    if (!value.is_number() || !std::isfinite(value.get<double>()))
      fail(fmt::format("{} is {}, expected a finite number", quoted(name), excerpt(value)));
    return value.get<double>();
  }
  [[nodiscard]] bool flag(const std::string& name) {
    const Parsed& value = at(name);
    if (!value.is_boolean()) fail(fmt::format("{} is {}, expected true or false", quoted(name), excerpt(value)));
    return value.get<bool>();
  }
  [[nodiscard]] std::string text(const std::string& name) {
    const Parsed& value = at(name);
    if (!value.is_string()) fail(fmt::format("{} is {}, expected a text", quoted(name), excerpt(value)));
    return value.get<std::string>();
  }
  /// The one of `values` whose to_string() is the text.
  template <class Value, std::size_t count>
  [[nodiscard]] Value one_of(const std::string& name, const std::array<Value, count>& values) {
    const std::string given = text(name);
    for (const Value value : values)
      if (given == to_string(value)) return value;
    fail(fmt::format("{} is {}, which this build does not know", quoted(name), excerpt(given)));
  }
  /// Throws when there are members that were not asked for.
  void finish() const {
    if (asked_ != object_->size()) fail("has members that this build does not know");
  }
  [[noreturn]] void fail(const std::string& problem) const {
    throw InputError(fmt::format("{}: the description of the problem: {} {}", *source_, what_, problem));
  }

 private:
  const Parsed* object_;
  std::string what_;
  const std::string* source_;
  std::size_t asked_ = 0;
};

Json json_of(const SketchConfig& sketch) {
  Json json = {{"dimension", sketch.dimension},
               {"rows", sketch.rows},
               {"buckets", sketch.buckets},
               {"lanes", sketch.lanes},
               {"levels", sketch.levels},
               {"law", to_string(sketch.law)},
               {"p", sketch.p},
               {"randomness", to_string(sketch.randomness)},
               {"independence", sketch.independence},
               {"seed", sketch.seed},
               {"row_length", sketch.row_length}};
  return json;
}

SketchConfig sketch_of(const Parsed& json, const std::string& source) {
  Members members(json, "'sketch'", source);
  SketchConfig sketch;
  sketch.dimension = members.whole("dimension", UINT64_MAX);
  sketch.rows = members.small("rows");
  sketch.buckets = members.whole("buckets", UINT64_MAX);
  sketch.lanes = members.small("lanes");
  sketch.levels = members.small("levels");
  sketch.law = members.one_of("law", laws);
  sketch.p = members.real("p");
  try {
    sketch.randomness = parse_randomness(members.text("randomness"));
  } catch (const UsageError& error) {
    members.fail(error.what());
  }
  sketch.independence = members.small("independence");
  sketch.seed = members.whole("seed", UINT64_MAX);
  sketch.row_length = members.whole("row_length", UINT64_MAX);
  members.finish();
  return sketch;
}

}  // namespace

std::string_view to_string(Role role) noexcept {
  switch (role) {
    case Role::streams:
      return "streams";
    case Role::fixed:
      return "fixed";
    case Role::forgotten:
      return "forgotten";
    case Role::absent:
      break;
  }
  return "absent";
}

std::string_view to_string(Keeps keeps) noexcept {
  switch (keeps) {
    case Keeps::sketch:
      return "sketch";
    case Keeps::exact:
      return "exact";
    case Keeps::exact_shared:
      break;
  }
  return "exact-shared";
}

std::uint64_t Problem::side(std::string_view name) const {
  const auto found = sides.find(name);
  if (found == sides.end()) throw UsageError(fmt::format("the side {} of the problem is not known", name));
  return found->second;
}

Role Problem::role(Operand operand) const {
  const auto found = roles.find(operand);
  return found == roles.end() ? Role::absent : found->second;
}

OperandSet Problem::with_role(Role wanted) const {
  OperandSet set;
  for (const auto& [operand, role] : roles)
    if (role == wanted) set.insert(operand);
  return set;
}

std::string to_text(const Problem& problem) {
  Json json;
  json["setting"] = problem.setting;
  json["keeps"] = to_string(problem.keeps);
  json["sides"] = Json::object();
  for (const auto& [name, length] : problem.sides) json["sides"][name] = length;
  json["operands"] = Json::object();
  for (const auto& [operand, role] : problem.roles) json["operands"][std::string(to_string(operand))] = to_string(role);
  json["degree"] = problem.degree;
  json["sketch"] = json_of(problem.sketch);
  json["gram"] = {{"buckets", problem.gram.buckets}, {"exact", problem.gram.exact}};
  if (problem.precision)
    json["precision"] = {{"epsilon", problem.precision->epsilon}, {"constant", problem.precision->constant}};
  // Not where there is none: versions before know no such member.
  if (problem.resolution != 0) json["resolution"] = problem.resolution;
  if (!problem.parameters.empty()) {
    json["parameters"] = Json::object();
    for (const auto& [name, value] : problem.parameters) json["parameters"][name] = value;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

namespace {

/// Throws InputError for an object that has a member twice: readers differ in which of them they take.
Parsed parse_distinct(std::string_view text, const std::string& source) {
  std::vector<std::set<std::string>> members;  // of the objects around
  const auto note = [&](int, Parsed::parse_event_t event, Parsed& parsed) {
    if (event == Parsed::parse_event_t::object_start) members.emplace_back();
    if (event == Parsed::parse_event_t::object_end) members.pop_back();
    if (event == Parsed::parse_event_t::key && !members.back().insert(parsed.get<std::string>()).second)
      throw InputError(fmt::format("{}: the description of the problem has the member {} twice", source,
                                   quoted(parsed.get<std::string>())));
    return true;
  };
  return Parsed::parse(text, note, false);
}

}  // namespace

Problem problem_of_text(std::string_view text, const std::string& source) {
  const Parsed json = parse_distinct(text, source);
  if (json.is_discarded()) throw InputError(source + ": the description of the problem is no JSON object");
  Members members(json, "it", source);
  Problem problem;
  problem.setting = members.text("setting");
  problem.keeps = members.one_of("keeps", all_keeps);
  const Parsed& sides = members.at("sides");
  Members side_members(sides, "'sides'", source);
  for (const auto& [name, length] : sides.items())
    problem.sides[name] = side_members.whole(name, std::uint64_t{1} << 63);
  const Parsed& operands = members.at("operands");
  Members operand_members(operands, "'operands'", source);
  for (const auto& [name, role] : operands.items()) {
    const std::optional<Operand> operand = find_operand(name);
    if (!operand) operand_members.fail(fmt::format("name {}, which no setting of this build has", excerpt(name)));
    problem.roles[*operand] = operand_members.one_of(name, roles);
  }
  problem.degree = members.small("degree");
  problem.sketch = sketch_of(members.at("sketch"), source);
  Members gram(members.at("gram"), "'gram'", source);
  problem.gram.buckets = gram.whole("buckets", UINT64_MAX);
  problem.gram.exact = gram.flag("exact");
  gram.finish();
  if (const Parsed* target = members.find("precision")) {
    Members precision(*target, "'precision'", source);
    problem.precision = PrecisionTarget{precision.real("epsilon"), precision.real("constant")};
    precision.finish();
  }
  if (members.has("resolution")) {
    problem.resolution = members.real("resolution");
    try {
      if (power_of_two_below(problem.resolution) != problem.resolution)
        throw UsageError(fmt::format("'resolution' is {}, expected a power of two", problem.resolution));
    } catch (const UsageError& error) {
      throw InputError(fmt::format("{}: {}", source, error.what()));
    }
  }
  if (const Parsed* parameters = members.find("parameters")) {
    Members parameter_members(*parameters, "'parameters'", source);
    for (const auto& [name, value] : parameters->items()) problem.parameters[name] = parameter_members.text(name);
  }
  members.finish();
  return problem;
}

std::uint64_t fingerprint_of(const Problem& problem) {
  const std::string text = to_text(problem);
  return XXH64(text.data(), text.size(), 0) ^ problem.sketch.fingerprint();
}

namespace {

/// As in "x: fixed against streamed".
std::string_view role_in_difference(Role role) {
  switch (role) {
    case Role::streams:
      return "streamed";
    case Role::forgotten:
      return "streamed and not kept";
    case Role::absent:
      return "not kept";
    case Role::fixed:
      break;
  }
  return "fixed";
}

/// The first key in which two maps differ, with both values, "none" for one that is missing.
template <class Map>
std::string describe_map_difference(const Map& a, const Map& b) {
  const auto value_in = [](const Map& map, const auto& key) {
    const auto found = map.find(key);
    return found == map.end() ? std::string("none") : fmt::format("{}", found->second);
  };
  for (const Map* map : {&a, &b})
    for (const auto& [key, value] : *map)
      if (value_in(a, key) != value_in(b, key))
        return fmt::format("{}: {} against {}", key, value_in(a, key), value_in(b, key));
  return {};
}

}  // namespace

double power_of_two_below(double resolution) {
  constexpr double least = 0x1p-200, most = 0x1p200;
  if (!(resolution >= least && resolution <= most))
    throw UsageError(fmt::format("a resolution of {}: expected {:.3g} to {:.3g}", resolution, least, most));
  return std::exp2(std::ilogb(resolution));
}

void round_to(double resolution, std::span<double> numbers) noexcept {
  if (resolution == 0) return;
  // Both are exact: the resolution is a power of two.
  const double steps = 1 / resolution;
  for (double& number : numbers) number = std::nearbyint(number * steps) * resolution;
}

std::string describe_difference(const Problem& a, const Problem& b) {
  if (a.setting != b.setting) return fmt::format("setting: {} against {}", a.setting, b.setting);
  if (a.keeps != b.keeps) return fmt::format("what is kept: {} against {}", to_string(a.keeps), to_string(b.keeps));
  if (a.degree != b.degree) return fmt::format("degree: {} against {}", a.degree, b.degree);
  if (std::string difference = describe_difference(a.sketch, b.sketch); !difference.empty()) return difference;
  if (std::string difference = describe_map_difference(a.sides, b.sides); !difference.empty()) return difference;
  if (a.gram.buckets != b.gram.buckets)
    return fmt::format("buckets of the Gram sketch: {} against {}", a.gram.buckets, b.gram.buckets);
  if (a.gram.exact != b.gram.exact) return fmt::format("exact Gram matrix: {} against {}", a.gram.exact, b.gram.exact);
  const PrecisionTarget x = a.precision.value_or(PrecisionTarget()), y = b.precision.value_or(PrecisionTarget());
  if (x.epsilon != y.epsilon)
    return fmt::format("epsilon of the sampler precision: {} against {}", x.epsilon, y.epsilon);
  if (x.constant != y.constant) return fmt::format("C of the sampler precision: {} against {}", x.constant, y.constant);
  if (a.resolution != b.resolution) return fmt::format("resolution: {} against {}", a.resolution, b.resolution);
  for (const Problem* problem : {&a, &b})
    for (const auto& [operand, role] : problem->roles)
      if (a.role(operand) != b.role(operand))
        return fmt::format("{}: {} against {}", to_string(operand), role_in_difference(a.role(operand)),
                           role_in_difference(b.role(operand)));
  return describe_map_difference(a.parameters, b.parameters);
}

}  // namespace weir
