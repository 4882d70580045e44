#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "weir/event.hpp"
#include "weir/sketch/config.hpp"
#include "weir/state/vector_state.hpp"

namespace weir::bench {

// Each registers the benchmarks of one file.
void register_attention();
void register_ingest();
void register_kronecker();
void register_matrix();
void register_product();
void register_query();
void register_reading();
void register_state();
void register_tensor();

/// How the keys of a stream are spread over 0 .. n-1.
enum class Keys : std::uint8_t { uniform, zipf, sequential };

/// Events in memory, more than caches hold, handed out batch by batch, round and round. A repetition goes on where the
/// last one stopped.
class EventRing {
 public:
  static constexpr std::size_t size = std::size_t{1} << 23;
  static constexpr std::size_t batch = 8192;

  EventRing(std::uint64_t n, Keys keys);
  [[nodiscard]] Updates all() const noexcept { return {keys_, deltas_}; }
  [[nodiscard]] Updates next() noexcept;

 private:
  std::vector<std::uint64_t> keys_;
  std::vector<double> deltas_;
  std::size_t position_ = 0;
};

/// The events of (n, keys): made at the first call, the same for everything that is compared.
EventRing& events(std::uint64_t n, Keys keys);

/// A sketch of 5 rows and the perfect law of p = 2.
SketchConfig sketch_config(std::uint64_t n, std::uint32_t lanes, std::uint64_t buckets, std::uint32_t levels);

/// The sketch of a matrix A with n rows and d columns.
struct MatrixShape {
  std::uint64_t n = std::uint64_t{1} << 24;
  std::uint64_t d = 64;
  std::uint32_t lanes = 16;
  std::uint64_t buckets = 512;

  [[nodiscard]] SketchConfig config() const { return sketch_config(n, lanes, buckets, 1); }
};
/// "d:64/lanes:16/buckets:512".
std::string text(const MatrixShape& shape);

/// How changes of single entries of A follow each other: each in a random row and column, or all columns of a random row
/// one after the other.
enum class Order : std::uint8_t { random, row_major };

/// Such changes where A has d columns, in batches of EventRing::batch, together more than caches hold. Made at the first
/// call.
const std::vector<EventBatch>& entry_batches(std::uint64_t d, Order order);

/// table[row][buckets[t][row]][:] += deltas[t] for all t and 5 rows: what ingest does to its table and nothing else, in
/// the widest vectors of the machine. `lanes` is 1, 2, 8, 16 or 64; `buckets` has 5 * deltas.size() entries.
void add_to_cells(double* table, std::size_t lanes, std::size_t buckets_of_row, std::span<const std::uint16_t> buckets,
                  std::span<const double> deltas);

}  // namespace weir::bench
