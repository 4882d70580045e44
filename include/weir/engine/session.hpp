#pragma once

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "weir/dense_matrix.hpp"
#include "weir/engine/epochs.hpp"
#include "weir/engine/ingest.hpp"
#include "weir/io/checkpoint.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/setting/setting.hpp"
#include "weir/state/state.hpp"

namespace weir::engine {

/// Where the operands of a problem come from.
struct Sources {
  StreamSource stream = {};                    ///< Those that stream.
  std::map<Operand, std::string> files = {};   ///< Fixed operands: read by slices on all ranks, and perhaps again.
  std::map<Operand, DenseMatrix> values = {};  ///< Fixed operands that the root has at hand; others need not have them.
  /// Files of names (weir/io/labels.hpp) by the side whose indices they name: it is as long as they have lines, where
  /// nothing else says how long it is.
  std::map<std::string, std::string> names = {};
};

/// Collective. Completes a problem that a user has given in part, and gives every rank the same one. The root takes the
/// shapes that the files of fixed operands state, and those of the stream where all of them do (.npy and Matrix Market),
/// lets the setting infer roles and sides and choose the sketch, and broadcasts the result. A fixed operand that is a
/// vector is loaded into `sources.values`. A number of rows that nothing says is the number of lines of
/// `sources.names`, or else `most_keys`. `examine` is called on the root with the whole problem, to refuse it before
/// anything else is read. Throws UsageError or InputError on all ranks.
[[nodiscard]] Problem prepare(const mpi::Communicator& communicator, Problem problem, Sources& sources,
                              const SizeRequest& request, std::uint64_t most_keys,
                              const std::function<void(const Problem&)>& examine = {});
/// Collective. The problem of a saved state (`start`, on the root) that a stream goes on from. Fixed operands that the
/// state does not hold (files of version 2) are taken from `sources`. Where `sources` gives an operand that the state
/// holds, the two must be the same; the session checks that. `path` names the state, in messages. `examine` as for
/// prepare(). Throws likewise.
[[nodiscard]] Problem prepare_to_continue(const mpi::Communicator& communicator, const std::optional<State>& start,
                                          const std::string& path, Sources& sources,
                                          const std::function<void(const Problem&)>& examine = {});
/// Collective: the root's problem, on every rank.
[[nodiscard]] Problem broadcast(const mpi::Communicator& communicator, const Problem& problem);

/// How long the phases took on the slowest rank.
struct PhaseSeconds {
  double ingest = 0;
  double merge = 0;
};

/// A running measurement on a communicator: it reads its sources, and answers about what has come so far. Everything
/// but `problem` is collective: every rank calls it, in the same order; errors are thrown on every rank.
///
/// It works on a duplicate of the communicator that it is given, and leaves nothing behind when it is destroyed: no
/// thread, descriptor or communicator. Several may be open in one process. It never ends the process and installs no
/// signal handlers.
class Session {
 public:
  /// Where sums of what the ranks have read are kept, and who answers.
  enum class Merging : std::uint8_t {
    root,  ///< The root has the sum and answers; the others read on.
    /// Each rank keeps the sums of its share of the numbers. For an answer the shares are gathered on all ranks, which look for it
    /// together (weir/sample/scan_team.hpp) and none of which reads meanwhile. About the same events the answer is the same, as far as
    /// sums are (whole numbers, a resolution); runs may cut their epochs elsewhere. Epochs of a window are kept in shares as well: in all they take the memory of one copy, not
    /// that of the root.
    distributed,
  };
  struct Options {
    /// What the stream continues, on the root (others leave it empty): a merged state of the same problem, or one that
    /// lacks operands which `problem` has fixed. Where `sources` gives a fixed operand that it holds, that is compared.
    std::optional<State> start = {};
    /// Keep the exact values of the same problem beside the sketch, for draws that show them.
    bool with_exact = false;
    /// Go on from this checkpoint, on the root (others leave it empty), in place of `start`: its states, and where its
    /// sources stood. The number of ranks may be another one.
    std::optional<Checkpoint> checkpoint = {};
    /// The root's counts. States of attention are merged on the root only (InputError).
    Merging merging = Merging::root;
  };

  /// Reads the fixed operands. `problem` is complete and the same on every rank (prepare()), `sources` likewise but for
  /// its values. Memory of a rank: its states, and at most 64 MiB. Throws UsageError for a problem or sources that cannot
  /// be, InputError for bad input and where the memory of a machine does not suffice.
  Session(MPI_Comm parent, Problem problem, Sources sources, Options options);
  Session(MPI_Comm parent, Problem problem, Sources sources)
      : Session(parent, std::move(problem), std::move(sources), Options()) {}
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  [[nodiscard]] const Problem& problem() const noexcept;
  /// Reads on until the end of the stream, or until `until` says so. True when there may be more. When one rank reads
  /// the stream, or it holds whole numbers, the bits of the state are the same in one call as in many.
  bool advance(const Until& until = {});
  /// Reads to the end of the stream, or until a command stops it, in epochs, and calls `at_epoch` at the end of each, and
  /// where an answer is asked for in between. In there answer(), snapshot(), statistics() and seconds() are about the
  /// epochs that the window holds, with all events up to that moment and none that came later.
  ///
  /// Where the root can answer alone, ranks read on while it does: sums are on their way in the
  /// background, at most one epoch (or part of one between checkpoints) behind, and `at_epoch` and what it calls are for
  /// the root alone. Otherwise all ranks come together at the end of an epoch, and `at_epoch` is called on all of them:
  /// where what is kept is cut among them, where draws are verified with files that all ranks read, where files are read
  /// side by side, where merging is distributed, where options say so, and where there is one rank only.
  ///
  /// Writes checkpoints where options say so; the root's `checkpoints` then. Memory: one more state on every rank, and on
  /// the root those of the window and a copy for the checkpoint. Throws UsageError for a window that states of the
  /// problem cannot have. After it the session is at the end of its stream; it can be called once.
  void run(const EpochOptions& options, const std::function<void(const Epoch&)>& at_epoch);
  /// Merges what the ranks have read so far. The root's state is then that of all events up to now, and the others go
  /// on from zero. The state it returns is complete on the root, and where merging is distributed on all ranks; elsewhere it
  /// is this rank's part.
  const State& snapshot();
  /// Merges, then answers; the answer is on the root. A draw with `verify` or `show_exact` reads files of fixed operands
  /// again where the operands are not held. Throws UsageError for a question that the state cannot answer.
  [[nodiscard]] Answer answer(const Question& question);
  /// Runs `work` on all ranks that take part in the answer, in the at_epoch of a run or elsewhere: an error in it is thrown
  /// on all of them.
  void together_where_collective(const std::function<void()>& work);
  /// Merges, then writes the state to a file, on the root.
  void save(const std::string& path);
  [[nodiscard]] IngestStatistics statistics() const;
  [[nodiscard]] PhaseSeconds seconds() const;
  [[nodiscard]] const mpi::Communicator& communicator() const noexcept;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir::engine
