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
  if (options.decay == 1) return {};
  for (const ArrayLayout& layout : state.layout())
    if (!layout.whole_rows_only.empty() && !state.is_fixed(layout))
      return layout.whole_rows_only + " holds rows that come and go whole: expected no decay";
  return {};
}

Window::Window(WindowOptions options, State zero) : options_(std::move(options)), sum_(std::move(zero)) {}

Window::Window(WindowOptions options, State sum, std::deque<State> epochs, bool is_open)
    : options_(std::move(options)),
      sum_(std::move(sum)),
      parts_(std::move(epochs)),
      is_open_(is_open),
      covered_(parts_.size()) {}

/// Takes away an epoch, whose events did not come then: counts of events are taken away too.
void Window::subtract(const State& epoch) {
  if (epoch.updates == 0) return;
  sum_.add(epoch, -1);
  const std::vector<StateArray> sums = sum_.arrays(), parts = epoch.arrays();
  for (std::size_t k = 0; k < sums.size(); ++k) {
    if (!sums[k].layout->is_count || sum_.is_fixed(*sums[k].layout)) continue;
    for (std::size_t t = 0; t < sums[k].numbers.size(); ++t)
      sums[k].numbers.doubles()[t] -= 2 * parts[k].numbers.doubles()[t];
  }
}

void Window::begin_epoch() {
  is_open_ = true;
  if (options_.tumbling) {
    if (covered_ == options_.epochs.value_or(1)) {
      // Readers tell a name once.
      NameTable names = std::move(sum_.names);
      sum_.clear();
      sum_.names = std::move(names);
      covered_ = 0;
    }
  } else if (options_.epochs) {
    if (parts_.size() == *options_.epochs) {
      const std::uint64_t left = sum_.updates - parts_.front().updates;
      subtract(parts_.front());
      sum_.updates = left;
      spare_ = std::move(parts_.front());
      spare_->clear();
      parts_.pop_front();
      --covered_;
    }
  } else if (sum_.updates > 0) {
    sum_.scale(options_.decay);
  }
  ++covered_;
}

State Window::add(State delta, bool ends_epoch) {
  const bool begins = !is_open_;
  if (begins) begin_epoch();
  if (ends_epoch) is_open_ = false;
  // A part of a stream without an event may be one that cannot be added: X that is the identity where none comes.
  const bool has_events = delta.updates > 0;
  if (has_events) sum_.add(delta);
  const bool keeps_parts = options_.epochs && !options_.tumbling;
  if (keeps_parts && begins) {
    State next = spare_ ? std::move(*spare_) : delta;
    if (!spare_) next.clear();
    spare_.reset();
    parts_.push_back(std::move(delta));
    return next;
  }
  if (keeps_parts && has_events) parts_.back().add(delta);
  delta.clear();
  return delta;
}

}  // namespace weir
