#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "commands.hpp"
#include "weir/engine/ingest.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/setting/sizes.hpp"
#include "weir/sketch/config.hpp"
#include "weir/state/problem.hpp"
#include "weir/stream/writer.hpp"

namespace weir::app {

/// The largest n.
constexpr std::uint64_t max_dimension = std::uint64_t{1} << 63;

/// Inclusive range of a whole number.
struct WholeRange {
  std::uint64_t lowest = 0;
  std::uint64_t highest = UINT64_MAX;
};
/// Range of a real number; the ends belong to it unless said otherwise.
struct RealRange {
  double lowest = 0;
  double highest = 0;
  bool without_lowest = false;
  bool without_highest = false;
};

/// An option that takes a whole number and hands it to `assign`, as parse_whole() reads it.
CLI::Option* add_whole(CLI::App& app, const std::string& name, WholeRange range,
                       const std::function<void(std::uint64_t)>& assign, const std::string& description);
/// The same for a number of bytes, as parse_bytes() reads it.
CLI::Option* add_bytes(CLI::App& app, const std::string& name, WholeRange range,
                       const std::function<void(std::uint64_t)>& assign, const std::string& description);
/// The same for a real number. Neither infinities nor NaN lie in any range.
CLI::Option* add_real(CLI::App& app, const std::string& name, RealRange range,
                      const std::function<void(double)>& assign, const std::string& description);
/// The number that `text`, given for `option`, stands for. Throws CLI::ValidationError.
double parse_real(const std::string& option, const std::string& text, RealRange range);
/// The same for a whole number: 1000000, 1_000_000, 1e6, 2^20, 64Ki (also Mi, Gi and Ti), 0xFF. It is exact: 1.5e3 is 1500,
/// and 1.5e0 is no whole number.
std::uint64_t parse_whole(const std::string& option, const std::string& text, WholeRange range);
/// True where parse_whole() takes `text` for a number, be it one that is not whole or out of range.
[[nodiscard]] bool is_number(const std::string& text);
/// The same for a number of bytes: 65536 or 64KiB.
std::uint64_t parse_bytes(const std::string& option, const std::string& text, WholeRange range);
/// What --scale, `text`, multiplies dot products of `d` numbers with: sqrt is 1 / sqrt(d), dim is 1 / d, and anything else
/// a number. Throws CLI::ValidationError.
[[nodiscard]] double scale_of(const std::string& text, std::uint64_t d);
/// True where the scale depends on d.
[[nodiscard]] inline bool is_scale_by_d(const std::string& text) { return text == "sqrt" || text == "dim"; }
/// What `parse` makes of the items of `text`, which are separated by commas.
template <class Parse>
auto parse_list(const std::string& text, const Parse& parse) {
  std::vector<decltype(parse(std::string()))> values;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    values.push_back(parse(text.substr(start, comma - start)));
    start = comma + 1;
  }
  return values;
}

/// An option that takes the name of a file, which is not empty.
CLI::Option* add_path(CLI::App& app, const std::string& name, std::string& path, const std::string& description);
/// The same for any number of files, in one go or in several.
CLI::Option* add_paths(CLI::App& app, const std::string& name, std::vector<std::string>& paths,
                       const std::string& description);
/// Throws UsageError where two of the files in `written` are the same, or one of them is one of those in `read`. Empty names
/// are none.
void require_other_files(const std::vector<std::string>& written, const std::vector<std::string>& read);
/// --plot: where a picture goes, a name that ends in .svg. `description` says what is drawn.
CLI::Option* add_plot_option(CLI::App& app, std::string& path, const std::string& description);

/// An option that takes one of `names`, which are its type in the help, and hands it to `assign`.
CLI::Option* add_choice(CLI::App& app, const std::string& name, const std::vector<std::string>& names,
                        const std::function<void(const std::string&)>& assign, const std::string& description);
/// Accepts the given names only, and lists them in its message. The help does not repeat them after the type name.
CLI::Validator one_of(const std::set<std::string>& names);

/// --on-error.
void add_on_error_option(CLI::App& app, OnError& on_error);
/// --edges.
void add_edges_option(CLI::App& app, Edges& edges);
/// --key, --delta, --sign, --separator, --header.
void add_columns_options(CLI::App& app, Columns& columns);
/// --to: the format of the events to write.
void add_format_option(CLI::App& app, std::optional<EventFormat>& format);
/// STREAM..., --on-error, --edges, --key and what belongs to it, --names, --progress.
void add_stream_options(CLI::App& app, engine::StreamSource& source);

/// The options that shape the operator Phi; what is not given is chosen from epsilon and failure.
struct SketchOptions {
  std::uint32_t samples = 8;
  double failure = 0.05;
  std::optional<double> epsilon;
  bool without_replacement = false;
  std::optional<double> p;
  std::optional<Randomness> randomness;
  std::optional<std::uint32_t> rows;
  std::optional<std::uint64_t> buckets;
  std::optional<std::uint32_t> lanes;
  std::optional<std::uint32_t> levels;
  std::optional<double> threshold;
  std::optional<std::uint64_t> seed;
  bool for_precision = false;  ///< The sketch is for Algorithm 2.
  std::optional<double> precision_constant;
  std::optional<double> resolution;  ///< A power of two.

  /// The same and C, for Algorithm 2.
  [[nodiscard]] PrecisionTarget precision_target() const noexcept {
    return {.epsilon = epsilon.value_or(SizeRequest().epsilon), .constant = precision_constant.value_or(1.0)};
  }
  /// What is wanted of a new sketch, all but the seed.
  [[nodiscard]] SizeRequest size_request() const;
  /// Throws UsageError naming the first option that contradicts a saved state.
  void require_consistent(const Problem& saved) const;
};
/// --rows, --buckets, --lanes, --levels, --randomness, --seed.
void add_sketch_options(CLI::App& app, SketchOptions& options);

/// Initialises MPI, runs `job` on every rank and returns its exit code. An exception becomes one line on stderr, once,
/// and the code that belongs to it. `job` throws the errors that all ranks agreed on, and those of work that the root
/// does alone after its last collective operation.
int run_over_mpi(const std::function<int(const mpi::Communicator&)>& job);

/// Writes `text` to standard output, whole. Throws InputError when that fails (a full disk).
void print_answer(const std::string& text);
/// Writes a line to standard error. Whether that can be written to does not matter: nobody would hear of it.
void say(const std::string& line);
/// Prints "weir: error: ..." and returns `code`.
int report_error(ExitCode code, const std::string& message);

}  // namespace weir::app
