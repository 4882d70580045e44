#include "weir/mpi/communicator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <exception>

#include "internal.hpp"
#include "weir/share.hpp"

namespace weir::mpi {
namespace {

constexpr std::size_t reduce_chunk = (std::size_t{4} << 20) / sizeof(double);
constexpr std::size_t message_bytes = std::size_t{1} << 30;  // MPI counts are int

/// Calls `transfer(first, count)` for consecutive pieces of [0, total) that are at most `piece` long.
template <class Transfer>
void in_pieces(std::size_t total, std::size_t piece, Transfer transfer) {
  for (std::size_t first = 0; first < total; first += piece) {
    transfer(first, static_cast<int>(std::min(piece, total - first)));
  }
}

/// Sums `values` in place on the rank `root`.
void reduce_into(int root, int rank, std::span<double> values, MPI_Comm handle) {
  in_pieces(values.size(), reduce_chunk, [&](std::size_t first, int count) {
    double* chunk = values.data() + first;
    check(rank == root ? MPI_Reduce(MPI_IN_PLACE, chunk, count, MPI_DOUBLE, MPI_SUM, root, handle)
                       : MPI_Reduce(chunk, nullptr, count, MPI_DOUBLE, MPI_SUM, root, handle),
          "MPI_Reduce");
  });
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
  throw Error(fmt::format("{}: {}", call, std::string(text.data(), static_cast<std::size_t>(length))));
}

Environment::Environment(int& argc, char**& argv) {
  int provided = 0;
  check(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
}

Environment::~Environment() {
  if (std::uncaught_exceptions() > 0) MPI_Abort(MPI_COMM_WORLD, 1);
  MPI_Finalize();
}

Communicator::Communicator(MPI_Comm handle) : handle_(handle) {
  check(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check(MPI_Comm_rank(handle_, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(handle_, &size_), "MPI_Comm_size");
}

void Communicator::require_equal_lengths(std::size_t length) const {
  // The maxima of the length and of its complement tell the largest and the smallest length in one call.
  std::array<std::uint64_t, 2> extremes{length, ~std::uint64_t{length}};
  check(MPI_Allreduce(MPI_IN_PLACE, extremes.data(), 2, MPI_UINT64_T, MPI_MAX, handle_), "MPI_Allreduce");
  if (extremes[0] != ~extremes[1]) {
    throw Error(fmt::format("cannot combine arrays of different lengths: between {} and {} values on the ranks",
                            ~extremes[1], extremes[0]));
  }
}

void Communicator::reduce_sum(std::span<double> values) const {
  require_equal_lengths(values.size());
  reduce_into(0, rank_, values, handle_);
}

std::span<double> Communicator::reduce_scatter_sum(std::span<double> values) const {
  require_equal_lengths(values.size());
  const auto slice_of = [&](int rank) {
    const auto size = static_cast<std::uint64_t>(size_);
    const auto number = static_cast<std::uint64_t>(rank);
    const std::uint64_t first = share(values.size(), number, size);
    return values.subspan(first, share(values.size(), number + 1, size) - first);
  };
  for (int owner = 0; owner < size_; ++owner) reduce_into(owner, rank_, slice_of(owner), handle_);
  return slice_of(rank_);
}

std::uint64_t Communicator::all_sum(std::uint64_t value) const {
  check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_UINT64_T, MPI_SUM, handle_), "MPI_Allreduce");
  return value;
}

double Communicator::all_max(double value) const {
  check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, handle_), "MPI_Allreduce");
  return value;
}

std::vector<Located> Communicator::all_max_location(std::span<const double> values,
                                                    std::span<const std::uint64_t> indices) const {
  assert(values.size() == indices.size());
  require_equal_lengths(values.size());
  // MPI_DOUBLE_INT has room for a rank, not for an index: that follows, from the rank that holds the maximum.
  struct ValueAndRank {
    double value;
    int rank;
  };
  std::vector<ValueAndRank> maxima;
  for (const double value : values) maxima.push_back({value, rank_});
  in_pieces(maxima.size(), reduce_chunk, [&](std::size_t first, int count) {
    check(MPI_Allreduce(MPI_IN_PLACE, maxima.data() + first, count, MPI_DOUBLE_INT, MPI_MAXLOC, handle_),
          "MPI_Allreduce");
  });
  std::vector<std::uint64_t> places(values.size());
  for (std::size_t k = 0; k < places.size(); ++k) places[k] = maxima[k].rank == rank_ ? indices[k] : 0;
  in_pieces(places.size(), reduce_chunk, [&](std::size_t first, int count) {
    check(MPI_Allreduce(MPI_IN_PLACE, places.data() + first, count, MPI_UINT64_T, MPI_MAX, handle_), "MPI_Allreduce");
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

void Communicator::all_sum(std::vector<double>& values) const {
  reduce_sum(values);
  broadcast(values);
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

void Communicator::local_abort(int exit_code) const {
  MPI_Abort(handle_, exit_code);
  std::terminate();
}

}  // namespace weir::mpi
