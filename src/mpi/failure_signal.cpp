#include "weir/mpi/failure_signal.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <new>
#include <optional>
#include <vector>

#include "internal.hpp"

namespace weir::mpi {

struct FailureSignal::Implementation {
  using Clock = std::chrono::steady_clock;

  MPI_Comm handle = MPI_COMM_NULL;
  int rank = 0;
  int size = 1;
  std::optional<std::string> message;  ///< Of this rank's failure.
  std::vector<MPI_Request> sends;
  int received = 0;  ///< Other ranks' failures heard of.
  bool agreed = false;

  void receive_one() {
    check(MPI_Recv(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, 0, handle, MPI_STATUS_IGNORE), "MPI_Recv");
    ++received;
  }

  /// The lowest failed rank and what it said.
  struct Verdict {
    int rank = 0;
    std::string message;
  };
  enum class Wait { for_ever, ten_seconds };

  /// Every rank calls it once. Leaves `verdict` empty when no rank failed. False when the others did not come in time.
  bool exchange(Wait wait, std::optional<Verdict>& verdict) {
    // The maximum of (size - rank) over the failed ranks tells the lowest one; the sum tells how many messages were
    // sent to us.
    const int standing = message ? size - rank : 0;
    const int failed_here = message ? 1 : 0;
    int highest_standing = 0;
    int failed_ranks = 0;
    MPI_Request requests[2];
    check(MPI_Iallreduce(&standing, &highest_standing, 1, MPI_INT, MPI_MAX, handle, &requests[0]), "MPI_Iallreduce");
    check(MPI_Iallreduce(&failed_here, &failed_ranks, 1, MPI_INT, MPI_SUM, handle, &requests[1]), "MPI_Iallreduce");
    const auto deadline = Clock::now() + std::chrono::seconds(10);
    PollPause pause;
    for (int done = 0; done == 0;) {
      check(MPI_Testall(2, requests, &done, MPI_STATUSES_IGNORE), "MPI_Testall");
      if (done == 0) {
        if (wait == Wait::ten_seconds && Clock::now() > deadline) return false;
        pause.wait();
      }
    }

    // All ranks are here now and have sent all that they will ever send.
    while (received < failed_ranks - failed_here) receive_one();
    check(MPI_Waitall(static_cast<int>(sends.size()), sends.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
    agreed = true;
    if (highest_standing == 0) return true;

    verdict.emplace();
    verdict->rank = size - highest_standing;
    if (verdict->rank == rank) verdict->message = *message;
    int length = static_cast<int>(verdict->message.size());
    check(MPI_Bcast(&length, 1, MPI_INT, verdict->rank, handle), "MPI_Bcast");
    verdict->message.resize(static_cast<std::size_t>(length));
    check(MPI_Bcast(verdict->message.data(), length, MPI_CHAR, verdict->rank, handle), "MPI_Bcast");
    return true;
  }
};

FailureSignal::FailureSignal(const Communicator& communicator) : implementation_(std::make_unique<Implementation>()) {
  Implementation& self = *implementation_;
  self.rank = communicator.local_rank();
  self.size = communicator.local_size();
  check(MPI_Comm_dup(communicator.local_handle(), &self.handle), "MPI_Comm_dup");
}

FailureSignal::~FailureSignal() {
  Implementation& self = *implementation_;
  try {
    if (!self.agreed) {
      local_raise("stopped by an exception");
      std::optional<Implementation::Verdict> verdict;
      if (!self.exchange(Implementation::Wait::ten_seconds, verdict)) {
        fmt::print(stderr, "weir: rank {}: {}; the other ranks do not answer\n", self.rank, *self.message);
        MPI_Abort(MPI_COMM_WORLD, 1);
      }
    }
    MPI_Comm_free(&self.handle);
  } catch (const std::exception& error) {
    fmt::print(stderr, "weir: rank {}: {}\n", self.rank, error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

void FailureSignal::local_raise(const std::string& message) {
  Implementation& self = *implementation_;
  if (self.message || self.agreed) return;
  constexpr std::size_t longest = 4096;
  self.message = message.substr(0, longest);
  self.sends.reserve(static_cast<std::size_t>(self.size));
  for (int other = 0; other < self.size; ++other) {
    if (other == self.rank) continue;
    MPI_Request& request = self.sends.emplace_back(MPI_REQUEST_NULL);
    check(MPI_Isend(nullptr, 0, MPI_BYTE, other, 0, self.handle, &request), "MPI_Isend");
  }
}

bool FailureSignal::local_attempt(const std::function<void()>& work) {
  try {
    work();
    return true;
  } catch (const std::bad_alloc&) {
    local_raise("not enough memory");
  } catch (const std::exception& error) {
    local_raise(error.what());
  }
  return false;
}

bool FailureSignal::local_raised() {
  Implementation& self = *implementation_;
  if (self.message || self.received > 0) return true;
  int arrived = 0;
  check(MPI_Iprobe(MPI_ANY_SOURCE, 0, self.handle, &arrived, MPI_STATUS_IGNORE), "MPI_Iprobe");
  if (arrived != 0) self.receive_one();
  return arrived != 0;
}

void FailureSignal::agree() {
  Implementation& self = *implementation_;
  if (self.agreed) throw UsageError("FailureSignal::agree may be called only once");
  std::optional<Implementation::Verdict> verdict;
  self.exchange(Implementation::Wait::for_ever, verdict);
  if (!verdict) return;
  throw InputError(self.size > 1 ? fmt::format("rank {}: {}", verdict->rank, verdict->message) : verdict->message);
}

}  // namespace weir::mpi
