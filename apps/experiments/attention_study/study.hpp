#pragma once

// What the experiments of weir_attention_study have in common.

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../heads.hpp"
#include "plot/chart.hpp"
#include "weir/attention/peers.hpp"

namespace weir::experiments {

using Json = nlohmann::ordered_json;

/// What all experiments are told.
struct Study {
  std::vector<Head> heads = {};
  bool quick = false;        ///< Fewer sizes, so that all experiments take a minute or two.
  std::string folder = {};   ///< Where results are written; large files are held there for a while.
  std::string program = {};  ///< The program weir.
};

/// The numbers of one experiment, in parts that are written to a file as soon as they are there. A run that was cut
/// finds the parts that it had and goes on with the others.
class Parts {
 public:
  /// Reads what the file OUTDIR/EXPERIMENT.json has, unless `again`. Numbers of a quick run are of no use for one that is
  /// not quick. Says on standard error what is found. Throws InputError for a file that has something else, or numbers of
  /// other heads.
  Parts(const Study& study, std::string experiment, bool again);

  /// Calls `work` unless the part is there, and keeps what it returns. Says on standard error what is worked on, and how
  /// long it took.
  void part(const std::string& key, const std::function<Json()>& work);
  /// All parts have been made.
  void finish();
  [[nodiscard]] bool is_finished() const { return document_.value("finished", false); }
  /// An object: key, part; in the order in which they were made.
  [[nodiscard]] const Json& all() const { return document_.at("parts"); }
  [[nodiscard]] const Json& document() const { return document_; }

 private:
  void write() const;

  std::string path_;
  Json document_;
};

struct Figure {
  std::string file;
  std::string svg;
};

/// One experiment. Pictures and tables are made from its numbers alone, so that they can be made again without a run.
struct Experiment {
  std::string_view name;
  std::string_view about;
  void (*measure)(const Study& study, Parts& parts);
  std::vector<Figure> (*draw)(const Json& parts);
  std::string (*table)(const Json& parts);
};

[[nodiscard]] Experiment error_by_bytes();
[[nodiscard]] Experiment features();
[[nodiscard]] Experiment sensitivity();
[[nodiscard]] Experiment recovery_time();
[[nodiscard]] Experiment sparsity();
[[nodiscard]] Experiment million();
[[nodiscard]] Experiment limits();

/// The experiment `million` starts this program once more around each rank, as `weir_attention_study WATCH FILE PROGRAM
/// ARGUMENTS...`: a small process whose child is the rank, so that the kernel knows the peak of the rank alone.
inline constexpr std::string_view watch_option = "--watch-peak";
/// Takes `FILE PROGRAM ARGUMENTS...`, runs the program, and writes the peak of its resident memory, in bytes, to a file
/// FILE.PID. Returns its exit code.
[[nodiscard]] int watch_peak(std::span<char*> arguments);

/// A number of a JSON object: NaN where it is null (no finite number) or not there.
[[nodiscard]] double number(const Json& object, const std::string& key);

/// Appends a point to a series.
void add_point(plot::Series& series, double x, double y);

/// A series with the colour, marker and name that a method has in all pictures: "anisotropic", "polynomial", "exact", or
/// a peer.
[[nodiscard]] plot::Series series_of_method(std::string_view method);

/// A table in Markdown: headers, then rows of as many cells.
[[nodiscard]] std::string markdown(const std::vector<std::string>& headers,
                                   const std::vector<std::vector<std::string>>& rows);
/// A number with two or three digits; "-" for NaN.
[[nodiscard]] std::string digits(double value, int count = 2);
/// "64 KiB"
[[nodiscard]] std::string bytes_text(double bytes);

/// Frobenius, median and 99% of the relative errors of outputs.
[[nodiscard]] Json errors_of(const DenseMatrix& exact, const DenseMatrix& outputs);

/// The relative Frobenius error that estimates of single queries amount to.
[[nodiscard]] double estimated_frobenius(const DenseMatrix& exact, const std::vector<double>& estimates);
/// Share of queries whose error is below three times its estimate.
[[nodiscard]] double share_covered(const DenseMatrix& exact, const DenseMatrix& outputs,
                                   const std::vector<double>& estimates);

/// 0 .. count - 1.
[[nodiscard]] std::vector<std::uint64_t> row_numbers(std::uint64_t count);

/// Seconds that `work` takes by the clock.
[[nodiscard]] double seconds_of(const std::function<void()>& work);

/// Numbers of a head with answers from a state of `budget` bytes; null where the budget is too small for a state. Keys
/// "method", "budget", "bytes", "error", "median", "p99", "estimated", "covered", ...
struct AnisotropicRun {
  std::uint64_t budget = 65536;
  bool with_queries = true;              ///< The calibration sees queries.
  std::uint64_t calibration_rows = 512;  ///< And as many again to judge choices by.
  bool is_automatic = true;              ///< Otherwise one cluster, and a tenth of the budget for exact rows.
};
[[nodiscard]] Json run_anisotropic(const Head& head, const DenseMatrix& exact, const AnisotropicRun& run);
/// The same of a peer; null where the budget is too small.
[[nodiscard]] Json run_peer(const Head& head, const DenseMatrix& exact, Peer peer, std::uint64_t budget, bool causal);

}  // namespace weir::experiments
