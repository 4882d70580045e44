#include "weir/state/window.hpp"

#include <fmt/format.h>

#include <utility>

#include "weir/error.hpp"

namespace weir {

void check(const WindowOptions& options) {
  if (options.epochs == 0U) throw UsageError("a window of 0 epochs: expected 1 or more");
  if (!(options.decay > 0 && options.decay <= 1))
    throw UsageError(fmt::format("a decay of {}: expected a number above 0, up to 1", options.decay));
  if (options.decay != 1 && (options.epochs || options.tumbling))
    throw UsageError("a window has sharp ends and a decay has none: expected one of the two");
}

std::uint64_t states_of(const WindowOptions& options) noexcept {
  return options.epochs && !options.tumbling ? *options.epochs + 1 : 1;
}

std::string describe_window_problem(const WindowOptions& options, const State& state) {
  if (options.decay != 1) return describe_combine_problem(state, options.decay, true, true);
  if (options.epochs && !options.tumbling) return describe_combine_problem(state, -1, false, false);
  return {};
}

Window::Window(WindowOptions options, State zero) : options_(std::move(options)), sum_(std::move(zero)) {}

Window::Window(WindowOptions options, State sum, std::deque<State> epochs, bool is_open)
    : options_(std::move(options)),
      sum_(std::move(sum)),
      parts_(std::move(epochs)),
      is_open_(is_open),
      covered_(parts_.size()) {}

void Window::begin_epoch() {
  is_open_ = true;
  if (options_.tumbling) {
    if (covered_ == options_.epochs.value_or(1)) {
      sum_.clear();
      covered_ = 0;
    }
  } else if (options_.epochs) {
    if (parts_.size() == *options_.epochs) {
      const std::uint64_t left = sum_.updates - parts_.front().updates;
      sum_.add(parts_.front(), -1);
      sum_.updates = left;
      spare_ = std::move(parts_.front());
      spare_->clear();
      parts_.pop_front();
      --covered_;
    }
  } else {
    sum_.scale(options_.decay);
  }
  ++covered_;
}

State Window::add(State delta, bool ends_epoch) {
  const bool begins = !is_open_;
  if (begins) begin_epoch();
  if (ends_epoch) is_open_ = false;
  sum_.add(delta);
  const bool keeps_parts = options_.epochs && !options_.tumbling;
  if (keeps_parts && begins) {
    State next = spare_ ? std::move(*spare_) : delta;
    if (!spare_) next.clear();
    spare_.reset();
    parts_.push_back(std::move(delta));
    return next;
  }
  if (keeps_parts) parts_.back().add(delta);
  delta.clear();
  return delta;
}

}  // namespace weir
