// Events from files, through EventReader. The files are in the page cache: this is the cost of decoding.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <zlib.h>

#include <array>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "weir/io/file.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "weir/stream/generate.hpp"
#include "weir/stream/reader.hpp"
#include "weir/stream/writer.hpp"
#include "workload.hpp"

namespace weir::bench {
namespace {

constexpr std::uint64_t n = std::uint64_t{1} << 24;
constexpr std::size_t file_events = std::size_t{1} << 21;

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

  /// `extension` is "csv", "csv.gz" or "bin".
  std::string path(DeltaLaw deltas, const std::string& extension) const {
    const std::string path = directory_ / fmt::format("{}.{}", static_cast<int>(deltas), extension);
    if (std::filesystem::exists(path)) return path;
    if (extension == "csv.gz") {
      compress(this->path(deltas, "csv"), path);
    } else {
      write(deltas, path);
    }
    return path;
  }

 private:
  static void write(DeltaLaw deltas, const std::string& path) {
    GeneratorOptions options;
    options.n = n;
    options.events = file_events;
    options.deltas = deltas;
    EventBatch batch;
    batch.resize(file_events);
    EventGenerator(options).fill(0, batch);
    EventWriter writer(path, format_of_name(path));
    writer.write(batch);
    writer.close();
  }
  static void compress(const std::string& from, const std::string& to) {
    const std::string text = read_whole_file(InputFile(from));
    const gzFile file = gzopen(to.c_str(), "wb");
    const bool good = file != nullptr && gzwrite(file, text.data(), static_cast<unsigned>(text.size())) > 0;
    if (gzclose(file) != Z_OK || !good) throw std::runtime_error("cannot write " + to);
  }

  std::filesystem::path directory_;
};

EventReader open(DeltaLaw deltas, const std::string& extension) {
  static const EventFiles files;
  ReadOptions options;
  options.shapes = {{Operand::y, n, 1}};
  return EventReader({files.path(deltas, extension)}, options);
}

void finish(benchmark::State& state, std::size_t read) {
  const auto passes = static_cast<std::size_t>(state.iterations());
  if (read != passes * file_events) state.SkipWithError("not all events were read");
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
  }
  for (const std::uint32_t lanes : {8U, 16U}) {
    benchmark::RegisterBenchmark(fmt::format("ingest_from_binary/lanes:{}", lanes).c_str(),
                                 [=](benchmark::State& state) { ingest_file(state, lanes); });
  }
}

}  // namespace weir::bench
