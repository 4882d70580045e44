#include "weir/mpi/mail.hpp"

#include <fmt/format.h>

#include <limits>
#include <list>
#include <utility>

#include "internal.hpp"
#include "weir/error.hpp"

namespace weir::mpi {
namespace {

/// The last letter of a sender.
constexpr std::uint8_t farewell = 255;

}  // namespace

struct Mail::Implementation {
  explicit Implementation(const Communicator& communicator)
      : rank(communicator.local_rank()), size(communicator.local_size()) {
    check(MPI_Comm_dup(communicator.local_handle(), handle.place()), "MPI_Comm_dup");
    check(MPI_Comm_set_errhandler(handle.get(), MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }

  struct Sending {
    std::vector<std::byte> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  void forget_sent() {
    std::erase_if(sending, [](Sending& letter) {
      int done = 0;
      check(MPI_Test(&letter.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
      return done != 0;
    });
  }
  void post(int destination, std::uint8_t kind, std::vector<std::byte> bytes) {
    if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
      throw UsageError(fmt::format("{} bytes are too many for a message, expected less than 2^31", bytes.size()));
    Sending& letter = sending.emplace_back(Sending{std::move(bytes)});
    check(MPI_Isend(letter.bytes.data(), static_cast<int>(letter.bytes.size()), MPI_BYTE, destination, kind,
                    handle.get(), &letter.request),
          "MPI_Isend");
  }

  Handle handle;
  int rank;
  int size;
  std::list<Sending> sending;
};

Mail::Mail(const Communicator& communicator) : implementation_(std::make_unique<Implementation>(communicator)) {}

Mail::~Mail() = default;

void Mail::local_post(int destination, std::uint8_t kind, std::vector<std::byte> bytes) {
  if (kind == farewell) throw UsageError("a letter of kind 255: expected 0 to 254");
  implementation_->forget_sent();
  implementation_->post(destination, kind, std::move(bytes));
}

std::optional<Letter> Mail::local_take(std::optional<std::uint8_t> kind) {
  Implementation& own = *implementation_;
  int arrived = 0;
  MPI_Status status;
  check(MPI_Iprobe(MPI_ANY_SOURCE, kind ? int{*kind} : MPI_ANY_TAG, own.handle.get(), &arrived, &status), "MPI_Iprobe");
  if (arrived == 0) return std::nullopt;
  int length = 0;
  check(MPI_Get_count(&status, MPI_BYTE, &length), "MPI_Get_count");
  Letter letter{status.MPI_SOURCE, static_cast<std::uint8_t>(status.MPI_TAG),
                std::vector<std::byte>(static_cast<std::size_t>(length))};
  check(MPI_Recv(letter.bytes.data(), length, MPI_BYTE, status.MPI_SOURCE, status.MPI_TAG, own.handle.get(),
                 MPI_STATUS_IGNORE),
        "MPI_Recv");
  return letter;
}

std::size_t Mail::local_unsent() {
  implementation_->forget_sent();
  return implementation_->sending.size();
}

void Mail::finish() {
  Implementation& own = *implementation_;
  int expected = 0;
  for (int other = 0; other < own.size; ++other) {
    // Letters go to and from rank 0 only.
    if (other == own.rank || (own.rank != 0 && other != 0)) continue;
    own.post(other, farewell, {});
    ++expected;
  }
  for (PollPause pause; expected > 0 || local_unsent() > 0;) {
    const std::optional<Letter> letter = local_take();
    if (!letter) {
      pause.wait();
    } else if (letter->kind == farewell) {
      --expected;
    }
  }
}

}  // namespace weir::mpi
