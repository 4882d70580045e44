#include "run_options.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <charconv>
#include <string_view>
#include <utility>

#include "options.hpp"
#include "weir/error.hpp"

namespace weir::app {
namespace {

std::atomic<bool> stop_wanted{false};
std::atomic<bool> answer_wanted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "signal handlers may use nothing else");

extern "C" void ask_to_stop(int) { stop_wanted.store(true); }
extern "C" void ask_for_answer(int) { answer_wanted.store(true); }

}  // namespace

engine::Until parse_until(const std::string& option, const std::string& text) {
  constexpr std::array<std::pair<std::string_view, double>, 4> units{{{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}}};
  double number = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  for (const auto& [name, seconds] : units) {
    if (status != std::errc() || unit != name) continue;
    const double nanoseconds = number * seconds * 1e9;
    if (nanoseconds >= 1e6 && nanoseconds <= 1e18)
      return {.time = std::chrono::nanoseconds(static_cast<std::int64_t>(nanoseconds))};
    throw CLI::ValidationError(option, fmt::format("'{}' given, expected a time from 1ms to 30 years", text));
  }
  try {
    return {.events = parse_whole(option, text, {1, std::uint64_t{1} << 53U})};
  } catch (const CLI::ValidationError&) {
    throw CLI::ValidationError(
        option,
        fmt::format("'{}' given, expected a whole number of updates (1000, 1e6) or a time (5s, 200ms, 10m, 2h)", text));
  }
}

void RunOptions::check() const {
  weir::check(window);
  if (!window.is_all() && !every.events && !every.time)
    throw UsageError("--window, --decay and --tumbling count epochs: say with --every how long an epoch is");
  if (checkpoint_directory.empty() && (resume || checkpoint_every.events || checkpoint_every.time))
    throw UsageError("--resume and --checkpoint-every belong to --checkpoint DIR");
}

void add_run_options(CLI::App& app, RunOptions& options) {
  const std::string group = "While the stream runs";
  app.add_option_function<std::string>(
         "--every", [&options](const std::string& text) { options.every = parse_until("--every", text); },
         "Answer at the end of every epoch: after so many updates of all ranks together (1000),\n"
         "or so much time (5s, 200ms, 10m, 2h). Each answer is a line with one JSON object, or\n"
         "what --format says. It covers all events up to its moment and none that came later.\n"
         "USR1 asks for an answer now, TERM and INT for the last one")
      ->type_name("N|TIME")
      ->group(group);
  add_whole(
      app, "--window", {1, std::uint64_t{1} << 32}, [&options](std::uint64_t value) { options.window.epochs = value; },
      "Answers are about the last K epochs. The root keeps K + 1 tables; a slide costs the\n"
      "same whatever K is. Where updates are real numbers, --resolution keeps sums exact\n"
      "while epochs leave")
      ->type_name("K")
      ->group(group);
  add_real(
      app, "--decay", {0, 1, true}, [&options](double value) { options.window.decay = value; },
      "All that came before is multiplied by G when an epoch begins")
      ->type_name("G")
      ->group(group);
  app.add_flag("--tumbling", options.window.tumbling,
               "Windows do not overlap: after K epochs (--window; 1 without it) the next one begins\n"
               "from zero")
      ->group(group);
  add_path(app, "--checkpoint", options.checkpoint_directory,
           "Write checkpoints into this directory: the merged state and where the sources stand,\n"
           "all of one moment. The last two are kept. TERM writes one more and ends the job")
      ->type_name("DIR")
      ->group(group);
  app.add_option_function<std::string>(
         "--checkpoint-every",
         [&options](const std::string& text) { options.checkpoint_every = parse_until("--checkpoint-every", text); },
         "How often. By default at the end of every epoch; without --every every 10 s")
      ->type_name("N|TIME")
      ->group(group);
  app.add_flag("--resume", options.resume,
               "Go on from the newest checkpoint in DIR that is whole, with any number of ranks, and\n"
               "begin at the beginning where there is none. The other options must be the same")
      ->group(group);
  app.add_flag("--follow", options.follow,
               "Files may grow and are read as they do, also when they are replaced (rotated logs);\n"
               "of a directory, files that appear are read. The job ends on TERM or INT")
      ->group(group);
}

std::optional<EpochStamp> stamp_of(const engine::Epoch* epoch) {
  if (epoch == nullptr) return std::nullopt;
  return EpochStamp{.number = epoch->number,
                    .time = epoch->time,
                    .is_final = epoch->is_final,
                    .is_whole = epoch->is_whole,
                    .window_epochs = epoch->window_epochs,
                    .all_updates = epoch->all_updates,
                    .checkpoint = epoch->checkpoint};
}

void listen_to_signals() noexcept {
  struct sigaction action {};
  action.sa_handler = ask_to_stop;
  for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &action, nullptr);
  action.sa_handler = ask_for_answer;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGUSR1, &action, nullptr);
}

engine::Command local_command() noexcept {
  if (stop_wanted.load()) return engine::Command::stop;
  return answer_wanted.exchange(false) ? engine::Command::answer : engine::Command::none;
}

}  // namespace weir::app
