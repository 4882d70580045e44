#pragma once

#include <mpi.h>

#include <cstddef>
#include <exception>
#include <string>
#include <vector>

#include "weir/mpi/communicator.hpp"
#include "weir/mpi/poll_pause.hpp"

namespace weir::mpi {

/// Throws Error "CALL: text of the MPI library" unless `code` is MPI_SUCCESS.
void check(int code, const char* call);

/// What to tell about an exception, at most `longest_message` bytes. Never empty.
std::string message_of(const std::exception_ptr& failure);

/// Messages that go from rank to rank are cut at this many bytes.
constexpr std::size_t longest_message = 4096;

/// Tags on Communicator::local_handle().
enum Tag : int { tag_bytes = 0x5731, tag_piece, tag_end, tag_request, tag_in_order };

/// Frees the MPI communicator that it holds, unless MPI has been finalised.
class Handle {
 public:
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    int finalised = 0;
    if (handle_ == MPI_COMM_NULL || MPI_Finalized(&finalised) != MPI_SUCCESS || finalised != 0) return;
    MPI_Comm_free(&handle_);
  }

  [[nodiscard]] MPI_Comm get() const noexcept { return handle_; }
  /// Where an MPI call stores the communicator that it makes.
  [[nodiscard]] MPI_Comm* place() noexcept { return &handle_; }

 private:
  MPI_Comm handle_ = MPI_COMM_NULL;
};

/// What the failure signals of a Communicator, one after the other, work with.
struct SignalChannel {
  Handle handle;
  std::vector<MPI_Request> sends;  ///< One for each other rank; of the current signal.
  int tag = 0;                     ///< Of the current signal: 0 and 1 in turn.
  bool in_use = false;             ///< There is a signal.
  bool broken = false;             ///< An MPI call failed while ranks agreed: they may be out of step.
};

struct Communicator::Owned {
  Handle main;
  Handle machine;  ///< Of the ranks that share memory; made when it is first needed.
  SignalChannel signals;
};

/// Waits until `request` is complete, and leaves the core to others meanwhile.
inline MPI_Status wait_politely(MPI_Request request) {
  MPI_Status status;
  PollPause pause;
  for (int done = 0;;) {
    check(MPI_Test(&request, &done, &status), "MPI_Test");
    if (done != 0) return status;
    pause.wait();
  }
}

}  // namespace weir::mpi
