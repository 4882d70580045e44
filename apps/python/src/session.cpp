// The module weir._mpi: sessions on a communicator of the caller, mpi4py's for one. All else is in weir._core.

#include <mpi.h>
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <array>
#include <chrono>
#include <cmath>
#include <iostream>

#include "bindings.hpp"
#include "weir/engine/second_pass.hpp"
#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/checkpoint.hpp"

namespace weir::python {
namespace {

MPI_Comm communicator_of(int handle) {
  int is_running = 0, has_ended = 0;
  MPI_Initialized(&is_running);
  MPI_Finalized(&has_ended);
  if (is_running == 0 || has_ended != 0)
    throw UsageError("MPI is not running: expected `from mpi4py import MPI` before a Session is made");
  return MPI_Comm_f2c(handle);
}

std::string library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  return {text.data(), static_cast<std::size_t>(length)};
}

engine::Until until_of(const std::optional<std::uint64_t>& events, const std::optional<double>& seconds,
                       const char* name = "seconds") {
  engine::Until until{.events = events};
  if (!seconds) return until;
  if (!(*seconds > 0 && *seconds < 1e9))
    throw UsageError(std::string(name) + " is " + std::to_string(*seconds) +
                     ": expected a number above 0 and below 10^9");
  until.time = std::chrono::nanoseconds(static_cast<std::int64_t>(*seconds * 1e9));
  return until;
}

/// Lines for whoever runs the job.
void warn(const std::string& what) { std::clog << "weir: warning: " + what + '\n' << std::flush; }

/// What Python told of the sources, and of what becomes of them.
struct Given {
  std::vector<std::string> stream;
  std::map<std::string, std::string> files;
  std::map<std::string, Reals> values;
  bool skips_bad_lines;
  std::string edges;
  Columns columns;
  double progress_seconds;
  bool with_exact;
  std::string checkpoint;  ///< A directory, or empty.
  bool resumes;
  bool has_seed;  ///< The problem was given one.
};

Columns columns_of(const py::dict& given) {
  Columns columns{.key = given["key"].cast<std::vector<std::string>>(),
                  .delta = given["delta"].cast<std::string>(),
                  .sign = given["sign"].cast<std::string>()};
  const auto separator = given["separator"].cast<std::string>();
  if (separator.size() > 1 || separator == "\"" || separator == "\n" || separator == "\r")
    throw UsageError("separator is '" + separator.substr(0, 40) + "': expected one character that is no quote");
  if (!separator.empty()) columns.separator = separator[0];
  if (!given["header"].is_none()) columns.header = given["header"].cast<bool>() ? HeaderLine::yes : HeaderLine::no;
  return columns;
}

Given given_of(const py::dict& given) {
  return {.stream = given["stream"].cast<std::vector<std::string>>(),
          .files = given["files"].cast<std::map<std::string, std::string>>(),
          .values = given["values"].cast<std::map<std::string, Reals>>(),
          .skips_bad_lines = given["skips_bad_lines"].cast<bool>(),
          .edges = given["edges"].cast<std::string>(),
          .columns = columns_of(given["columns"].cast<py::dict>()),
          .progress_seconds = given["progress_seconds"].cast<double>(),
          .with_exact = given["with_exact"].cast<bool>(),
          .checkpoint = given["checkpoint"].cast<std::string>(),
          .resumes = given["resumes"].cast<bool>(),
          .has_seed = given["has_seed"].cast<bool>()};
}

Edges edges_called(const std::string& name) {
  if (name == "none") return Edges::none;
  if (name == "out") return Edges::out;
  if (name == "in") return Edges::in;
  if (name == "both") return Edges::both;
  throw UsageError("edges is '" + name.substr(0, 40) + "': expected out, in, both or none");
}

engine::Sources sources_of(const Given& given) {
  const auto operand = [](const std::string& name) {
    if (const auto found = find_operand(name)) return *found;
    throw UsageError("unknown operand '" + name.substr(0, 40) + "'");
  };
  engine::Sources sources;
  sources.stream.paths = given.stream;
  sources.stream.on_error = given.skips_bad_lines ? OnError::skip : OnError::stop;
  sources.stream.progress_seconds = given.progress_seconds;
  sources.stream.local_warn = warn;
  if (!given.edges.empty()) sources.stream.edges = edges_called(given.edges);
  sources.stream.columns = given.columns;
  for (const auto& [name, path] : given.files) sources.files[operand(name)] = path;
  for (const auto& [name, array] : given.values) {
    if (has_column(operand(name)))
      throw UsageError(name + " is a matrix, which all ranks read in slices: expected the name of a file");
    sources.values[operand(name)] = matrix_of(array);
  }
  return sources;
}

py::dict epoch_dict(const engine::Epoch& epoch) {
  py::dict out;
  out["epoch"] = epoch.number;
  out["whole"] = epoch.is_whole;
  out["final"] = epoch.is_final;
  out["updates"] = epoch.updates;
  out["all_updates"] = epoch.all_updates;
  out["skipped"] = epoch.skipped;
  out["window_epochs"] = epoch.window_epochs;
  out["time"] = epoch.time;
  out["checkpoint"] = epoch.checkpoint;
  return out;
}

/// A session, and what it was opened with. The GIL is released while ranks talk.
class PythonSession {
 public:
  PythonSession(int handle, std::optional<Specification> wanted, const SharedState* start, const Given& given) {
    const MPI_Comm parent = communicator_of(handle);
    if (given.resumes && given.checkpoint.empty()) throw UsageError("resume=True belongs to checkpoint=DIRECTORY");
    if (given.with_exact && !given.checkpoint.empty())
      throw UsageError("exact=True: exact values beside the sketch are not part of checkpoints");
    sources_ = sources_of(given);
    const py::gil_scoped_release released;
    const mpi::Communicator ranks(parent);
    engine::Session::Options options{.with_exact = given.with_exact};
    open_checkpoints(ranks, given, options);
    if (wanted && options.checkpoint && !given.has_seed)
      wanted->request.seed = options.checkpoint->sum.problem().sketch.seed;
    Problem problem;
    if (wanted) {
      // The root's wishes are everybody's; a file or an array that others gave does not count.
      problem = engine::prepare(ranks, wanted->problem, sources_, wanted->request, most_keys(wanted->request));
    } else {
      engine::together(ranks, [&](mpi::FailureSignal&) {
        if (!ranks.local_is_root()) return;
        if (start == nullptr) throw UsageError("rank 0 has neither a problem nor a state to go on from");
        const std::shared_lock lock(start->mutex);
        options.start = start->state;
      });
      problem = engine::prepare_to_continue(ranks, options.start, "the given state", sources_);
    }
    if (options.checkpoint) options.start.reset();
    session_.emplace(parent, std::move(problem), sources_, std::move(options));
  }

  bool advance(const std::optional<std::uint64_t>& events, const std::optional<double>& seconds) {
    const engine::Until until = until_of(events, seconds);
    const py::gil_scoped_release released;
    return session().advance(until);
  }

  void run(const std::optional<std::uint64_t>& events, const std::optional<double>& seconds,
           const std::optional<std::uint64_t>& window, double decay, bool tumbling,
           const std::optional<std::uint64_t>& checkpoint_events, const std::optional<double>& checkpoint_seconds,
           const py::function& at_epoch) {
    if (!writes_checkpoints_ && (checkpoint_events || checkpoint_seconds))
      throw UsageError("checkpoint_every and checkpoint_seconds belong to a Session with checkpoint=DIRECTORY");
    engine::EpochOptions options{
        .every = until_of(events, seconds),
        .window = {.epochs = window, .tumbling = tumbling, .decay = decay},
        .checkpoint_every = until_of(checkpoint_events, checkpoint_seconds, "checkpoint_seconds"),
        .writes_checkpoints = writes_checkpoints_,
        .checkpoints = checkpoints_ ? &*checkpoints_ : nullptr,
        .local_warn = warn};
    std::exception_ptr thrown;  // by the function, here
    try {
      const py::gil_scoped_release released;
      session().run(options, [&](const engine::Epoch& epoch) {
        const py::gil_scoped_acquire acquired;
        try {
          at_epoch(epoch_dict(epoch));
        } catch (const py::error_already_set& error) {
          thrown = std::current_exception();
          throw InputError(std::string("the function that epochs are handed to: ") + error.what());
        }
      });
    } catch (const Error&) {
      if (thrown) std::rethrow_exception(thrown);
      throw;
    }
  }

  py::object sample(const py::dict& arguments, bool second_pass) {
    return ask(draw_question(session().problem(), arguments), second_pass, arguments);
  }

  py::object query(const py::dict& arguments, const SharedState* inner) {
    std::shared_lock<std::shared_mutex> lock;
    if (inner != nullptr) {
      const py::gil_scoped_release released;
      lock = std::shared_lock(inner->mutex);
    }
    return ask(query_question(arguments, inner == nullptr ? nullptr : &inner->state), false, py::dict());
  }

  StatePointer snapshot() {
    const py::gil_scoped_release released;
    const State& state = session().snapshot();
    return is_root() ? std::make_shared<SharedState>(State(state).as_part({})) : nullptr;
  }

  void save(const std::string& path) {
    const py::gil_scoped_release released;
    session().save(path);
  }

  py::dict statistics() {
    const auto counts = [&] {
      const py::gil_scoped_release released;
      return session().statistics();
    }();
    py::dict out;
    out["updates"] = counts.updates;
    out["skipped"] = counts.skipped;
    out["seconds"] = counts.seconds;
    return out;
  }

  [[nodiscard]] const Problem& problem() { return session().problem(); }
  [[nodiscard]] int rank() { return session().communicator().local_rank(); }
  [[nodiscard]] int size() { return session().communicator().local_size(); }
  void close() {
    const py::gil_scoped_release released;
    session_.reset();
    checkpoints_.reset();
  }

 private:
  engine::Session& session() {
    if (!session_) throw UsageError("the session was closed");
    return *session_;
  }
  [[nodiscard]] bool is_root() { return session().communicator().local_is_root(); }

  /// On the root: takes the directory, and what it goes on from. Collective, as errors are.
  void open_checkpoints(const mpi::Communicator& ranks, const Given& given, engine::Session::Options& options) {
    writes_checkpoints_ = !given.checkpoint.empty();
    engine::together(ranks, [&](mpi::FailureSignal&) {
      if (!ranks.local_is_root() || !writes_checkpoints_) return;
      checkpoints_.emplace(given.checkpoint);
      if (given.resumes) {
        options.checkpoint = checkpoints_->load(warn);
      } else if (!checkpoints_->is_empty()) {
        throw InputError(
            given.checkpoint +
            ": has a checkpoint of an earlier session: resume=True goes on from it; otherwise give another "
            "directory, or remove this one");
      }
    });
  }

  /// The answer on the root, None elsewhere.
  py::object ask(const Question& question, bool second_pass, const py::dict& arguments) {
    const Answer answer = [&] {
      const py::gil_scoped_release released;
      Answer found = session().answer(question);
      if (second_pass) engine::read_again(session(), sources_, found);
      return found;
    }();
    {
      const py::gil_scoped_release released;
      session().together_where_collective([&] {
        if (!is_root()) return;
        const py::gil_scoped_acquire acquired;
        require_verified(arguments, answer);
      });
    }
    return is_root() ? py::object(answer_dict(answer)) : py::none();
  }

  engine::Sources sources_;
  bool writes_checkpoints_ = false;
  std::optional<CheckpointDirectory> checkpoints_;  // on the root
  std::optional<engine::Session> session_;
};

}  // namespace
}  // namespace weir::python

PYBIND11_MODULE(_mpi, module) {
  using weir::python::PythonSession;
  namespace py = weir::python::py;
  module.doc() = "Sessions of weir over MPI; use weir.Session.";
  py::module_::import("weir._core");  // the types of states and problems, and the errors
  module.def("library_version", &weir::python::library_version);
  py::class_<PythonSession>(module, "Session")
      .def(py::init([](int handle, const std::optional<weir::python::Specification>& wanted,
                       const weir::python::SharedState* start, const py::dict& given) {
             return std::make_unique<PythonSession>(handle, wanted, start, weir::python::given_of(given));
           }),
           py::arg("handle"), py::arg("problem").none(true), py::arg("start").none(true), py::arg("given"))
      .def("advance", &PythonSession::advance, py::arg("events"), py::arg("seconds"))
      .def("run", &PythonSession::run, py::arg("events"), py::arg("seconds"), py::arg("window"), py::arg("decay"),
           py::arg("tumbling"), py::arg("checkpoint_events"), py::arg("checkpoint_seconds"), py::arg("at_epoch"))
      .def("sample", &PythonSession::sample, py::arg("arguments"), py::arg("second_pass"))
      .def("query", &PythonSession::query, py::arg("arguments"), py::arg("inner").none(true))
      .def("snapshot", &PythonSession::snapshot)
      .def("save", &PythonSession::save, py::arg("path"))
      .def("statistics", &PythonSession::statistics)
      .def("close", &PythonSession::close)
      .def_property_readonly("problem", [](PythonSession& session) { return session.problem(); })
      .def_property_readonly("rank", &PythonSession::rank)
      .def_property_readonly("size", &PythonSession::size);
}
