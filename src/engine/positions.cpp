#include "weir/engine/positions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
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

/// How far a text may be nested. Deeper ones would take more stack to write than there may be.
constexpr int deepest = 64;

/// get() would take -1 and 1e30 too.
std::uint64_t whole_of(const Json& number) {
  if (!number.is_number_unsigned()) throw InputError("a number that is no whole one below 2^64");
  return number.get<std::uint64_t>();
}

const Json& list_of(const Json& json, const char* name) {
  const Json& list = json.at(name);
  if (!list.is_array()) throw InputError(fmt::format("'{}' is no list", name));
  return list;
}

Positions::File file_of(const Json& json) {
  Positions::File file;
  file.seen.path = json.at("path").get<std::string>();
  file.seen.size = whole_of(json.at("bytes"));
  file.seen.fingerprint = whole_of(json.at("fingerprint"));
  for (const Json& range : list_of(json, "unread")) {
    if (!range.is_array() || range.empty() || range.size() > 2) throw InputError("a range that is none");
    const FileRange& read =
        file.unread.emplace_back(FileRange{whole_of(range[0]), range.size() > 1 ? whole_of(range[1]) : no_end});
    if (read.end < read.begin) throw InputError("a range that ends before it begins");
  }
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
  if (positions.reading) json["reading"] = *positions.reading;
  return json.dump();
}

Positions positions_of_text(std::string_view text, const std::string& source) {
  try {
    const Json json = Json::parse(text, [](int depth, Json::parse_event_t, const Json&) {
      if (depth > deepest) throw InputError(fmt::format("nested deeper than {}", deepest));
      return true;
    });
    Positions positions;
    for (const Json& file : list_of(json, "files")) positions.files.push_back(file_of(file));
    for (const Json& file : list_of(json, "arrays")) positions.arrays.push_back(file_of(file));
    const Json& live = json.at("live");
    if (!live.is_object()) throw InputError("'live' is no object");
    for (const auto& [name, position] : live.items())
      positions.live[name] = position.is_null() ? std::string() : position.dump();
    if (const auto reading = json.find("reading"); reading != json.end())
      positions.reading = reading->get<std::string>();
    return positions;
  } catch (const std::exception& error) {
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
