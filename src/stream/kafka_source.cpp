#include "kafka_source.hpp"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stop_token>
#include <string_view>
#include <utility>
#include <vector>

#include "kafka_name.hpp"
#include "message_events.hpp"
#include "weir/error.hpp"
#include "weir/io/cancelled.hpp"

namespace weir {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// New partitions are looked for this often, which takes a round trip to a broker.
constexpr milliseconds partition_search{3000};
/// Round trips while events are read wait no longer than this.
constexpr milliseconds short_answer{250};
/// A stop is noticed at the latest after this long.
constexpr milliseconds slice_of_waiting{200};
/// What cannot be unpacked is fetched again, as it may have been damaged on the way.
constexpr int most_attempts = 3;
/// A topic may be unknown to a broker for a moment after it was made.
constexpr milliseconds topic_unknown{2000};
/// Messages that are taken from librdkafka at once.
constexpr std::size_t messages_at_once = 4096;
/// Bytes of small text messages that are decoded at once.
constexpr std::size_t bytes_at_once = std::size_t{1} << 17;
/// A text message of more lines is decoded by itself.
constexpr std::size_t lines_of_small = 256;

struct Deleter {
  // Queues and messages are gone by then. Without closing: there is no group to leave, and closing would wait for brokers.
  void operator()(rd_kafka_t* handle) const { rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE); }
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
  void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
  void operator()(rd_kafka_error_t* error) const { rd_kafka_error_destroy(error); }
  void operator()(rd_kafka_topic_partition_list_t* list) const { rd_kafka_topic_partition_list_destroy(list); }
  void operator()(const rd_kafka_metadata_t* metadata) const { rd_kafka_metadata_destroy(metadata); }
};
template <class Object>
using Owned = std::unique_ptr<Object, Deleter>;
using PartitionList = Owned<rd_kafka_topic_partition_list_t>;

/// Where a partition is: `inside` events of message `offset` are done, and all of those before it.
struct Place {
  std::int64_t offset = 0;
  std::uint64_t inside = 0;
};

struct Partition {
  std::int32_t id = 0;
  Place place;
  std::int64_t high = 0;            ///< End of the partition when it was taken up.
  std::optional<std::int64_t> end;  ///< Where reading ends.
  bool unassigned = false;          ///< Nothing is fetched any more.
  bool in_doubt = false;            ///< What is next could not be had; what comes is dropped until it is begun again.
  std::int64_t unreadable = -1;     ///< Where that was last because of what came,
  int attempts = 0;                 ///< and how often there.
  std::int64_t gathered = 0;        ///< Messages before it are among those that were last decoded at once.

  [[nodiscard]] bool finished() const { return end && place.offset >= *end; }
};

/// What librdkafka said last about something that it tries again. One thread touches it, from within calls.
struct Notes {
  std::string trouble;
  bool fatal = false;
};

void on_error(rd_kafka_t*, int error, const char* reason, void* opaque) {
  auto& notes = *static_cast<Notes*>(opaque);
  notes.trouble = fmt::format("{} ({})", reason, rd_kafka_err2name(static_cast<rd_kafka_resp_err_t>(error)));
  notes.fatal = notes.fatal || error == RD_KAFKA_RESP_ERR__FATAL;
}

void drop_log(const rd_kafka_t*, int, const char*, const char*) {}

/// Wakes who waits for messages.
struct Wake {
  rd_kafka_queue_t* queue;
  void operator()() const noexcept { rd_kafka_queue_yield(queue); }
};

class KafkaSource final : public LiveSource {
 public:
  KafkaSource(const std::string& name, const ReadOptions& options, const std::string& position)
      : name_(stream::parse_kafka_name(name)), options_(options), events_(options) {
    if (options.slice_count == 0 || options.slice >= options.slice_count)
      throw UsageError(fmt::format("slice {} of {} does not exist", options.slice, options.slice_count));
    const std::vector<std::pair<std::int32_t, Place>> places = parse(position);
    connect();
    const Clock::time_point deadline = Clock::now() + name_.timeout;
    partition_count_ = wait_for_topic(deadline);
    for (const auto& [id, place] : places) {
      if (is_mine(id) && id >= partition_count_) {
        fail(
            fmt::format("the position has partition {}, but the topic has {} partitions; expected the topic that the "
                        "position was taken from",
                        id, partition_count_));
      }
    }
    std::vector<Partition> found = new_partitions(partition_count_);
    wait_for_ends(found, deadline);
    for (Partition& partition : found) {
      const auto known =
          std::find_if(places.begin(), places.end(), [&](const auto& p) { return p.first == partition.id; });
      if (known != places.end()) {
        // The first message, which new_partitions() put there.
        const std::int64_t low = std::exchange(partition.place, known->second).offset;
        require_there(partition, low, partition.high);
      }
      if (name_.until_end) partition.end = partition.high;
    }
    if (const rd_kafka_resp_err_t error = rd_kafka_poll_set_consumer(handle_.get()); error != 0)
      fail(rd_kafka_err2str(error));
    queue_.reset(rd_kafka_queue_get_consumer(handle_.get()));
    assign(std::move(found));
    next_search_ = Clock::now() + partition_search;
    if (options_.stop.stop_possible()) wake_.emplace(options_.stop, Wake{queue_.get()});
  }

  ~KafkaSource() override {
    wake_.reset();
    // A message that is left would make the end of the handle wait for ever.
    while (ready_at_ < ready_.size()) rd_kafka_message_destroy(ready_[ready_at_++]);
  }
  KafkaSource(const KafkaSource&) = delete;
  KafkaSource& operator=(const KafkaSource&) = delete;

  bool next(EventBatch& batch, std::size_t most, milliseconds patience) override {
    batch.clear();
    if (options_.stop.stop_requested()) throw Cancelled();
    if (failure_) std::rethrow_exception(failure_);
    try {
      return fill(batch, std::max<std::size_t>(most, 1), Clock::now() + patience);
    } catch (const InputError&) {
      failure_ = std::current_exception();
      // What was added before the fault counts, and is delivered first.
      if (batch.empty()) throw;
      return true;
    }
  }

  [[nodiscard]] std::string position() const override {
    nlohmann::json partitions = nlohmann::json::object();
    for (const Partition& partition : partitions_) {
      nlohmann::json& entry = partitions[std::to_string(partition.id)];
      if (partition.place.inside == 0) {
        entry = partition.place.offset;
      } else {
        entry = nlohmann::json::array({partition.place.offset, partition.place.inside});
      }
    }
    return nlohmann::json{{"topic", name_.topic}, {"partitions", std::move(partitions)}}.dump();
  }

  [[nodiscard]] std::uint64_t skipped() const override { return events_.skipped(); }
  [[nodiscard]] std::string first_skipped() const override { return events_.first_skipped(); }

  [[nodiscard]] std::optional<Lag> lag() const override {
    std::uint64_t records = 0;
    for (const Partition& partition : partitions_) {
      std::int64_t low = 0;
      std::int64_t high = 0;
      if (rd_kafka_get_watermark_offsets(handle_.get(), name_.topic.c_str(), partition.id, &low, &high) != 0) high = 0;
      const std::int64_t end = partition.end.value_or(std::max(high, partition.high));
      records += static_cast<std::uint64_t>(std::max<std::int64_t>(0, end - partition.place.offset));
    }
    return Lag{records, "records"};
  }

  [[nodiscard]] std::string trouble() const override { return notes_.trouble; }

 private:
  // --- Errors ---

  [[noreturn]] void fail(std::string_view what) const { throw InputError(fmt::format("{}: {}", name_.shown, what)); }

  [[nodiscard]] std::string because_of_trouble() const {
    return notes_.trouble.empty() ? std::string() : fmt::format(": {}", notes_.trouble);
  }

  /// Throws where what comes next in a partition of messages [low, high) is none of them, nor its end.
  void require_there(const Partition& partition, std::int64_t low, std::int64_t high) const {
    const auto [offset, inside] = partition.place;
    if (offset < low) {
      fail(fmt::format(
          "partition {}: offset {} is next, but the messages before {} were deleted, before they were read: "
          "events are lost; lengthen the topic's retention, and begin anew without the position",
          partition.id, offset, low));
    }
    if (offset > high || (offset == high && inside > 0)) {
      fail(
          fmt::format("partition {}: offset {} is next, but the partition ends at {}; expected the topic that the "
                      "position was taken from: it was made anew, or cut off",
                      partition.id, offset, high));
    }
  }

  // --- Beginning ---

  /// The places in a position, or none.
  [[nodiscard]] std::vector<std::pair<std::int32_t, Place>> parse(const std::string& position) const {
    std::vector<std::pair<std::int32_t, Place>> places;
    if (position.empty()) return places;
    const auto refuse = [&](std::string_view what) {
      fail(
          fmt::format("the position is not of this source: {}; expected "
                      R"({{"topic":"{}","partitions":{{"0":OFFSET or [OFFSET,EVENTS],...}}}})",
                      what, name_.topic));
    };
    const nlohmann::json json = nlohmann::json::parse(position, nullptr, false);
    if (!json.is_object()) refuse("it is no JSON object");
    const auto topic = json.find("topic");
    if (topic == json.end() || !topic->is_string()) refuse("it names no topic");
    if (topic->get_ref<const std::string&>() != name_.topic) refuse(fmt::format("it is of topic {}", topic->dump()));
    const auto partitions = json.find("partitions");
    if (partitions == json.end() || !partitions->is_object()) refuse("it has no partitions");
    const auto is_count = [](const nlohmann::json& value) {
      return value.is_number_integer() && value.dump().size() < 19 && value.get<std::int64_t>() >= 0;
    };
    for (const auto& [key, value] : partitions->items()) {
      std::int32_t id = -1;
      const auto [after, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || after != key.data() + key.size() || id < 0) refuse(fmt::format("partition {}", key));
      const bool split = value.is_array() && value.size() == 2 && is_count(value[0]) && is_count(value[1]);
      if (!split && !is_count(value)) refuse(fmt::format("partition {} has {}", key, value.dump()));
      places.emplace_back(id, split ? Place{value[0].get<std::int64_t>(), value[1].get<std::uint64_t>()}
                                    : Place{value.get<std::int64_t>(), 0});
    }
    return places;
  }

  void set(rd_kafka_conf_t* conf, const std::string& property, const std::string& value) const {
    std::array<char, 512> reason{};
    if (rd_kafka_conf_set(conf, property.c_str(), value.c_str(), reason.data(), reason.size()) != RD_KAFKA_CONF_OK)
      throw UsageError(fmt::format("{}: option {}: {}", name_.shown, property, reason.data()));
  }

  void connect() {
    Owned<rd_kafka_conf_t> conf(rd_kafka_conf_new());
    // What users may change, then what they chose, then what is weir's.
    set(conf.get(), "client.id", "weir");
    // Before version 2.2 a client whose queue was full may look again only after a second, so that the queue should hold
    // what is read in a second. Later ones can be told to look again sooner.
    set(conf.get(), "queued.min.messages", "500000");
    set(conf.get(), "queued.max.messages.kbytes", "131072");
    (void)rd_kafka_conf_set(conf.get(), "fetch.queue.backoff.ms", "10", nullptr, 0);
    set(conf.get(), "fetch.wait.max.ms", "10");
    set(conf.get(), "reconnect.backoff.max.ms", "1000");
    set(conf.get(), "check.crcs", "true");
    bool logs = false;
    for (const auto& [property, value] : name_.properties) {
      set(conf.get(), property, value);
      logs = logs || property == "debug";
    }
    set(conf.get(), "bootstrap.servers", name_.brokers);
    set(conf.get(), "group.id", "weir");
    set(conf.get(), "enable.auto.commit", "false");
    set(conf.get(), "enable.auto.offset.store", "false");
    set(conf.get(), "auto.offset.reset", "error");
    set(conf.get(), "enable.partition.eof", "true");
    set(conf.get(), "allow.auto.create.topics", "false");
    rd_kafka_conf_set_opaque(conf.get(), &notes_);
    rd_kafka_conf_set_error_cb(conf.get(), on_error);
    // Whoever asks for the log gets it on standard error.
    if (!logs) rd_kafka_conf_set_log_cb(conf.get(), drop_log);
    std::array<char, 512> reason{};
    handle_.reset(rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), reason.data(), reason.size()));
    if (!handle_) throw UsageError(fmt::format("{}: {}", name_.shown, reason.data()));
    (void)conf.release();  // The handle has taken it.
  }

  [[nodiscard]] bool is_mine(std::int32_t partition) const {
    return static_cast<std::uint32_t>(partition) % options_.slice_count == options_.slice;
  }

  /// How much of the time until `deadline` a step may wait. Throws Cancelled.
  [[nodiscard]] int step(Clock::time_point deadline) const {
    if (options_.stop.stop_requested()) throw Cancelled();
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    return static_cast<int>(std::clamp(left, milliseconds(1), slice_of_waiting).count());
  }

  /// The number of partitions; 0 of a topic that is not there; nothing where no broker said.
  [[nodiscard]] std::optional<std::int32_t> ask_for_partitions(int timeout) {
    if (!topic_) topic_.reset(rd_kafka_topic_new(handle_.get(), name_.topic.c_str(), nullptr));
    if (!topic_) fail(rd_kafka_err2str(rd_kafka_last_error()));
    const rd_kafka_metadata_t* answer = nullptr;
    if (rd_kafka_metadata(handle_.get(), 0, topic_.get(), &answer, timeout) != 0) return std::nullopt;
    const Owned<const rd_kafka_metadata_t> metadata(answer);
    if (metadata->topic_cnt < 1) return 0;
    const rd_kafka_metadata_topic_t& topic = metadata->topics[0];
    switch (topic.err) {
      case RD_KAFKA_RESP_ERR_NO_ERROR:
        return topic.partition_cnt;
      case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
      case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        return 0;
      case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        fail(rd_kafka_err2str(topic.err));
      default:
        notes_.trouble = rd_kafka_err2str(topic.err);
        return std::nullopt;
    }
  }

  [[nodiscard]] std::int32_t wait_for_topic(Clock::time_point deadline) {
    const Clock::time_point unknown = std::min(deadline, Clock::now() + topic_unknown);
    while (true) {
      const auto partitions = ask_for_partitions(step(deadline));
      rd_kafka_poll(handle_.get(), 0);  // calls on_error()
      if (partitions && *partitions > 0) return *partitions;
      if (notes_.fatal) fail(notes_.trouble);
      if (partitions && Clock::now() >= unknown)
        fail(fmt::format("the brokers know no topic {}; make it first, or name another", name_.topic));
      if (!partitions && Clock::now() >= deadline) {
        fail(
            fmt::format("no broker answered within {} s{}; expected a Kafka broker at {} (option timeout=SECONDS waits "
                        "longer)",
                        static_cast<double>(name_.timeout.count()) / 1000, because_of_trouble(), name_.brokers));
      }
    }
  }

  /// Those of this party, among the first `count` of the topic, that it does not have yet.
  [[nodiscard]] std::vector<Partition> new_partitions(std::int32_t count) const {
    std::vector<Partition> found;
    for (std::int64_t id = options_.slice + static_cast<std::int64_t>(partitions_.size()) * options_.slice_count;
         id < count; id += options_.slice_count) {
      found.emplace_back().id = static_cast<std::int32_t>(id);
    }
    return found;
  }

  /// The first offsets of the partitions, or those behind the last; nothing where brokers did not say all of them in time.
  [[nodiscard]] std::optional<std::vector<std::int64_t>> ask_for_offsets(const std::vector<Partition>& partitions,
                                                                         std::int64_t which, int timeout) {
    const PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
    for (const Partition& partition : partitions) {
      rd_kafka_topic_partition_list_add(list.get(), name_.topic.c_str(), partition.id)->offset = which;
    }
    const rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(handle_.get(), list.get(), timeout);
    if (error != 0) {
      if (notes_.trouble.empty()) notes_.trouble = rd_kafka_err2str(error);
      return std::nullopt;
    }
    std::vector<std::int64_t> offsets;
    for (const Partition& partition : partitions) {
      const rd_kafka_topic_partition_t* found =
          rd_kafka_topic_partition_list_find(list.get(), name_.topic.c_str(), partition.id);
      if (found == nullptr || found->err != 0 || found->offset < 0) {
        notes_.trouble = fmt::format("partition {}: {}", partition.id,
                                     found == nullptr || found->err == 0 ? "no offset" : rd_kafka_err2str(found->err));
        return std::nullopt;
      }
      offsets.push_back(found->offset);
    }
    return offsets;
  }

  /// Puts partitions at their first message, and notes where they end. False where brokers did not say in time.
  [[nodiscard]] bool find_ends(std::vector<Partition>& partitions, int timeout) {
    if (partitions.empty()) return true;
    // The ends first: they grow, and so do the beginnings.
    const auto high = ask_for_offsets(partitions, RD_KAFKA_OFFSET_END, timeout);
    if (!high) return false;
    const auto low = ask_for_offsets(partitions, RD_KAFKA_OFFSET_BEGINNING, timeout);
    if (!low) return false;
    for (std::size_t k = 0; k < partitions.size(); ++k) {
      partitions[k].place.offset = (*low)[k];
      partitions[k].high = std::max((*high)[k], (*low)[k]);
    }
    return true;
  }

  void wait_for_ends(std::vector<Partition>& partitions, Clock::time_point deadline) {
    // The topic has answered, so that this is worth a moment also when that took nearly all of the time.
    deadline = std::max(deadline, Clock::now() + milliseconds(1000));
    while (!find_ends(partitions, step(deadline))) {
      rd_kafka_poll(handle_.get(), 0);
      if (notes_.fatal) fail(notes_.trouble);
      if (Clock::now() < deadline) continue;
      fail(fmt::format(
          "the brokers do not say where the partitions begin and end{} (option timeout=SECONDS waits longer)",
          because_of_trouble()));
    }
    notes_.trouble.clear();
  }

  // --- Assignment ---

  void check(rd_kafka_error_t* result) const {
    const Owned<rd_kafka_error_t> error(result);
    if (error) fail(rd_kafka_error_string(error.get()));
  }

  void fetch(const std::vector<Partition>& partitions) {
    const PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
    for (const Partition& partition : partitions) {
      if (partition.finished()) continue;
      rd_kafka_topic_partition_list_add(list.get(), name_.topic.c_str(), partition.id)->offset = partition.place.offset;
    }
    if (list->cnt > 0) check(rd_kafka_incremental_assign(handle_.get(), list.get()));
  }

  /// Where that fails, what is still fetched is dropped.
  void stop_fetching(const Partition& partition) noexcept {
    const PartitionList list(rd_kafka_topic_partition_list_new(1));
    rd_kafka_topic_partition_list_add(list.get(), name_.topic.c_str(), partition.id);
    const Owned<rd_kafka_error_t> error(rd_kafka_incremental_unassign(handle_.get(), list.get()));
  }

  void assign(std::vector<Partition> found) {
    fetch(found);
    for (Partition& partition : found) {
      partition.unassigned = partition.finished();
      unfinished_ += partition.unassigned ? 0u : 1u;
      partitions_.push_back(partition);
    }
  }

  void search_for_partitions() {
    const Clock::time_point now = Clock::now();
    if (name_.until_end || now < next_search_) return;
    const auto timeout = static_cast<int>(short_answer.count());
    const auto count = ask_for_partitions(timeout);
    if (count && *count > partition_count_) {
      std::vector<Partition> found = new_partitions(*count);
      if (find_ends(found, timeout)) {
        assign(std::move(found));
        partition_count_ = *count;
      }
    }
    next_search_ = Clock::now() + partition_search;
  }

  [[nodiscard]] Partition* find(std::int32_t id) {
    const std::size_t index = static_cast<std::size_t>(id) / options_.slice_count;
    return index < partitions_.size() && partitions_[index].id == id ? &partitions_[index] : nullptr;
  }

  /// All before `place` is done.
  void go_to(Partition& partition, Place place) noexcept {
    partition.place = place;
    if (!partition.finished() || partition.unassigned) return;
    partition.unassigned = true;
    --unfinished_;
    stop_fetching(partition);
  }

  // --- Messages ---

  /// Takes messages that librdkafka has, or waits for them until `deadline` if `wait`. False when there are none.
  bool take_messages(bool wait, Clock::time_point deadline) {
    const auto take = [&](int timeout, std::size_t most) {
      ready_.resize(most);
      const auto taken = rd_kafka_consume_batch_queue(queue_.get(), timeout, ready_.data(), most);
      ready_.resize(taken > 0 ? static_cast<std::size_t>(taken) : 0);
      ready_at_ = 0;
      unfit_until_ = 0;
      return !ready_.empty();
    };
    if (take(0, messages_at_once)) return true;
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    // One is returned as soon as it comes; a number of them would be waited for all the time.
    return wait && left.count() > 0 && take(static_cast<int>(std::min(left, slice_of_waiting).count()), 1);
  }

  void drop_message() { rd_kafka_message_destroy(ready_[ready_at_++]); }

  [[nodiscard]] static std::span<const std::byte> payload_of(const rd_kafka_message_t& message) {
    return {static_cast<const std::byte*>(message.payload), message.payload == nullptr ? 0 : message.len};
  }

  [[nodiscard]] std::string name_of(const rd_kafka_message_t& message) const {
    return fmt::format("{}: partition {}, offset {}", name_.shown, message.partition, message.offset);
  }

  /// As next(), but may throw with events in `batch`, which then are before the positions.
  bool fill(EventBatch& batch, std::size_t most, Clock::time_point deadline) {
    while (batch.events() < most) {
      if (events_.is_open()) {
        if (!go_on_with_message(batch, most)) return true;
        continue;
      }
      if (ready_at_ == ready_.size()) {
        if (batch.empty()) {
          search_for_partitions();
          settle_doubts();
        }
        if (name_.until_end && unfinished_ == 0) return !batch.empty();
        if (!take_messages(batch.empty(), deadline)) {
          if (options_.stop.stop_requested() && batch.empty()) throw Cancelled();
          if (notes_.fatal) fail(notes_.trouble);
          if (!batch.empty() || Clock::now() >= deadline) return true;
        }
        continue;
      }
      const rd_kafka_message_t& message = *ready_[ready_at_];
      Partition* partition = find(message.partition);
      if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        handle_error(message, partition);
        drop_message();
        continue;
      }
      notes_.trouble.clear();
      if (!is_read(partition) || message.offset < partition->place.offset) {
        drop_message();
      } else if (partition->end && message.offset >= *partition->end) {
        go_to(*partition, {*partition->end, 0});
        drop_message();
      } else if (partition->place.inside == 0 && take_small_messages(batch, most)) {
        // done
      } else {
        begin_message(message, *partition);
      }
    }
    return true;
  }

  /// Throws where only a part of the next message was read: another follows.
  void require_whole(const Partition& partition) const {
    const auto [offset, inside] = partition.place;
    if (inside == 0) return;
    fail(fmt::format(
        "partition {}: {} events of offset {} are done, but that message was deleted: the rest of its events is "
        "lost; begin anew without the position",
        partition.id, inside, offset));
  }

  void begin_message(const rd_kafka_message_t& message, Partition& partition) {
    if (message.offset != partition.place.offset) require_whole(partition);
    events_.open(payload_of(message), name_of(message), partition.place.inside);
    if (!events_.is_open()) finish_message(partition);
  }

  void finish_message(Partition& partition) {
    const std::int64_t next = ready_[ready_at_]->offset + 1;
    drop_message();
    go_to(partition, {next, 0});
  }

  /// Appends events of the message that was begun. False when the batch is full.
  bool go_on_with_message(EventBatch& batch, std::size_t most) {
    Partition& partition = *find(ready_[ready_at_]->partition);
    const auto note = [&] { partition.place = {ready_[ready_at_]->offset, events_.taken()}; };
    try {
      events_.append_to(batch, most);
    } catch (const InputError&) {
      note();
      throw;
    }
    if (!events_.is_open()) {
      finish_message(partition);
      return true;
    }
    note();
    return false;
  }

  /// Decodes the next messages at once, as many as are whole, small and good text, and as the batch has room for all of
  /// their lines. False when the first is not so, or one is bad.
  bool take_small_messages(EventBatch& batch, std::size_t most) {
    lines_.clear();
    std::size_t count = 0;
    const std::size_t room = most - batch.events();
    std::size_t line_count = 0;
    for (std::size_t at = ready_at_; at < ready_.size() && lines_.size() < bytes_at_once; ++at) {
      const rd_kafka_message_t& message = *ready_[at];
      if (at < unfit_until_ || message.err != RD_KAFKA_RESP_ERR_NO_ERROR) break;
      Partition* partition = find(message.partition);
      if (!is_read(partition) || partition->place.inside > 0 ||
          message.offset < std::max(partition->place.offset, partition->gathered) ||
          (partition->end && message.offset >= *partition->end)) {
        break;
      }
      const auto payload = payload_of(message);
      if (payload.size() > bytes_at_once || !stream::MessageEvents::is_plain_text(payload)) break;
      const std::size_t lines = stream::MessageEvents::most_events(payload);
      if (lines > lines_of_small || line_count + lines > room) break;
      line_count += lines;
      partition->gathered = message.offset + 1;
      lines_.insert(lines_.end(), payload.begin(), payload.end());
      if (payload.back() != std::byte{'\n'}) lines_.push_back(std::byte{'\n'});
      ++count;
    }
    if (count == 0) return false;
    if (!events_.append_lines(lines_, line_count, batch)) {
      unfit_until_ = ready_at_ + count;
      return false;
    }
    for (; count > 0; --count) finish_message(*find(ready_[ready_at_]->partition));
    return true;
  }

  // --- What is no message ---

  void handle_error(const rd_kafka_message_t& message, Partition* partition) {
    const std::string what = fmt::format(
        "{} ({})", message.payload == nullptr ? rd_kafka_err2str(message.err) : rd_kafka_message_errstr(&message),
        rd_kafka_err2name(message.err));
    switch (message.err) {
      case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        // Its offset is the end, also where the last messages are none of ours, such as the marks of transactions.
        notes_.trouble.clear();
        if (!is_read(partition) || message.offset <= partition->place.offset) return;
        require_whole(*partition);
        go_to(*partition, {partition->end ? std::min(message.offset, *partition->end) : message.offset, 0});
        return;
      case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
      case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (is_read(partition)) doubt(*partition, what);
        return;
      case RD_KAFKA_RESP_ERR__BAD_MSG:
      case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
      case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
      case RD_KAFKA_RESP_ERR__UNDERFLOW:
      case RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE:
        // The client cannot unpack what it got, and would go on behind it.
        if (!is_read(partition)) return;
        if (std::exchange(partition->unreadable, partition->place.offset) != partition->place.offset)
          partition->attempts = 0;
        if (++partition->attempts == most_attempts) {
          fail(fmt::format(
              "partition {}, offset {}: the client cannot read what the broker has there, in {} attempts: {}",
              partition->id, partition->place.offset, most_attempts, what));
        }
        doubt(*partition, what);
        return;
      case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
      case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
      case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
      case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
      case RD_KAFKA_RESP_ERR__FATAL:
        fail(message.partition < 0 ? what : fmt::format("partition {}: {}", message.partition, what));
      default:
        notes_.trouble = what;  // It is tried again.
    }
  }

  /// False for partitions whose messages are dropped.
  [[nodiscard]] static bool is_read(const Partition* partition) {
    return partition != nullptr && !partition->unassigned && !partition->in_doubt;
  }

  void doubt(Partition& partition, const std::string& what) {
    partition.in_doubt = doubts_ = true;
    notes_.trouble = fmt::format("partition {}: {}", partition.id, what);
  }

  /// Throws where what is next in a partition is gone. Where it is there after all, the partition is begun again at it.
  void settle_doubts() {
    if (!doubts_) return;
    doubts_ = false;
    for (Partition& partition : partitions_) {
      if (!partition.in_doubt) continue;
      std::vector<Partition> ends(1);
      ends[0].id = partition.id;
      if (!find_ends(ends, static_cast<int>(short_answer.count()))) {
        doubts_ = true;  // The brokers are waited for.
        continue;
      }
      require_there(partition, ends[0].place.offset, ends[0].high);
      partition.in_doubt = false;
      stop_fetching(partition);
      fetch({partition});
    }
  }

  stream::KafkaName name_;
  ReadOptions options_;
  Notes notes_;
  Owned<rd_kafka_t> handle_;
  Owned<rd_kafka_topic_t> topic_;
  Owned<rd_kafka_queue_t> queue_;
  std::int32_t partition_count_ = 0;   ///< Of the whole topic.
  std::vector<Partition> partitions_;  ///< Of this party, ascending.
  std::size_t unfinished_ = 0;         ///< Of these.
  bool doubts_ = false;
  Clock::time_point next_search_;
  std::vector<rd_kafka_message_t*> ready_;  ///< Taken from librdkafka; those from ready_at_ on are ours to destroy.
  std::size_t ready_at_ = 0;
  std::size_t unfit_until_ = 0;  ///< Messages before it are decoded one by one.
  stream::MessageEvents events_;
  std::vector<std::byte> lines_;
  std::exception_ptr failure_;
  std::optional<std::stop_callback<Wake>> wake_;
};

}  // namespace

std::unique_ptr<LiveSource> open_kafka_source(const std::string& name, const ReadOptions& options,
                                              const std::string& position) {
  return std::make_unique<KafkaSource>(name, options, position);
}

}  // namespace weir
