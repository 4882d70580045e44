#include "weir/stream/writer.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "binary_layout.hpp"
#include "decoder.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"

namespace weir {

namespace {

using namespace weir::stream;

/// A file that appears when it is complete, or standard output.
class Sink {
 public:
  explicit Sink(const std::string& path) {
    if (path != "-") file_.emplace(path);
  }

  void write(std::span<const std::byte> bytes) {
    written_ += bytes.size();
    if (file_) return file_->write(bytes);
    while (!bytes.empty()) {
      const ssize_t count = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw InputError(fmt::format("standard output: cannot write: {}", std::strerror(errno)));
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }
  [[nodiscard]] std::uint64_t written() const noexcept { return written_; }
  /// True when bytes that were written before can be changed.
  [[nodiscard]] bool can_overwrite() const noexcept { return file_ && !file_->is_direct(); }
  /// Only when can_overwrite().
  void overwrite_at(std::uint64_t offset, std::span<const std::byte> bytes) { file_->overwrite_at(offset, bytes); }
  void commit() {
    if (file_) file_->commit();
  }

 private:
  std::optional<OutputFile> file_;
  std::uint64_t written_ = 0;
};

class Encoder {
 public:
  virtual ~Encoder() = default;
  /// Returns how many events it made of `batch`.
  virtual std::uint64_t write(Sink& sink, const EventBatch& batch) = 0;
  virtual void finish(Sink& sink) = 0;
};

class TextEncoder final : public Encoder {
 public:
  explicit TextEncoder(char separator) : separator_(separator), buffer_(std::size_t{1} << 17) {}

  std::uint64_t write(Sink& sink, const EventBatch& batch) override {
    for (std::size_t t = 0; t < batch.size(); ++t) {
      require_room(sink);
      const Operand operand = batch.operands[t];
      // Two numbers between which there is a tab could be an edge.
      if (operand != Operand::y || separator_ == '\t') append(to_string(operand), separator_);
      append(batch.i[t], separator_);
      if (has_column(operand)) append(batch.j[t], separator_);
      append(batch.delta[t], '\n');
    }
    for (std::size_t t = 0; t < batch.rows.size(); ++t) {
      require_room(sink);
      append(to_string(batch.rows.operands[t]), separator_);
      append(batch.rows.i[t], separator_);
      append(std::string_view(batch.rows.weights[t] < 0 ? "-*" : "*"), separator_);
      for (const double value : batch.rows.row(t)) {
        require_room(sink);
        append(value, separator_);
      }
      buffer_[filled_ - 1] = '\n';
    }
    return batch.events();
  }

  void finish(Sink& sink) override {
    sink.write(std::as_bytes(std::span(buffer_).first(filled_)));
    filled_ = 0;
  }

 private:
  static constexpr std::size_t longest_event = 128;

  /// For an event, or a value of a row; what was written last stays in the buffer.
  void require_room(Sink& sink) {
    if (buffer_.size() - filled_ < longest_event) finish(sink);
  }

  void append(std::string_view text, char after) { advance(std::copy(text.begin(), text.end(), end()), after); }
  void append(std::uint64_t index, char after) { advance(std::to_chars(end(), last(), index).ptr, after); }
  void append(double value, char after) {
    // Whole numbers as people write them, 100000 rather than 1e+05. The sign of -0.0 must stay.
    const bool whole = std::abs(value) < 1e15 && value == std::trunc(value) && !(value == 0 && std::signbit(value));
    advance(whole ? std::to_chars(end(), last(), static_cast<std::int64_t>(value)).ptr
                  : std::to_chars(end(), last(), value).ptr,
            after);
  }
  [[nodiscard]] char* end() noexcept { return buffer_.data() + filled_; }
  [[nodiscard]] char* last() noexcept { return buffer_.data() + buffer_.size(); }
  void advance(char* end, char after) noexcept {
    *end++ = after;
    filled_ = static_cast<std::size_t>(end - buffer_.data());
  }

  char separator_;
  std::vector<char> buffer_;
  std::size_t filled_ = 0;
};

/// Base and width of a column of indices.
struct IndexColumn {
  explicit IndexColumn(std::span<const std::uint64_t> values) {
    const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
    base = *least;
    const std::uint64_t range = *greatest - *least;
    width = range == 0 ? 0 : range <= 0xFF ? 1 : range <= 0xFFFF ? 2 : range <= 0xFFFFFFFF ? 4 : 8;
  }
  std::uint64_t base;
  std::uint8_t width;
};

DeltaEncoding narrowest(std::span<const double> deltas) {
  const auto is_equal = [&](double delta) {
    return std::bit_cast<std::uint64_t>(delta) == std::bit_cast<std::uint64_t>(deltas[0]);
  };
  if (std::all_of(deltas.begin(), deltas.end(), is_equal)) return delta_constant;
  double least = 0;
  double greatest = 0;
  for (const double delta : deltas) {
    if (delta != std::trunc(delta) || (delta == 0 && std::signbit(delta))) return delta_f64;
    least = std::min(least, delta);
    greatest = std::max(greatest, delta);
  }
  const auto fits = [&]<class Integer>(Integer) {
    return least >= std::numeric_limits<Integer>::min() && greatest <= std::numeric_limits<Integer>::max();
  };
  if (fits(std::int8_t{})) return delta_i8;
  if (fits(std::int16_t{})) return delta_i16;
  return fits(std::int32_t{}) ? delta_i32 : delta_f64;
}

/// Writes `transform` of all values at `out`, as elements of type Element.
template <class Element, class Value, class Transform>
void pack(std::byte* out, std::span<const Value> values, Transform transform) {
  for (const Value& value : values) {
    const auto element = static_cast<Element>(transform(value));
    std::memcpy(out, &element, sizeof element);
    out += sizeof element;
  }
}

void pack_indices(std::byte* out, std::span<const std::uint64_t> values, const IndexColumn& column) {
  const auto above_base = [&](std::uint64_t value) { return value - column.base; };
  switch (column.width) {
    case 1:
      return pack<std::uint8_t>(out, values, above_base);
    case 2:
      return pack<std::uint16_t>(out, values, above_base);
    case 4:
      return pack<std::uint32_t>(out, values, above_base);
    case 8:
      return pack<std::uint64_t>(out, values, above_base);
    default:
      return;
  }
}

void pack_deltas(std::byte* out, std::span<const double> values, DeltaEncoding encoding) {
  switch (encoding) {
    case delta_constant:
      return pack<double>(out, values.first(1), std::identity{});
    case delta_i8:
      return pack<std::int8_t>(out, values, std::identity{});
    case delta_i16:
      return pack<std::int16_t>(out, values, std::identity{});
    case delta_i32:
      return pack<std::int32_t>(out, values, std::identity{});
    case delta_f64:
      return pack<double>(out, values, std::identity{});
  }
}

template <class Column>
void append(std::vector<Column>& to, const std::vector<Column>& from, std::size_t first, std::size_t count) {
  const auto begin = from.begin() + static_cast<std::ptrdiff_t>(first);
  to.insert(to.end(), begin, begin + static_cast<std::ptrdiff_t>(count));
}

class BinaryEncoder final : public Encoder {
 public:
  /// Where the header cannot be changed when the first name comes, it says at once that some may.
  explicit BinaryEncoder(Sink& sink)
      : version_(!sink.can_overwrite() && known_operands().size() > coded_operands ? 2 : 1) {
    const FileHeader header = make_header();
    sink.write(std::as_bytes(std::span(&header, 1)));
  }

  std::uint64_t write(Sink& sink, const EventBatch& batch) override {
    for (std::size_t first = 0; first < batch.size();) {
      const std::size_t count = std::min(batch.size() - first, block_size() - pending_.size());
      append(pending_.operands, batch.operands, first, count);
      append(pending_.i, batch.i, first, count);
      append(pending_.j, batch.j, first, count);
      append(pending_.delta, batch.delta, first, count);
      first += count;
      if (pending_.size() == block_size()) write_block(sink);
    }
    std::uint64_t written = batch.size();
    for (std::size_t t = 0; t < batch.rows.size(); ++t) {
      const std::span<const double> row = batch.rows.row(t);
      for (std::size_t j = 0; j < row.size(); ++j) {
        if (row[j] == 0) continue;
        pending_.push_back({batch.rows.operands[t], batch.rows.i[t], j, batch.rows.weights[t] * row[j]});
        ++written;
        if (pending_.size() == block_size()) write_block(sink);
      }
    }
    return written;
  }

  void finish(Sink& sink) override {
    if (!pending_.empty()) write_block(sink);
    IndexTail tail{index_.size(), events_, sink.written(), end_mark};
    bytes_.resize(sizeof(IndexHead) + index_.size() * sizeof(IndexEntry) + sizeof tail);
    const IndexHead head{0, index_tag, 0};
    std::memcpy(bytes_.data(), &head, sizeof head);
    if (!index_.empty()) std::memcpy(bytes_.data() + sizeof head, index_.data(), index_.size() * sizeof(IndexEntry));
    std::memcpy(bytes_.data() + bytes_.size() - sizeof tail, &tail, sizeof tail);
    write_with_checksum(sink);
    if (needs_names_ && sink.can_overwrite()) {
      version_ = 2;
      const FileHeader header = make_header();
      sink.overwrite_at(0, std::as_bytes(std::span(&header, 1)));
    }
  }

 private:
  [[nodiscard]] FileHeader make_header() const noexcept {
    FileHeader header{};
    std::copy(binary_magic.begin(), binary_magic.end(), header.magic.begin());
    header.version = version_;
    header.checksum = XXH3_64bits(&header, offsetof(FileHeader, checksum));
    return header;
  }

  [[nodiscard]] std::size_t block_size() const noexcept {
    return std::clamp<std::size_t>(std::bit_floor(static_cast<std::size_t>(events_ / 64)), 1024, largest_block);
  }

  void write_block(Sink& sink) {
    const IndexColumn i(pending_.i);
    const IndexColumn j(pending_.j);
    const DeltaEncoding delta = narrowest(pending_.delta);
    const Operand operand = pending_.operands[0];
    const bool mixed = std::any_of(pending_.operands.begin(), pending_.operands.end(),
                                   [&](Operand other) { return other != operand; });
    const std::vector<OperandName> names = name_operands(sink);
    BlockHead head{.checksum = 0,
                   .tag = block_tag,
                   .count = static_cast<std::uint32_t>(pending_.size()),
                   .first = events_,
                   .payload = 0,
                   .operands = !names.empty() ? named_operands
                               : mixed        ? mixed_operands
                                              : static_cast<std::uint8_t>(operand),
                   .i_width = i.width,
                   .j_width = j.width,
                   .delta = delta};
    const BlockLayout layout = layout_of(head, names.size()).value();
    head.payload = static_cast<std::uint32_t>(layout.payload);
    bytes_.assign(sizeof head + layout.payload, std::byte{0});
    std::memcpy(bytes_.data(), &head, sizeof head);
    std::byte* payload = bytes_.data() + sizeof head;
    std::memcpy(payload, &i.base, 8);
    std::memcpy(payload + 8, &j.base, 8);
    pack_indices(payload + layout.i, pending_.i, i);
    pack_indices(payload + layout.j, pending_.j, j);
    pack_deltas(payload + layout.delta, pending_.delta, delta);
    if (head.operands >= named_operands) {
      std::memcpy(payload + layout.operands, pending_.operands.data(), pending_.size());
      if (!names.empty()) std::memcpy(payload + layout.names, names.data(), names.size() * sizeof(OperandName));
    }
    index_.push_back({sink.written(), events_});
    write_with_checksum(sink);
    events_ += pending_.size();
    pending_.clear();
  }

  /// The table of the pending events' operands that have no code of their own, whose place in it replaces them. Empty
  /// where there are none.
  std::vector<OperandName> name_operands(const Sink& sink) {
    OperandSet all;
    for (const Operand operand : pending_.operands) all.insert(operand);
    all = all - OperandSet{Operand::y, Operand::x, Operand::A, Operand::A1, Operand::A2, Operand::X};
    std::vector<OperandName> names;
    std::array<Operand, most_operands> codes{};
    std::ranges::copy(known_operands(), codes.begin());
    for (const Operand operand : all) {
      const std::string_view name = to_string(operand);
      if (version_ < 2 && !sink.can_overwrite()) {
        throw UsageError(
            fmt::format("operand {} was registered after this binary stream was begun, and cannot join it", name));
      }
      codes[static_cast<std::size_t>(operand)] = static_cast<Operand>(coded_operands + names.size());
      OperandName& entry = names.emplace_back();
      std::copy(name.begin(), name.end(), entry.name.begin());
      entry.indices = has_column(operand) ? 2 : 1;
    }
    if (names.empty()) return names;
    needs_names_ = true;
    for (Operand& operand : pending_.operands) operand = codes[static_cast<std::size_t>(operand)];
    return names;
  }

  void write_with_checksum(Sink& sink) {
    const std::uint64_t checksum = XXH3_64bits(bytes_.data() + 8, bytes_.size() - 8);
    std::memcpy(bytes_.data(), &checksum, sizeof checksum);
    sink.write(bytes_);
  }

  EventBatch pending_;
  std::vector<std::byte> bytes_;
  std::vector<IndexEntry> index_;
  std::uint64_t events_ = 0;  ///< In blocks written.
  std::uint32_t version_;
  bool needs_names_ = false;
};

void require_writable(const EventBatch& batch) {
  for (std::size_t t = 0; t < batch.size(); ++t) {
    if (batch.i[t] >= index_limit || batch.j[t] >= (has_column(batch.operands[t]) ? index_limit : 1) ||
        !std::isfinite(batch.delta[t])) {
      throw UsageError(fmt::format("cannot write the event {},{},{},{}: expected indices below 2^63 and a finite delta",
                                   to_string(batch.operands[t]), batch.i[t], batch.j[t], batch.delta[t]));
    }
  }
  const RowBatch& rows = batch.rows;
  for (std::size_t t = 0; t < rows.size(); ++t) {
    const std::span<const double> row = rows.row(t);
    if (!has_column(rows.operands[t]) || rows.i[t] >= index_limit || std::abs(rows.weights[t]) != 1 || row.empty() ||
        row.size() > longest_row || !std::all_of(row.begin(), row.end(), [](double v) { return std::isfinite(v); })) {
      throw UsageError(
          fmt::format("cannot write row {} of {} with {} values and weight {}: expected an index below 2^63, "
                      "1 to {} finite values of a matrix, and weight 1 or -1",
                      rows.i[t], to_string(rows.operands[t]), row.size(), rows.weights[t], longest_row));
    }
  }
}

}  // namespace

EventFormat format_of_name(const std::string& path) {
  const auto is_text = [&](std::string_view extension) { return std::string_view(path).ends_with(extension); };
  return is_text(".csv") || is_text(".tsv") || is_text(".txt") ? EventFormat::text : EventFormat::binary;
}

struct EventWriter::Implementation {
  Implementation(const std::string& path, EventFormat format) : sink(path) {
    if (format == EventFormat::binary) {
      encoder = std::make_unique<BinaryEncoder>(sink);
    } else {
      encoder = std::make_unique<TextEncoder>(path.ends_with(".tsv") ? '\t' : ',');
    }
  }

  Sink sink;
  std::unique_ptr<Encoder> encoder;
  std::uint64_t events = 0;
};

EventWriter::EventWriter(const std::string& path, EventFormat format)
    : implementation_(std::make_unique<Implementation>(path, format)) {}
EventWriter::EventWriter(EventWriter&&) noexcept = default;
EventWriter& EventWriter::operator=(EventWriter&&) noexcept = default;
EventWriter::~EventWriter() = default;

void EventWriter::write(const EventBatch& batch) {
  require_writable(batch);
  implementation_->events += implementation_->encoder->write(implementation_->sink, batch);
}

std::uint64_t EventWriter::events() const noexcept { return implementation_->events; }

void EventWriter::close() {
  implementation_->encoder->finish(implementation_->sink);
  implementation_->sink.commit();
}

}  // namespace weir
