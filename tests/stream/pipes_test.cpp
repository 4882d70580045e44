#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <stop_token>
#include <thread>

#include "stream_testing.hpp"
#include "support/message_of.hpp"
#include "weir/stream/background_reader.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;
using namespace std::chrono_literals;

std::size_t entries_of(const char* directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

/// A named pipe in a directory of its own.
class NamedPipe {
 public:
  NamedPipe() : path_(directory_ / "pipe") { EXPECT_EQ(::mkfifo(path_.c_str(), 0600), 0); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  TemporaryDirectory directory_;
  std::string path_;
};

/// The writing end of a named pipe that somebody has opened for reading, or will.
class Writer {
 public:
  explicit Writer(const std::string& path) : descriptor_(::open(path.c_str(), O_WRONLY | O_CLOEXEC)) {
    EXPECT_GE(descriptor_, 0);
  }
  ~Writer() { ::close(descriptor_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  void write(std::string_view text) const {
    EXPECT_EQ(::write(descriptor_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

 private:
  int descriptor_;
};

/// The next batch that is not empty; empty at the end.
EventBatch next_of(BackgroundReader& reader) {
  EventBatch batch;
  while (reader.next(batch, 10s) && batch.empty()) {
  }
  return batch;
}

/// Descriptor 0 is `descriptor` while this lives, or closed when that is -1.
class StandardInput {
 public:
  explicit StandardInput(int descriptor) : saved_(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10)) {
    if (descriptor < 0) {
      ::close(STDIN_FILENO);
    } else {
      ::dup2(descriptor, STDIN_FILENO);
    }
  }
  ~StandardInput() {
    ::dup2(saved_, STDIN_FILENO);
    ::close(saved_);
  }
  StandardInput(const StandardInput&) = delete;
  StandardInput& operator=(const StandardInput&) = delete;

 private:
  int saved_;
};

TEST(Cancelling, EndsAReaderWhereverItWaits) {
  const auto cancel = [](const std::string& path, const std::string& sent) {
    std::stop_source stop;
    EventReader reader({path}, {.stop = stop.get_token()});
    std::optional<Writer> writer;
    std::jthread other([&] {
      if (!sent.empty()) writer.emplace(path).write(sent);
      std::this_thread::sleep_for(20ms);
      stop.request_stop();
    });
    EventBatch batch;
    EXPECT_THROW(while (reader.next(batch)){}, Cancelled);
    EXPECT_THROW((void)reader.next(batch), Cancelled);  // and so it stays
  };
  const std::string zipped = gzip("1,2\n3,4\n5,6\n");
  cancel(NamedPipe().path(), "");                                   // nobody opens it
  cancel(NamedPipe().path(), "1");                                  // within the first bytes, which tell the format
  cancel(NamedPipe().path(), "1,2\n3,4\n5,6\n7,8\n9,");             // within a line
  cancel(NamedPipe().path(), zipped.substr(0, 5));                  // within the header of gzip
  cancel(NamedPipe().path(), zipped.substr(0, zipped.size() - 4));  // before its end
}

TEST(Cancelling, WorksForStandardInputWithoutTouchingItsFlags) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  {
    const StandardInput input(ends[0]);
    const int flags = ::fcntl(STDIN_FILENO, F_GETFL);
    std::stop_source stop;
    EventReader reader({"-"}, {.stop = stop.get_token()});
    std::jthread other([&] {
      std::this_thread::sleep_for(20ms);
      EXPECT_EQ(::fcntl(STDIN_FILENO, F_GETFL), flags);
      stop.request_stop();
    });
    EventBatch batch;
    EXPECT_THROW((void)reader.next(batch), Cancelled);
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Cancelling, EndsAReaderOfFiles) {
  const TemporaryDirectory directory;
  std::stop_source stop;
  EventReader reader({directory.write("e.csv", "1,2\n3,4\n")}, {.batch = 1, .stop = stop.get_token()});
  EventBatch batch;
  EXPECT_TRUE(reader.next(batch));
  stop.request_stop();
  EXPECT_THROW((void)reader.next(batch), Cancelled);
}

TEST(NamedPipes, AreNotAtTheirEndBeforeAWriterHasCome) {
  const NamedPipe pipe;
  EventReader reader({pipe.path()}, {});
  std::jthread other([&] {
    std::this_thread::sleep_for(20ms);
    const Writer writer(pipe.path());
    std::this_thread::sleep_for(20ms);
    writer.write("1,2\n");
  });
  EXPECT_EQ(drain(reader), (std::vector<Event>{{Operand::y, 1, 0, 2}}));
}

TEST(NamedPipes, AreAtTheirEndWhenTheWriterHasGone) {
  const NamedPipe pipe;
  EventReader reader({pipe.path()}, {});
  std::jthread other([&] { const Writer writer(pipe.path()); });
  EXPECT_EQ(input_error([&] { (void)drain(reader); }), pipe.path() + ": contains no events");
}

TEST(NamedPipes, AreOpenedByTheirPartyOnly) {
  const NamedPipe pipe;
  EventReader reader({pipe.path()}, {.slice = 1, .slice_count = 2});
  EXPECT_TRUE(drain(reader).empty());
}

TEST(StandardInputs, ThatAreClosedAreNamed) {
  const auto message = [](int descriptor) {
    const StandardInput input(descriptor);
    const std::string looked = input_error([] { (void)look_at("-"); });
    EventReader reader({"-"}, {});
    EventBatch batch;
    EXPECT_EQ(input_error([&] { (void)reader.next(batch); }), looked);
    return looked;
  };
  EXPECT_EQ(message(-1), "standard input: closed");
  // What stands in the place of a closed one.
  const int write_only = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(message(write_only), "standard input: closed");
  const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  EXPECT_EQ(message(event), "standard input: closed");
  ::close(write_only);
  ::close(event);
}

TEST(StandardInputs, ThatDoNotBlockAreWaitedFor) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  {
    const StandardInput input(ends[0]);
    std::jthread other([&] {
      std::this_thread::sleep_for(20ms);
      EXPECT_EQ(::write(ends[1], "1,2\n", 4), 4);
      ::close(ends[1]);
    });
    EXPECT_EQ(read_file("-"), (std::vector<Event>{{Operand::y, 1, 0, 2}}));
  }
  ::close(ends[0]);
}

TEST(BackgroundReaders, DeliverWhatComes) {
  const NamedPipe pipe;
  BackgroundReader reader({pipe.path()}, {.on_error = OnError::skip});
  EventBatch batch;
  ASSERT_TRUE(reader.next(batch, 1ms));
  EXPECT_TRUE(batch.empty());
  {
    const Writer writer(pipe.path());
    writer.write("1,2\n# a comment\nbad\n");
    EXPECT_EQ(next_of(reader)[0], (Event{Operand::y, 1, 0, 2}));
    ASSERT_TRUE(reader.next(batch, 1ms));
    EXPECT_TRUE(batch.empty());
    writer.write("3,4\nworse\n");
    EXPECT_EQ(next_of(reader)[0], (Event{Operand::y, 3, 0, 4}));
  }
  EXPECT_TRUE(next_of(reader).empty());
  EXPECT_FALSE(reader.next(batch, 10s));
  EXPECT_EQ(reader.skipped(), 2u);
  EXPECT_TRUE(reader.first_skipped().starts_with(pipe.path() + ":3: ")) << reader.first_skipped();
}

TEST(BackgroundReaders, DeliverAllOfALongStreamInOrder) {
  const TemporaryDirectory directory;
  std::string text;
  for (int t = 0; t < 10000; ++t) text += fmt::format("{},1\n", t);
  BackgroundReader reader({directory.write("e.csv", text)}, {.batch = 100});
  std::uint64_t next = 0;
  for (EventBatch batch = next_of(reader); !batch.empty(); batch = next_of(reader)) {
    for (std::size_t t = 0; t < batch.size(); ++t) ASSERT_EQ(batch.i[t], next++);
  }
  EXPECT_EQ(next, 10000u);
}

TEST(BackgroundReaders, PassErrorsOnAfterWhatCameBefore) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("e.csv", "1,2\nbad\n");
  BackgroundReader reader({path}, {.batch = 1});
  EXPECT_EQ(next_of(reader).size(), 1u);
  expect_error([&] { (void)next_of(reader); }, {path, ":2:"});
  expect_error([&] { (void)next_of(reader); }, {path, ":2:"});
  expect_error([&] { BackgroundReader({directory / "missing"}, {}); }, {"missing"});
}

TEST(BackgroundReaders, EndWhenTheirCallerStops) {
  const NamedPipe pipe;
  std::stop_source stop;
  BackgroundReader reader({pipe.path()}, {.stop = stop.get_token()});
  stop.request_stop();
  EXPECT_THROW((void)next_of(reader), Cancelled);
}

TEST(BackgroundReaders, AreJoinedAndLoseNothing) {
  const NamedPipe unopened, silent;
  const TemporaryDirectory directory;
  std::string text;
  for (int t = 0; t < 1000; ++t) text += "1,1\n";
  const std::string file = directory.write("e.csv", text);
  // Opened for both: so a writer is there at every time.
  const int writer = ::open(silent.path().c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(writer, 0);
  // With the first thread ThreadSanitizer starts one of its own.
  std::thread([] {}).join();
  const std::size_t threads = entries_of("/proc/self/task");
  const std::size_t descriptors = entries_of("/proc/self/fd");
  const auto start = std::chrono::steady_clock::now();
  for (int cycle = 0; cycle < 200; ++cycle) {
    const BackgroundReader first({unopened.path()}, {});
    const BackgroundReader second({silent.path()}, {});
    const BackgroundReader third({file}, {.batch = 10});  // its thread waits for room
    if (cycle % 20 == 0) std::this_thread::sleep_for(1ms);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, 60s);
  // The kernel may list a thread for a moment after it was joined.
  const auto patience = std::chrono::steady_clock::now() + 5s;
  while (entries_of("/proc/self/task") > threads && std::chrono::steady_clock::now() < patience)
    std::this_thread::sleep_for(1ms);
  EXPECT_EQ(entries_of("/proc/self/task"), threads);
  EXPECT_EQ(entries_of("/proc/self/fd"), descriptors);
  ::close(writer);
}

}  // namespace
}  // namespace weir
