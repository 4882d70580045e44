#pragma once

namespace weir::mpi {

/// For programs, never for libraries: initialises MPI on construction (MPI_THREAD_FUNNELED) and finalises it on
/// destruction. One per process, on the stack of main. Throws Error when MPI cannot be initialised.
///
/// When an exception destroys it, it aborts the job instead of finalising, because other ranks may wait for messages
/// that will not come.
class Environment {
 public:
  Environment(int& argc, char**& argv);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  /// Ends all ranks of the world at once with this exit code: the way out of a program whose rank cannot reach the
  /// next collective call.
  [[noreturn]] void local_abort(int exit_code) const;
};

}  // namespace weir::mpi
