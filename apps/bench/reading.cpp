// Events and whole rows from files, through EventReader. The files are in the page cache: this is the cost of decoding.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <zlib.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "weir/io/file.hpp"
#include "weir/io/npy.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "weir/stream/generate.hpp"
#include "weir/stream/reader.hpp"
#include "weir/stream/writer.hpp"
#include "workload.hpp"

namespace weir::bench {
namespace {

constexpr std::uint64_t n = std::uint64_t{1} << 24;
constexpr std::size_t file_events = std::size_t{1} << 21;
/// Of the matrix in the files of whole rows.
constexpr std::uint64_t columns = 64;
constexpr std::uint64_t rows = file_events / columns;

/// Lines of the files of keys: enough that the names of the first keys do not matter.
constexpr std::size_t key_lines = std::size_t{1} << 24;

/// A directory of its own for files of events, removed at the end. Files are made when they are first asked for.
class EventFiles {
 public:
  EventFiles() {
    std::string name = std::filesystem::temp_directory_path() / "weir-bench-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot create " + name);
    directory_ = name;
  }
  ~EventFiles() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  EventFiles(const EventFiles&) = delete;
  EventFiles& operator=(const EventFiles&) = delete;

  /// The deltas as the entries of a matrix, row by row; `extension` is "csv" or "npy".
  std::string path_of_rows(DeltaLaw deltas, const std::string& extension) const {
    const std::string path = directory_ / fmt::format("rows-{}.{}", static_cast<int>(deltas), extension);
    if (std::filesystem::exists(path)) return path;
    const std::vector<double> values = events(deltas).delta;
    if (extension == "npy") {
      write_npy(values, path);
    } else {
      EventBatch batch;
      for (std::uint64_t i = 0; i < rows; ++i)
        batch.rows.push_back(Operand::A, i, 1, std::span(values).subspan(i * columns, columns));
      write(batch, path);
    }
    return path;
  }

  /// Lines "u7" of keys that are text, or "u7,3" of keys and deltas; zipf or uniform.
  std::string path_of_keys(bool is_zipf, bool has_deltas) const {
    const std::string path = directory_ / fmt::format("keys-{}-{}.csv", is_zipf, has_deltas);
    if (std::filesystem::exists(path)) return path;
    GeneratorOptions options;
    options.kind = is_zipf ? StreamKind::zipf : StreamKind::flat;
    options.n = std::uint64_t{1} << 20;
    options.events = key_lines;
    EventBatch batch;
    batch.resize(key_lines);
    EventGenerator(options).fill(0, batch);
    std::string text;
    for (std::size_t t = 0; t < batch.size(); ++t)
      text += has_deltas ? fmt::format("u{},{}\n", batch.i[t], t % 1500) : fmt::format("u{}\n", batch.i[t]);
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  /// `extension` is "csv", "csv.gz" or "bin".
  std::string path(DeltaLaw deltas, const std::string& extension) const {
    const std::string path = directory_ / fmt::format("{}.{}", static_cast<int>(deltas), extension);
    if (std::filesystem::exists(path)) return path;
    if (extension == "csv.gz") {
      compress(this->path(deltas, "csv"), path);
    } else {
      write(events(deltas), path);
    }
    return path;
  }

 private:
  static EventBatch events(DeltaLaw deltas) {
    GeneratorOptions options;
    options.n = n;
    options.events = file_events;
    options.deltas = deltas;
    EventBatch batch;
    batch.resize(file_events);
    EventGenerator(options).fill(0, batch);
    return batch;
  }
  static void write(const EventBatch& batch, const std::string& path) {
    EventWriter writer(path, format_of_name(path));
    writer.write(batch);
    writer.close();
  }
  static void write_npy(std::span<const double> values, const std::string& path) {
    const std::string shape =
        fmt::format("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
    std::ofstream file(path, std::ios::binary);
    file << npy_magic << '\x01' << '\0' << '\x76' << '\0' << fmt::format("{:<117}\n", shape);  // 0x76 = 118 bytes
    file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size_bytes()));
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path);
  }
  static void compress(const std::string& from, const std::string& to) {
    const std::string text = read_whole_file(InputFile(from));
    const gzFile file = gzopen(to.c_str(), "wb");
    const bool good = file != nullptr && gzwrite(file, text.data(), static_cast<unsigned>(text.size())) > 0;
    if (gzclose(file) != Z_OK || !good) throw std::runtime_error("cannot write " + to);
  }

  std::filesystem::path directory_;
};

const EventFiles& files() {
  static const EventFiles files;
  return files;
}

EventReader open(DeltaLaw deltas, const std::string& extension) {
  ReadOptions options;
  options.shapes = {{Operand::y, n, 1}};
  return EventReader({files().path(deltas, extension)}, options);
}

EventReader open_rows(DeltaLaw deltas, const std::string& extension) {
  ReadOptions options;
  options.shapes = {{Operand::A, rows, columns}};
  options.default_operand = Operand::A;
  return EventReader({files().path_of_rows(deltas, extension)}, options);
}

/// `read` counts the numbers that were read.
void finish(benchmark::State& state, std::size_t read, std::size_t of_file = file_events) {
  const auto passes = static_cast<std::size_t>(state.iterations());
  if (read != passes * of_file) state.SkipWithError("not all events were read");
  state.SetItemsProcessed(static_cast<std::int64_t>(read));
}

void read(benchmark::State& state, DeltaLaw deltas, const std::string& extension) {
  open(deltas, extension);  // makes the file
  std::size_t read = 0;
  EventBatch batch;
  for (auto _ : state) {
    for (EventReader reader = open(deltas, extension); reader.next(batch);) read += batch.size();
  }
  finish(state, read);
}

/// An item is a value.
void read_rows(benchmark::State& state, DeltaLaw deltas, const std::string& extension) {
  open_rows(deltas, extension);  // makes the file
  std::size_t read = 0;
  EventBatch batch;
  for (auto _ : state) {
    for (EventReader reader = open_rows(deltas, extension); reader.next(batch);) read += batch.rows.values.size();
  }
  finish(state, read);
}

void read_keys(benchmark::State& state, bool is_zipf, bool has_deltas, bool with_names) {
  const std::string path = files().path_of_keys(is_zipf, has_deltas);
  std::size_t read = 0;
  EventBatch batch;
  ReadOptions options;
  options.columns = {.key = {"1"}, .delta = has_deltas ? "2" : "1"};
  options.key_seed = 1;
  for (auto _ : state) {
    if (with_names) options.names = std::make_shared<NameSink>(usual_names);
    for (EventReader reader({path}, options); reader.next(batch);) read += batch.size();
  }
  finish(state, read, key_lines);
}

void ingest_file(benchmark::State& state, std::uint32_t lanes) {
  open(DeltaLaw::real, "bin");
  VectorSketch sketch(sketch_config(n, lanes, 512, 1));
  std::size_t read = 0;
  EventBatch batch;
  for (auto _ : state) {
    for (EventReader reader = open(DeltaLaw::real, "bin"); reader.next(batch);) {
      sketch.update(batch.i, batch.delta);
      read += batch.size();
    }
  }
  finish(state, read);
}

}  // namespace

void register_reading() {
  for (const auto& [deltas, name] : {std::pair{DeltaLaw::sign, "signs"}, std::pair{DeltaLaw::real, "reals"}}) {
    for (const std::string extension : {"csv", "csv.gz", "bin"}) {
      benchmark::RegisterBenchmark(fmt::format("read/{}/deltas:{}", extension, name).c_str(),
                                   [=, deltas = deltas](benchmark::State& state) { read(state, deltas, extension); });
    }
    for (const std::string extension : {"csv", "npy"}) {
      benchmark::RegisterBenchmark(
          fmt::format("read_rows/{}/d:{}/values:{}", extension, columns, name).c_str(),
          [=, deltas = deltas](benchmark::State& state) { read_rows(state, deltas, extension); });
    }
  }
  for (const bool is_zipf : {true, false})
    for (const bool has_deltas : {false, true})
      for (const bool with_names : {false, true})
        benchmark::RegisterBenchmark(
            fmt::format("read_keys/{}/{}{}", is_zipf ? "zipf" : "uniform", has_deltas ? "deltas" : "counts",
                        with_names ? "/names" : "")
                .c_str(),
            [=](benchmark::State& state) { read_keys(state, is_zipf, has_deltas, with_names); });
  for (const std::uint32_t lanes : {8U, 16U}) {
    benchmark::RegisterBenchmark(fmt::format("ingest_from_binary/lanes:{}", lanes).c_str(),
                                 [=](benchmark::State& state) { ingest_file(state, lanes); });
  }
}

}  // namespace weir::bench
