// Texts of errors. The library writes them for the program, and names its options.

#include <algorithm>
#include <array>
#include <regex>

#include "bindings.hpp"

namespace weir::python {
namespace {

/// What follows the name of an option where it has a value.
enum class Value : std::uint8_t { none, number, word };

struct Argument {
  std::string_view option, name;
  Value value = Value::none;
};

constexpr std::array arguments{
    Argument{"checkpoint", "checkpoint"},
    Argument{"d", "d", Value::number},
    Argument{"d1", "d1", Value::number},
    Argument{"d2", "d2", Value::number},
    Argument{"decay", "decay", Value::number},
    Argument{"delta", "delta"},
    Argument{"edges", "edges", Value::word},
    Argument{"exact-check", "exact=True"},
    Argument{"gram", "gram", Value::word},
    Argument{"gram-buckets", "gram_buckets", Value::number},
    Argument{"header", "header", Value::word},
    Argument{"key", "key"},
    Argument{"labels", "labels"},
    Argument{"method", "method", Value::word},
    Argument{"metric", "metric"},
    Argument{"model", "model", Value::word},
    Argument{"moment", "moments", Value::number},
    Argument{"n", "n", Value::number},
    Argument{"n1", "n1", Value::number},
    Argument{"n2", "n2", Value::number},
    Argument{"norm", "norm"},
    Argument{"p", "p", Value::number},
    Argument{"per-row", "per_row"},
    Argument{"point", "points", Value::number},
    Argument{"q", "attend"},
    Argument{"resume", "resume=True"},
    Argument{"sampler", "sampler", Value::word},
    Argument{"separator", "separator", Value::word},
    Argument{"sign", "sign"},
    Argument{"state", "weir.load of"},
    Argument{"top", "top", Value::number},
    Argument{"window", "window", Value::number},
    Argument{"without-replacement", "without_replacement"},
};

std::string replacement(const std::smatch& found) {
  const std::string before = found[1], option = found[2], rest = found[3];
  // --fixed A=FILE is fixed={'A': ...}, and --fixed alone fixed.
  if (option == "fixed") {
    static const std::regex operand("^ (\\w+)=FILE");
    std::smatch named;
    return before + "fixed" + (std::regex_search(rest, named, operand) ? "={'" + named[1].str() + "': ...}" : rest);
  }
  const auto* const argument = std::ranges::find(arguments, option, &Argument::option);
  if (argument == arguments.end()) return found[0];
  const std::string name(argument->name);
  const bool is_number = rest.size() > 1 && rest[1] >= '0' && rest[1] <= '9';
  if (argument->value == Value::word && !rest.empty()) return before + name + "='" + rest.substr(1) + "'";
  if (argument->value == Value::number && is_number) return before + name + "=" + rest.substr(1);
  return before + name + rest;
}

}  // namespace

std::string in_python(std::string_view text) {
  // An option begins a word; it may have one value: a number, a word or several of them, NAME=FILE. None is long, and as the
  // texts may have any length, nothing here may match more: std::regex recurses.
  static const std::regex option("(^|[ (,;|])--([a-z][a-z0-9-]{0,30})((?: [0-9A-Za-z][0-9A-Za-z|=-]{0,60})?)");
  const std::string whole(text);
  std::string out;
  std::size_t done = 0;
  for (std::sregex_iterator found(whole.begin(), whole.end(), option), end; found != end; ++found) {
    const auto place = static_cast<std::size_t>(found->position());
    out.append(whole, done, place - done);
    out += replacement(*found);
    done = place + static_cast<std::size_t>(found->length());
  }
  return out.append(whole, done, std::string::npos);
}

}  // namespace weir::python
