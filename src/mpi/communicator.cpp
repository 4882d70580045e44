#include "weir/mpi/communicator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <new>
#include <stdexcept>
#include <string_view>

#include "internal.hpp"
#include "weir/error.hpp"
#include "weir/share.hpp"

namespace weir::mpi {
namespace {

constexpr std::size_t piece_doubles = (std::size_t{4} << 20) / sizeof(double);
constexpr std::size_t message_bytes = std::size_t{1} << 30;  // MPI counts are int

/// Calls `transfer(first, count)` for consecutive pieces of [0, total) that are at most `piece` long.
template <class Transfer>
void in_pieces(std::size_t total, std::size_t piece, Transfer transfer) {
  for (std::size_t first = 0; first < total; first += piece) {
    transfer(first, static_cast<int>(std::min(piece, total - first)));
  }
}

template <class Number>
MPI_Datatype type_of() {
  static_assert(std::is_same_v<Number, double> || std::is_same_v<Number, float>);
  return std::is_same_v<Number, double> ? MPI_DOUBLE : MPI_FLOAT;
}

/// Sums `values` on rank 0.
template <class Number>
void reduce_on_root(std::span<Number> values, int rank, MPI_Comm handle) {
  in_pieces(values.size(), piece_doubles, [&](std::size_t first, int count) {
    Number* chunk = values.data() + first;
    check(MPI_Reduce(rank == 0 ? MPI_IN_PLACE : chunk, rank == 0 ? chunk : nullptr, count, type_of<Number>(), MPI_SUM,
                     0, handle),
          "MPI_Reduce");
  });
}

void send_politely(const void* data, int count, MPI_Datatype type, int destination, int tag, MPI_Comm handle) {
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Isend(data, count, type, destination, tag, handle, &request), "MPI_Isend");
  wait_politely(request);
}

/// At most `count` elements; returns how many have come.
int receive_politely(void* data, int count, MPI_Datatype type, int source, int tag, MPI_Comm handle) {
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Irecv(data, count, type, source, tag, handle, &request), "MPI_Irecv");
  const MPI_Status status = wait_politely(request);
  int received = 0;
  check(MPI_Get_count(&status, type, &received), "MPI_Get_count");
  return received;
}

/// As long as it lives, errors of calls on a communicator that belongs to the caller are returned.
class ReturnErrorsOf {
 public:
  explicit ReturnErrorsOf(MPI_Comm handle) : handle_(handle) {
    check(MPI_Comm_get_errhandler(handle_, &previous_), "MPI_Comm_get_errhandler");
    const int code = MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN);
    if (code != MPI_SUCCESS) MPI_Errhandler_free(&previous_);
    check(code, "MPI_Comm_set_errhandler");
  }
  ~ReturnErrorsOf() {
    MPI_Comm_set_errhandler(handle_, previous_);
    MPI_Errhandler_free(&previous_);
  }
  ReturnErrorsOf(const ReturnErrorsOf&) = delete;
  ReturnErrorsOf& operator=(const ReturnErrorsOf&) = delete;

 private:
  MPI_Comm handle_;
  MPI_Errhandler previous_ = MPI_ERRHANDLER_NULL;
};

void duplicate(MPI_Comm original, Handle& copy) {
  check(MPI_Comm_dup(original, copy.place()), "MPI_Comm_dup");
  check(MPI_Comm_set_errhandler(copy.get(), MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

void require_running_mpi() {
  int initialised = 0;
  int finalised = 0;
  check(MPI_Initialized(&initialised), "MPI_Initialized");
  check(MPI_Finalized(&finalised), "MPI_Finalized");
  if (initialised == 0 || finalised != 0)
    throw UsageError("a Communicator needs MPI to be running: it is made after MPI_Init and before MPI_Finalize");
}

void require_intracommunicator(MPI_Comm handle) {
  int between_groups = 0;
  if (handle != MPI_COMM_NULL) check(MPI_Comm_test_inter(handle, &between_groups), "MPI_Comm_test_inter");
  if (handle == MPI_COMM_NULL || between_groups != 0)
    throw UsageError(fmt::format("a Communicator cannot be made from {}",
                                 between_groups != 0 ? "an intercommunicator" : "MPI_COMM_NULL"));
}

/// The first exception of several pieces of work; after it the others are left out.
class FirstFailure {
 public:
  template <class Work>
  void attempt(const Work& work) {
    try {
      if (!failure_) work();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }
  [[nodiscard]] const std::exception_ptr& get() const noexcept { return failure_; }

 private:
  std::exception_ptr failure_;
};

std::size_t longest_piece_of_others(std::span<const std::uint64_t> lengths) {
  std::uint64_t longest = 0;
  for (const std::uint64_t length : lengths.subspan(1)) longest = std::max(longest, length);
  return std::min(static_cast<std::size_t>(longest), piece_doubles);
}

void require_other_rank(int other, const Communicator& communicator) {
  if (other < 0 || other >= communicator.local_size() || other == communicator.local_rank()) {
    throw UsageError(fmt::format("rank {} cannot exchange messages with rank {} of {}", communicator.local_rank(),
                                 other, communicator.local_size()));
  }
}

}  // namespace

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) length = 0;
  std::string line;  // MPICH's texts have several
  for (const char c : std::string_view(text.data(), static_cast<std::size_t>(length))) {
    const bool blank = c == '\n' || c == '\r' || c == '\t' || c == ' ';
    if (!blank) line += c;
    if (blank && !line.empty() && line.back() != ' ') line += ' ';
  }
  if (line.ends_with(' ')) line.pop_back();
  throw Error(fmt::format("{}: {}", call, line));
}

Communicator::Communicator(MPI_Comm parent) : owned_(std::make_unique<Owned>()) {
  require_running_mpi();
  require_intracommunicator(parent);
  const ReturnErrorsOf guard(parent);
  duplicate(parent, owned_->main);
  handle_ = owned_->main.get();
  duplicate(handle_, owned_->signals.handle);
  check(MPI_Comm_rank(handle_, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(handle_, &size_), "MPI_Comm_size");
  owned_->signals.sends.resize(static_cast<std::size_t>(size_ - 1), MPI_REQUEST_NULL);
}

Communicator::~Communicator() = default;
Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;

void Communicator::require_equal_lengths(std::size_t length) const {
  // The maxima of the length and of its negative tell the largest and the smallest length in one call. Signed, as
  // MPICH 4.0.2 compares unsigned numbers as signed ones.
  const auto own = static_cast<std::int64_t>(length);
  std::array<std::int64_t, 2> extremes{own, -own};
  check(MPI_Allreduce(MPI_IN_PLACE, extremes.data(), 2, MPI_INT64_T, MPI_MAX, handle_), "MPI_Allreduce");
  if (extremes[0] != -extremes[1]) {
    throw Error(fmt::format("cannot combine arrays of different lengths: between {} and {} values on the ranks",
                            -extremes[1], extremes[0]));
  }
}

void Communicator::reduce_sum(std::span<double> values) const {
  require_equal_lengths(values.size());
  reduce_on_root(values, rank_, handle_);
}

void Communicator::reduce_sum(std::span<float> values) const {
  require_equal_lengths(values.size());
  reduce_on_root(values, rank_, handle_);
}

namespace {

/// The numbers of a vector that each rank has a share of: whole rows, in the order of the ranks.
class Shares {
 public:
  /// Throws UsageError unless there are whole rows.
  Shares(std::span<double> values, std::uint64_t row_length, int ranks) : values_(values) {
    const std::uint64_t rows = row_length == 0 ? 0 : values.size() / row_length;
    if (row_length == 0 || rows * row_length != values.size())
      throw UsageError(fmt::format("{} doubles are no rows of {}", values.size(), row_length));
    const auto size = static_cast<std::uint64_t>(ranks);
    for (std::uint64_t rank = 0; rank <= size; ++rank)
      starts_.push_back(static_cast<std::size_t>(share(rows, rank, size) * row_length));
    for (std::size_t rank = 0; rank < size; ++rank) longest_ = std::max(longest_, starts_[rank + 1] - starts_[rank]);
    piece_ =
        std::clamp(piece_doubles / static_cast<std::size_t>(size), smallest_piece, std::max(longest_, smallest_piece));
  }

  [[nodiscard]] std::span<double> of(int rank) const {
    const auto r = static_cast<std::size_t>(rank);
    return values_.subspan(starts_[r], starts_[r + 1] - starts_[r]);
  }
  /// Calls work(pieces, counts, starts) for one piece of every share, then for the next one of each. In a buffer that holds one
  /// piece after the other, piece r has counts[r] numbers and begins at starts[r].
  template <class Work>
  void in_pieces_of_each(const Work& work) const {
    const std::size_t ranks = starts_.size() - 1;
    std::vector<std::span<double>> pieces(ranks);
    std::vector<int> counts(ranks), starts(ranks);
    for (std::size_t done = 0; done < longest_; done += piece_) {
      int total = 0;
      for (std::size_t r = 0; r < ranks; ++r) {
        const std::span<double> whole = of(static_cast<int>(r));
        pieces[r] = whole.subspan(std::min(done, whole.size()));
        pieces[r] = pieces[r].first(std::min(piece_, pieces[r].size()));
        counts[r] = static_cast<int>(pieces[r].size());
        starts[r] = total;
        total += counts[r];
      }
      work(pieces, counts, starts);
    }
  }
  /// How many numbers the pieces of all ranks have together, at most.
  [[nodiscard]] std::size_t buffer_size() const { return std::min(values_.size(), piece_ * (starts_.size() - 1)); }
  [[nodiscard]] std::size_t piece_size() const { return std::min(longest_, piece_); }

 private:
  /// Below it a message costs its latency.
  static constexpr std::size_t smallest_piece = 512;

  std::span<double> values_;
  std::vector<std::size_t> starts_;
  std::size_t longest_ = 0;
  std::size_t piece_ = 0;
};

std::span<double> sum_by_share(std::span<double> values, std::uint64_t row_length, int rank, int size,
                               MPI_Comm handle) {
  const Shares shares(values, row_length, size);
  if (size == 1) return values;
  // What MPI_Reduce_scatter takes lies in one piece, in the order of the ranks.
  std::vector<double> packed(shares.buffer_size()), sums(shares.piece_size());
  shares.in_pieces_of_each([&](const auto& pieces, const std::vector<int>& counts, const std::vector<int>& starts) {
    for (std::size_t r = 0; r < pieces.size(); ++r) std::ranges::copy(pieces[r], packed.begin() + starts[r]);
    check(MPI_Reduce_scatter(packed.data(), sums.data(), counts.data(), MPI_DOUBLE, MPI_SUM, handle),
          "MPI_Reduce_scatter");
    const std::span<double> own = pieces[static_cast<std::size_t>(rank)];
    std::copy_n(sums.begin(), own.size(), own.begin());
  });
  return shares.of(rank);
}

void gather_shares(std::span<double> values, std::uint64_t row_length, int rank, int size, MPI_Comm handle) {
  const Shares shares(values, row_length, size);
  if (size == 1) return;
  std::vector<double> packed(shares.buffer_size());
  shares.in_pieces_of_each([&](const auto& pieces, const std::vector<int>& counts, const std::vector<int>& starts) {
    const std::span<double> own = pieces[static_cast<std::size_t>(rank)];
    check(MPI_Allgatherv(own.data(), static_cast<int>(own.size()), MPI_DOUBLE, packed.data(), counts.data(),
                         starts.data(), MPI_DOUBLE, handle),
          "MPI_Allgatherv");
    for (std::size_t r = 0; r < pieces.size(); ++r)
      std::copy_n(packed.begin() + starts[r], counts[r], pieces[r].begin());
  });
}

/// What each rank of `handle` gave, on all of them. `who` they are, for the message.
std::vector<std::vector<std::byte>> gather_everywhere(std::span<const std::byte> bytes, MPI_Comm handle,
                                                      const char* who) {
  int ranks = 1;
  check(MPI_Comm_size(handle, &ranks), "MPI_Comm_size");
  const std::uint64_t own = bytes.size();
  std::vector<std::uint64_t> lengths(static_cast<std::size_t>(ranks));
  check(MPI_Allgather(&own, 1, MPI_UINT64_T, lengths.data(), 1, MPI_UINT64_T, handle), "MPI_Allgather");
  std::vector<int> counts, starts;
  std::uint64_t total = 0;
  for (const std::uint64_t length : lengths) {
    constexpr std::uint64_t most = std::numeric_limits<int>::max();  // MPI counts are int
    if (length > most - total)
      throw UsageError(fmt::format("{} give more than the 2147483647 bytes that can be gathered on each of them", who));
    starts.push_back(static_cast<int>(total));
    counts.push_back(static_cast<int>(length));
    total += length;
  }
  std::vector<std::byte> joined(static_cast<std::size_t>(total));
  check(MPI_Allgatherv(bytes.data(), static_cast<int>(own), MPI_BYTE, joined.data(), counts.data(), starts.data(),
                       MPI_BYTE, handle),
        "MPI_Allgatherv");
  std::vector<std::vector<std::byte>> all;
  for (std::size_t k = 0; k < counts.size(); ++k) {
    const auto first = joined.begin() + starts[k];
    all.emplace_back(first, first + counts[k]);
  }
  return all;
}

}  // namespace

std::span<double> Communicator::reduce_scatter_sum(std::span<double> values, std::uint64_t row_length) const {
  require_equal_lengths(values.size());
  return sum_by_share(values, row_length, rank_, size_, handle_);
}

void Communicator::all_gather_shares(std::span<double> values, std::uint64_t row_length) const {
  require_equal_lengths(values.size());
  gather_shares(values, row_length, rank_, size_, handle_);
}

std::uint64_t Communicator::all_sum(std::uint64_t value) const {
  check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_UINT64_T, MPI_SUM, handle_), "MPI_Allreduce");
  return value;
}

double Communicator::all_max(double value) const {
  check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, handle_), "MPI_Allreduce");
  return value;
}

void Communicator::all_max(std::span<double> values) const {
  require_equal_lengths(values.size());
  in_pieces(values.size(), piece_doubles, [&](std::size_t first, int count) {
    check(MPI_Allreduce(MPI_IN_PLACE, values.data() + first, count, MPI_DOUBLE, MPI_MAX, handle_), "MPI_Allreduce");
  });
}

std::vector<Located> Communicator::all_max_location(std::span<const double> values,
                                                    std::span<const std::uint64_t> indices) const {
  if (values.size() != indices.size())
    throw UsageError(fmt::format("the places of maxima: {} values but {} indices", values.size(), indices.size()));
  require_equal_lengths(values.size());
  // MPI_DOUBLE_INT has room for a rank, not for an index: that follows, from the rank that holds the maximum.
  struct ValueAndRank {
    double value;
    int rank;
  };
  std::vector<ValueAndRank> maxima;
  for (const double value : values) maxima.push_back({value, rank_});
  in_pieces(maxima.size(), piece_doubles, [&](std::size_t first, int count) {
    check(MPI_Allreduce(MPI_IN_PLACE, maxima.data() + first, count, MPI_DOUBLE_INT, MPI_MAXLOC, handle_),
          "MPI_Allreduce");
  });
  // Only the winner's element is not 0, so a bitwise or tells it; MPI_MAX of unsigned numbers is wrong in MPICH 4.0.2.
  std::vector<std::uint64_t> places(values.size());
  for (std::size_t k = 0; k < places.size(); ++k) places[k] = maxima[k].rank == rank_ ? indices[k] : 0;
  in_pieces(places.size(), piece_doubles, [&](std::size_t first, int count) {
    check(MPI_Allreduce(MPI_IN_PLACE, places.data() + first, count, MPI_UINT64_T, MPI_BOR, handle_), "MPI_Allreduce");
  });
  std::vector<Located> result;
  for (std::size_t k = 0; k < places.size(); ++k) result.push_back({maxima[k].value, maxima[k].rank, places[k]});
  return result;
}

std::uint64_t Communicator::broadcast(std::uint64_t value) const {
  check(MPI_Bcast(&value, 1, MPI_UINT64_T, 0, handle_), "MPI_Bcast");
  return value;
}

void Communicator::broadcast(std::vector<std::byte>& bytes) const {
  bytes.resize(static_cast<std::size_t>(broadcast(std::uint64_t{bytes.size()})));
  in_pieces(bytes.size(), message_bytes, [&](std::size_t first, int count) {
    check(MPI_Bcast(bytes.data() + first, count, MPI_BYTE, 0, handle_), "MPI_Bcast");
  });
}

namespace {

template <class T>
void broadcast_as_bytes(const Communicator& communicator, std::vector<T>& values) {
  const auto held = std::as_bytes(std::span(values));
  std::vector<std::byte> bytes(held.begin(), held.end());
  communicator.broadcast(bytes);
  values.resize(bytes.size() / sizeof(T));
  std::ranges::copy(bytes, std::as_writable_bytes(std::span(values)).begin());
}

}  // namespace

void Communicator::broadcast(std::vector<double>& values) const { broadcast_as_bytes(*this, values); }

void Communicator::broadcast(std::vector<std::uint64_t>& values) const { broadcast_as_bytes(*this, values); }

void Communicator::broadcast(std::string& text) const {
  text.resize(static_cast<std::size_t>(broadcast(std::uint64_t{text.size()})));
  in_pieces(text.size(), message_bytes, [&](std::size_t first, int count) {
    check(MPI_Bcast(text.data() + first, count, MPI_CHAR, 0, handle_), "MPI_Bcast");
  });
}

void Communicator::all_sum(std::span<double> values) const {
  reduce_sum(values);
  in_pieces(values.size(), piece_doubles, [&](std::size_t first, int count) {
    check(MPI_Bcast(values.data() + first, count, MPI_DOUBLE, 0, handle_), "MPI_Bcast");
  });
}

std::vector<std::uint64_t> Communicator::gather_lengths(std::size_t length) const {
  const std::uint64_t own = length;
  std::vector<std::uint64_t> lengths(rank_ == 0 ? static_cast<std::size_t>(size_) : 0);
  check(MPI_Gather(&own, 1, MPI_UINT64_T, lengths.data(), 1, MPI_UINT64_T, 0, handle_), "MPI_Gather");
  return lengths;
}

std::vector<std::vector<std::byte>> Communicator::gather(std::span<const std::byte> bytes) const {
  const std::vector<std::uint64_t> lengths = gather_lengths(bytes.size());
  std::vector<std::vector<std::byte>> all;
  bool has_room = true;
  try {
    for (const std::uint64_t length : lengths) all.emplace_back(static_cast<std::size_t>(length));
  } catch (const std::bad_alloc&) {
    has_room = false;
  } catch (const std::length_error&) {
    has_room = false;
  }
  if (!broadcast(has_room)) throw InputError("rank 0 has not enough memory for what it gathers from all ranks");

  if (rank_ != 0) {
    in_pieces(bytes.size(), message_bytes, [&](std::size_t first, int count) {
      send_politely(bytes.data() + first, count, MPI_BYTE, 0, tag_bytes, handle_);
    });
    return {};
  }
  std::ranges::copy(bytes, all[0].begin());
  for (int rank = 1; rank < size_; ++rank) {
    std::vector<std::byte>& target = all[static_cast<std::size_t>(rank)];
    in_pieces(target.size(), message_bytes, [&](std::size_t first, int count) {
      receive_politely(target.data() + first, count, MPI_BYTE, rank, tag_bytes, handle_);
    });
  }
  return all;
}

std::vector<std::vector<std::byte>> Communicator::all_gather_on_machine(std::span<const std::byte> bytes) const {
  Handle& machine = owned_->machine;
  if (machine.get() == MPI_COMM_NULL) {
    check(MPI_Comm_split_type(handle_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, machine.place()),
          "MPI_Comm_split_type");
    check(MPI_Comm_set_errhandler(machine.get(), MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  return gather_everywhere(bytes, machine.get(), "the ranks of a machine");
}

std::vector<std::vector<std::byte>> Communicator::all_gather(std::span<const std::byte> bytes) const {
  return gather_everywhere(bytes, handle_, "the ranks");
}

// gather_in_order and scatter_in_order: rank 0 knows all lengths, so both sides know how many messages follow if nothing
// fails. All have the tag tag_in_order and go between rank 0 and one rank, so they arrive in order.
//
// Gather: rank 0 asks a rank for its doubles by one byte, 1; the rank sends all its pieces. After a failure of `take`,
// rank 0 still receives the pieces that it has asked for, and sends the ranks that follow a 0 instead.
// Scatter: rank 0 sends a rank its pieces. After a failure of `give` it sends an empty message in place of a rank's next
// piece, and the rank expects no more.
// Ranks whose slice is empty take no part. In both, a last message to every rank tells whether rank 0 failed, and how.

void Communicator::throw_failure_of_root(const std::exception_ptr& failure) const {
  std::array<char, longest_message> text{};
  int length = 0;
  if (failure) length = static_cast<int>(message_of(failure).copy(text.data(), text.size()));
  if (rank_ == 0) {
    for (int rank = 1; rank < size_; ++rank) send_politely(text.data(), length, MPI_CHAR, rank, tag_in_order, handle_);
    if (failure) std::rethrow_exception(failure);
    return;
  }
  length = receive_politely(text.data(), static_cast<int>(text.size()), MPI_CHAR, 0, tag_in_order, handle_);
  if (length > 0)
    throw InputError(fmt::format("rank 0: {}", std::string_view(text.data(), static_cast<std::size_t>(length))));
}

void Communicator::gather_in_order(std::span<const double> own,
                                   const std::function<void(std::span<const double>)>& take) const {
  const std::vector<std::uint64_t> lengths = gather_lengths(own.size());
  if (rank_ != 0) {
    unsigned char wanted = 0;
    if (!own.empty()) receive_politely(&wanted, 1, MPI_BYTE, 0, tag_in_order, handle_);
    if (wanted != 0) {
      in_pieces(own.size(), piece_doubles, [&](std::size_t first, int count) {
        send_politely(own.data() + first, count, MPI_DOUBLE, 0, tag_in_order, handle_);
      });
    }
    return throw_failure_of_root(nullptr);
  }

  FirstFailure failure;
  in_pieces(own.size(), piece_doubles, [&](std::size_t first, int count) {
    failure.attempt([&] { take(own.subspan(first, static_cast<std::size_t>(count))); });
  });
  std::vector<double> piece;
  failure.attempt([&] { piece.resize(longest_piece_of_others(lengths)); });
  for (int rank = 1; rank < size_; ++rank) {
    const std::uint64_t length = lengths[static_cast<std::size_t>(rank)];
    if (length == 0) continue;
    const unsigned char wanted = failure.get() ? 0 : 1;
    send_politely(&wanted, 1, MPI_BYTE, rank, tag_in_order, handle_);
    if (wanted == 0) continue;
    in_pieces(static_cast<std::size_t>(length), piece_doubles, [&](std::size_t, int count) {
      receive_politely(piece.data(), count, MPI_DOUBLE, rank, tag_in_order, handle_);
      failure.attempt([&] { take(std::span(piece).first(static_cast<std::size_t>(count))); });
    });
  }
  throw_failure_of_root(failure.get());
}

void Communicator::scatter_in_order(std::span<double> own, const std::function<void(std::span<double>)>& give) const {
  const std::vector<std::uint64_t> lengths = gather_lengths(own.size());
  if (rank_ != 0) {
    bool more = true;
    in_pieces(own.size(), piece_doubles, [&](std::size_t first, int count) {
      if (more) more = receive_politely(own.data() + first, count, MPI_DOUBLE, 0, tag_in_order, handle_) > 0;
    });
    return throw_failure_of_root(nullptr);
  }

  FirstFailure failure;
  in_pieces(own.size(), piece_doubles, [&](std::size_t first, int count) {
    failure.attempt([&] { give(own.subspan(first, static_cast<std::size_t>(count))); });
  });
  std::vector<double> piece;
  failure.attempt([&] { piece.resize(longest_piece_of_others(lengths)); });
  for (int rank = 1; rank < size_; ++rank) {
    bool more = true;
    in_pieces(static_cast<std::size_t>(lengths[static_cast<std::size_t>(rank)]), piece_doubles,
              [&](std::size_t, int count) {
                if (!more) return;
                failure.attempt([&] { give(std::span(piece).first(static_cast<std::size_t>(count))); });
                more = !failure.get();
                send_politely(piece.data(), more ? count : 0, MPI_DOUBLE, rank, tag_in_order, handle_);
              });
  }
  throw_failure_of_root(failure.get());
}

void Communicator::require_equal(std::uint64_t fingerprint, const std::string& what) const {
  std::vector<std::uint64_t> all(static_cast<std::size_t>(size_));
  check(MPI_Allgather(&fingerprint, 1, MPI_UINT64_T, all.data(), 1, MPI_UINT64_T, handle_), "MPI_Allgather");
  const auto different =
      std::find_if(all.begin(), all.end(), [&](std::uint64_t value) { return value != all.front(); });
  if (different == all.end()) return;
  throw InputError(fmt::format("{} must be equal on all ranks: {:#018x} on rank 0, {:#018x} on rank {}", what,
                               all.front(), *different, different - all.begin()));
}

void Communicator::local_send(std::span<const std::byte> bytes, int destination) const {
  require_other_rank(destination, *this);
  const std::uint64_t length = bytes.size();
  check(MPI_Send(&length, 1, MPI_UINT64_T, destination, tag_bytes, handle_), "MPI_Send");
  in_pieces(bytes.size(), message_bytes, [&](std::size_t first, int count) {
    check(MPI_Send(bytes.data() + first, count, MPI_BYTE, destination, tag_bytes, handle_), "MPI_Send");
  });
}

std::vector<std::byte> Communicator::local_receive(int source) const {
  require_other_rank(source, *this);
  std::uint64_t length = 0;
  check(MPI_Recv(&length, 1, MPI_UINT64_T, source, tag_bytes, handle_, MPI_STATUS_IGNORE), "MPI_Recv");
  std::vector<std::byte> bytes(static_cast<std::size_t>(length));
  in_pieces(bytes.size(), message_bytes, [&](std::size_t first, int count) {
    check(MPI_Recv(bytes.data() + first, count, MPI_BYTE, source, tag_bytes, handle_, MPI_STATUS_IGNORE), "MPI_Recv");
  });
  return bytes;
}

}  // namespace weir::mpi
