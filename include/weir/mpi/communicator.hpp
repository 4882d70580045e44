#pragma once

#include <mpi.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "weir/error.hpp"

namespace weir::mpi {

/// A value and where it comes from.
struct Located {
  double value = 0;
  int rank = 0;
  std::uint64_t index = 0;
};

/// A group of ranks that work together, on communicators of its own. Its messages meet no others, and the caller's
/// communicator is left as it was: nothing is sent on it, and its error handler stays.
///
/// All members are collective unless their names begin with `local_`: every rank must call them in the same order. An
/// error of the MPI library is thrown as Error with the name of the call and the text of the library, in one line, on
/// the rank that sees it. Other ranks may wait for ever after such an error.
///
/// Only the thread that initialised MPI may use it (MPI_THREAD_FUNNELED is enough).
class Communicator {
 public:
  /// Collective over `parent`, which may be freed afterwards. Duplicates it twice: MPI libraries have room for about
  /// 1,000 (MPICH) or 20,000 (Open MPI) Communicators at a time. Throws UsageError when MPI is not running or `parent`
  /// is no intracommunicator, Error when the MPI library has no communicators left.
  explicit Communicator(MPI_Comm parent = MPI_COMM_WORLD);
  /// Frees the communicators, or does nothing when MPI has been finalised. Every rank must destroy its own, after the
  /// objects that use it, but does not wait for the others.
  ~Communicator();
  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;

  [[nodiscard]] int local_rank() const noexcept { return rank_; }
  [[nodiscard]] int local_size() const noexcept { return size_; }
  [[nodiscard]] bool local_is_root() const noexcept { return rank_ == 0; }
  /// The duplicate that all messages but those of FailureSignal go through. It returns errors (MPI_ERRORS_RETURN).
  [[nodiscard]] MPI_Comm local_handle() const noexcept { return handle_; }

  /// Element-wise sum into rank 0's `values` (others' contents are left as they were), in chunks of 4 MiB so that the
  /// memory of the reduction does not grow with the table. Throws Error on every rank, with nothing changed, when the
  /// lengths differ.
  void reduce_sum(std::span<double> values) const;
  void reduce_sum(std::span<float> values) const;
  /// Element-wise sum, spread over the ranks: of values.size() = n elements rank r's become the sums in [share(n, r,
  /// P), share(n, r + 1, P)) (weir/share.hpp), and are returned; the others are left as they were. Where the
  /// elements are rows of `row_length` each, whole rows are shared out. Takes 4 MiB more memory, or 4 KiB for each rank
  /// where that is more. Chunks and errors as reduce_sum; UsageError on every rank unless n is a multiple of row_length.
  std::span<double> reduce_scatter_sum(std::span<double> values, std::uint64_t row_length = 1) const;
  /// Gives all ranks the share of each, as reduce_scatter_sum cuts them: afterwards `values` is the same everywhere.
  /// Memory and errors are those of reduce_scatter_sum.
  void all_gather_shares(std::span<double> values, std::uint64_t row_length = 1) const;
  /// Element-wise sum on every rank, the same bits on all. Otherwise as reduce_sum.
  void all_sum(std::span<double> values) const;
  [[nodiscard]] std::uint64_t all_sum(std::uint64_t value) const;
  [[nodiscard]] double all_max(double value) const;
  /// Element-wise maximum on every rank. No NaN. Throws Error on every rank, with nothing changed, when the lengths
  /// differ.
  void all_max(std::span<double> values) const;
  /// For each element the largest value of all ranks, on every rank, with its place: what that rank gave as its index.
  /// Of equal values that of the lowest rank (MPI_MAXLOC). No NaN. Throws UsageError on this rank unless there are as
  /// many indices as values, Error on every rank when the lengths of the ranks differ.
  [[nodiscard]] std::vector<Located> all_max_location(std::span<const double> values,
                                                      std::span<const std::uint64_t> indices) const;
  /// Rank 0's value on every rank.
  [[nodiscard]] std::uint64_t broadcast(std::uint64_t value) const;
  [[nodiscard]] bool broadcast(std::same_as<bool> auto value) const {
    return broadcast(std::uint64_t{value ? 1U : 0U}) != 0;
  }
  void broadcast(std::vector<std::byte>& bytes) const;
  void broadcast(std::vector<double>& values) const;
  void broadcast(std::vector<std::uint64_t>& values) const;
  void broadcast(std::string& text) const;

  /// On rank 0 what each rank gave, in the order of the ranks; on the others an empty vector. The lengths may differ.
  /// Rank 0 needs memory for all of it at once; gather_in_order does not. Throws InputError on every rank when rank 0
  /// has not enough.
  [[nodiscard]] std::vector<std::vector<std::byte>> gather(std::span<const std::byte> bytes) const;
  /// What each rank gave, in the order of the ranks, on every rank. Throws UsageError on every rank where they give 2^31
  /// bytes or more together.
  [[nodiscard]] std::vector<std::vector<std::byte>> all_gather(std::span<const std::byte> bytes) const;
  /// What each rank on this machine (that can share memory with this rank) gave, in the order of the ranks, on each of
  /// them. The first call makes one more communicator. Throws UsageError on the ranks of a machine that together give
  /// 2^31 bytes or more.
  [[nodiscard]] std::vector<std::vector<std::byte>> all_gather_on_machine(std::span<const std::byte> bytes) const;

  /// Rank 0 calls `take` for all doubles of rank 0, then for all of rank 1, and so on, in consecutive pieces of 1 to
  /// 524,288 doubles (4 MiB). No piece has doubles of two ranks. `own` may be of any length on any rank; others' `take`
  /// is not called. Rank 0 holds one piece of the other ranks at a time; each double is sent once. The other ranks wait
  /// without keeping a core busy, and return when rank 0 is done.
  ///
  /// An exception of `take` ends the transfer, after at most one rank's pieces more, and is thrown on rank 0. All other
  /// ranks throw InputError with its message. The communicator is usable after that.
  void gather_in_order(std::span<const double> own, const std::function<void(std::span<const double>)>& take) const;
  /// The inverse of gather_in_order: rank 0 calls `give`, which fills the piece, for all doubles of rank 0, then for all
  /// of rank 1, and so on. Pieces, memory, cost and errors are those of gather_in_order; after an error the contents of
  /// `own` are unspecified.
  void scatter_in_order(std::span<double> own, const std::function<void(std::span<double>)>& give) const;

  /// Throws InputError on every rank, the same text, naming both values and their ranks, unless all ranks hold the same
  /// fingerprint.
  void require_equal(std::uint64_t fingerprint, const std::string& what) const;

  /// Point to point to another rank, any length (cut into messages below 2^31 bytes). `local_` because only the two
  /// parties call it. Throws UsageError when the other rank does not exist or is this one.
  void local_send(std::span<const std::byte> bytes, int destination) const;
  [[nodiscard]] std::vector<std::byte> local_receive(int source) const;

 private:
  friend class FailureSignal;
  struct Owned;

  /// Throws Error on every rank when the lengths differ.
  void require_equal_lengths(std::size_t length) const;
  /// On rank 0 the lengths of all ranks; elsewhere empty.
  [[nodiscard]] std::vector<std::uint64_t> gather_lengths(std::size_t length) const;
  /// Ends a transfer that is steered by rank 0: throws on every rank if rank 0 has a failure.
  void throw_failure_of_root(const std::exception_ptr& failure) const;

  std::unique_ptr<Owned> owned_;
  MPI_Comm handle_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace weir::mpi
