#include "weir/mpi/mail.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/mpi/poll_pause.hpp"

namespace weir::mpi {
namespace {

using testing_support::expect_error;

std::vector<std::byte> bytes_of(std::size_t count, std::size_t first) {
  std::vector<std::byte> bytes(count);
  for (std::size_t k = 0; k < count; ++k) bytes[k] = static_cast<std::byte>((first + k) % 251);
  return bytes;
}

Letter take(Mail& mail) {
  for (PollPause pause;; pause.wait())
    if (std::optional<Letter> letter = mail.local_take()) return *letter;
}

// None, few, and more than what MPI sends at once.
const std::vector<std::size_t> lengths{0, 1, 7, 4096, 100000, 3000001};

TEST(Mail, LettersOfOneSenderArriveInTheOrderInWhichTheyWerePosted) {
  const Communicator world;
  Mail mail(world);
  const auto rank = static_cast<std::size_t>(world.local_rank());
  constexpr std::size_t letters = 60;
  const auto length_of = [](std::size_t k, std::size_t of) { return lengths[(k * 5 + of) % lengths.size()]; };
  for (std::size_t k = 0; k < letters; ++k) {
    if (rank > 0) {
      mail.local_post(0, static_cast<std::uint8_t>(k % 250), bytes_of(length_of(k, rank), k + rank));
    } else {
      for (int other = 1; other < world.local_size(); ++other)
        mail.local_post(other, static_cast<std::uint8_t>(k % 250), bytes_of(length_of(k, 0), k));
    }
  }
  std::vector<std::size_t> taken(static_cast<std::size_t>(world.local_size()));
  const std::size_t expected = rank > 0 ? letters : letters * (taken.size() - 1);
  for (std::size_t k = 0; k < expected; ++k) {
    const Letter letter = take(mail);
    const auto from = static_cast<std::size_t>(letter.source);
    ASSERT_LT(from, taken.size());
    const std::size_t number = taken[from]++;
    EXPECT_EQ(letter.kind, number % 250);
    EXPECT_TRUE(letter.bytes == bytes_of(length_of(number, from), number + from)) << from << ", " << number;
  }
  EXPECT_FALSE(mail.local_take().has_value());
  std::ignore = world.all_sum(1);  // nobody is in finish() before all have looked
  mail.finish();
  EXPECT_EQ(mail.local_unsent(), 0U);
}

TEST(Mail, FinishTakesWhatIsStillOnItsWay) {
  const Communicator world;
  for (int go = 0; go < 20; ++go) {
    Mail mail(world);
    for (const std::size_t length : lengths)
      for (int other = 0; other < world.local_size(); ++other)
        if ((world.local_rank() == 0) != (other == 0)) mail.local_post(other, 3, bytes_of(length, 0));
    mail.finish();
    EXPECT_EQ(mail.local_unsent(), 0U);
    EXPECT_FALSE(mail.local_take().has_value());
  }
}

TEST(Mail, MayOutliveItsCommunicatorAndLeavesNone) {
  // Far more than the communicators that an MPI library has at a time.
  for (int go = 0; go < 2000; ++go) {
    std::optional<Communicator> world(std::in_place);
    Mail mail(*world);
    const bool root = world->local_is_root();
    const int size = world->local_size();
    world.reset();
    if (!root) mail.local_post(0, 9);
    for (int other = 1; root && other < size; ++other) mail.local_post(other, 9);
    mail.finish();
  }
}

TEST(Mail, RefusesTheKindOfItsOwn) {
  const Communicator world;
  Mail mail(world);
  expect_error<UsageError>([&] { mail.local_post(0, 255); }, {"a letter of kind 255: expected 0 to 254"});
  mail.finish();
}

}  // namespace
}  // namespace weir::mpi
