// What messages, letters and sums cost between the ranks that it runs on: the parameters of the model in apps/report/cost.py.

#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "program.hpp"
#include "vectors.hpp"
#include "weir/engine/positions.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/mpi/background_sum.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/mpi/environment.hpp"
#include "weir/mpi/mail.hpp"
#include "weir/mpi/poll_pause.hpp"

namespace {

using namespace weir;
using experiments::now;
using Json = nlohmann::json;

constexpr std::size_t chunk_bytes = std::size_t{4} << 20;  ///< Of the reductions of weir::mpi.
constexpr std::size_t piece_bytes = 8192;  ///< Into which Open MPI cuts a sum in the background of two ranks.

/// The least of several times, in seconds.
template <class Work>
double least_seconds(int repetitions, const Work& work) {
  double least = std::numeric_limits<double>::infinity();
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    const double start = now();
    work();
    least = std::min(least, now() - start);
  }
  return least;
}

/// As many repetitions as move half a GiB, three at least, and no more than asked for.
int repetitions_of(std::size_t bytes, int most) {
  constexpr std::size_t all = std::size_t{1} << 29U;
  return std::min(most, static_cast<int>(std::max<std::size_t>(3, all / std::max<std::size_t>(bytes, 1))));
}

/// Half of the time in which a message of that many bytes goes from rank 0 to rank 1 and back. Messages are taken from a table,
/// and put into one, part after part, so that caches hold what they would of it. Collective.
double one_way_seconds(const mpi::Communicator& communicator, std::size_t bytes, std::size_t table_bytes,
                       int repetitions) {
  const MPI_Comm handle = communicator.local_handle();
  const std::size_t parts = bytes == 0 ? 1 : std::max<std::size_t>(1, table_bytes / bytes);
  const std::size_t trips = std::max<std::size_t>(parts, bytes <= 4096 ? 200 : 4);
  const auto count = static_cast<int>(bytes);
  std::vector<std::byte> table(std::max<std::size_t>(1, bytes * parts));
  const auto ping_pong = [&] {
    const int rank = communicator.local_rank();
    for (std::size_t trip = 0; trip < trips && rank < 2; ++trip) {
      std::byte* const message = table.data() + bytes * (trip % parts);
      if (rank == 0) MPI_Send(message, count, MPI_BYTE, 1, 0, handle);
      MPI_Recv(message, count, MPI_BYTE, 1 - rank, 0, handle, MPI_STATUS_IGNORE);
      if (rank == 1) MPI_Send(message, count, MPI_BYTE, 0, 0, handle);
    }
  };
  const double seconds = least_seconds(repetitions_of(2 * bytes * trips, repetitions), ping_pong);
  MPI_Barrier(handle);
  return seconds / static_cast<double>(2 * trips);
}

/// Time in which this rank adds a table of doubles to another one, chunk by chunk, for each byte.
double sum_seconds_per_byte(std::size_t bytes, int repetitions) {
  const std::vector<double> more(bytes / sizeof(double), 1.0);
  std::vector<double> sum(more.size());
  const auto add = [&] {
    constexpr std::size_t most = chunk_bytes / sizeof(double);
    for (std::size_t first = 0; first < sum.size(); first += most)
      MPI_Reduce_local(more.data() + first, sum.data() + first, static_cast<int>(std::min(most, sum.size() - first)),
                       MPI_DOUBLE, MPI_SUM);
  };
  return least_seconds(repetitions_of(bytes, repetitions), add) / static_cast<double>(bytes);
}

/// What rank 0 spends on one letter to another rank and the two that come back, as in an epoch. Collective.
double letter_seconds(const mpi::Communicator& communicator, std::size_t report_bytes, int repetitions) {
  constexpr std::uint8_t end = 1, full = 2, report = 3;
  constexpr int rounds = 50;
  mpi::Mail mail(communicator);
  const auto exchange = [&] {
    if (communicator.local_is_root()) {
      int expected = 0;
      for (int round = 0; round < rounds; ++round)
        for (int other = 1; other < communicator.local_size(); ++other, expected += 2)
          mail.local_post(other, end, std::vector<std::byte>(16));
      for (mpi::PollPause pause; expected > 0;) {
        if (mail.local_take())
          --expected;
        else
          pause.wait_briefly();
      }
    } else {
      mpi::PollPause pause;
      for (int taken = 0; taken < rounds;) {
        if (!mail.local_take()) {
          pause.wait_briefly();
          continue;
        }
        ++taken;
        mail.local_post(0, full);
        mail.local_post(0, report, std::vector<std::byte>(report_bytes));
      }
    }
  };
  const double seconds = least_seconds(repetitions, exchange);
  mail.finish();
  return seconds / (rounds * std::max(1, communicator.local_size() - 1));
}

/// What rank 0 spends on reading the text of a report.
double report_seconds(const std::string& text, int repetitions) {
  std::uint64_t updates = 0;
  const double seconds = least_seconds(repetitions, [&] {
    for (int k = 0; k < 100; ++k) updates += Json::parse(text).at("updates").get<std::uint64_t>();
  });
  if (updates == 0) throw Error("a report was not read");
  return seconds / 100;
}

/// What rank 0 spends on the positions of one file that one rank reports with a checkpoint: to read and to join them.
double positions_seconds(int repetitions) {
  constexpr std::uint64_t ranks = 16, files = 100, share = 1'000'000;
  std::vector<std::string> letters;
  for (std::uint64_t rank = 0; rank < ranks; ++rank) {
    engine::Positions positions;
    for (std::uint64_t file = 0; file < files; ++file) {
      SourceInfo seen;
      seen.path = fmt::format("data/of/some/day/part-{:04}.bin", file);
      seen.size = ranks * share;
      seen.fingerprint = file;
      positions.files.push_back({seen, {{rank * share + 7, (rank + 1) * share}}});
    }
    letters.push_back(Json{{"positions", engine::to_text(positions)}}.dump());
  }
  const double seconds = least_seconds(repetitions, [&] {
    std::vector<engine::Positions> parts;
    for (const std::string& letter : letters)
      parts.push_back(engine::positions_of_text(Json::parse(letter).at("positions").get<std::string>(), "a report"));
    if (engine::merge(parts).files.size() != files) throw Error("positions were not joined");
  });
  return seconds / static_cast<double>(ranks * files);
}

struct SumSeconds {
  double background = 0;  ///< Of a sum that ranks make besides other work, which there is none of here.
  double blocking = 0;
};

/// Collective: from a barrier until the sum of the tables of all ranks stands on rank 0.
SumSeconds table_seconds(const mpi::Communicator& communicator, std::size_t bytes, int repetitions) {
  std::vector<double> table(bytes / sizeof(double), 1.0);
  mpi::BackgroundSum sum(communicator);
  SumSeconds seconds;
  seconds.background = seconds.blocking = std::numeric_limits<double>::infinity();
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    MPI_Barrier(communicator.local_handle());
    double start = now();
    sum.local_start({std::span(table)});
    for (mpi::PollPause pause; !sum.local_progress();) pause.wait_briefly();
    seconds.background = std::min(seconds.background, now() - start);
    MPI_Barrier(communicator.local_handle());
    start = now();
    communicator.reduce_sum(table);
    seconds.blocking = std::min(seconds.blocking, now() - start);
  }
  return seconds;
}

Json measure(const mpi::Communicator& communicator, const std::vector<std::uint64_t>& tables, int repetitions) {
  const bool root = communicator.local_is_root();
  const std::string report =
      Json{{"updates", 123456789}, {"skipped", 0}, {"ended", false}, {"at_end", false}, {"lags", Json::array()}}.dump();
  const std::size_t report_bytes = report.size() + sizeof(std::uint64_t);
  Json json{{"ranks", communicator.local_size()}, {"report_bytes", report_bytes}};
  json["latency"] = one_way_seconds(communicator, 0, 0, repetitions);
  json["piece_seconds"] = one_way_seconds(communicator, piece_bytes, 16 * piece_bytes, repetitions);
  json["letter_seconds"] = letter_seconds(communicator, report_bytes, repetitions);
  json["report_seconds"] = root ? report_seconds(report, repetitions) : 0;
  json["positions_seconds"] = root ? positions_seconds(std::min(repetitions, 20)) : 0;
  if (root)
    std::cout << fmt::format(
        "{:.2f} us for an empty message, {:.2f} us for {} bytes, {:.2f} us for the letters of a rank and an epoch, "
        "{:.2f} us "
        "to read a report, {:.2f} us more for each file of a checkpoint\n\n"
        "| bytes of a table | message, GB/s | adding, GB/s | sum in the background, ms | blocking sum, ms |\n"
        "|---|---|---|---|---|\n",
        1e6 * json["latency"].get<double>(), 1e6 * json["piece_seconds"].get<double>(), piece_bytes,
        1e6 * json["letter_seconds"].get<double>(), 1e6 * json["report_seconds"].get<double>(),
        1e6 * json["positions_seconds"].get<double>());
  for (const std::uint64_t bytes : tables) {
    // Sums halve a chunk between two ranks first.
    const auto message = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, chunk_bytes) / 2);
    const double one_way = one_way_seconds(communicator, message, bytes, repetitions) / static_cast<double>(message);
    const double add = root ? sum_seconds_per_byte(bytes, repetitions) : 0;
    const SumSeconds sum = table_seconds(communicator, bytes, repetitions_of(2 * bytes, repetitions));
    if (root)
      std::cout << fmt::format("| {} | {:.2f} | {:.2f} | {:.3f} | {:.3f} |\n", bytes, 1e-9 / one_way, 1e-9 / add,
                               1e3 * sum.background, 1e3 * sum.blocking)
                << std::flush;
    json["tables"].push_back({{"bytes", bytes},
                              {"message_seconds_per_byte", one_way},
                              {"add_seconds_per_byte", add},
                              {"background", sum.background},
                              {"blocking", sum.blocking}});
  }
  return json;
}

}  // namespace

int main(int argc, char** argv) {
  const mpi::Environment environment(argc, argv);
  const mpi::Communicator communicator;
  // Rank 0 speaks for all.
  if (!communicator.local_is_root()) {
    std::cout.rdbuf(nullptr);
    std::cerr.rdbuf(nullptr);
  }
  CLI::App app("Messages, letters and sums between ranks, under mpirun -n 2 or more: Markdown on stdout",
               "weir_messages");
  int repetitions = 50;
  app.add_option("--repetitions", repetitions, "Of each measurement, of which the least time counts")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  std::vector<std::uint64_t> tables{65536, 1U << 20U, 1U << 24U};
  app.add_option("--tables", tables, "Bytes of the tables that are summed")
      ->check(CLI::Range(std::uint64_t{1} << 10U, std::uint64_t{1} << 32U))
      ->capture_default_str();
  experiments::JsonFile json_file(app);
  return experiments::run_program(app, argc, argv, [&] {
    if (communicator.local_size() < 2) throw UsageError("1 rank: expected 2 or more, as of mpirun -n 2");
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (communicator.local_is_root()) json_file.require_creatable();
    });
    const Json json = measure(communicator, tables, repetitions);
    if (communicator.local_is_root()) json_file.write(json);
  });
}
