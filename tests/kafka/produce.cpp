// Sends the events of files to a Kafka topic, packed into messages, each to the next partition in turn.
//
// Usage: produce BROKERS TOPIC PARTITIONS BYTES text|binary FILE...
//   BYTES    of a message, about; 0: one event a message
// Prints how many events and messages were sent, when all of them are acknowledged.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "producer.hpp"
#include "support/files.hpp"
#include "weir/stream/reader.hpp"
#include "weir/stream/writer.hpp"

namespace {

int produce(int argc, char** argv) {
  if (argc < 7) throw std::runtime_error("expected BROKERS TOPIC PARTITIONS BYTES text|binary FILE...");
  weir::testing_support::Producer producer(argv[1], argv[2]);
  const int partitions = std::atoi(argv[3]);
  const auto bytes = static_cast<std::size_t>(std::atoll(argv[4]));
  const bool binary = std::string(argv[5]) == "binary";
  // About 12 bytes an event in text, 5 in binary.
  const std::size_t events_of_message = std::max<std::size_t>(1, bytes / (binary ? 5 : 12));
  weir::ReadOptions options;
  options.batch = events_of_message;
  weir::EventReader reader(std::vector<std::string>(argv + 6, argv + argc), options);
  const weir::testing_support::TemporaryDirectory directory;
  const std::string path = directory / "message";
  weir::EventBatch batch;
  std::uint64_t events = 0;
  int messages = 0;
  while (reader.next(batch)) {
    weir::EventWriter writer(path, binary ? weir::EventFormat::binary : weir::EventFormat::text);
    writer.write(batch);
    writer.close();
    producer.send(messages++ % partitions, weir::testing_support::contents_of(path));
    events += batch.events();
  }
  producer.flush();
  std::printf("%llu events in %d messages\n", static_cast<unsigned long long>(events), messages);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return produce(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "produce: %s\n", error.what());
    return 1;
  }
}
