#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "weir/state/state.hpp"

namespace weir {

/// Which epochs of a stream an answer is about.
struct WindowOptions {
  std::optional<std::uint64_t> epochs = {};  ///< The last K, K >= 1; none: all of them.
  bool tumbling = false;                     ///< Windows of K (1 where there is no K) do not overlap.
  double decay = 1;                          ///< What was there is multiplied by this when an epoch begins; in (0, 1].

  bool operator==(const WindowOptions&) const = default;
  [[nodiscard]] bool is_all() const noexcept { return !epochs && !tumbling && decay == 1; }
};
/// Throws UsageError for options that contradict each other or are out of range.
void check(const WindowOptions& options);
/// The states that a window holds at most, the sum included: K + 1 for the last K epochs, else 1.
[[nodiscard]] std::uint64_t states_of(const WindowOptions& options) noexcept;
/// Says why a window of states of this problem cannot be kept (of states that cannot be multiplied there is no decay);
/// empty when it can. `state` is any state of it.
[[nodiscard]] std::string describe_window_problem(const WindowOptions& options, const State& state);

/// The sum of the epochs of a stream that an answer is about. Epochs come as deltas; an epoch may come in several. A slide
/// costs two additions, whatever K is: the newest delta is added, and the oldest epoch is taken away. Where sums are exact
/// (whole numbers, or a resolution), the bits of the sum are those of a fresh sketch of the window; otherwise rounding
/// of epochs that went stays behind.
class Window {
 public:
  /// `zero` is a state of no event.
  Window(WindowOptions options, State zero);
  /// Goes on from saved ones: the sum, and for the last K epochs each of them, the oldest first.
  Window(WindowOptions options, State sum, std::deque<State> epochs, bool is_open);

  /// Adds a delta of the newest epoch, and ends that epoch where `ends_epoch`. A delta without updates adds nothing. Returns a state of no event whose memory
  /// may be used for the next delta. Throws InputError as State::add.
  [[nodiscard]] State add(State delta, bool ends_epoch);

  [[nodiscard]] const State& sum() const noexcept { return sum_; }
  [[nodiscard]] State& sum() noexcept { return sum_; }
  [[nodiscard]] const WindowOptions& options() const noexcept { return options_; }
  /// How many epochs the sum is about, the one that is not at its end included.
  [[nodiscard]] std::uint64_t epochs() const noexcept { return covered_; }
  /// The epochs of the last K, the oldest first; empty in other windows.
  [[nodiscard]] const std::deque<State>& parts() const noexcept { return parts_; }
  /// True while the newest epoch has begun and is not at its end.
  [[nodiscard]] bool is_open() const noexcept { return is_open_; }
  void set_covered(std::uint64_t epochs) noexcept { covered_ = epochs; }

 private:
  void begin_epoch();
  void subtract(const State& epoch);

  WindowOptions options_;
  State sum_;
  std::deque<State> parts_;
  std::optional<State> spare_;
  bool is_open_ = false;
  std::uint64_t covered_ = 0;
};

}  // namespace weir
