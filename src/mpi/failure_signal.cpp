#include "weir/mpi/failure_signal.hpp"

#include <fmt/format.h>

#include <array>
#include <new>
#include <optional>
#include <string_view>

#include "internal.hpp"

// All signals of a Communicator share one MPI communicator, the channel. A signal must not take the messages of the one
// before it or after it. That holds for these reasons.
//
// 1. A rank sends all its messages of a signal before it enters exchange() of that signal, one to every other rank, or
//    none. The reductions of exchange() tell every rank how many ranks have failed, and it receives as many messages
//    before it leaves. So no message of a signal is left when its receiver has left that signal.
// 2. A reduction to all ranks ends on a rank only after every rank has begun it, since the result depends on all. So a
//    rank that is in its signal k + 1, because it has left exchange() of k, knows that every rank has entered exchange()
//    of k. Two ranks are therefore at most one signal apart: no rank can leave signal k + 1 while another is in k.
// 3. A rank in signal k can thus meet messages of k and of k + 1 only. The two have different tags (0 and 1 in turn), and
//    it probes and receives with the tag of k. The messages of k + 1 wait until it gets there.
// 4. Collective calls on the channel are made by exchange() only, in the same order on every rank.
//
// MPI orders the messages of one sender, but not those of several. With one tag, a slow rank could count a message of
// k + 1 from a fast rank in place of one of k from a third. Its counts would still be right, as the messages are empty,
// but where sends are synchronous the third rank would wait in k for its message to be taken, and the slow rank would
// wait in k + 1 for the third.

namespace weir::mpi {

struct FailureSignal::Implementation {
  Implementation(SignalChannel& its_channel, const Communicator& communicator)
      : channel(its_channel), rank(communicator.local_rank()), size(communicator.local_size()) {}

  SignalChannel& channel;
  int rank;
  int size;
  bool failed = false;  ///< This rank.
  Fault fault = Fault::input;
  std::string message;
  int received = 0;  ///< Other ranks' failures heard of.
  bool agreed = false;

  void receive_one() {
    check(MPI_Recv(nullptr, 0, MPI_BYTE, MPI_ANY_SOURCE, channel.tag, channel.handle.get(), MPI_STATUS_IGNORE),
          "MPI_Recv");
    ++received;
  }

  /// What the lowest failed rank raised.
  struct Verdict {
    int rank = 0;
    Fault fault = Fault::input;
    std::string message;
  };

  /// Every rank calls it once. Nothing when no rank failed.
  std::optional<Verdict> exchange() {
    agreed = true;
    channel.broken = true;  // until all is done
    const MPI_Comm handle = channel.handle.get();
    // The maximum of (size - rank) over the failed ranks tells the lowest one; the sum tells how many messages were
    // sent to us.
    const int standing = failed ? size - rank : 0;
    const int failed_here = failed ? 1 : 0;
    int highest_standing = 0;
    int failed_ranks = 0;
    std::array<MPI_Request, 2> requests{MPI_REQUEST_NULL, MPI_REQUEST_NULL};
    check(MPI_Iallreduce(&standing, &highest_standing, 1, MPI_INT, MPI_MAX, handle, &requests[0]), "MPI_Iallreduce");
    check(MPI_Iallreduce(&failed_here, &failed_ranks, 1, MPI_INT, MPI_SUM, handle, &requests[1]), "MPI_Iallreduce");
    for (MPI_Request& request : requests) wait_politely(request);

    // All ranks are here now and have sent all that they will ever send.
    while (received < failed_ranks - failed_here) receive_one();
    for (MPI_Request& request : channel.sends) {
      wait_politely(request);
      request = MPI_REQUEST_NULL;
    }

    std::optional<Verdict> verdict;
    if (highest_standing > 0) {
      struct {
        int usage = 0;
        int length = 0;
        std::array<char, longest_message> text{};
      } told;
      const int lowest = size - highest_standing;
      if (lowest == rank) {
        told.usage = fault == Fault::usage ? 1 : 0;
        told.length = static_cast<int>(message.copy(told.text.data(), told.text.size()));
      }
      check(MPI_Bcast(&told, sizeof(told), MPI_BYTE, lowest, handle), "MPI_Bcast");
      verdict = {lowest, told.usage != 0 ? Fault::usage : Fault::input,
                 std::string(told.text.data(), static_cast<std::size_t>(told.length))};
    }
    channel.broken = false;
    return verdict;
  }
};

FailureSignal::FailureSignal(const Communicator& communicator) {
  SignalChannel& channel = communicator.owned_->signals;
  if (channel.in_use) throw UsageError("a Communicator can have one FailureSignal at a time: agree() before the next");
  if (channel.broken) throw Error("an MPI call failed while the ranks agreed on an error: they may be out of step");
  implementation_ = std::make_unique<Implementation>(channel, communicator);
  channel.in_use = true;
  channel.tag = 1 - channel.tag;
}

FailureSignal::~FailureSignal() {
  Implementation& self = *implementation_;
  if (!self.agreed) {
    try {
      local_raise("stopped by an exception");
      self.exchange();
    } catch (...) {
      // The channel stays marked as broken, so the next signal tells.
      self.channel.broken = true;
    }
  }
  self.channel.in_use = false;
}

void FailureSignal::local_raise(const std::string& message, Fault fault) {
  Implementation& self = *implementation_;
  if (self.failed || self.agreed) return;
  self.failed = true;
  self.fault = fault;
  try {
    self.message = message.substr(0, longest_message);
  } catch (const std::bad_alloc&) {
    self.message = "out of memory";  // short enough to need none
  }
  int other = 0;
  for (MPI_Request& request : self.channel.sends) {
    if (other == self.rank) ++other;
    check(MPI_Isend(nullptr, 0, MPI_BYTE, other, self.channel.tag, self.channel.handle.get(), &request), "MPI_Isend");
    ++other;
  }
}

std::string message_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::bad_alloc&) {
    return "out of memory";
  } catch (const std::exception& error) {
    const std::string_view message = error.what();
    return message.empty() ? "an exception without a message" : std::string(message.substr(0, longest_message));
  } catch (...) {
    return "an exception of an unknown type";
  }
}

bool FailureSignal::local_attempt(const std::function<void()>& work) {
  try {
    work();
    return true;
  } catch (const UsageError& error) {
    local_raise(error.what(), Fault::usage);
  } catch (...) {
    local_raise(message_of(std::current_exception()));
  }
  return false;
}

bool FailureSignal::local_raised() {
  Implementation& self = *implementation_;
  if (self.failed || self.received > 0) return true;
  int arrived = 0;
  check(MPI_Iprobe(MPI_ANY_SOURCE, self.channel.tag, self.channel.handle.get(), &arrived, MPI_STATUS_IGNORE),
        "MPI_Iprobe");
  if (arrived != 0) self.receive_one();
  return arrived != 0;
}

void FailureSignal::agree() {
  Implementation& self = *implementation_;
  if (self.agreed) throw UsageError("FailureSignal::agree may be called only once");
  const std::optional<Implementation::Verdict> verdict = self.exchange();
  if (!verdict) return;
  const std::string text =
      self.size > 1 ? fmt::format("rank {}: {}", verdict->rank, verdict->message) : verdict->message;
  if (verdict->fault == Fault::usage) throw UsageError(text);
  throw InputError(text);
}

}  // namespace weir::mpi
