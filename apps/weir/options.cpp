#include "options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "process.hpp"
#include "weir/engine/ingest.hpp"
#include "weir/error.hpp"
#include "weir/mpi/environment.hpp"

namespace weir::app {

namespace {

/// The digits of `text` without underscores; none unless there is a digit at both ends, and on both sides of each
/// underscore.
std::optional<std::string> digits_of(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string digits;
  for (std::size_t k = 0; k < text.size(); ++k) {
    if (is_digit(text[k])) {
      digits += text[k];
    } else if (text[k] != '_' || k == 0 || k + 1 == text.size() || !is_digit(text[k - 1]) || !is_digit(text[k + 1])) {
      return std::nullopt;
    }
  }
  return digits.empty() ? std::nullopt : std::optional(digits);
}

/// The number of all of `digits`; none where there are other characters, or where it is 2^64 or more.
std::optional<std::uint64_t> number_of(std::string_view digits, int base = 10) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// What a text stands for.
struct Whole {
  bool is_number = false;                   ///< It has one of the forms that numbers have.
  bool is_whole = false;                    ///< And that number is whole,
  std::optional<std::uint64_t> value = {};  ///< and below 2^64.
};

/// 12.5e3: digits, a point, and a power of ten, without rounding.
Whole scientific(std::string_view text) {
  const std::size_t e = std::min(text.find_first_of("eE"), text.size());
  const std::string_view mantissa = text.substr(0, e);
  const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  const std::optional<std::string> before = digits_of(mantissa.substr(0, point));
  const std::optional<std::string> behind =
      point == mantissa.size() ? std::optional(std::string()) : digits_of(mantissa.substr(point + 1));
  std::string_view exponent_text = e == text.size() ? "0" : text.substr(e + 1);
  if (exponent_text.starts_with('+')) exponent_text.remove_prefix(1);
  const bool is_negative = exponent_text.starts_with('-');
  if (is_negative) exponent_text.remove_prefix(1);
  const std::optional<std::string> exponent_digits = digits_of(exponent_text);
  if (!before || !behind || !exponent_digits) return {};
  std::string digits = *before + *behind;
  if (digits.find_first_not_of('0') == std::string::npos) return {true, true, 0};
  // Where the exponent is larger than this, so is the number than 2^64, or smaller than 1.
  constexpr std::uint64_t longest = 1000000;
  const auto exponent = static_cast<std::int64_t>(std::min(number_of(*exponent_digits).value_or(longest), longest));
  const std::int64_t shift = (is_negative ? -exponent : exponent) - static_cast<std::int64_t>(behind->size());
  if (shift < 0) {
    const auto cut = static_cast<std::size_t>(-shift);
    const std::string_view fraction = std::string_view(digits).substr(digits.size() - std::min(cut, digits.size()));
    if (cut > digits.size() || fraction.find_first_not_of('0') != std::string_view::npos) return {true, false, {}};
    digits.resize(digits.size() - cut);
    if (digits.empty()) digits = "0";
  } else {
    constexpr std::int64_t most_digits = 20;
    digits.append(static_cast<std::size_t>(std::min(shift, most_digits + 1)), '0');
  }
  return {true, true, number_of(digits)};
}

Whole whole_of(const std::string& text) {
  if (text.starts_with("0x") || text.starts_with("0X")) {
    const std::string_view digits = std::string_view(text).substr(2);
    const bool is_number = !digits.empty() && digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
    return {is_number, is_number, is_number ? number_of(digits, 16) : std::nullopt};
  }
  if (const std::size_t hat = text.find('^'); hat != std::string::npos) {
    const auto base = number_of(std::string_view(text).substr(0, hat));
    const auto exponent = number_of(std::string_view(text).substr(hat + 1));
    if (!base || !exponent) return {};
    Whole power{true, true, 1};
    // After 64 steps the power is 0, 1, or too large.
    for (std::uint64_t k = 0; k < std::min<std::uint64_t>(*exponent, 64) && power.value; ++k)
      power.value =
          *base != 0 && *power.value > UINT64_MAX / *base ? std::nullopt : std::optional(*power.value * *base);
    return power;
  }
  for (const auto& [unit, shift] : {std::pair("Ki", 10U), {"Mi", 20U}, {"Gi", 30U}, {"Ti", 40U}}) {
    if (!text.ends_with(unit)) continue;
    Whole whole = scientific(std::string_view(text).substr(0, text.size() - 2));
    if (whole.value)
      whole.value = *whole.value > UINT64_MAX >> shift ? std::nullopt : std::optional(*whole.value << shift);
    return whole;
  }
  return scientific(text);
}

}  // namespace

std::uint64_t parse_whole(const std::string& option, const std::string& text, WholeRange range) {
  const Whole whole = whole_of(text);
  if (whole.value && *whole.value >= range.lowest && *whole.value <= range.highest) return *whole.value;
  std::string hint;
  if (whole.is_number && !whole.is_whole) {
    hint = "; it is not whole";
  } else if (!whole.is_number && !text.empty() && text.front() >= '0' && text.front() <= '9') {
    hint = ", such as 1000000, 1e6, 1_000_000, 2^20 or 64Ki";
  }
  throw CLI::ValidationError(option, fmt::format("'{}' given, expected a whole number from {} to {}{}", text,
                                                 range.lowest, range.highest, hint));
}

bool is_number(const std::string& text) { return whole_of(text).is_number; }

std::uint64_t parse_bytes(const std::string& option, const std::string& text, WholeRange range) {
  return parse_whole(option, text.ends_with("iB") ? text.substr(0, text.size() - 1) : text, range);
}

double parse_real(const std::string& option, const std::string& text, RealRange range) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool inside = (range.without_lowest ? value > range.lowest : value >= range.lowest) &&
                      (range.without_highest ? value < range.highest : value <= range.highest);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || !inside)
    throw CLI::ValidationError(option, fmt::format("'{}' given, expected a number {} {} and {} {}", text,
                                                   range.without_lowest ? "above" : "from", range.lowest,
                                                   range.without_highest ? "below" : "up to", range.highest));
  return value;
}

double scale_of(const std::string& text, std::uint64_t d) {
  if (text == "sqrt") return 1 / std::sqrt(static_cast<double>(d));
  if (text == "dim") return 1 / static_cast<double>(d);
  return parse_real("--scale", text, {-1e6, 1e6});
}

CLI::Option* add_whole(CLI::App& app, const std::string& name, WholeRange range,
                       const std::function<void(std::uint64_t)>& assign, const std::string& description) {
  return app
      .add_option_function<std::string>(
          name, [=](const std::string& text) { assign(parse_whole(name, text, range)); }, description)
      ->type_name("N");
}

CLI::Option* add_bytes(CLI::App& app, const std::string& name, WholeRange range,
                       const std::function<void(std::uint64_t)>& assign, const std::string& description) {
  return app
      .add_option_function<std::string>(
          name, [=](const std::string& text) { assign(parse_bytes(name, text, range)); }, description)
      ->type_name("BYTES");
}

CLI::Option* add_real(CLI::App& app, const std::string& name, RealRange range,
                      const std::function<void(double)>& assign, const std::string& description) {
  return app
      .add_option_function<std::string>(
          name, [=](const std::string& text) { assign(parse_real(name, text, range)); }, description)
      ->type_name("NUMBER");
}

namespace {

/// Refuses an empty name, which a script gives by mistake.
CLI::Validator not_empty() {
  return CLI::Validator(
      [](const std::string& text) { return text.empty() ? std::string("an empty text given, expected a file") : ""; },
      "");
}

}  // namespace

CLI::Option* add_path(CLI::App& app, const std::string& name, std::string& path, const std::string& description) {
  return app.add_option(name, path, description)->check(not_empty());
}

CLI::Option* add_paths(CLI::App& app, const std::string& name, std::vector<std::string>& paths,
                       const std::string& description) {
  return app.add_option(name, paths, description)->check(not_empty());
}

void require_other_files(const std::vector<std::string>& written, const std::vector<std::string>& read) {
  const auto is_same = [](const std::string& one, const std::string& other) {
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(one, error);
    // A device takes all that comes.
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) return false;
    return one == other || std::filesystem::equivalent(one, other, error);
  };
  for (std::size_t k = 0; k < written.size(); ++k) {
    if (written[k].empty()) continue;
    for (std::size_t other = 0; other < k; ++other)
      if (is_same(written[k], written[other]))
        throw UsageError(fmt::format("{} is to be written twice: expected another file for each option", written[k]));
    for (const std::string& path : read)
      if (is_same(written[k], path))
        throw UsageError(fmt::format("{} is read and is to be written as well: expected another name", written[k]));
  }
}

CLI::Option* add_plot_option(CLI::App& app, std::string& path, const std::string& description) {
  const auto is_svg = [](const std::string& text) {
    return text.ends_with(".svg") ? std::string() : fmt::format("'{}' given, expected a name that ends in .svg", text);
  };
  return add_path(app, "--plot", path, description)
      ->check(CLI::Validator(is_svg, ""))
      ->type_name("FILE.svg")
      ->group("Output");
}

CLI::Option* add_choice(CLI::App& app, const std::string& name, const std::vector<std::string>& names,
                        const std::function<void(const std::string&)>& assign, const std::string& description) {
  return app.add_option_function<std::string>(name, assign, description)
      ->check(one_of({names.begin(), names.end()}))
      ->type_name(fmt::format("{}", fmt::join(names, "|")));
}

CLI::Validator one_of(const std::set<std::string>& names) {
  const auto refuse = [names](const std::string& text) {
    return names.contains(text) ? std::string()
                                : fmt::format("'{}' given, expected {}", text, fmt::join(names, " or "));
  };
  return CLI::Validator(refuse, "");
}

void add_on_error_option(CLI::App& app, OnError& on_error) {
  app.add_option_function<std::string>(
         "--on-error",
         [&on_error](const std::string& text) { on_error = text == "skip" ? OnError::skip : OnError::stop; },
         "What to do about a bad line: stop the job and answer nothing, or skip the line and\n"
         "count it. When every line is bad, skip stops as well")
      ->check(one_of({"stop", "skip"}))
      ->type_name("stop|skip")
      ->default_str("stop")
      ->group("Stream");
}

void add_edges_option(CLI::App& app, Edges& edges) {
  app.add_option_function<std::string>(
         "--edges",
         [&edges](const std::string& text) {
           edges = text == "out" ? Edges::out : text == "in" ? Edges::in : text == "both" ? Edges::both : Edges::none;
         },
         "Lines of two or three numbers are edges of a graph, from node i to node j, with a\n"
         "weight in the third column, or of weight 1, as SNAP and KONECT have them (cut off\n"
         "times). out adds the weight to A[i,j], in to A[j,i], both to A[i,j] and A[j,i]; where\n"
         "y is a vector, to y[i], y[j] or both, which counts degrees. Nodes are the indices\n"
         "that the file has, also where they count from 1. none: two numbers are i,delta.\n"
         "Without it two whole numbers between which there is no comma are an event, with a\n"
         "warning; they are refused where the comments of the file tell of a graph")
      ->check(one_of({"none", "out", "in", "both"}))
      ->type_name("none|out|in|both")
      ->group("Stream");
}

void add_columns_options(CLI::App& app, Columns& columns) {
  const std::string group = "Tables and logs";
  CLI::Option* const key =
      app.add_option_function<std::string>(
             "--key",
             [&columns](const std::string& text) {
               columns.key = parse_list(text, [](const std::string& item) {
                 if (item.empty()) throw CLI::ValidationError("--key", "an empty column, expected names or numbers");
                 return item;
               });
             },
             "Lines are those of a table, of a log, or JSON, and this column is their key: by name,\n"
             "by number from 1 (#3 where 3 may be a name), or by the members that lead to it in\n"
             "JSON (user.id). Whole numbers below 2^63 are indices themselves; any other text, such\n"
             "as an address, is hashed to 63 bits by the seed, for which N must be 2^63, as it is\n"
             "where --n is not given. Of k keys some two collide with probability k^2 / 2^64.\n"
             "Several columns are one key, written a,b; of a matrix A the row and the column")
          ->type_name("COLUMN[,COLUMN...]")
          ->group(group);
  const auto of_key = [&](CLI::Option* option) { option->needs(key)->group(group); };
  of_key(app.add_option("--delta", columns.delta,
                        "What a line adds: the number in this column, or a number that is the same for all\n"
                        "lines. 1, and numbers with a sign or a point (+3, 2.0), are numbers; 2, 3, ... are\n"
                        "columns, and so is #1")
             ->type_name("COLUMN|NUMBER")
             ->default_str("1"));
  of_key(app.add_option("--sign", columns.sign,
                        "The column that says whether a line adds or takes away: +, add, insert, a number\n"
                        "above 0; -, remove, delete, a number below 0")
             ->type_name("COLUMN"));
  of_key(app.add_option_function<std::string>(
                "--separator",
                [&columns](const std::string& text) {
                  constexpr std::array<std::pair<std::string_view, char>, 6> words{
                      {{"tab", '\t'}, {"\\t", '\t'}, {"comma", ','}, {"semicolon", ';'}, {"bar", '|'}, {"blank", ' '}}};
                  const auto word = std::ranges::find(words, text, [](const auto& known) { return known.first; });
                  if (word == words.end() && (text.size() != 1 || text[0] < ' ' || text[0] > '~' || text[0] == '"'))
                    throw CLI::ValidationError(
                        "--separator",
                        fmt::format("'{}' given, expected one character that is no quote, or tab, comma, "
                                    "semicolon, bar or blank",
                                    text));
                  columns.separator = word != words.end() ? word->second : text[0];
                },
                "Between columns. A blank stands for any number of blanks and tabs. Without it the\n"
                "first of tab, comma, semicolon, bar and blank that the first line has")
             ->type_name("C"));
  of_key(app.add_option_function<std::string>(
                "--header",
                [&columns](const std::string& text) {
                  columns.header = text == "yes" ? HeaderLine::yes : text == "no" ? HeaderLine::no : HeaderLine::unsaid;
                },
                "Whether the first line of a file has the names of the columns. auto: where a column\n"
                "is called by name, and where the first line has no number as delta or no sign")
             ->check(one_of({"yes", "no", "auto"}))
             ->type_name("yes|no|auto")
             ->default_str("auto"));
}

void add_format_option(CLI::App& app, std::optional<EventFormat>& format) {
  app.add_option_function<std::string>(
         "--to", [&format](const std::string& to) { format = to == "text" ? EventFormat::text : EventFormat::binary; },
         "Format of the output. Without it the name decides: text for .csv, .tsv and .txt,\n"
         "otherwise binary")
      ->check(one_of({"text", "binary"}))
      ->type_name("text|binary");
}

void add_stream_options(CLI::App& app, engine::StreamSource& source) {
  app.add_option("STREAM", source.paths,
                 "Files of events, in any number; - is standard input. They may be text (.csv, .tsv,\n"
                 ".txt), binary records (weir convert), Matrix Market, .npy (row k of the array is\n"
                 "added to row k of A, or entry k to y[k]), or .gz or .zst of these; the content tells\n"
                 "them apart. FILE.npz[NAME] is an array of an archive, FILE.npy[K] part K of an array\n"
                 "of three dimensions, FILE.npy[bfloat16] one of upper halves of floats. A line of text is i,delta "
                 "(add delta to y[i]), x,j,delta, A,i,j,delta, or a\n"
                 "whole row of A: A,i,*,v0,v1,... adds it, A,i,-*,v0,v1,... takes it away; A1, A2\n"
                 "and X likewise. Indices count from 0. A matrix whose rows come whole has at most\n"
                 "2^20 columns. A whole number beyond 2^53 that a double cannot hold is refused, and\n"
                 "so are NaN and infinities. Besides files: a named pipe, a directory (each file in it),\n"
                 "tcp://127.0.0.1:PORT (listens there; a client sends lines or a binary stream, and is\n"
                 "told how many were accepted when it shuts down its side), and, where weir was built\n"
                 "with librdkafka, kafka://HOST:PORT[,HOST:PORT]/TOPIC[?until=end]")
      ->type_name("");
  add_on_error_option(app, source.on_error);
  add_edges_option(app, source.edges);
  add_columns_options(app, source.columns);
  app.get_option("--key")->excludes("--edges");
  add_whole(
      app, "--names", {0, most_names},
      [&source](std::uint64_t value) { source.name_count = static_cast<std::size_t>(value); },
      "How many names of keys are kept with the sums and saved with them: those of the\n"
      "heaviest. Others have no label in the answer unless --second-pass finds it")
      ->type_name("COUNT")
      ->default_str(fmt::to_string(usual_names))
      ->needs("--key")
      ->group("Tables and logs");
  source.local_warn = [](const std::string& what) { say("weir: warning: " + what); };
  add_real(
      app, "--progress", {0, 1e6, true, false}, [&source](double value) { source.progress_seconds = value; },
      "Write a line to standard error every so many seconds: updates, rate, and of files the\n"
      "share that rank 0 has read and how long the rest takes. Without it there is none")
      ->type_name("SECONDS")
      ->group("Stream");
}

SizeRequest SketchOptions::size_request() const {
  SizeRequest request;
  request.samples = samples;
  request.failure = failure;
  request.epsilon = epsilon.value_or(request.epsilon);
  request.without_replacement = without_replacement;
  request.p = p.value_or(request.p);
  request.threshold = threshold.value_or(request.threshold);
  if (for_precision) request.precision = precision_target();
  request.rows = rows;
  request.buckets = buckets;
  request.lanes = lanes;
  request.levels = levels;
  request.randomness = randomness.value_or(request.randomness);
  request.seed = seed.value_or(request.seed);
  return request;
}

void SketchOptions::require_consistent(const Problem& saved) const {
  const auto require = [](std::string_view option, const auto& given, auto held) {
    if (given && *given != held)
      throw UsageError(fmt::format("{} {} contradicts the saved state, which has {}", option, *given, held));
  };
  const SketchConfig& sketch = saved.sketch;
  require("--rows", rows, sketch.rows);
  require("--buckets", buckets, sketch.buckets);
  require("--lanes", lanes, sketch.lanes);
  require("--levels", levels, sketch.levels);
  require("--p", p, saved.exponent());
  require("--seed", seed, sketch.seed);
  require("--resolution", resolution, saved.resolution);
  if (saved.precision) {
    require("--epsilon", epsilon, saved.precision->epsilon);
    require("--precision-constant", precision_constant, saved.precision->constant);
  } else if (precision_constant) {
    throw UsageError("--precision-constant contradicts the saved state, which is for the sampler perfect");
  }
  if (randomness && *randomness != sketch.randomness)
    throw UsageError(fmt::format("--randomness {} contradicts the saved state, which has {}", to_string(*randomness),
                                 to_string(sketch.randomness)));
}

void add_sketch_options(CLI::App& app, SketchOptions& options) {
  app.add_option_function<std::string>(
         "--resolution",
         [&options](const std::string& text) {
           options.resolution = power_of_two_below(parse_real("--resolution", text, {0x1p-200, 0x1p200}));
         },
         "Round all numbers that are read to multiples of the largest power of two that is at\n"
         "most R: 0.001 means 1/1024. Sums of real numbers are then exact as those of whole\n"
         "numbers are: the same bits for any ranks and order, and zero again when all is taken\n"
         "back. An entry is off by half of that for each event at most. exact_sums in the\n"
         "output tells when numbers have grown too large for it, at some 10^11 times R")
      ->type_name("R")
      ->group("Stream");
  const std::string group = "Sketch (overrides of what epsilon and failure choose)";
  add_whole(
      app, "--rows", {1, 15}, [&options](std::uint64_t value) { options.rows = static_cast<std::uint32_t>(value); },
      "R: rows of the sketch, independent repetitions over which estimates take medians.\n"
      "Odd, 1 to 15")
      ->group(group);
  add_whole(
      app, "--buckets", {2, std::uint64_t{1} << 32}, [&options](std::uint64_t value) { options.buckets = value; },
      "B: buckets of each row of the sketch. A power of two, 2 to 2^32")
      ->group(group);
  add_whole(
      app, "--lanes", {1, 4096}, [&options](std::uint64_t value) { options.lanes = static_cast<std::uint32_t>(value); },
      "L: numbers in each bucket. Lane 0 measures y; every other lane yields one draw. 1,\n"
      "2 or a multiple of 8, at most 4096. Where a matrix is sketched, columns times\n"
      "lanes must be below 2^32")
      ->group(group);
  add_whole(
      app, "--levels", {1, 3}, [&options](std::uint64_t value) { options.levels = static_cast<std::uint32_t>(value); },
      "1: a query looks at all N indices, of which there may be 2^40. 2 and 3: it looks\n"
      "at groups of indices first, O(N^(1/2)) and O(N^(1/3)) of them, and an update takes\n"
      "about 1.4 and 2.1 times as long. The default follows from N: 1 up to 2^20, 3 from\n"
      "2^36 on. For --method streaming at most 2")
      ->group(group);
  app.add_option_function<std::string>(
         "--randomness", [&options](const std::string& text) { options.randomness = parse_randomness(text); },
         "Where buckets, signs and random factors come from. mix: a strong keyed hash.\n"
         "kwise: polynomials over 2^61 - 1 with the independence that the theorems ask for;\n"
         "slower, and N is at most 2^61 - 1. nisan: Nisan's generator, by which the paper does\n"
         "with few random bits; slower still, and N as for kwise")
      ->check(one_of({"mix", "kwise", "nisan"}))
      ->type_name("mix|kwise|nisan")
      ->default_str("mix")
      ->group(group);
  add_whole(
      app, "--seed", {}, [&options](std::uint64_t value) { options.seed = value; },
      "Chooses the random functions. The same seed and the same stream of whole numbers\n"
      "give the same answer, to the bit, on any number of ranks. Decimal, or hexadecimal\n"
      "with 0x. Drawn from the operating system unless given")
      ->type_name("U64")
      ->group(group);
}

int run_over_mpi(const std::function<int(const mpi::Communicator&)>& job) {
  int argc = 0;
  char** argv = nullptr;
  const mpi::Environment environment(argc, argv);
  handle_signals();  // again, whatever MPI has made of them
  const mpi::Communicator communicator;
  // Only the root speaks, and its exit code is that of the job: a launcher may end all processes at the first code that
  // is not 0.
  const auto fail = [&](ExitCode code, const Error& error) {
    return communicator.local_is_root() ? report_error(code, error.what()) : static_cast<int>(done);
  };
  try {
    return job(communicator);
  } catch (const UsageError& error) {
    return fail(usage_error, error);
  } catch (const InputError& error) {
    return fail(input_error, error);
  } catch (const std::exception& error) {
    // Not agreed on: other ranks may wait for this one for ever.
    const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
    report_error(input_error,
                 fmt::format("rank {}: {}", communicator.local_rank(), memory ? "out of memory" : error.what()));
    environment.local_abort(input_error);
  }
}

void print_answer(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw InputError(fmt::format("standard output: {}", errno == EBADF ? "closed" : std::strerror(errno)));
}

void say(const std::string& line) {
  // One call, so that a launcher that mixes the output of ranks does not cut the line.
  const std::string whole = line + '\n';
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

int report_error(ExitCode code, const std::string& message) {
  std::string line = message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fflush(stdout);
  say("weir: error: " + line);
  return code;
}

}  // namespace weir::app
