#include "metrics.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "weir/error.hpp"

namespace weir::app {
namespace {

/// A number as the format has it.
std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}
std::string number(std::uint64_t value) { return fmt::to_string(value); }

/// The value of a label, in quotes. Bytes that are not UTF-8, which would spoil the whole page, become U+FFFD.
std::string label(const std::string& bytes) {
  const std::string text =
      nlohmann::json::parse(nlohmann::json(bytes).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
          .get<std::string>();
  std::string escaped = "\"";
  for (const char c : text) {
    if (c == '\n') {
      escaped += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') escaped += '\\';
    escaped += c;
  }
  return escaped + '"';
}

class Page {
 public:
  void begin(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <class Value>
  void sample(const std::string& labels, Value value) {
    text_ += labels.empty() ? fmt::format("{} {}\n", name_, number(value))
                            : fmt::format("{}{{{}}} {}\n", name_, labels, number(value));
  }
  template <class Value>
  void one(std::string_view name, std::string_view type, std::string_view help, Value value) {
    begin(name, type, help);
    sample("", value);
  }
  [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
  std::string text_;
  std::string name_;
};

}  // namespace

std::string to_prometheus(const Metrics& metrics, double now) {
  Page page;
  page.one("weir_up", "gauge", "1 while the job runs.", std::uint64_t{1});
  page.begin("weir_build_info", "gauge", "The version of weir, as a label; the value is 1.");
  page.sample(fmt::format("version={}", label(WEIR_VERSION)), std::uint64_t{1});

  Metrics::Rank total;
  for (const Metrics::Rank& rank : metrics.ranks) {
    total.updates += rank.updates;
    total.skipped += rank.skipped;
    total.rate += rank.rate;
  }
  page.one("weir_ranks", "gauge", "Ranks of the job.", static_cast<std::uint64_t>(metrics.ranks.size()));
  page.one("weir_updates_total", "counter", "Events that were taken in.", total.updates);
  page.one("weir_skipped_total", "counter", "Bad lines that were left out.", total.skipped);
  page.one("weir_update_rate", "gauge", "Events taken in a second in the last epoch.", total.rate);
  const auto each_rank = [&](std::string_view name, std::string_view type, std::string_view help, auto member) {
    page.begin(name, type, help);
    for (std::size_t r = 0; r < metrics.ranks.size(); ++r)
      page.sample(fmt::format("rank=\"{}\"", r), metrics.ranks[r].*member);
  };
  each_rank("weir_rank_updates_total", "counter", "Events that a rank has taken in.", &Metrics::Rank::updates);
  each_rank("weir_rank_skipped_total", "counter", "Bad lines that a rank has left out.", &Metrics::Rank::skipped);
  each_rank("weir_rank_update_rate", "gauge", "Events taken in a second by a rank in the last epoch.",
            &Metrics::Rank::rate);

  // A series that stands twice spoils the whole page: sources of one name are added.
  std::map<std::string, double> lags;
  for (const Metrics::Source& source : metrics.sources)
    if (source.lag) lags[fmt::format("source={},unit={}", label(source.name), label(source.unit))] += *source.lag;
  if (!lags.empty())
    page.begin("weir_source_lag", "gauge",
               "What has arrived at a source and was not taken in yet, in units of the label.");
  for (const auto& [labels, lag] : lags) page.sample(labels, lag);
  page.one("weir_epoch", "gauge", "The number of the last epoch.", metrics.epoch);
  page.one("weir_epoch_seconds", "gauge", "How long the last epoch took.", metrics.epoch_seconds);
  page.one("weir_merge_seconds_total", "counter", "Time spent on merging, of the slowest rank.", metrics.merge_seconds);
  page.one("weir_reduced_bytes_total", "counter", "Bytes that ranks have sent to be merged.", metrics.reduced_bytes);
  page.one("weir_failed_lanes", "gauge", "Lanes of the sketch that gave no draw in the last answer.",
           metrics.failed_lanes);
  if (metrics.checkpoint_time)
    page.one("weir_checkpoint_age_seconds", "gauge", "Age of the newest checkpoint.",
             std::max(0.0, now - *metrics.checkpoint_time));
  if (metrics.checkpoint_bytes)
    page.one("weir_checkpoint_bytes", "gauge", "Size of the newest checkpoint.", *metrics.checkpoint_bytes);
  return std::move(page).text();
}

void MetricsBoard::set(Metrics metrics) {
  const std::lock_guard lock(mutex_);
  std::swap(metrics_, metrics);
}

Metrics MetricsBoard::get() const {
  const std::lock_guard lock(mutex_);
  return metrics_;
}

void replace_file(const std::string& path, const std::string& text) {
  struct stat before {};
  if (::stat(path.c_str(), &before) == 0 && !S_ISREG(before.st_mode))
    throw InputError(fmt::format("{}: not a regular file, which alone can be replaced", path));
  const std::string temporary = path + ".weir-tmp";
  ::unlink(temporary.c_str());  // of a process that was killed
  const auto refuse = [&](int error) {
    ::unlink(temporary.c_str());
    throw InputError(fmt::format("{}: {}", path, std::strerror(error)));
  };
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor < 0) throw InputError(fmt::format("{}: {}", path, std::strerror(errno)));
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int error = errno;
      ::close(descriptor);
      refuse(error);
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::close(descriptor) != 0) refuse(errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) refuse(errno);
}

}  // namespace weir::app
