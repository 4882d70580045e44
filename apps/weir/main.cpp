#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <new>
#include <sstream>
#include <string>

#include "help.hpp"
#include "options.hpp"
#include "process.hpp"
#include "weir/error.hpp"

namespace weir::app {
namespace {

/// Before MPI_Init every process of an mpirun parses the same command line; only the first may speak. Launchers say
/// which that is.
bool first_process() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
    if (const char* rank = std::getenv(name)) return std::string(rank) == "0";
  return true;
}

/// The others end quietly and well: a launcher may end all processes at the first exit code that is not 0, before the
/// message is out.
int fail(ExitCode code, const std::string& message) {
  return first_process() ? report_error(code, message) : static_cast<int>(done);
}

std::string help_hint(const std::string& command) { return fmt::format("Run \"{} --help\" for the options.", command); }

int usage_failure(const std::string& message, const std::string& command) {
  const int code = fail(usage_error, message);
  if (code != done) say(help_hint(command));
  return code;
}

int run(int argc, char** argv) {
  CLI::App app(
      "weir keeps a small sketch of a vector y while events change it, and draws random indices i of y with "
      "probability\n"
      "|y_i|^p / sum |y|^p. It runs alone, or on many ranks under mpirun, with the same answer.",
      "weir");
  app.require_subcommand(1);
  app.set_version_flag("--version", "weir " WEIR_VERSION);
  app.get_formatter()->column_width(38);
  set_help(app,
           "\"weir help COMMAND\" explains the options of a command. Results go to standard output, everything else to "
           "standard\nerror. An event is a line i,delta: add delta to y[i].",
           {"printf '%s\\n' 7,2 300,5 7,1 >events.csv", "weir sample --n 1000 events.csv",
            "weir query --n 1000 --norm --top 3 events.csv"});

  std::function<int()> action;
  add_sample_command(app, action);
  add_query_command(app, action);
  add_attend_command(app, action);
  add_convert_command(app, action);
  add_generate_command(app, action);
  add_inspect_command(app, action);
  add_combine_command(app, action);
  add_protocol_command(app, action);
  add_document_commands(app, action);

  const auto command = [&app] {
    const auto parsed = app.get_subcommands();
    return parsed.empty() ? std::string("weir") : "weir " + parsed.front()->get_name();
  };
  try {
    if (argc > 1 && argv[1][0] != '-' &&
        app.get_subcommands([&](CLI::App* known) { return known->check_name(argv[1]); }).empty())
      throw UsageError(unknown_command(app, argv[1]));
    app.parse(argc, argv);
    // These are the work of one process; under a launcher the others have nothing to do.
    const auto asks_elsewhere = [&app](const char* name) {
      return app.got_subcommand(name) && app.get_subcommand(name)->count("--at") > 0;
    };
    bool alone = asks_elsewhere("sample") || asks_elsewhere("query");
    for (const char* name : {"convert", "generate", "inspect", "combine", "help", "completion", "documents"})
      alone = alone || app.got_subcommand(name);
    const int code = alone && !first_process() ? static_cast<int>(done) : action();
    if (code == usage_error) say(help_hint(command()));
    return code;
  } catch (const CLI::Success& success) {
    std::ostringstream text;
    const int code = app.exit(success, text, text);
    if (first_process()) print_answer(text.str());
    return code;
  } catch (const CLI::ParseError& error) {
    // A misspelt option explains all else that is wrong: what it should have given is missing.
    for (const std::string& rest : app.remaining(true))
      if (rest.size() > 1 && rest.front() == '-') {
        const auto parsed = app.get_subcommands();
        return usage_failure(unknown_option(app, parsed.empty() ? nullptr : parsed.front(), rest), command());
      }
    return usage_failure(error.what(), command());
  } catch (const UsageError& error) {
    return usage_failure(error.what(), command());
  } catch (const Error& error) {
    return fail(input_error, error.what());
  } catch (const std::bad_alloc&) {
    return report_error(input_error, "out of memory");
  }
}

}  // namespace
}  // namespace weir::app

int main(int argc, char** argv) {
  weir::app::open_closed_descriptors();
  weir::app::handle_signals();
  try {
    return weir::app::run(argc, argv);
  } catch (const std::exception& error) {
    return weir::app::report_error(weir::app::input_error, error.what());
  }
}
