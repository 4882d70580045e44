#include "weir/io/labels.hpp"

#include <algorithm>
#include <iterator>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "io/compression.hpp"
#include "io/input.hpp"
#include "weir/io/file.hpp"

namespace weir {
namespace {

constexpr std::size_t piece_size = std::size_t{1} << 20;

}  // namespace

Labels::Labels(const std::string& path) : path_(path) { const InputFile readable(path); }

std::uint64_t Labels::check() const {
  std::vector<char> piece(piece_size);
  std::uint64_t lines = 0;
  char last = '\n';
  const std::unique_ptr<Input> input = content_of(open_input(path_));
  while (const std::size_t count = input->read(std::as_writable_bytes(std::span(piece)))) {
    const auto end = piece.begin() + static_cast<std::ptrdiff_t>(count);
    lines += static_cast<std::uint64_t>(std::count(piece.begin(), end, '\n'));
    last = *std::prev(end);
  }
  return lines + (last == '\n' ? 0 : 1);
}

std::map<std::uint64_t, std::string> Labels::find(std::span<const std::uint64_t> indices) const {
  constexpr std::size_t longest_name = 1024;
  const std::set<std::uint64_t> wanted(indices.begin(), indices.end());
  auto next = wanted.begin();
  std::map<std::uint64_t, std::string> names;
  std::vector<char> piece(piece_size);
  std::uint64_t line = 0;
  const std::unique_ptr<Input> input = content_of(open_input(path_));
  while (next != wanted.end()) {
    const std::size_t count = input->read(std::as_writable_bytes(std::span(piece)));
    if (count == 0) break;
    for (std::string_view rest(piece.data(), count); !rest.empty() && next != wanted.end();) {
      const std::size_t newline = rest.find('\n');
      if (line == *next) {
        std::string& name = names[line];
        name += rest.substr(0, std::min(newline, longest_name - name.size()));
      }
      if (newline == std::string_view::npos) break;
      if (line++ == *next) ++next;
      rest.remove_prefix(newline + 1);
    }
  }
  for (auto& [index, name] : names) {
    if (name.ends_with('\r')) name.pop_back();
  }
  return names;
}

}  // namespace weir
