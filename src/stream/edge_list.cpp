#include "edge_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "decoder.hpp"
#include "weir/error.hpp"
#include "weir/io/text.hpp"

namespace weir::stream {

namespace {

bool is_digits(std::string_view word) noexcept {
  return !word.empty() && word.find_first_not_of("0123456789") == std::string_view::npos;
}

/// A number of nodes, all digits. Throws InputError where it cannot be one.
std::uint64_t nodes_of(std::string_view word, const std::string& name) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value == 0 || value >= index_limit)
    throw InputError(fmt::format("{}: its comments state {} nodes: expected a whole number from 1 to 2^63 - 1", name,
                                 quoted_excerpt(word)));
  return value;
}

std::vector<std::string_view> first_words(std::string_view comment) {
  std::vector<std::string_view> words;
  for (std::string_view word = take_word(comment); !word.empty() && words.size() < 8; word = take_word(comment))
    words.push_back(word);
  return words;
}

/// The nodes on either side of an edge, of a comment "% M N1 N2", or "% M N", without the character that begins it.
std::optional<std::array<std::uint64_t, 2>> konect_nodes(std::string_view comment, const std::string& name) {
  const std::vector<std::string_view> words = first_words(comment);
  if ((words.size() != 2 && words.size() != 3) || !std::ranges::all_of(words, is_digits)) return std::nullopt;
  return std::array{nodes_of(words[1], name), nodes_of(words.back(), name)};
}

/// Likewise, of a comment that has "Nodes: N".
std::optional<std::array<std::uint64_t, 2>> snap_nodes(std::string_view comment, const std::string& name) {
  const std::vector<std::string_view> words = first_words(comment);
  for (std::size_t k = 0; k + 1 < words.size(); ++k)
    if (words[k] == "Nodes:" && is_digits(words[k + 1])) {
      const std::uint64_t nodes = nodes_of(words[k + 1], name);
      return std::array{nodes, nodes};
    }
  return std::nullopt;
}

/// Calls `look(mark, comment)` for the comments before the first line that is none, until it returns true.
template <class Look>
bool any_comment(std::string_view text, const Look& look) {
  TextLines lines(text);
  while (auto line = lines.next()) {
    if (line->starts_with("\xEF\xBB\xBF")) line->remove_prefix(3);
    const std::size_t first = line->find_first_not_of(" \t\r");
    if (first == std::string_view::npos) continue;
    const char mark = (*line)[first];
    if (mark != '#' && mark != '%') return false;
    if (look(mark, line->substr(first + 1))) return true;
  }
  return false;
}

}  // namespace

std::optional<std::array<std::uint64_t, 2>> shape_of_edges(std::string_view text, Edges edges,
                                                           const std::string& name) {
  std::optional<std::array<std::uint64_t, 2>> sides;
  any_comment(text, [&](char mark, std::string_view comment) {
    sides = mark == '%' ? konect_nodes(comment, name) : snap_nodes(comment, name);
    // Nodes of KONECT count from 1.
    if (sides && mark == '%') sides = std::array{(*sides)[0] + 1, (*sides)[1] + 1};
    return sides.has_value();
  });
  if (!sides) return sides;
  if (edges == Edges::in) std::swap((*sides)[0], (*sides)[1]);
  if (edges == Edges::both) (*sides)[0] = (*sides)[1] = std::max((*sides)[0], (*sides)[1]);
  return sides;
}

std::optional<std::array<std::uint64_t, 2>> largest_nodes(std::string_view text, const std::string& name) {
  std::optional<std::array<std::uint64_t, 2>> sides;
  bool is_konect = false;
  any_comment(text, [&](char mark, std::string_view comment) {
    if (mark != '%') return false;
    if (is_konect) sides = konect_nodes(comment, name);
    const std::string_view word = take_word(comment);
    is_konect = is_konect || word == "sym" || word == "asym" || word == "bip";
    return sides.has_value();
  });
  return sides;
}

bool tells_of_two_sides(std::string_view text) {
  return any_comment(text,
                     [](char mark, std::string_view comment) { return mark == '%' && take_word(comment) == "bip"; });
}

bool tells_of_graph(std::string_view text) {
  return any_comment(text, [](char mark, std::string_view comment) {
    if (mark == '%') return true;
    constexpr std::array<std::string_view, 4> words{"Nodes:", "Edges:", "FromNodeId", "ToNodeId"};
    for (std::string_view word = take_word(comment); !word.empty(); word = take_word(comment))
      if (std::ranges::find(words, word) != words.end()) return true;
    return false;
  });
}

}  // namespace weir::stream
