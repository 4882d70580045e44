#include "edge_list.hpp"

#include <algorithm>
#include <charconv>
#include <vector>

#include "decoder.hpp"
#include "weir/io/text.hpp"

namespace weir::stream {

namespace {

std::optional<std::uint64_t> whole(std::string_view word) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size() || value == 0 || value >= index_limit)
    return std::nullopt;
  return value;
}

/// Of one comment, without the character that begins it.
std::optional<std::array<std::uint64_t, 2>> sides_of(std::string_view comment, bool is_konect) {
  std::vector<std::string_view> words;
  for (std::string_view word = take_word(comment); !word.empty() && words.size() < 8; word = take_word(comment))
    words.push_back(word);
  if (is_konect) {
    if (words.size() != 2 && words.size() != 3) return std::nullopt;
    if (!std::ranges::all_of(words, [](std::string_view word) { return whole(word).has_value(); })) return std::nullopt;
    // Nodes count from 1.
    return std::array{*whole(words[1]) + 1, *whole(words.back()) + 1};
  }
  for (std::size_t k = 0; k + 1 < words.size(); ++k) {
    if (words[k] != "Nodes:") continue;
    if (const auto nodes = whole(words[k + 1])) return std::array{*nodes, *nodes};
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

std::optional<std::array<std::uint64_t, 2>> shape_of_edges(std::string_view text, Edges edges) {
  std::optional<std::array<std::uint64_t, 2>> sides;
  any_comment(text, [&](char mark, std::string_view comment) {
    sides = sides_of(comment, mark == '%');
    return sides.has_value();
  });
  if (!sides) return sides;
  if (edges == Edges::in) std::swap((*sides)[0], (*sides)[1]);
  if (edges == Edges::both) (*sides)[0] = (*sides)[1] = std::max((*sides)[0], (*sides)[1]);
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
