#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "stream_testing.hpp"
#include "support/message_of.hpp"
#include "weir/stream/live_source.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;
using namespace std::chrono_literals;

TEST(PipeSources, HandOutNoMoreThanWasAskedFor) {
  const TemporaryDirectory directory;
  const std::string path = directory / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(live_kind(path, false), LiveKind::at_root);
  const auto source = open_live_source(path, {.slice = 1, .slice_count = 2, .on_error = OnError::skip}, false);
  EXPECT_EQ(source->name(), path);
  EventBatch batch;
  ASSERT_TRUE(source->next(batch, 5, 1ms));
  EXPECT_TRUE(batch.empty());
  std::string text = "bad\n";
  for (int t = 0; t < 1000; ++t) text += t % 10 == 3 ? fmt::format("A,{},*,1,2\n", t) : fmt::format("{},1\n", t);
  std::jthread writer([&] {
    const int end = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    EXPECT_EQ(::write(end, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(end);
  });
  std::vector<bool> seen(1000);
  std::size_t most = 1;
  std::size_t events = 0;
  while (source->next(batch, most, 10s)) {
    ASSERT_LE(batch.events(), most);
    events += batch.events();
    for (std::size_t t = 0; t < batch.size(); ++t) seen[batch.i[t]] = true;
    for (std::size_t t = 0; t < batch.rows.size(); ++t) {
      EXPECT_EQ(batch.rows.row(t)[1], 2);
      seen[batch.rows.i[t]] = true;
    }
    most = most % 37 + 1;
  }
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(events, 1000u);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 1000);
  EXPECT_EQ(source->skipped(), 1u);
  EXPECT_TRUE(source->first_skipped().starts_with(path + ":1: ")) << source->first_skipped();
  EXPECT_FALSE(source->next(batch, 1, 0ms));
  expect_error([&] { (void)open_live_source(path, {}, false, "{}"); }, {path, "position"});
}

}  // namespace
}  // namespace weir
