// What readers leave unread is read by others, in another number, once.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "io/npy_bytes.hpp"
#include "stream_testing.hpp"
#include "support/message_of.hpp"
#include "weir/stream/binary.hpp"
#include "weir/stream/side_by_side.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

constexpr std::uint64_t no_end = std::numeric_limits<std::uint64_t>::max();
using Ranges = std::vector<FileRange>;
using Random = std::mt19937_64;

/// ReadOptions::ranges for a single file.
std::vector<Ranges> of_one_file(const Ranges& ranges) { return {ranges}; }

std::uint64_t below(Random& random, std::uint64_t bound) { return random() % bound; }

/// Events of both kinds, whatever their order.
struct Multiset {
  std::vector<std::tuple<Operand, std::uint64_t, std::uint64_t, double>> entries;
  std::vector<std::tuple<Operand, std::uint64_t, double, std::vector<double>>> rows;

  void add(const EventBatch& batch) {
    for (std::size_t t = 0; t < batch.size(); ++t)
      entries.emplace_back(batch.operands[t], batch.i[t], batch.j[t], batch.delta[t]);
    for (std::size_t t = 0; t < batch.rows.size(); ++t) {
      const auto row = batch.rows.row(t);
      rows.emplace_back(batch.rows.operands[t], batch.rows.i[t], batch.rows.weights[t],
                        std::vector<double>(row.begin(), row.end()));
    }
  }
  [[nodiscard]] std::size_t size() const { return entries.size() + rows.size(); }
  void sort() {
    std::ranges::sort(entries);
    std::ranges::sort(rows);
  }
  bool operator==(const Multiset&) const = default;
};

struct Outcome {
  Multiset events;
  std::uint64_t skipped = 0;

  bool operator==(const Outcome&) const = default;
};

Outcome read_undisturbed(const std::vector<std::string>& paths, const ReadOptions& options) {
  Outcome all;
  EventReader reader(paths, options);
  for (EventBatch batch; reader.next(batch);) all.events.add(batch);
  all.skipped = reader.skipped();
  all.events.sort();
  return all;
}

/// Reads with parties that stop and hand on, again and again.
Outcome read_with_stops(const std::vector<std::string>& paths, ReadOptions options, Random& random, std::uint64_t steps,
                        std::size_t spare) {
  Outcome all;
  const std::uint64_t stops = 1 + below(random, 4);
  for (std::uint64_t stop = 0; stop <= stops; ++stop) {
    options.slice_count = static_cast<std::uint32_t>(1 + below(random, 4));
    options.batch = 1 + below(random, 60);
    std::vector<EventReader> readers;
    for (options.slice = 0; options.slice < options.slice_count; ++options.slice) readers.emplace_back(paths, options);
    EventBatch batch;
    const auto step = [&](EventReader& reader) {
      const std::size_t most = below(random, 8) == 0 ? no_end : 1 + below(random, 30);
      const bool delivered = reader.next(batch, most);
      EXPECT_EQ(delivered, !batch.empty());
      EXPECT_LE(batch.events(), std::min(most, options.batch) + spare);
      all.events.add(batch);
      return delivered;
    };
    if (stop < stops) {
      for (std::uint64_t left = below(random, steps); left > 0; --left) step(readers[below(random, readers.size())]);
    } else {
      for (EventReader& reader : readers) {
        while (step(reader)) {
        }
        for (const Ranges& ranges : reader.unread()) EXPECT_TRUE(ranges.empty());
      }
    }
    std::vector<Ranges> left(paths.size());
    std::shuffle(readers.begin(), readers.end(), random);
    for (EventReader& reader : readers) {
      all.skipped += reader.skipped();
      const auto part = reader.unread();
      EXPECT_EQ(part.size(), paths.size());
      EXPECT_EQ(reader.unread(), part);
      for (std::size_t file = 0; file < paths.size(); ++file)
        left[file].insert(left[file].end(), part[file].begin(), part[file].end());
    }
    options.ranges = left;
  }
  all.events.sort();
  return all;
}

struct Stopping : testing::Test {
  /// `spare`: events that a batch may hold beyond what was asked for.
  void expect_once(const std::vector<std::string>& paths, const ReadOptions& options, std::size_t spare = 0,
                   int times = 60) {
    const Outcome whole = read_undisturbed(paths, options);
    ASSERT_GT(whole.events.size(), 0U);
    // So that parties are stopped anywhere, also after the end.
    const std::uint64_t steps = 2 + whole.events.size() / 4;
    for (int time = 0; time < times; ++time) {
      Random random(static_cast<std::uint64_t>(time));
      const std::uint64_t some = below(random, 2) == 0 ? steps : 8;
      ASSERT_EQ(read_with_stops(paths, options, random, some, spare), whole) << paths.front() << ", seed " << time;
    }
  }
  void expect_once(const std::string& name, const std::string& bytes, const ReadOptions& options = {},
                   std::size_t spare = 0) {
    expect_once({directory_.write(name, bytes)}, options, spare);
    expect_once({directory_.write(name + ".gz", gzip(bytes))}, options, spare, 20);
  }

  TemporaryDirectory directory_;
};

/// Lines of all kinds: 1 of `every` is bad.
std::string lines_of_all_kinds(std::uint64_t count, std::uint64_t every, std::string_view end, bool rows = true) {
  Random random(count);
  std::string text = "\xEF\xBB\xBF# a comment\n";
  for (std::uint64_t k = 0; k < count; ++k) {
    if (every > 0 && below(random, every) == 0) {
      text += below(random, 3) == 0 ? std::string(6000, '7') : fmt::format("{},nonsense", k);
      text += end;
    }
    switch (below(random, rows ? 6 : 4)) {
      case 0:
        text += fmt::format("{},{}", k, k + 1);
        break;
      case 1:
        text += fmt::format("A\t{}\t{}\t-{}.5", k, below(random, 5), k);
        break;
      case 2:
        text += fmt::format("# comment {}{}{}y, {}, +{}", k, end, end, k, k);
        break;
      case 3:
        text += fmt::format("x {} {}e-3", k, k);
        break;
      default:
        text += fmt::format("A,{},{}*,1,2,{}.5,4,5", k, below(random, 2) == 0 ? "" : "-", k);
    }
    text += end;
  }
  return text;
}

const ReadOptions skipping{.on_error = OnError::skip,
                           .shapes = {{Operand::y, 1000000, 1}, {Operand::x, 1000000, 1}, {Operand::A, 1000000, 5}}};

TEST_F(Stopping, Text) {
  expect_once("plain.csv", lines_of_all_kinds(150, 0, "\n", false));
  expect_once("rows.csv", lines_of_all_kinds(150, 0, "\n"));
  expect_once("bad.csv", lines_of_all_kinds(120, 6, "\n"), skipping);
  expect_once("crlf.csv", lines_of_all_kinds(120, 6, "\r\n"), skipping);
  std::string open = lines_of_all_kinds(50, 6, "\n");
  open += "7,8";
  expect_once("open.csv", open, skipping);
  expect_once("comments.csv", open + "\n# the end\n\n#", skipping);
  expect_once("overlong.csv", open + "\n" + std::string(4097 + 32 * 5, '7'), skipping);
  expect_once("bad_end.csv", open + "\nbad\n\nbad", skipping);
  // A row fills a batch.
  ReadOptions filled = skipping;
  filled.row_values = 7;
  expect_once("filled.csv", lines_of_all_kinds(100, 6, "\n"), filled);
}

TEST_F(Stopping, LinesLongerThanWhatIsReadAtOnce) {
  std::string text;
  for (int k = 0; k < 40; ++k)
    text += k % 4 == 0 ? fmt::format("{},{}\n", k, k) : std::string(static_cast<std::size_t>(3000 * k), '9') + "\n";
  expect_once("long.csv", text, skipping);
}

std::string matrix_market(std::string_view kind, std::uint64_t count, bool bad) {
  Random random(count);
  std::string lines;
  std::uint64_t entries = count;
  for (std::uint64_t k = 0; k < count; ++k) {
    const std::uint64_t i = 2 + below(random, 90);
    lines += fmt::format("{} {} {}\n", i, 1 + below(random, i - 1), k + 1);
    if (below(random, 5) == 0) lines += "% comment\n\n";
    if (below(random, 50) == 0) lines += "%" + std::string(5000, 'x') + "\n";
    if (bad && below(random, 6) == 0) {
      lines += below(random, 2) == 0 ? "1 2 three\n" : std::string(5000, '9') + "\n";
      ++entries;
    }
  }
  return fmt::format("%%MatrixMarket matrix coordinate real {}\n% comment\n100 100 {}\n{}", kind, entries, lines);
}

TEST_F(Stopping, MatrixMarket) {
  const ReadOptions stop{.default_operand = Operand::A};
  const ReadOptions skip{.on_error = OnError::skip, .default_operand = Operand::A};
  expect_once("general.mtx", matrix_market("general", 100, false), stop);
  expect_once("bad.mtx", matrix_market("general", 100, true), skip);
  expect_once("symmetric.mtx", matrix_market("symmetric", 100, false), stop, 1);
  expect_once("skew.mtx", matrix_market("skew-symmetric", 100, true), skip, 1);
}

TEST_F(Stopping, Arrays) {
  std::vector<double> values(97 * 3);
  std::iota(values.begin(), values.end(), 1);
  const auto array = [&](const char* fortran, const char* shape) {
    return npy(dictionary("<f8", fortran, shape), raw(values));
  };
  const ReadOptions matrix{.default_operand = Operand::A};
  expect_once("c.npy", array("False", "(97, 3)"), matrix);
  expect_once({directory_.write("f.npy", array("True", "(97, 3)"))}, matrix);
  for (const std::size_t bad : {0U, 4U, 5U, 100U, 290U}) values[bad] = std::numeric_limits<double>::quiet_NaN();
  const ReadOptions skip{.on_error = OnError::skip, .default_operand = Operand::A, .row_values = 20};
  expect_once("bad.npy", array("False", "(97, 3)"), skip);
  expect_once({directory_.write("bad_f.npy", array("True", "(97, 3)"))}, skip);
  for (std::size_t t = 10; t < values.size(); t += 3) values[t] = 0;
  for (const char* shape : {"(291,)", "(1, 291)", "(291, 1)"})
    expect_once("vector.npy", array("False", shape), {.on_error = OnError::skip});
}

TEST_F(Stopping, BinaryFiles) {
  std::vector<Event> events;
  const Operand named = operand_named("Stopped", true);
  for (std::uint64_t k = 0; k < 5000; ++k) {
    const auto delta = static_cast<double>(k);
    if (k < 3000) {
      events.push_back({Operand::y, k, 0, delta});
    } else {
      events.push_back({k % 3 == 0 ? named : Operand::A1, k, k % 7, delta});
    }
  }
  const std::string path = directory_ / "e.bin";
  write_events(path, events, EventFormat::binary);
  ASSERT_GE(summarise_binary(path).blocks, 3U);
  ReadOptions options;
  expect_once({path}, options);
  const std::string compressed = directory_.write("e.bin.gz", gzip(contents_of(path)));
  expect_once({compressed}, options, 0, 20);
}

TEST_F(Stopping, ManyFilesOfAllKinds) {
  const std::string text = directory_.write("a.csv", lines_of_all_kinds(40, 5, "\n", false));
  const std::string zipped = directory_.write("b.csv.gz", gzip(lines_of_all_kinds(41, 5, "\n")));
  const std::string matrix = directory_.write("c.mtx", matrix_market("symmetric", 30, true));
  const std::string zipped_matrix = directory_.write("d.mtx.gz", gzip(matrix_market("general", 31, true)));
  std::vector<Event> events;
  for (std::uint64_t k = 0; k < 1500; ++k) events.push_back({Operand::A, k, k % 5, 1});
  write_events(directory_ / "e.bin", events, EventFormat::binary);
  ReadOptions options = skipping;
  options.default_operand = Operand::A;
  options.shapes[2].columns = 200;
  // The text names its operands, but for lines that are bad then.
  expect_once({text, zipped, matrix, zipped_matrix, directory_ / "e.bin"}, options, 1);
  std::vector<std::string> paths = {zipped, text, directory_ / "e.bin", zipped_matrix, matrix, text};
  for (const std::string& path : paths) options.sources.push_back(look_at(path));
  expect_once(paths, options, 1);
}

TEST_F(Stopping, CompressedFilesAreReadInPieces) {
  write_events(directory_ / "e.bin", std::vector<Event>(60, {Operand::A, 1, 2, 3}), EventFormat::binary);
  const std::vector<std::string> contents = {lines_of_all_kinds(40, 4, "\n"), matrix_market("symmetric", 40, true),
                                             contents_of(directory_ / "e.bin"),
                                             npy(dictionary("<f8", "False", "(20, 5)"), raw(std::vector<double>(100)))};
  const std::string path = directory_ / "e.gz";
  ReadOptions options = skipping;
  options.default_operand = Operand::A;
  options.shapes[2].columns = 5;
  for (const std::string& bytes : contents) {
    directory_.write("e.gz", gzip(bytes));
    if (bytes.starts_with("%%")) options.shapes[2].columns = 100;
    if (bytes.starts_with("\x93")) options.shapes[2].columns = 5;
    const Outcome whole = read_undisturbed({path}, options);
    for (std::uint64_t cut = 0; cut < 17; ++cut) {
      Outcome all;
      for (const Ranges& ranges : {Ranges{{0, cut}, {cut + 3, no_end}}, Ranges{{cut, cut + 3}}}) {
        ReadOptions part = options;
        part.ranges = of_one_file(ranges);
        // The second of the parties has the file, as it is the second file.
        part.ranges->insert(part.ranges->begin(), Ranges{});
        part.slice = 1;
        part.slice_count = 2;
        const Outcome some = read_undisturbed({path, path}, part);
        all.events.entries.insert(all.events.entries.end(), some.events.entries.begin(), some.events.entries.end());
        all.events.rows.insert(all.events.rows.end(), some.events.rows.begin(), some.events.rows.end());
        all.skipped += some.skipped;
      }
      all.events.sort();
      ASSERT_EQ(all, whole) << bytes.substr(1, 5) << ", " << cut;
    }
  }
}

TEST_F(Stopping, AsManyEventsAsWereAskedFor) {
  write_events(directory_ / "e.bin", std::vector<Event>(3000, {Operand::y, 1, 0, 1}), EventFormat::binary);
  const std::string text = directory_.write("e.csv", lines_of_all_kinds(500, 7, "\n"));
  const std::vector<std::string> paths = {directory_ / "e.bin", text, directory_ / "e.bin"};
  const std::size_t all = read_undisturbed(paths, skipping).events.size();
  EventReader reader(paths, skipping);
  EventBatch batch;
  std::size_t total = 0;
  for (std::size_t wanted = 1;; wanted = wanted % 700 + 13) {
    std::size_t got = 0;
    while (got < wanted && reader.next(batch, wanted - got)) got += batch.events();
    total += got;
    ASSERT_LE(got, wanted);
    if (got < wanted) break;
  }
  EXPECT_EQ(total, all);
  EXPECT_THROW(reader.next(batch, 0), UsageError);
}

TEST_F(Stopping, WhatIsUnreadIsSaidExactly) {
  const auto unread_after = [&](const std::string& path, std::size_t events, ReadOptions options = {}) {
    EventReader reader({path}, options);
    EventBatch batch;
    while (events > 0 && reader.next(batch, events)) events -= batch.events();
    return reader.unread().at(0);
  };
  const std::string text = directory_.write("e.csv", "1,2\n#\n3,4\r\nbad\n5,6");
  const ReadOptions skip{.on_error = OnError::skip};
  EXPECT_EQ(unread_after(text, 0, skip), (Ranges{{0, no_end}}));
  EXPECT_EQ(unread_after(text, 1, skip), (Ranges{{4, 18}}));
  EXPECT_EQ(unread_after(text, 2, skip), (Ranges{{11, 18}}));
  EXPECT_EQ(unread_after(text, 3, skip), Ranges{});
  EXPECT_EQ(unread_after(text, 0, {.slice = 1, .slice_count = 2}), (Ranges{{9, 18}}));
  ReadOptions parts = skip;
  parts.ranges = of_one_file({{15, no_end}, {0, 5}});
  EXPECT_EQ(unread_after(text, 1, parts), (Ranges{{4, 5}, {15, 18}}));
  EXPECT_EQ(unread_after(text, 2, parts), Ranges{});
  const std::string zipped = directory_.write("e.csv.gz", gzip("1,2\n#\n3,4\r\nbad\n5,6"));
  EXPECT_EQ(unread_after(zipped, 2, skip), (Ranges{{2, no_end}}));
  EXPECT_EQ(unread_after(zipped, 3, skip), (Ranges{{4, no_end}}));
  EXPECT_EQ(unread_after(zipped, 4, skip), Ranges{});
  EXPECT_EQ(unread_after(zipped, 0, {.slice = 1, .slice_count = 2}), Ranges{});
  write_events(directory_ / "e.bin", std::vector<Event>(3000, {Operand::y, 1, 0, 1}), EventFormat::binary);
  EXPECT_EQ(unread_after(directory_ / "e.bin", 1500), (Ranges{{1500, 3000}}));
}

TEST_F(Stopping, WhatWasAgreedOnHoldsForRanges) {
  const std::string path = directory_.write("e.csv", "1,2\n3,4\n");
  ReadOptions options{.slice_count = 2, .sources = {look_at(path)}};
  EventReader reader({path}, options);
  std::ofstream(path, std::ios::binary | std::ios::app) << "5,6\n";
  options.slice = 1;
  EXPECT_EQ(reader.unread().at(0), (Ranges{{0, 4}}));
  expect_error([&] { EventReader late({path}, options); }, {"12 bytes here, 8 where it was looked at first"});
}

TEST_F(Stopping, APipeIsLookedAtByNobody) {
  const std::string pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  // A reader that waited for the writer would hang here.
  EXPECT_EQ(EventReader({pipe}, {.slice_count = 2}).unread().at(0), (Ranges{{0, no_end}}));
  EXPECT_EQ(EventReader({pipe}, {.slice = 1, .slice_count = 2}).unread().at(0), Ranges{});
}

TEST_F(Stopping, AReaderThatFailedStillKnowsWhatItDelivered) {
  const std::string path = directory_.write("e.csv", "1,2\n3,4\nbad\n5,6\n");
  EventReader reader({path}, {});
  EventBatch batch;
  ASSERT_TRUE(reader.next(batch, 1));
  EXPECT_THROW(reader.next(batch), InputError);
  EXPECT_EQ(reader.unread().at(0), (Ranges{{4, 16}}));
}

TEST_F(Stopping, LinesAreNumberedFromTheBeginningOfTheFile) {
  const std::string lines = "1,2\n# comment\n3,4\nbad\n5,6\nworse\n7,8\n";
  const std::string path = directory_.write("e.csv", lines);
  const auto range_of = [&](std::string_view from) { return FileRange{lines.find(from), no_end}; };
  const auto message = [&](const std::string& file, const Ranges& ranges, OnError on_error) {
    ReadOptions options{.on_error = on_error, .ranges = of_one_file(ranges)};
    EventReader reader({file}, options);
    EventBatch batch;
    while (reader.next(batch)) {
    }
    return reader.first_skipped();
  };
  const Ranges two{{0, 3}, range_of("5,6")};
  EXPECT_EQ(message(path, two, OnError::skip).substr(0, path.size() + 3), path + ":6:");
  EXPECT_EQ(message(path, {{16, no_end}}, OnError::skip).substr(0, path.size() + 3), path + ":4:");
  expect_error([&] { (void)message(path, two, OnError::stop); }, {path + ":6:"});
  const std::string zipped = directory_.write("e.csv.gz", gzip(lines));
  expect_error([&] { (void)message(zipped, {{0, 2}, {3, no_end}}, OnError::stop); }, {zipped + ":6:"});
  EXPECT_EQ(message(zipped, {{0, 2}, {3, no_end}}, OnError::skip).substr(0, zipped.size() + 3), zipped + ":6:");
}

TEST_F(Stopping, EveryEntryOfAMatrixMarketFileIsStillCounted) {
  const std::string good = matrix_market("general", 60, false);
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {good + "1 1 1\n", "promises 60 entries, the file has 61"},
      {good.substr(0, good.rfind('\n', good.size() - 2) + 1), "promises 60 entries, the file has 59"}};
  for (const auto& [text, complaint] : wrong) {
    const std::string plain = directory_.write("m.mtx", text);
    const std::string zipped = directory_.write("m.mtx.gz", gzip(text));
    for (const std::string& path : {plain, zipped}) {
      for (std::uint64_t seed = 0; seed < 40; ++seed) {
        Random random(seed);
        expect_error([&] { (void)read_with_stops({path}, {.default_operand = Operand::A}, random, 20, 0); },
                     {complaint});
      }
    }
    // All entries have been delivered, but the end has not been seen.
    for (const std::string& path : {plain, zipped}) {
      ReadOptions options{.default_operand = Operand::A};
      EventReader reader({path}, options);
      EventBatch batch;
      const std::size_t there = text.size() > good.size() ? 61 : 59;
      for (std::size_t got = 0; got < there; got += batch.events()) ASSERT_TRUE(reader.next(batch, there - got));
      options.ranges = reader.unread();
      for (options.slice_count = 1; options.slice_count < 3; ++options.slice_count) {
        expect_error(
            [&] {
              for (options.slice = 0; options.slice < options.slice_count; ++options.slice) {
                EventReader later({path}, options);
                EXPECT_FALSE(later.next(batch));
              }
            },
            {complaint});
      }
    }
  }
}

TEST_F(Stopping, DamageAtTheEndIsFoundByALaterReader) {
  std::vector<double> values(20, 1);
  const std::string array = npy(dictionary("<f8", "False", "(10, 2)"), raw(values));
  const std::string path = directory_.write("a.npy.gz", gzip(array + "more"));
  ReadOptions options{.default_operand = Operand::A};
  EventReader reader({path}, options);
  EventBatch batch;
  for (int row = 0; row < 10; ++row) ASSERT_TRUE(reader.next(batch, 1));
  options.ranges = reader.unread();
  expect_error(
      [&] {
        EventReader later({path}, options);
        later.next(batch);
      },
      {path, "10 x 2", "found more"});
}

TEST_F(Stopping, AFileWithoutEventsIsFoundWhoeverReadsIt) {
  const std::string comments = "# one\n# two\n# three\n";
  for (const std::string& path : {directory_.write("c.csv", comments), directory_.write("c.csv.gz", gzip(comments))}) {
    ReadOptions options{.ranges = of_one_file({{0, no_end}})};
    for (options.slice_count = 1; options.slice_count < 4; ++options.slice_count) {
      int complaints = 0;
      for (options.slice = 0; options.slice < options.slice_count; ++options.slice) {
        complaints += input_error([&] {
                        EventReader reader({path}, options);
                        EventBatch batch;
                        EXPECT_FALSE(reader.next(batch));
                      }).empty()
                          ? 0
                          : 1;
      }
      EXPECT_EQ(complaints, 1);
    }
    // The rest of a file in which there were some.
    options = {};
    options.ranges = of_one_file({{0, 0}, {6, 6}});
    EventReader none({path}, options);
    EventBatch batch;
    EXPECT_FALSE(none.next(batch));
  }
  const std::string tail = directory_.write("t.csv", "1,2\n# the end\n");
  ReadOptions options{.ranges = of_one_file({{4, no_end}})};
  EventReader reader({tail}, options);
  EventBatch batch;
  EXPECT_FALSE(reader.next(batch));
}

TEST_F(Stopping, FilesThatAreDoneAreNotOpened) {
  const std::string path = directory_.write("e.bin", binary_magic);  // of which the rest is missing
  ReadOptions options{.ranges = std::vector<Ranges>(1)};
  EventReader reader({path}, options);
  EventBatch batch;
  EXPECT_FALSE(reader.next(batch));
  EXPECT_EQ(reader.unread(), std::vector<Ranges>(1));
  options.ranges = of_one_file({{3, 3}});
  EventReader another({path}, options);
  EXPECT_FALSE(another.next(batch));
}

TEST_F(Stopping, HostileRangesAreRefused) {
  std::vector<double> values(20, 1);
  write_events(directory_ / "e.bin", std::vector<Event>(3000, {Operand::A, 1, 0, 1}), EventFormat::binary);
  const std::string lines = "A,1,2,3\nA,4,5,6\nA,7,8,9\n";
  const std::string array = npy(dictionary("<f8", "False", "(10, 2)"), raw(values));
  const std::vector<std::string> paths = {
      directory_.write("e.csv", lines),
      directory_.write("m.mtx", matrix_market("symmetric", 10, false)),
      directory_.write("a.npy", array),
      directory_ / "e.bin",
      directory_.write("e.csv.gz", gzip(lines)),
      directory_.write("m.mtx.gz", gzip(matrix_market("general", 10, false))),
      directory_.write("a.npy.gz", gzip(array)),
      directory_.write("e.bin.gz", gzip(contents_of(directory_ / "e.bin"))),
  };
  for (const std::string& path : paths) {
    const auto refuse = [&](const Ranges& ranges, std::initializer_list<std::string_view> parts) {
      for (const std::uint32_t slices : {1U, 3U}) {
        ReadOptions options{.slice_count = slices, .default_operand = Operand::A, .ranges = of_one_file(ranges)};
        const std::string message = message_of<InputError>([&] {
          EventReader reader({path}, options);
          EventBatch batch;
          while (reader.next(batch)) {
          }
        });
        EXPECT_TRUE(message.starts_with(path)) << message;
        for (const std::string_view part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
      }
    };
    refuse({{7, 3}}, {"from 7 to 3 ends before it begins"});
    refuse({{0, 5}, {4, 9}}, {"from 0 to 5", "from 4 to 9", "overlap"});
    refuse({{0, no_end}, {no_end - 1, no_end}}, {"overlap"});
    refuse({{2, no_end}, {0, 3}}, {"overlap"});
    refuse({{0, 1}, {1000000, no_end}}, {"from 1000000", "begins behind the end, which is at"});
    refuse({{no_end - 1, no_end}}, {"begins behind the end"});
  }
  EXPECT_THROW(EventReader({paths[0]}, {.ranges = std::vector<Ranges>(2)}), UsageError);
}

/// Replaces the number at a place in the bytes of a file.
template <class Number>
void put(std::string& bytes, std::size_t at, Number number) {
  std::memcpy(bytes.data() + at, &number, sizeof number);
}
std::uint64_t number_at(const std::string& bytes, std::size_t at) {
  std::uint64_t number;
  std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

TEST_F(Stopping, ForgedNumbersOfEventsAreRefused) {
  write_events(directory_ / "e.bin", std::vector<Event>(1500, {Operand::y, 1, 0, 1}), EventFormat::binary);
  std::string bytes = contents_of(directory_ / "e.bin");
  const std::size_t index = number_at(bytes, bytes.size() - 16), second = number_at(bytes, index + 16 + 16);
  ASSERT_EQ(number_at(bytes, bytes.size() - 32), 2U);  // blocks
  const std::uint64_t first = no_end - 100;
  // All checksums are right, but the second block would end behind the last number that there is.
  put(bytes, second + 16, first);
  put(bytes, second, XXH3_64bits(bytes.data() + second + 8, index - second - 8));
  put(bytes, index + 16 + 16 + 8, first);
  put(bytes, bytes.size() - 24, no_end);
  put(bytes, index, XXH3_64bits(bytes.data() + index + 8, bytes.size() - index - 8));
  const std::string path = directory_.write("forged.bin", bytes);
  for (const Ranges& ranges : {Ranges{{first, no_end}}, Ranges{{no_end - 10, no_end}}, Ranges{{5000, 6000}}}) {
    EventReader reader({path}, {.ranges = of_one_file(ranges)});
    EventBatch batch;
    expect_error([&] { reader.next(batch); }, {"forged.bin: byte", "another number of events than the index says"});
  }
}

TEST(Shares, PartitionTheRanges) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const std::uint64_t size = 1 + below(random, 60);
    std::vector<std::uint64_t> expected;
    Ranges ranges;
    for (std::uint64_t at = below(random, 5); at < size;) {
      const std::uint64_t end = at + below(random, 9);
      ranges.push_back({at, below(random, 5) == 0 && end >= size ? no_end : end});
      for (; at < std::min(end, size); ++at) expected.push_back(at);
      at = end + below(random, 4);
    }
    std::shuffle(ranges.begin(), ranges.end(), random);
    for (const std::uint32_t count : {1U, 2U, 3U, 7U, 100U}) {
      std::vector<std::uint64_t> found;
      std::size_t smallest = expected.size(), largest = 0;
      for (std::uint32_t slice = 0; slice < count; ++slice) {
        const std::size_t before = found.size();
        const Ranges share = share_of(ranges, size, slice, count);
        for (const FileRange& range : share) {
          ASSERT_LT(range.begin, range.end);
          for (std::uint64_t at = range.begin; at < range.end; ++at) found.push_back(at);
        }
        for (std::size_t t = 1; t < share.size(); ++t) ASSERT_LT(share[t - 1].end, share[t].begin);
        smallest = std::min(smallest, found.size() - before);
        largest = std::max(largest, found.size() - before);
      }
      ASSERT_EQ(found, expected) << seed;
      ASSERT_LE(largest - smallest, 1U);
    }
  }
  EXPECT_EQ(share_of({{0, no_end}}, no_end, 1, 2), (Ranges{{no_end / 2, no_end}}));
  EXPECT_THROW((void)share_of({}, 1, 1, 1), UsageError);
  EXPECT_THROW((void)share_of({}, 1, 0, 0), UsageError);
  expect_error([] { (void)share_of({{2, 1}}, 5, 0, 1); }, {"from 2 to 1 ends before it begins"});
  expect_error([] { (void)share_of({{0, 3}, {2, 4}}, 5, 0, 1); }, {"overlap"});
  expect_error([] { (void)share_of({{6, 7}}, 5, 0, 1); }, {"behind the end, which is at 5"});
}

// Files side by side.

class StoppingSideBySide : public testing::Test {
 protected:
  static Outcome read_undisturbed(const SideBySide& files, std::uint64_t rows, const ReadOptions& options) {
    Outcome all;
    SideBySideReader reader(files, Operand::X, rows, options);
    for (EventBatch batch; reader.next(batch);) all.events.add(batch);
    all.skipped = reader.skipped();
    all.events.sort();
    return all;
  }
  static Outcome read_with_stops(const SideBySide& files, std::uint64_t rows, ReadOptions options, Random& random,
                                 std::uint64_t steps) {
    Outcome all;
    const std::uint64_t stops = 1 + below(random, 4);
    for (std::uint64_t stop = 0; stop <= stops; ++stop) {
      options.slice_count = static_cast<std::uint32_t>(1 + below(random, 4));
      options.batch = 1 + below(random, 60);
      std::vector<SideBySideReader> readers;
      for (options.slice = 0; options.slice < options.slice_count; ++options.slice)
        readers.emplace_back(files, Operand::X, rows, options);
      EventBatch batch;
      const auto step = [&](SideBySideReader& reader) {
        const std::size_t most = below(random, 8) == 0 ? no_end : 1 + below(random, 40);
        const bool delivered = reader.next(batch, most);
        EXPECT_EQ(delivered, !batch.empty());
        EXPECT_LE(batch.events(), std::min(most, options.batch));
        all.events.add(batch);
        return delivered;
      };
      if (stop < stops) {
        for (std::uint64_t left = below(random, steps); left > 0; --left) step(readers[below(random, readers.size())]);
      } else {
        for (SideBySideReader& reader : readers) {
          while (step(reader)) {
          }
        }
      }
      std::uint64_t horizon = below(random, 2) == 0 ? 0 : below(random, 2 * rows);
      for (const SideBySideReader& reader : readers) horizon = std::max(horizon, reader.passed());
      options.ranges = std::vector<Ranges>(1);
      for (const SideBySideReader& reader : readers) {
        all.skipped += reader.skipped();
        const Ranges part = reader.unread(horizon);
        options.ranges->front().insert(options.ranges->front().end(), part.begin(), part.end());
      }
    }
    all.events.sort();
    return all;
  }
  static void expect_once(const SideBySide& files, std::uint64_t rows, const ReadOptions& options) {
    const Outcome whole = read_undisturbed(files, rows, options);
    ASSERT_GT(whole.events.size(), 0U);
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
      Random random(seed);
      ASSERT_EQ(read_with_stops(files, rows, options, random, whole.events.size() / 10), whole) << seed;
    }
  }
  [[nodiscard]] std::string array(const std::string& name, std::uint64_t rows, std::uint64_t columns, bool fortran,
                                  const std::vector<std::size_t>& bad = {}) const {
    std::vector<double> values(rows * columns);
    std::iota(values.begin(), values.end(), 0.5);
    for (const std::size_t t : bad) values[t] = std::numeric_limits<double>::infinity();
    return directory_.write(
        name, npy(dictionary("<f8", fortran ? "True" : "False", fmt::format("({}, {})", rows, columns)), raw(values)));
  }

  TemporaryDirectory directory_;
};

TEST_F(StoppingSideBySide, Arrays) {
  const SideBySide good{.paths = {array("k.npy", 211, 3, false), array("v.npy", 211, 2, true)}, .columns = {3, 2}};
  expect_once(good, 211, {});
  expect_once(good, 211, {.row_values = 12});
  const SideBySide bad{.paths = {array("bk.npy", 211, 3, false, {0, 30, 33, 90, 600, 632}),
                                 array("bv.npy", 211, 2, true, {10, 11, 209, 421})},
                       .columns = {3, 2}};
  expect_once(bad, 211, {.on_error = OnError::skip});
  expect_once(bad, 211, {.on_error = OnError::skip, .row_values = 12});
}

TEST_F(StoppingSideBySide, Events) {
  std::string keys, values;
  for (std::uint64_t k = 0; k < 2500; ++k) {
    const char* star = k % 5 == 4 ? "-*" : "*";
    keys += fmt::format("A1,{},{},{},1\n", k / 2, star, k);
    values += fmt::format("A2,{},{},{}\n", k / 2, star, k);
  }
  const SideBySide files{.paths = {directory_.write("k.csv", keys), directory_.write("v.csv.gz", gzip(values))},
                         .columns = {2, 1},
                         .operands = {Operand::A1, Operand::A2}};
  expect_once(files, 1250, {});
  expect_once(files, 1250, {.row_values = 12});
}

TEST_F(StoppingSideBySide, HostileRangesAreRefused) {
  const SideBySide arrays{.paths = {array("k.npy", 20, 3, false), array("v.npy", 20, 2, true)}, .columns = {3, 2}};
  const std::string lines = "A1,0,*,1,2\nA1,1,*,1,2\n";
  const SideBySide events{.paths = {directory_.write("k.csv", lines), directory_.write("w.csv", lines)},
                          .columns = {2, 2},
                          .operands = {Operand::A1, Operand::A1}};
  for (const SideBySide& files : {arrays, events}) {
    const auto refuse = [&](const Ranges& ranges, std::initializer_list<std::string_view> parts) {
      expect_error(
          [&] {
            SideBySideReader reader(files, Operand::X, 20, {.ranges = of_one_file(ranges)});
            EventBatch batch;
            while (reader.next(batch)) {
            }
          },
          parts);
    };
    refuse({{3, 2}}, {files.paths[0], "ends before it begins"});
    refuse({{0, 2}, {1, 3}}, {files.paths[0], "overlap"});
    refuse({{21, no_end}}, {files.paths[0], "behind the end"});
    EXPECT_THROW(SideBySideReader(files, Operand::X, 20, {.ranges = std::vector<Ranges>(2)}), UsageError);
    SideBySideReader reader(files, Operand::X, 20, {.batch = 1});
    EventBatch batch;
    EXPECT_THROW(reader.next(batch, 0), UsageError);
    ASSERT_TRUE(reader.next(batch));
    EXPECT_EQ(reader.passed(), 1U);
    // Of arrays it is known how many rows they have.
    EXPECT_EQ(reader.unread(1), (Ranges{{1, files.operands.empty() ? 20 : no_end}}));
    EXPECT_THROW((void)reader.unread(0), UsageError);
  }
}

}  // namespace
}  // namespace weir
