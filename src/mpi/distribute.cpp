#include "weir/mpi/distribute.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <utility>

#include "internal.hpp"

namespace weir::mpi {
namespace {

constexpr int pieces_per_rank = 2;
constexpr std::size_t pieces_in_flight = 64;

/// One call of `produce`; false when it failed, which is then raised.
bool produce_piece(FailureSignal& signal, const ProducePiece& produce, std::vector<std::byte>& piece, bool& more) {
  return signal.local_attempt([&] {
    more = produce(piece);
    if (piece.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      throw UsageError(fmt::format("a piece of {} bytes is too long for a message", piece.size()));
    }
  });
}

/// Protocol: the root sends pieces (tag_piece); a rank answers each with an empty tag_request once it is done with it.
/// When the root has no more pieces and all are answered it sends one empty tag_end to every rank. Nothing is left in
/// the air after that.
class Root {
 public:
  Root(const Communicator& communicator, FailureSignal& signal)
      : communicator_(communicator),
        signal_(signal),
        requests_(static_cast<std::size_t>(communicator.local_size()), pieces_per_rank) {
    requests_[0] = 0;
  }

  void run(const ProducePiece& produce, const ConsumePiece& consume) {
    PollPause pause;
    std::vector<std::byte> piece;
    for (bool more = true; more && !signal_.local_raised();) {
      take_answers();
      piece.clear();
      if (!produce_piece(signal_, produce, piece, more) || !more) break;
      if (piece.empty()) {
        pause.wait();
        continue;
      }
      pause.reset();
      take_answers();
      if (!send_to_a_waiting_rank(piece)) signal_.local_attempt([&] { consume(piece); });
    }
    finish();
  }

 private:
  struct Sending {
    std::vector<std::byte> piece;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  /// Receives what the ranks have answered and gives back the memory of pieces that have left.
  void take_answers() {
    for (;;) {
      int arrived = 0;
      MPI_Status status;
      check(MPI_Iprobe(MPI_ANY_SOURCE, tag_request, communicator_.local_handle(), &arrived, &status), "MPI_Iprobe");
      if (arrived == 0) break;
      check(MPI_Recv(nullptr, 0, MPI_BYTE, status.MPI_SOURCE, tag_request, communicator_.local_handle(),
                     MPI_STATUS_IGNORE),
            "MPI_Recv");
      ++requests_[static_cast<std::size_t>(status.MPI_SOURCE)];
      --unanswered_;
    }
    std::erase_if(sending_, [](Sending& item) {
      int done = 0;
      check(MPI_Test(&item.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
      return done != 0;
    });
  }

  bool send_to_a_waiting_rank(std::vector<std::byte>& piece) {
    if (sending_.size() == pieces_in_flight) return false;
    // Ties go to the rank that has waited longest for its turn: on a slow stream all ranks are always ready.
    const std::size_t size = requests_.size();
    std::size_t rank = last_served_;
    for (std::size_t step = 1; step <= size; ++step) {
      const std::size_t candidate = (last_served_ + step) % size;
      if (step == 1 || requests_[candidate] > requests_[rank]) rank = candidate;
    }
    if (requests_[rank] == 0) return false;
    last_served_ = rank;
    --requests_[rank];
    ++unanswered_;
    Sending& item = sending_.emplace_back(Sending{std::move(piece)});
    check(MPI_Isend(item.piece.data(), static_cast<int>(item.piece.size()), MPI_BYTE, static_cast<int>(rank), tag_piece,
                    communicator_.local_handle(), &item.request),
          "MPI_Isend");
    return true;
  }

  void finish() {
    for (PollPause pause; unanswered_ > 0 || !sending_.empty(); pause.wait()) take_answers();
    for (int rank = 1; rank < communicator_.local_size(); ++rank) {
      check(MPI_Send(nullptr, 0, MPI_BYTE, rank, tag_end, communicator_.local_handle()), "MPI_Send");
    }
  }

  const Communicator& communicator_;
  FailureSignal& signal_;
  std::vector<int> requests_;  ///< Pieces that a rank would take now.
  std::size_t last_served_ = 0;
  std::uint64_t unanswered_ = 0;
  std::vector<Sending> sending_;
};

/// Whether the root waits to be told that a piece has been worked on.
enum class Answers { none, each };

void work(const Communicator& communicator, FailureSignal& signal, const ConsumePiece& consume, Answers answers) {
  const MPI_Comm handle = communicator.local_handle();
  PollPause pause;
  std::vector<std::byte> piece;
  for (;;) {
    int arrived = 0;
    MPI_Status status;
    check(MPI_Iprobe(0, MPI_ANY_TAG, handle, &arrived, &status), "MPI_Iprobe");
    if (arrived == 0) {
      pause.wait();
      continue;
    }
    pause.reset();
    int length = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &length), "MPI_Get_count");
    piece.resize(static_cast<std::size_t>(length));
    check(MPI_Recv(piece.data(), length, MPI_BYTE, 0, status.MPI_TAG, handle, MPI_STATUS_IGNORE), "MPI_Recv");
    if (status.MPI_TAG == tag_end) return;
    // After a failure the remaining pieces are still taken: the root ends when all have left and been answered.
    if (!signal.local_raised()) signal.local_attempt([&] { consume(piece); });
    if (answers == Answers::each) check(MPI_Send(nullptr, 0, MPI_BYTE, 0, tag_request, handle), "MPI_Send");
  }
}

}  // namespace

void distribute(const Communicator& communicator, FailureSignal& signal, const ProducePiece& produce,
                const ConsumePiece& consume) {
  if (communicator.local_is_root()) {
    Root(communicator, signal).run(produce, consume);
  } else {
    work(communicator, signal, consume, Answers::each);
  }
}

void distribute_to_all(const Communicator& communicator, FailureSignal& signal, const ProducePiece& produce,
                       const ConsumePiece& consume) {
  if (!communicator.local_is_root()) return work(communicator, signal, consume, Answers::none);
  const auto send_to_others = [&](std::span<const std::byte> piece, int tag) {
    for (int rank = 1; rank < communicator.local_size(); ++rank) {
      check(MPI_Send(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, rank, tag, communicator.local_handle()),
            "MPI_Send");
    }
  };
  PollPause pause;
  std::vector<std::byte> piece;
  for (bool more = true; !signal.local_raised();) {
    piece.clear();
    if (!produce_piece(signal, produce, piece, more) || !more) break;
    if (piece.empty()) {
      pause.wait();
      continue;
    }
    pause.reset();
    send_to_others(piece, tag_piece);
    signal.local_attempt([&] { consume(piece); });
  }
  send_to_others({}, tag_end);
}

}  // namespace weir::mpi
