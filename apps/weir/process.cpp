#include "process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <initializer_list>

#include "weir/io/file.hpp"

namespace weir::app {
namespace {

/// The signal is blocked while this runs. The one that is raised here waits until this returns, and then ends the
/// process, whose parent sees the signal that it was sent.
extern "C" void end_by_signal(int signal) {
  remove_temporary_files_now();
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
  ::raise(signal);
}

}  // namespace

void open_closed_descriptors() noexcept {
  // open() returns the lowest free number. Standard input is opened for writing, and standard output for reading, so
  // that their use fails.
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(descriptor, F_GETFD) < 0) ::open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
}

void handle_signals() noexcept {
  struct sigaction action {};
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGXFSZ, &action, nullptr);
  action.sa_handler = end_by_signal;
  for (const int signal : {SIGHUP, SIGINT, SIGTERM, SIGXCPU}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace weir::app
