#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "decoder.hpp"
#include "io/npy_dictionary.hpp"
#include "weir/error.hpp"
#include "weir/io/npy.hpp"

namespace weir::stream {

namespace {

/// Values decoded at a time, or one row of more. The columns of an array in Fortran order are read one by one, so that
/// its blocks must be large to be read in pieces of more than a few bytes.
constexpr std::uint64_t block_values = std::uint64_t{1} << 16;
constexpr std::uint64_t fortran_block_values = std::uint64_t{1} << 20;
/// Memory for bytes grows by this or doubles, and only as they come: a header can promise what it likes.
constexpr std::size_t piece = std::size_t{1} << 16;

class NpyDecoder final : public Decoder {
 public:
  /// `input` stands anywhere if it can seek, else at the data. A header with one row or column is in C order.
  NpyDecoder(std::unique_ptr<Input> input, const ReadOptions& options, const Part& part, const NpyHeader& header)
      : input_(std::move(input)),
        options_(options),
        header_(header),
        columns_(static_cast<std::size_t>(header.columns)),
        row_bytes_(columns_ * header.element_size),
        // Of an input that cannot seek the header tells the rows all the same.
        progress_(part.of_size(header.rows)),
        checks_end_(!input_->size() && part.ends_file(header.rows)) {
    if (!progress_.is_done()) begin_range();
    const std::uint64_t most = header.is_fortran_order ? fortran_block_values : block_values;
    block_rows_ = static_cast<std::size_t>(std::max<std::uint64_t>(most / header.columns, 1));
  }

  bool next(EventBatch& batch, std::size_t most) override {
    most = std::min(most, options_.batch);
    batch.resize(0);
    while (!progress_.is_done()) {
      read(batch, most);
      if (!batch.empty()) {
        progress_.pass(row());
        return true;
      }
      // The range is at its end.
      progress_.next_range();
      if (!progress_.is_done()) begin_range();
    }
    if (!finished_) finish();
    finished_ = true;
    return false;
  }

  [[nodiscard]] std::vector<FileRange> unread() const override {
    std::vector<FileRange> rest = progress_.rest();
    // What is checked at the end of the file is still to be checked.
    if (!finished_ && checks_end_ && (rest.empty() || rest.back().end < header_.rows))
      rest.push_back({header_.rows, std::numeric_limits<std::uint64_t>::max()});
    return rest;
  }

  [[nodiscard]] std::optional<BytesRead> bytes_read() const noexcept override {
    if (!input_->size()) return input_->bytes_read();
    const BytesRead rows = progress_.units();
    return BytesRead{rows.read * row_bytes_, rows.all * row_bytes_};
  }
  [[nodiscard]] std::uint64_t skipped() const noexcept override { return skipped_; }
  [[nodiscard]] const SkippedLine* first_skipped() const noexcept override {
    return skipped_ > 0 ? &first_skipped_ : nullptr;
  }

 private:
  /// Number of the next row.
  [[nodiscard]] std::uint64_t row() const noexcept { return first_ + position_ / columns_; }

  /// Goes to the first row of the current range, where the input can seek.
  void begin_range() {
    if (!input_->size()) return;
    next_ = progress_.current().begin;
    input_->seek(header_.offset_of(next_, 0));
  }

  void deliver(std::span<const double> row, std::uint64_t i, EventBatch& batch) {
    const auto bad = std::find_if(row.begin(), row.end(), [](double value) { return !std::isfinite(value); });
    if (bad != row.end()) {
      std::string reason =
          npy_entry_complaint(header_, input_->name(), i, static_cast<std::uint64_t>(bad - row.begin()), *bad);
      if (options_.on_error == OnError::stop) throw InputError(reason);
      if (skipped_++ == 0) first_skipped_ = {.name = input_->name(), .reason = std::move(reason)};
    } else if (has_column(options_.default_operand)) {
      batch.rows.push_back(options_.default_operand, i, 1, row);
    } else if (row[0] != 0) {
      batch.push_back({options_.default_operand, i, 0, row[0]});
    }
  }

  /// Appends rows of the current range, at most `most` events; nothing at its end.
  void read(EventBatch& batch, std::size_t most) {
    const FileRange range = progress_.current();
    while (batch.events() < most && batch.rows.values.size() < options_.row_values) {
      if (position_ == block_.size() && ((!batch.empty() && input_->is_live()) || !refill(range.end))) break;
      if (row() >= range.begin) deliver(std::span(block_).subspan(position_, columns_), row(), batch);
      position_ += columns_;
    }
  }

  /// Decodes the next block of the rows before number `end`; false when there are no more.
  bool refill(std::uint64_t end) {
    first_ = next_;
    position_ = 0;
    block_.clear();
    if (next_ == end) return false;
    const auto rows = static_cast<std::size_t>(std::min<std::uint64_t>(block_rows_, end - next_));
    next_ += header_.is_fortran_order ? read_columns(rows) : read_rows(rows);
    return true;
  }

  void finish() {
    if (!checks_end_) return;
    while (refill(header_.rows)) {
    }
    std::byte more;
    if (input_->read(std::span(&more, 1)) > 0) throw InputError(npy_size_complaint(header_, input_->name(), "more"));
  }

  /// At most `rows` rows, fewer when no more have arrived.
  std::size_t read_rows(std::size_t rows) {
    const std::size_t wanted = rows * row_bytes_;
    while (held_ < wanted && !(held_ >= row_bytes_ && input_->is_live())) {
      if (held_ == bytes_.size()) bytes_.resize(std::min(wanted, held_ + std::max(held_, piece)));
      const auto free = std::span(bytes_).subspan(held_, std::min(wanted, bytes_.size()) - held_);
      const std::size_t count = input_->read(free);
      if (count == 0) {
        throw InputError(
            npy_size_complaint(header_, input_->name(), fmt::to_string(input_->offset() - header_.data_offset)));
      }
      held_ += count;
    }
    const std::size_t whole = held_ / row_bytes_;
    block_.resize(whole * columns_);
    header_.decode(bytes_.data(), block_);
    held_ -= whole * row_bytes_;
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(whole * row_bytes_), held_, bytes_.begin());
    return whole;
  }

  std::size_t read_columns(std::size_t rows) {
    block_.resize(rows * columns_);
    bytes_.resize(rows * header_.element_size);
    column_.resize(rows);
    for (std::size_t j = 0; j < columns_; ++j) {
      input_->seek(header_.offset_of(next_, j));
      if (input_->read_fully(bytes_) < bytes_.size())
        throw InputError(input_->at_byte(input_->offset()) + ": the file ends here");
      header_.decode(bytes_.data(), column_);
      for (std::size_t i = 0; i < rows; ++i) block_[i * columns_ + j] = column_[i];
    }
    return rows;
  }

  std::unique_ptr<Input> input_;
  ReadOptions options_;
  NpyHeader header_;
  std::size_t columns_;
  std::size_t row_bytes_;
  Progress progress_;
  bool checks_end_;  ///< That there are no bytes behind the last row.
  bool finished_ = false;
  std::size_t block_rows_;     ///< Rows of a block, at most.
  std::vector<double> block_;  ///< Rows from number first_ on.
  std::uint64_t first_ = 0;
  std::size_t position_ = 0;  ///< Of the next row in block_.
  std::uint64_t next_ = 0;    ///< Number of the row after the block.
  std::vector<std::byte> bytes_;
  std::size_t held_ = 0;        ///< C order: bytes read, but not decoded.
  std::vector<double> column_;  ///< Fortran order: of the block.
  std::uint64_t skipped_ = 0;
  SkippedLine first_skipped_;
};

}  // namespace

NpyHeader read_npy_header(Input& input) {
  const std::size_t length = npy_header_length(input.peek(npy_prefix), input.name());
  return parse_npy_header(input.peek(length), input.name());
}

std::unique_ptr<Decoder> npy_decoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits,
                                     Part part) {
  NpyHeader header = read_npy_header(*input);
  const Operand operand = options.default_operand;
  const auto refuse = [&](const std::string& reason) {
    throw InputError(fmt::format("{}: {}", input->name(), reason));
  };
  require_data(header, *input);
  if (!limits.takes(operand)) refuse(limits.complaint(operand));
  if (header.rows == 0 || header.columns == 0)
    throw NoEvents(input->name(), fmt::format(": the array is {} x {}", header.rows, header.columns));
  if (has_column(operand)) {
    const auto [least, most] = limits.row_length(operand);
    if (header.rows > limits.rows(operand) || header.columns > limits.columns(operand) || header.columns < least) {
      refuse(limits.columns(operand) == index_limit
                 ? fmt::format("the array is {} x {}, but {} has {} rows", header.rows, header.columns,
                               to_string(operand), limits.rows(operand))
                 : fmt::format("the array is {} x {}, but {} is {} x {}", header.rows, header.columns,
                               to_string(operand), limits.rows(operand), limits.columns(operand)));
    }
    if (header.columns > most) refuse(limits.row_complaint(operand, header.columns));
  } else {
    // A vector may lie or stand.
    const std::uint64_t length = std::max(header.rows, header.columns);
    if (std::min(header.rows, header.columns) > 1 || length > limits.rows(operand)) {
      refuse(fmt::format("the array is {} x {}, but {} is a vector of {} entries", header.rows, header.columns,
                         to_string(operand), limits.rows(operand)));
    }
    header.rows = length;
    header.columns = 1;
  }
  // Then the two orders are one.
  if (header.rows == 1 || header.columns == 1) header.is_fortran_order = false;
  if (!input->size()) {
    if (header.is_fortran_order)
      refuse("an array in Fortran order cannot be read from a pipe or a compressed file; expected C order");
    std::vector<std::byte> skipped(static_cast<std::size_t>(header.data_offset));
    input->read_fully(skipped);
  }
  return std::make_unique<NpyDecoder>(std::move(input), options, part, header);
}

}  // namespace weir::stream
