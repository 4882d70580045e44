#include "weir/mpi/background_sum.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

#include "internal.hpp"
#include "weir/error.hpp"

namespace weir::mpi {
namespace {

constexpr std::size_t chunk_bytes = std::size_t{4} << 20;
constexpr std::size_t most_in_flight = 4;

/// A part of an array that is one reduction.
struct Chunk {
  void* data;
  int count;
  MPI_Datatype type;
};

std::vector<Chunk> chunks_of(const std::vector<Summands>& arrays) {
  std::vector<Chunk> chunks;
  for (const Summands& array : arrays) {
    std::visit(
        [&]<class Number>(std::span<Number> numbers) {
          constexpr std::size_t most = chunk_bytes / sizeof(Number);
          for (std::size_t first = 0; first < numbers.size(); first += most)
            chunks.push_back({numbers.data() + first, static_cast<int>(std::min(most, numbers.size() - first)),
                              std::is_same_v<Number, double> ? MPI_DOUBLE : MPI_FLOAT});
        },
        array);
  }
  return chunks;
}

}  // namespace

struct BackgroundSum::Implementation {
  explicit Implementation(const Communicator& communicator) : is_root(communicator.local_is_root()) {
    check(MPI_Comm_dup(communicator.local_handle(), handle.place()), "MPI_Comm_dup");
    check(MPI_Comm_set_errhandler(handle.get(), MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    requests.fill(MPI_REQUEST_NULL);
  }

  [[nodiscard]] bool is_idle() const { return next == chunks.size() && in_flight == 0; }

  /// Puts the next chunks on their way, into places that are free.
  void send_more() {
    for (MPI_Request& request : requests) {
      if (next == chunks.size()) return;
      if (request != MPI_REQUEST_NULL) continue;
      const Chunk& chunk = chunks[next++];
      check(MPI_Ireduce(is_root ? MPI_IN_PLACE : chunk.data, is_root ? chunk.data : nullptr, chunk.count, chunk.type,
                        MPI_SUM, 0, handle.get(), &request),
            "MPI_Ireduce");
      ++in_flight;
    }
  }

  Handle handle;
  bool is_root;
  std::vector<Chunk> chunks;
  std::size_t next = 0;
  std::array<MPI_Request, most_in_flight> requests{};
  std::size_t in_flight = 0;
  std::uint64_t started = 0;
  std::uint64_t bytes = 0;
};

BackgroundSum::BackgroundSum(const Communicator& communicator)
    : implementation_(std::make_unique<Implementation>(communicator)) {}

BackgroundSum::~BackgroundSum() = default;

void BackgroundSum::local_start(const std::vector<Summands>& arrays) {
  Implementation& own = *implementation_;
  if (!own.is_idle()) throw UsageError("a sum in the background is not finished: expected one at a time");
  own.chunks = chunks_of(arrays);
  own.next = 0;
  ++own.started;
  for (const Summands& array : arrays)
    own.bytes += std::visit([](auto numbers) { return numbers.size_bytes(); }, array);
  own.send_more();
}

bool BackgroundSum::local_progress() {
  Implementation& own = *implementation_;
  for (MPI_Request& request : own.requests) {
    if (request == MPI_REQUEST_NULL) continue;
    int done = 0;
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done != 0) --own.in_flight;
  }
  own.send_more();
  return own.is_idle();
}

std::uint64_t BackgroundSum::local_started() const noexcept { return implementation_->started; }
std::uint64_t BackgroundSum::local_bytes() const noexcept { return implementation_->bytes; }

void BackgroundSum::finish_after_failure(const Communicator& communicator, const std::vector<Summands>& arrays) {
  // Not on our own communicator, on which ranks may have begun different numbers of reductions.
  const double most = communicator.all_max(static_cast<double>(local_started()));
  const auto finish = [&] {
    for (PollPause pause; !local_progress();) pause.wait_briefly();
  };
  finish();
  if (static_cast<double>(local_started()) < most) {
    local_start(arrays);
    finish();
  }
}

}  // namespace weir::mpi
