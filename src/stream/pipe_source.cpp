#include "pipe_source.hpp"

#include <vector>

#include "pending_events.hpp"
#include "weir/stream/background_reader.hpp"

namespace weir::stream {

namespace {

class PipeSource final : public LiveSource {
 public:
  PipeSource(const std::string& path, const ReadOptions& options)
      : name_(path == "-" ? "standard input" : path), reader_({path}, options) {}

  bool next(EventBatch& batch, std::size_t most, std::chrono::milliseconds patience) override {
    batch.clear();
    if (pending_.empty()) {
      EventBatch arrived;
      if (!reader_.next(arrived, patience)) return false;
      pending_ = PendingEvents(std::move(arrived));
    }
    pending_.take(batch, most);
    return true;
  }

  [[nodiscard]] std::string name() const override { return name_; }
  [[nodiscard]] std::uint64_t skipped() const override { return reader_.skipped(); }
  [[nodiscard]] std::string first_skipped() const override { return reader_.first_skipped(); }

 private:
  std::string name_;
  BackgroundReader reader_;
  PendingEvents pending_;  ///< Of a batch that was larger than what was asked for.
};

/// The whole of it, whatever the slice: a live source is opened by one party.
ReadOptions whole(ReadOptions options) {
  options.slice = 0;
  options.slice_count = 1;
  options.sources.clear();
  options.ranges.reset();
  return options;
}

}  // namespace

std::unique_ptr<LiveSource> open_pipe_source(const std::string& path, const ReadOptions& options) {
  return std::make_unique<PipeSource>(path, whole(options));
}

}  // namespace weir::stream
