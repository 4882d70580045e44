#include "weir/engine/positions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "weir/error.hpp"

namespace weir::engine {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t no_end = std::numeric_limits<std::uint64_t>::max();

Json to_json(const Positions::File& file) {
  Json unread = Json::array();
  for (const FileRange& range : file.unread)
    unread.push_back(range.end == no_end ? Json::array({range.begin}) : Json::array({range.begin, range.end}));
  return {{"path", file.seen.path},
          {"bytes", file.seen.size},
          {"fingerprint", file.seen.fingerprint},
          {"unread", std::move(unread)}};
}

Positions::File file_of(const Json& json) {
  Positions::File file;
  file.seen.path = json.at("path").get<std::string>();
  file.seen.size = json.at("bytes").get<std::uint64_t>();
  file.seen.fingerprint = json.at("fingerprint").get<std::uint64_t>();
  for (const Json& range : json.at("unread"))
    file.unread.push_back(
        {range.at(0).get<std::uint64_t>(), range.size() > 1 ? range.at(1).get<std::uint64_t>() : no_end});
  return file;
}

void merge_files(const std::vector<Positions::File>& part, std::vector<Positions::File>& whole) {
  if (part.size() != whole.size()) throw InputError("positions of different sources cannot be merged");
  for (std::size_t k = 0; k < whole.size(); ++k) {
    if (part[k].seen.path != whole[k].seen.path)
      throw InputError(fmt::format("positions of different sources cannot be merged: {} and {}", whole[k].seen.path,
                                   part[k].seen.path));
    whole[k].unread.insert(whole[k].unread.end(), part[k].unread.begin(), part[k].unread.end());
  }
}

/// Ranges that touch become one.
void join(std::vector<FileRange>& ranges) {
  std::ranges::sort(ranges, {}, &FileRange::begin);
  std::vector<FileRange> joined;
  for (const FileRange& range : ranges) {
    if (range.begin == range.end) continue;
    if (!joined.empty() && joined.back().end == range.begin)
      joined.back().end = range.end;
    else
      joined.push_back(range);
  }
  ranges = std::move(joined);
}

}  // namespace

std::string to_text(const Positions& positions) {
  Json json{{"files", Json::array()}, {"arrays", Json::array()}, {"live", Json::object()}};
  for (const Positions::File& file : positions.files) json["files"].push_back(to_json(file));
  for (const Positions::File& file : positions.arrays) json["arrays"].push_back(to_json(file));
  for (const auto& [name, position] : positions.live)
    json["live"][name] = position.empty() ? Json() : Json::parse(position);
  return json.dump();
}

Positions positions_of_text(std::string_view text, const std::string& source) {
  try {
    const Json json = Json::parse(text);
    Positions positions;
    for (const Json& file : json.at("files")) positions.files.push_back(file_of(file));
    for (const Json& file : json.at("arrays")) positions.arrays.push_back(file_of(file));
    for (const auto& [name, position] : json.at("live").items())
      positions.live[name] = position.is_null() ? std::string() : position.dump();
    return positions;
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("{}: the positions of the sources are damaged: {}", source, error.what()));
  }
}

Positions merge(const std::vector<Positions>& parts) {
  if (parts.empty()) return {};
  Positions whole = parts.front();
  for (std::size_t k = 1; k < parts.size(); ++k) {
    merge_files(parts[k].files, whole.files);
    merge_files(parts[k].arrays, whole.arrays);
    for (const auto& [name, position] : parts[k].live) {
      std::string& sum = whole.live[name];
      if (sum.empty() || position.empty()) {
        if (sum.empty()) sum = position;
        continue;
      }
      Json json = Json::parse(sum);
      json.merge_patch(Json::parse(position));
      sum = json.dump();
    }
  }
  for (Positions::File& file : whole.files) join(file.unread);
  for (Positions::File& file : whole.arrays) join(file.unread);
  return whole;
}

}  // namespace weir::engine
