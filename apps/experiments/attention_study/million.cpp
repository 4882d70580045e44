// A million tokens from files, through the program on two ranks, beside exact attention.

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <span>

#include "study.hpp"
#include "weir/attention/comparison.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/npy.hpp"

namespace weir::experiments {
namespace {

constexpr std::uint64_t d = 16;

/// A folder that is removed with all that it holds.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {
    std::filesystem::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string file(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// An array of floats.
void write_npy(const std::string& path, const DenseMatrix& matrix) {
  std::string header = npy_header(matrix.rows, matrix.columns);
  header.replace(header.find("<f8"), 3, "<f4");
  const std::vector<float> numbers(matrix.values.begin(), matrix.values.end());
  OutputFile file(path);
  file.write(header);
  file.write(std::as_bytes(std::span(numbers)));
  file.commit();
}

struct Outcome {
  Json report = {};
  double peak_bytes = 0;  ///< Resident memory of the rank with the most.
};

/// Runs `weir attend` on two ranks. Throws InputError with its last words where it fails.
Outcome attend(const Study& study, const TemporaryFolder& folder, const std::vector<std::string>& arguments) {
  const std::string output = folder.file("report.json");
  const std::string errors = folder.file("stderr");
  const std::string self = std::filesystem::canonical("/proc/self/exe").string();
  std::vector<std::string> words{"mpirun", "-n", "2", "--map-by", ":OVERSUBSCRIBE"};
  for (const std::string& word : {self, std::string(watch_option), folder.file("peak"), study.program,
                                  std::string("attend"), std::string("--json")})
    words.push_back(word);
  words.insert(words.end(), arguments.begin(), arguments.end());
  const pid_t child = fork();
  if (child < 0) throw InputError("no further process can be started");
  if (child == 0) {
    // What scripts/environment sets, for mpirun in containers.
    setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 0);
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
    if (getuid() == 0) {
      setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0);
      setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
    }
    if (std::freopen("/dev/null", "r", stdin) == nullptr || std::freopen(output.c_str(), "w", stdout) == nullptr ||
        std::freopen(errors.c_str(), "w", stderr) == nullptr)
      _exit(126);
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    execvp("mpirun", pointers.data());
    _exit(127);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) throw InputError("mpirun was lost");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw InputError(fmt::format("{} failed: {}", fmt::join(words, " "), read_whole_file(InputFile(errors))));
  Outcome outcome{Json::parse(read_whole_file(InputFile(output)))};
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (!entry.path().filename().string().starts_with("peak.")) continue;
    outcome.peak_bytes = std::max(outcome.peak_bytes, std::stod(read_whole_file(InputFile(entry.path().string()))));
    std::filesystem::remove(entry.path());
  }
  return outcome;
}

Json measure_case(const Study& study, std::uint64_t n) {
  const TemporaryFolder folder(std::filesystem::path(study.folder) / "million-files");
  // Queries whose exact answers are worked out: some from all over the stream, and a quarter of them once more, as the
  // time of a query is the slope between the two.
  constexpr std::uint64_t asked = 512;
  constexpr std::uint64_t few = 128;
  DenseMatrix some{asked, d, {}};
  {
    const Head head = make_head("million", {.tokens = n, .d = d, .dv = d, .deviations = {1, 0.4, 0.15}, .seed = 51});
    write_npy(folder.file("q.npy"), head.queries);
    write_npy(folder.file("k.npy"), head.keys);
    write_npy(folder.file("v.npy"), head.values);
    for (std::uint64_t i = 0; i < asked; ++i) {
      const auto row = std::span(head.queries.values).subspan(i * (n / asked) * d, d);
      some.values.insert(some.values.end(), row.begin(), row.end());
    }
    write_npy(folder.file("some.npy"), some);
    write_npy(folder.file("few.npy"), {few, d, {some.values.begin(), some.values.begin() + few * d}});
  }
  const auto arguments = [&](const char* queries, std::vector<std::string> more) {
    std::vector<std::string> out{"--q", folder.file(queries), "--k",     folder.file("k.npy"),
                                 "--v", folder.file("v.npy"), "--scale", "1"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  };
  const Outcome ours = attend(study, folder, arguments("q.npy", {"--budget", "64KiB", "-o", folder.file("y.npy")}));
  const Outcome plain =
      attend(study, folder, arguments("q.npy", {"--budget", "64KiB", "--no-estimate", "-o", folder.file("y.npy")}));
  const Outcome exact =
      attend(study, folder, arguments("some.npy", {"--mode", "exact", "-o", folder.file("exact.npy")}));
  const Outcome fewer =
      attend(study, folder, arguments("few.npy", {"--mode", "exact", "-o", folder.file("few_exact.npy")}));
  DenseMatrix answered{asked, d, {}};
  const NpyFile outputs(folder.file("y.npy"));
  for (std::uint64_t i = 0; i < asked; ++i) {
    const DenseMatrix row = outputs.rows(i * (n / asked), 1);
    answered.values.insert(answered.values.end(), row.values.begin(), row.values.end());
  }
  Json out{{"n", n}, {"queries", n}, {"asked_exactly", asked}};
  out["error"] = errors_of(load_npy(folder.file("exact.npy")), answered);
  const Json& seconds = ours.report.at("seconds");
  out["ours"] = {{"token", number(seconds, "token")},
                 {"query", number(plain.report.at("seconds"), "query")},
                 {"query_with_estimate", number(seconds, "query")},
                 {"calibration", number(seconds, "features")},
                 {"ingest", number(seconds, "ingest")},
                 {"answer", number(seconds, "answer")},
                 {"peak_bytes", plain.peak_bytes},
                 {"peak_bytes_with_estimate", ours.peak_bytes},
                 {"state_bytes", number(ours.report, "state_bytes")},
                 {"features", number(ours.report, "features")},
                 {"estimated", ours.report.value("estimated_error", Json::object())}};
  const double slope = (number(exact.report.at("seconds"), "answer") - number(fewer.report.at("seconds"), "answer")) /
                       static_cast<double>(asked - few);
  out["exact"] = {{"query", slope},
                  {"ingest", number(exact.report.at("seconds"), "ingest")},
                  {"all_queries", slope * static_cast<double>(n)},
                  {"peak_bytes", exact.peak_bytes}};
  return out;
}

void measure(const Study& study, Parts& parts) {
  if (!std::filesystem::exists(study.program))
    throw UsageError(
        fmt::format("there is no program {}: build the target weir_program, or give --program", study.program));
  for (const std::uint64_t n : {10000U, 100000U, 1000000U}) {
    if (study.quick && n > 100000) continue;
    parts.part(fmt::to_string(n), [&] { return measure_case(study, n); });
  }
}

std::vector<Figure> draw(const Json& parts) {
  plot::Grid grid{.title = "From files, on two ranks: d = 16, as many queries as tokens, a state of 64 KiB",
                  .columns = 2};
  const plot::Axis n{.label = "tokens n", .scale = plot::Scale::logarithmic};
  plot::Chart time{.title = "time of one query, and of one token",
                   .x = n,
                   .y = {.label = "time", .scale = plot::Scale::logarithmic, .unit = plot::Unit::seconds}};
  plot::Chart memory{.title = "peak memory of a rank",
                     .x = n,
                     .y = {.label = "resident bytes", .scale = plot::Scale::logarithmic, .unit = plot::Unit::bytes}};
  plot::Series query = series_of_method("anisotropic");
  query.name = "anisotropic, a query";
  plot::Series estimated{.name = "anisotropic, a query and its error", .line = plot::Line::dashed, .colour = 3};
  plot::Series token{.name = "anisotropic, a token", .line = plot::Line::dashed, .colour = 5};
  plot::Series exact{.name = "exact, a query (slope)", .colour = 1};
  plot::Series ours_peak = query;
  plot::Series estimated_peak = estimated;
  plot::Series exact_peak = exact;
  for (const auto& [key, part] : parts.items()) {
    const double tokens = number(part, "n");
    add_point(query, tokens, number(part.at("ours"), "query"));
    add_point(estimated, tokens, number(part.at("ours"), "query_with_estimate"));
    add_point(token, tokens, number(part.at("ours"), "token"));
    add_point(exact, tokens, number(part.at("exact"), "query"));
    add_point(ours_peak, tokens, number(part.at("ours"), "peak_bytes"));
    add_point(estimated_peak, tokens, number(part.at("ours"), "peak_bytes_with_estimate"));
    add_point(exact_peak, tokens, number(part.at("exact"), "peak_bytes"));
  }
  time.series = {query, estimated, token, exact};
  memory.series = {ours_peak, estimated_peak, exact_peak};
  grid.charts = {time, memory};
  grid.notes = {
      "Times by the clock of a machine of two cores that others used too. The time of an exact query is the slope "
      "between 128 and 512 queries, as all of them would take hours."};
  return {{"million.svg", plot::to_svg(grid, {900, 220})}};
}

std::string table(const Json& parts) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, part] : parts.items()) {
    const Json& ours = part.at("ours");
    const Json& exact = part.at("exact");
    rows.push_back({key, digits(1e6 * number(ours, "token"), 3), digits(1e6 * number(ours, "query"), 3),
                    digits(1e6 * number(ours, "query_with_estimate"), 3),
                    digits(number(ours, "calibration") + number(ours, "ingest") + number(ours, "answer"), 3),
                    digits(number(ours, "peak_bytes") / 1048576, 3),
                    digits(number(ours, "peak_bytes_with_estimate") / 1048576, 3),
                    digits(number(part.at("error"), "error")), digits(number(part.at("error"), "p99")),
                    digits(1e6 * number(exact, "query"), 3), digits(number(exact, "all_queries"), 3),
                    digits(number(exact, "peak_bytes") / 1048576, 3)});
  }
  return markdown({"n", "token, us", "query, us", "with its error, us", "all, s", "peak, MiB", "with errors, MiB",
                   "error", "99%", "exact query, us (slope)", "exact, all, s (extrapolated)", "exact peak, MiB"},
                  rows);
}

}  // namespace

int watch_peak(std::span<char*> arguments) {
  const pid_t child = fork();
  if (child < 0) return 126;
  if (child == 0) {
    execv(arguments[1], arguments.data() + 1);  // argv ends with a null pointer
    _exit(127);
  }
  int status = 0;
  rusage usage{};
  if (wait4(child, &status, 0, &usage) != child) return 126;
  OutputFile file(fmt::format("{}.{}", arguments[0], getpid()));
  file.write(fmt::format("{}", 1024 * usage.ru_maxrss));
  file.commit();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Experiment million() {
  return {"million", "a million tokens through the program on two ranks: time, memory, error", measure, draw, table};
}

}  // namespace weir::experiments
