#include "weir/io/checkpoint.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/state_file.hpp"

namespace weir {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::string_view format_name = "weir checkpoint";
constexpr std::size_t kept_checkpoints = 2;
/// Positions of very many files are long; nothing else is.
constexpr std::uint64_t longest_manifest = std::uint64_t{1} << 30;

/// The number N of a name PREFIXNSUFFIX; none for another name.
std::optional<std::uint64_t> number_in(std::string_view name, std::string_view prefix, std::string_view suffix) {
  if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.size() <= prefix.size() + suffix.size())
    return std::nullopt;
  name = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  std::uint64_t number = 0;
  const auto [stop, status] = std::from_chars(name.data(), name.data() + name.size(), number);
  // As it is written, so that the number tells the name.
  return status == std::errc() && stop == name.data() + name.size() && fmt::to_string(number) == name
             ? std::optional(number)
             : std::nullopt;
}

std::string manifest_name(std::uint64_t number) { return fmt::format("manifest-{}.json", number); }

/// A file of a checkpoint.
struct Part {
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t checksum = 0;
};

struct Manifest {
  CheckpointInfo info;
  Part sum;
  std::vector<Part> epochs;
};

/// Of a state file that is whole.
Part part_of(const fs::path& directory, const std::string& name) {
  const std::string path = (directory / name).string();
  return {name, InputFile(path).size(), state_checksum(path)};
}

Json to_json(const Part& part) {
  return {{"name", part.name}, {"bytes", part.bytes}, {"checksum", fmt::format("{:016x}", part.checksum)}};
}

std::uint64_t checksum_of(const std::string& text) {
  std::uint64_t value = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (status != std::errc() || stop != text.data() + text.size() || fmt::format("{:016x}", value) != text)
    throw InputError(fmt::format("'{}' is no checksum", text));
  return value;
}

/// How far a text may be nested. Deeper ones would take more stack to write than there may be.
constexpr int deepest = 64;

/// get() would take -1 and 1e30 too.
std::uint64_t whole_of(const Json& json, const char* name) {
  const Json& number = json.at(name);
  if (!number.is_number_unsigned()) throw InputError(fmt::format("'{}' is no whole number below 2^64", name));
  return number.get<std::uint64_t>();
}

Part part_of(const Json& json) {
  Part part{json.at("name").get<std::string>(), whole_of(json, "bytes"),
            checksum_of(json.at("checksum").get<std::string>())};
  // A damaged name must not lead out of the directory.
  if (part.name.empty() || part.name.find('/') != std::string::npos || part.name.starts_with('.'))
    throw InputError("the name of a state is damaged");
  return part;
}

std::string to_text(const Manifest& manifest) {
  const CheckpointInfo& info = manifest.info;
  Json window = Json::object();
  if (info.window.epochs) window["epochs"] = *info.window.epochs;
  window["tumbling"] = info.window.tumbling;
  window["decay"] = info.window.decay;
  window["covers"] = info.window_epochs;
  window["is_open"] = info.window_is_open;
  Json json{{"format", format_name},
            {"version", checkpoint_version},
            {"number", info.number},
            {"epoch", info.epoch},
            {"updates_in_epoch", info.updates_in_epoch},
            {"all_updates", info.all_updates},
            {"skipped", info.skipped},
            {"ranks", info.ranks},
            {"time", info.time},
            {"is_final", info.is_final},
            {"window", std::move(window)},
            {"positions", info.positions.empty() ? Json() : Json::parse(info.positions)},
            {"sum", to_json(manifest.sum)},
            {"epochs", Json::array()}};
  for (const Part& part : manifest.epochs) json["epochs"].push_back(to_json(part));
  const std::string body = json.dump(1);
  json["checksum"] = fmt::format("{:016x}", XXH64(body.data(), body.size(), state_checksum_seed));
  return json.dump(1) + "\n";
}

Manifest manifest_of(const std::string& text) {
  Json json = Json::parse(text, [](int depth, Json::parse_event_t, const Json&) {
    if (depth > deepest) throw InputError(fmt::format("nested deeper than {}", deepest));
    return true;
  });
  if (json.at("format").get<std::string>() != format_name) throw InputError("it is no manifest of a checkpoint");
  const std::uint64_t version = whole_of(json, "version");
  if (version > checkpoint_version)
    throw UsageError(fmt::format("version {} is newer than version {}, the latest that this program reads", version,
                                 checkpoint_version));
  const std::uint64_t checksum = checksum_of(json.at("checksum").get<std::string>());
  json.erase("checksum");
  const std::string body = json.dump(1);
  if (XXH64(body.data(), body.size(), state_checksum_seed) != checksum) throw InputError("wrong checksum");
  Manifest manifest;
  CheckpointInfo& info = manifest.info;
  info.number = whole_of(json, "number");
  info.epoch = whole_of(json, "epoch");
  info.updates_in_epoch = whole_of(json, "updates_in_epoch");
  info.all_updates = whole_of(json, "all_updates");
  info.skipped = whole_of(json, "skipped");
  info.ranks = whole_of(json, "ranks");
  json.at("time").get_to(info.time);
  json.at("is_final").get_to(info.is_final);
  const Json& window = json.at("window");
  if (window.contains("epochs")) info.window.epochs = whole_of(window, "epochs");
  window.at("tumbling").get_to(info.window.tumbling);
  window.at("decay").get_to(info.window.decay);
  info.window_epochs = whole_of(window, "covers");
  window.at("is_open").get_to(info.window_is_open);
  if (const Json& positions = json.at("positions"); !positions.is_null()) info.positions = positions.dump();
  manifest.sum = part_of(json.at("sum"));
  for (const Json& part : json.at("epochs")) manifest.epochs.push_back(part_of(part));
  check(info.window);
  return manifest;
}

Manifest read_manifest(const fs::path& path) {
  const InputFile file(path.string());
  if (file.size() > longest_manifest) throw InputError(fmt::format("{} bytes are too many", file.size()));
  try {
    return manifest_of(read_whole_file(file));
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("damaged: {}", error.what()));
  }
}

State load_part(const fs::path& directory, const Part& part) {
  const std::string path = (directory / part.name).string();
  if (const std::uint64_t bytes = InputFile(path).size(); bytes != part.bytes)
    throw InputError(fmt::format("{}: {} bytes, expected {}", path, bytes, part.bytes));
  if (state_checksum(path) != part.checksum)
    throw InputError(fmt::format("{}: not the state that the manifest names (wrong checksum)", path));
  return load_state(path);
}

/// The numbers of the manifests in a directory, the newest first.
std::vector<std::uint64_t> manifests_in(const fs::path& directory) {
  std::vector<std::uint64_t> numbers;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error))
    if (const auto number = number_in(entry.path().filename().string(), "manifest-", ".json"))
      numbers.push_back(*number);
  if (error) throw InputError(fmt::format("{}: cannot read the directory: {}", directory.string(), error.message()));
  std::ranges::sort(numbers, std::greater());
  return numbers;
}

}  // namespace

struct CheckpointDirectory::Implementation {
  explicit Implementation(std::string name) : path(std::move(name)) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error || !fs::is_directory(path))
      throw InputError(fmt::format("{}: cannot make a directory for checkpoints: {}", path,
                                   error ? error.message() : "there is a file of that name"));
    const std::string lock_path = (fs::path(path) / "lock").string();
    lock = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0)
      throw InputError(fmt::format("{}: cannot create: {}", lock_path, std::generic_category().message(errno)));
    if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
      const int reason = errno;
      ::close(lock);
      throw InputError(
          reason == EWOULDBLOCK
              ? fmt::format("{}: another job writes checkpoints there; wait for its end, or give another directory",
                            path)
              : fmt::format("{}: cannot lock: {}", lock_path, std::generic_category().message(reason)));
    }
    const std::vector<std::uint64_t> numbers = manifests_in(path);
    if (!numbers.empty()) last = numbers.front();
    remove_unfinished();
  }
  ~Implementation() { ::close(lock); }
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  /// Removes what writers left that were ended while their file had a temporary name (OutputFile). Nobody else writes here.
  void remove_unfinished() const {
    std::error_code ignored;
    std::vector<fs::path> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(path, ignored)) names.push_back(entry.path());
    for (const fs::path& file : names) {
      const std::string name = file.filename().string();
      if (name.starts_with("weir-") && name.ends_with(".tmp")) fs::remove(file, ignored);
    }
  }

  /// Removes all files of checkpoints but those that the newest `kept_checkpoints` need, and those of manifests that
  /// cannot be read.
  void remove_old() const {
    const std::vector<std::uint64_t> numbers = manifests_in(path);
    std::set<std::string> needed;
    std::size_t whole = 0;
    for (const std::uint64_t number : numbers) {
      if (whole == kept_checkpoints) break;
      // Its manifest may be whole while its state is not: kept in place of an older one, it would leave only one that is
      // of use.
      if (damaged.contains(number)) continue;
      const std::string name = manifest_name(number);
      try {
        const Manifest manifest = read_manifest(fs::path(path) / name);
        needed.insert({name, manifest.sum.name});
        for (const Part& part : manifest.epochs) needed.insert(part.name);
        ++whole;
      } catch (const Error&) {
        // It is of no use to anybody.
      }
    }
    std::error_code ignored;
    std::vector<fs::path> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(path, ignored)) names.push_back(entry.path());
    // Manifests first: one that is there has all of its files.
    std::ranges::sort(names, std::greater(),
                      [](const fs::path& name) { return name.filename().string().starts_with("manifest-"); });
    for (const fs::path& file : names) {
      const std::string name = file.filename().string();
      const bool is_ours = number_in(name, "manifest-", ".json") || number_in(name, "state-", ".weir") ||
                           number_in(name, "epoch-", ".weir") || number_in(name, "part-", ".weir");
      if (is_ours && !needed.contains(name)) fs::remove(file, ignored);
    }
  }

  std::string path;
  int lock = -1;
  std::uint64_t last = 0;           ///< Number of the newest checkpoint.
  std::set<std::uint64_t> epochs;   ///< Whole ones that this process has written.
  std::set<std::uint64_t> damaged;  ///< Numbers of checkpoints that could not be loaded.
};

CheckpointDirectory::CheckpointDirectory(std::string path)
    : implementation_(std::make_unique<Implementation>(std::move(path))) {}
CheckpointDirectory::~CheckpointDirectory() = default;
CheckpointDirectory::CheckpointDirectory(CheckpointDirectory&&) noexcept = default;
CheckpointDirectory& CheckpointDirectory::operator=(CheckpointDirectory&&) noexcept = default;

const std::string& CheckpointDirectory::path() const noexcept { return implementation_->path; }

bool CheckpointDirectory::is_empty() const { return manifests_in(implementation_->path).empty(); }

void CheckpointDirectory::write(CheckpointInfo info, const SaveState& sum, const std::vector<SaveState>& epochs) {
  Implementation& own = *implementation_;
  const fs::path directory = own.path;
  if (own.last == std::numeric_limits<std::uint64_t>::max())
    throw InputError(fmt::format("{}: there is a checkpoint of the largest number; give another directory", own.path));
  // A number that was begun is not used again: its files may be there.
  info.number = ++own.last;
  Manifest manifest;
  const auto save = [&](const std::string& name, const SaveState& state) {
    state((directory / name).string());
    return part_of(directory, name);
  };
  manifest.sum = save(fmt::format("state-{}.weir", info.number), sum);
  for (std::size_t k = 0; k < epochs.size(); ++k) {
    const std::uint64_t epoch = info.epoch_of_part(k, epochs.size());
    const bool is_whole = !info.window_is_open || k + 1 < epochs.size();
    const std::string name = is_whole ? fmt::format("epoch-{}.weir", epoch) : fmt::format("part-{}.weir", info.number);
    const bool is_there = is_whole && own.epochs.contains(epoch);
    manifest.epochs.push_back(is_there ? part_of(directory, name) : save(name, epochs[k]));
    if (is_whole) own.epochs.insert(epoch);
  }
  if (!epochs.empty())
    own.epochs.erase(own.epochs.begin(), own.epochs.lower_bound(info.epoch_of_part(0, epochs.size())));
  manifest.info = std::move(info);
  OutputFile file((directory / manifest_name(manifest.info.number)).string());
  file.write(to_text(manifest));
  file.commit();
  own.remove_old();
}

bool CheckpointDirectory::has_epoch(std::uint64_t epoch) const { return implementation_->epochs.contains(epoch); }

std::uint64_t CheckpointDirectory::last_number() const noexcept { return implementation_->last; }

std::optional<Checkpoint> CheckpointDirectory::load(const std::function<void(const std::string&)>& warn) const {
  const fs::path directory = implementation_->path;
  const std::vector<std::uint64_t> numbers = manifests_in(directory);
  std::string newest;  // what is wrong with it
  for (const std::uint64_t number : numbers) {
    const fs::path path = directory / manifest_name(number);
    try {
      const Manifest manifest = read_manifest(path);
      Checkpoint checkpoint{manifest.info, load_part(directory, manifest.sum)};
      for (const Part& part : manifest.epochs) checkpoint.epochs.push_back(load_part(directory, part));
      return checkpoint;
    } catch (const InputError& error) {
      const std::string what =
          fmt::format("checkpoint {} of {} is damaged: {}", number, directory.string(), error.what());
      if (newest.empty()) newest = what;
      implementation_->damaged.insert(number);
      warn(what);
    } catch (const UsageError& error) {
      throw InputError(fmt::format("{}: {}", path.string(), error.what()));
    }
  }
  if (numbers.empty()) return std::nullopt;
  throw InputError(fmt::format(
      "{}: no checkpoint is whole; the newest: {}. Remove the directory to begin again from the start of the stream",
      directory.string(), newest));
}

CheckpointInfo newest_checkpoint(const std::string& directory) {
  std::string problem = "no checkpoint there";
  for (const std::uint64_t number : manifests_in(directory)) {
    try {
      return read_manifest(fs::path(directory) / manifest_name(number)).info;
    } catch (const Error& error) {
      problem = fmt::format("{}: {}", manifest_name(number), error.what());
    }
  }
  throw InputError(fmt::format("{}: {}", directory, problem));
}

}  // namespace weir
