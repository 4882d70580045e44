#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "weir/error.hpp"

namespace weir::mpi {

/// Initialises MPI on construction and finalises it on destruction. One per process, on the stack of main. When an
/// exception destroys it the job is aborted instead, since other ranks may wait for messages that will not come.
class Environment {
 public:
  Environment(int& argc, char**& argv);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
};

/// A value and where it comes from.
struct Located {
  double value = 0;
  int rank = 0;
  std::uint64_t index = 0;
};

/// A borrowed communicator: a value, cheap to copy. All members named without a prefix `local_` are collective. An
/// error of the MPI library itself is thrown as Error with the name of the call and the library's own text (the handle
/// is set to return errors).
class Communicator {
 public:
  explicit Communicator(MPI_Comm handle = MPI_COMM_WORLD);

  [[nodiscard]] int local_rank() const noexcept { return rank_; }
  [[nodiscard]] int local_size() const noexcept { return size_; }
  [[nodiscard]] bool local_is_root() const noexcept { return rank_ == 0; }
  [[nodiscard]] MPI_Comm local_handle() const noexcept { return handle_; }

  /// Element-wise sum into rank 0's `values` (others' contents are left as they were), in chunks of 4 MiB so that the
  /// memory of the reduction does not grow with the table. Throws Error on every rank, with nothing changed, when the
  /// lengths differ.
  void reduce_sum(std::span<double> values) const;
  /// Element-wise sum, spread over the ranks: of values.size() = n elements rank r's become the sums in [share(n, r,
  /// P), share(n, r + 1, P)) (weir/share.hpp), and are returned; the others are left as they were. Chunks and errors as
  /// reduce_sum.
  std::span<double> reduce_scatter_sum(std::span<double> values) const;
  [[nodiscard]] std::uint64_t all_sum(std::uint64_t value) const;
  [[nodiscard]] double all_max(double value) const;
  /// For each element the largest value of all ranks, on every rank, with its place: what that rank gave as its index.
  /// Of equal values that of the lowest rank (MPI_MAXLOC). No NaN. Throws Error on every rank when the lengths differ.
  [[nodiscard]] std::vector<Located> all_max_location(std::span<const double> values,
                                                      std::span<const std::uint64_t> indices) const;
  /// Rank 0's value on every rank.
  [[nodiscard]] std::uint64_t broadcast(std::uint64_t value) const;
  void broadcast(std::vector<std::byte>& bytes) const;

  /// Throws InputError on every rank, the same text, naming both values and their ranks, unless all ranks hold the same
  /// fingerprint.
  void require_equal(std::uint64_t fingerprint, const std::string& what) const;

  /// Point to point to another rank, any length (cut into messages below 2^31 bytes). `local_` because only the two
  /// parties call it. Throws UsageError when the other rank does not exist or is this one.
  void local_send(std::span<const std::byte> bytes, int destination) const;
  [[nodiscard]] std::vector<std::byte> local_receive(int source) const;

  /// Ends all ranks at once: the way out for a rank that cannot reach the next collective.
  [[noreturn]] void local_abort(int exit_code) const;

 private:
  /// Throws Error on every rank when the lengths differ.
  void require_equal_lengths(std::size_t length) const;

  MPI_Comm handle_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace weir::mpi
