#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cluster.hpp"
#include "producer.hpp"
#include "stream/kafka_source.hpp"
#include "support/files.hpp"
#include "weir/stream/writer.hpp"

namespace weir::testing_support {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

/// Far beyond what anything takes: only what hangs takes so long.
constexpr seconds patience{180};

/// Lines "k,1" for k in [first, last).
inline std::string text_of(std::uint64_t first, std::uint64_t last) {
  std::string text;
  for (std::uint64_t k = first; k < last; ++k) text += std::to_string(k) + ",1\n";
  return text;
}

/// The same events as a binary event stream.
inline std::string binary_of(std::uint64_t first, std::uint64_t last) {
  const TemporaryDirectory directory;
  EventWriter writer(directory / "events", EventFormat::binary);
  EventBatch batch;
  for (std::uint64_t k = first; k < last; ++k) batch.push_back({Operand::y, k, 0, 1});
  writer.write(batch);
  writer.close();
  return contents_of(directory / "events");
}

/// How often every index below a bound came.
class Tally {
 public:
  explicit Tally(std::uint64_t indices) : counts_(indices) {}
  void add(const EventBatch& batch) {
    for (std::size_t t = 0; t < batch.size(); ++t) {
      ASSERT_LT(batch.i[t], counts_.size());
      ASSERT_EQ(batch.delta[t], 1);
      counts_[batch.i[t]] += 1;
    }
    events_ += batch.events();
  }
  [[nodiscard]] std::uint64_t events() const { return events_; }
  void expect_each_once(std::uint64_t indices) const {
    ASSERT_LE(indices, counts_.size());
    std::uint64_t wrong = 0;
    for (std::uint64_t k = 0; k < counts_.size(); ++k) {
      if (counts_[k] != (k < indices ? 1 : 0) && wrong++ < 5) ADD_FAILURE() << "index " << k << ": " << counts_[k];
    }
    EXPECT_EQ(wrong, 0U);
  }

 private:
  std::vector<int> counts_;
  std::uint64_t events_ = 0;
};

inline std::string url(const Cluster& cluster, const std::string& options = "", const std::string& topic = "t") {
  return "kafka://" + cluster.brokers() + "/" + topic + options;
}

inline ReadOptions part(std::uint32_t slice, std::uint32_t slice_count, ReadOptions options = {}) {
  options.slice = slice;
  options.slice_count = slice_count;
  return options;
}

/// Reads until the end, or until `tally` has that many events.
inline void read(LiveSource& source, Tally& tally, std::size_t most = 8192, std::uint64_t events = UINT64_MAX) {
  EventBatch batch;
  const Clock::time_point deadline = Clock::now() + patience;
  while (tally.events() < events && source.next(batch, most, milliseconds(50))) {
    ASSERT_LE(batch.events(), most);
    tally.add(batch);
    ASSERT_LT(Clock::now(), deadline) << tally.events() << " events; " << source.trouble();
  }
}

/// Positions of parts as one.
inline std::string merged(const std::vector<std::unique_ptr<LiveSource>>& parts) {
  nlohmann::json all = nlohmann::json::object();
  for (const auto& part : parts) all.merge_patch(nlohmann::json::parse(part->position()));
  return all.dump();
}

}  // namespace weir::testing_support
