#include "weir/state/state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "state/operand_events.hpp"
#include "weir/error.hpp"
#include "weir/share.hpp"

namespace weir {

Estimate norm_of(const Estimate& f2) {
  const double norm = std::sqrt(std::max(0.0, f2.value));
  const double below = norm - std::sqrt(std::max(0.0, f2.value - f2.bound));
  return {norm, std::max(below, std::sqrt(std::max(0.0, f2.value + f2.bound)) - norm)};
}

void Kept::set_fixed(Operand operand, const DenseMatrix&) {
  throw UsageError(fmt::format("{} cannot be given as an array to a state of {}", to_string(operand), holds()));
}

void Kept::add_entries(const OperandShape& shape, std::span<const std::uint64_t> i, std::span<const std::uint64_t> j,
                       std::span<const double> delta) {
  const bool is_matrix = !j.empty();
  for (std::size_t t = 0; t < delta.size(); ++t) {
    if (i[t] < shape.rows && (!is_matrix || j[t] < shape.columns) && std::isfinite(delta[t])) continue;
    const Event event{shape.operand, i[t], is_matrix ? j[t] : 0, delta[t]};
    throw InputError(std::isfinite(delta[t])
                         ? fmt::format("update {} of the batch, {}: {} is {} x {}", t, describe(event),
                                       to_string(shape.operand), shape.rows, shape.columns)
                         : fmt::format("update {} of the batch, {}: delta is {}", t, describe(event), delta[t]));
  }
  constexpr std::size_t most = 8192;
  EventBatch batch;
  for (std::size_t first = 0; first < delta.size(); first += batch.size()) {
    const std::size_t count = std::min(most, delta.size() - first);
    batch.operands.assign(count, shape.operand);
    batch.i.assign(i.data() + first, i.data() + first + count);
    batch.j.assign(count, 0);
    if (is_matrix) std::ranges::copy(j.subspan(first, count), batch.j.begin());
    batch.delta.assign(delta.data() + first, delta.data() + first + count);
    add(batch);
  }
}

std::string Kept::describe_combine_problem(const Problem&, double, bool) const { return {}; }

bool Kept::can_verify(const Parties&) const { return false; }

void Kept::merge_other_part(std::span<const std::byte> bytes, double) {
  if (!bytes.empty())
    throw InputError(fmt::format("{} bytes that are no sum, of which a state of {} has none", bytes.size(), holds()));
}

State::State(Problem problem, std::vector<ArrayLayout> layout, std::unique_ptr<Kept> kept, Party party)
    : problem_(std::move(problem)), layout_(std::move(layout)), kept_(std::move(kept)), party_(party) {
  const std::vector<Numbers> numbers = kept_->arrays();
  if (numbers.size() != layout_.size())
    throw std::logic_error(
        fmt::format("a state of {} has {} arrays and declares {}", kept_->holds(), numbers.size(), layout_.size()));
  for (std::size_t k = 0; k < numbers.size(); ++k)
    if (numbers[k].size() != share_of(layout_[k], party_).count || numbers[k].is_single() != layout_[k].is_single)
      throw std::logic_error(fmt::format("'{}' of a state of {} has {} numbers and declares {}", layout_[k].name,
                                         kept_->holds(), numbers[k].size(), share_of(layout_[k], party_).count));
}

State::State(const State& other)
    : updates(other.updates),
      ranks(other.ranks),
      names(other.names),
      problem_(other.problem_),
      layout_(other.layout_),
      kept_(other.kept_->clone()),
      party_(other.party_) {}

State& State::operator=(const State& other) {
  if (this != &other) *this = State(other);
  return *this;
}

State State::as_part(Party party) && {
  State part(std::move(problem_), std::move(layout_), std::move(kept_), party);
  part.updates = updates;
  part.ranks = ranks;
  part.names = std::move(names);
  return part;
}

// The length of the kept part, the kept part, the names.
std::vector<std::byte> State::other_part() const {
  const std::vector<std::byte> kept = kept_->other_part(), of_names = names.to_bytes();
  if (kept.empty() && of_names.empty()) return {};
  const std::uint64_t length = kept.size();
  std::vector<std::byte> bytes(sizeof length);
  std::memcpy(bytes.data(), &length, sizeof length);
  bytes.insert(bytes.end(), kept.begin(), kept.end());
  bytes.insert(bytes.end(), of_names.begin(), of_names.end());
  return bytes;
}

void State::merge_other_part(std::span<const std::byte> bytes, double coefficient) {
  if (bytes.empty()) return;
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) throw InputError("a part of a state that is no sum ends too early");
  std::memcpy(&length, bytes.data(), sizeof length);
  bytes = bytes.subspan(sizeof length);
  if (length > bytes.size()) throw InputError("a part of a state that is no sum ends too early");
  kept_->merge_other_part(bytes.first(static_cast<std::size_t>(length)), coefficient);
  names.merge(NameTable::of_bytes(bytes.subspan(static_cast<std::size_t>(length))));
}

void State::clear_other_part() {
  kept_->clear_other_part();
  names = NameTable(names.capacity());
}

std::vector<StateArray> State::arrays() const {
  const std::vector<Numbers> numbers = kept_->arrays();
  std::vector<StateArray> arrays;
  for (std::size_t k = 0; k < numbers.size(); ++k) arrays.push_back({&layout_[k], numbers[k]});
  return arrays;
}

std::span<double> State::array(std::string_view name) const {
  for (const StateArray& array : arrays())
    if (array.layout->name == name) return array.numbers.doubles();
  throw UsageError(fmt::format("a state of {} has no array '{}'", kept_->holds(), name));
}

void State::add_entries(const OperandShape& shape, std::span<const std::uint64_t> i, std::span<const std::uint64_t> j,
                        std::span<const double> delta) {
  const std::size_t columns = has_column(shape.operand) ? delta.size() : 0;
  if (i.size() != delta.size() || j.size() != columns)
    throw UsageError(fmt::format("{} and {} indices for {} changes of {}: expected {} and {}", i.size(), j.size(),
                                 delta.size(), to_string(shape.operand), delta.size(), columns));
  kept_->add_entries(shape, i, j, delta);
}

void State::add(const State& other, double coefficient) {
  if (const std::string difference = describe_difference(*this, other); !difference.empty())
    throw InputError("the states do not combine: " + difference);
  if (const std::string problem = weir::describe_combine_problem(other, coefficient, false, false); !problem.empty())
    throw InputError("the states do not combine: " + problem);
  const std::vector<StateArray> sums = arrays(), more = other.arrays();
  for (std::size_t k = 0; k < sums.size(); ++k) {
    if (is_fixed(layout_[k])) continue;
    const double factor = layout_[k].is_count ? 1 : coefficient;
    sums[k].numbers.visit([&]<class Number>(std::span<Number> sum) {
      const auto* const from = reinterpret_cast<const Number*>(more[k].numbers.bytes().data());
      for (std::size_t t = 0; t < sum.size(); ++t) sum[t] += static_cast<Number>(factor * from[t]);
    });
  }
  kept_->merge_other_part(other.kept_->other_part(), coefficient);
  names.merge(other.names);
  updates += other.updates;
}

void State::scale(double coefficient) {
  if (coefficient == 1) return;
  if (const std::string problem = weir::describe_combine_problem(*this, coefficient, true, true); !problem.empty())
    throw InputError(problem);
  for (const StateArray& array : arrays()) {
    if (is_fixed(*array.layout) || array.layout->is_count) continue;
    array.numbers.visit([&]<class Number>(std::span<Number> numbers) {
      for (Number& number : numbers) number = static_cast<Number>(number * coefficient);
    });
  }
}

void State::clear() {
  for (const StateArray& array : arrays())
    if (!is_fixed(*array.layout)) std::ranges::fill(array.numbers.bytes(), std::byte{0});
  clear_other_part();
  updates = 0;
  ranks = 1;
}

bool State::has_exact_sums() const {
  // 53 bits in all, from what the numbers are multiples of: that of an event, times a factor of each fixed operand.
  const int factors = 1 + problem_.with_role(Role::fixed).size();
  const double unit = problem_.resolution == 0 ? 1 : std::pow(problem_.resolution, factors);
  const double limit = 0x1p37 * unit, steps = 0x1p16 / unit;
  return std::ranges::all_of(arrays(), [&](const StateArray& array) {
    if (is_fixed(*array.layout)) return true;
    return !array.numbers.is_single() && std::ranges::all_of(array.numbers.doubles(), [&](double number) {
      return std::abs(number) < limit && number * steps == std::trunc(number * steps);
    });
  });
}

void State::require_range() const {
  if (const std::string problem = kept_->describe_range_problem(); !problem.empty()) throw InputError(problem);
}

Answer State::answer(const Question& question, Parties& parties) const {
  parties.together([&] {
    if (question.exact && !kept_->can_verify(parties))
      throw UsageError(
          fmt::format("a state of {} does not know exact values, and cannot read its operands again", kept_->holds()));
    if (parties.is_first()) require_range();
  });
  return kept_->answer(question, parties);
}

namespace {

/// Puts exact values, and probabilities where they are known, in the place of estimates.
void verify(const Answer& exact, Answer& answer) {
  answer.verified = answer.has_exact_values = true;
  for (Draw& draw : answer.draws.draws) {
    const ExactEntry& entry = exact.exact.at(entry_of(draw));
    draw.value = entry.value;
    draw.value_bound = 0;
    if (entry.probability) {
      draw.probability = *entry.probability;
      draw.probability_bound = 0;
    }
    answer.verified = answer.verified && entry.probability.has_value();
  }
  fail_draws_of_zeros(answer.draws);
}

}  // namespace

Answer answer_with_exact(const State& state, const State* exact, const Question& question, Parties& parties) {
  Answer answer = state.answer(question, parties);
  if (!question.draw || !(question.draw->verify || question.draw->show_exact)) return answer;
  const State* const source = exact != nullptr ? exact : state.kept().can_verify(parties) ? &state : nullptr;
  // Exact draws need no verification, only their probabilities beside them where that is asked for.
  if (source == nullptr || (state.problem().keeps != Keeps::sketch && !question.draw->show_exact)) return answer;
  ExactQuestion about{.entries = {}, .metric = question.draw->metric};
  for (const Draw& draw : answer.draws.draws) about.entries.push_back(entry_of(draw));
  Answer truth = source->answer({.exact = std::move(about)}, parties);
  if (!parties.is_first()) return answer;
  answer.exact_norm = truth.exact_norm;
  if (question.draw->show_exact) {
    answer.exact = std::move(truth.exact);
  } else {
    verify(truth, answer);
  }
  return answer;
}

ArrayShare share_of(const ArrayLayout& layout, Party party) noexcept {
  if (layout.gathering != Gathering::in_slices || layout.row_length == 0) return {0, layout.size};
  const std::uint64_t rows = layout.size / layout.row_length;
  const std::uint64_t first = share(rows, party.number, party.count);
  return {first * layout.row_length, (share(rows, party.number + 1, party.count) - first) * layout.row_length};
}

std::uint64_t doubles_of(const std::vector<ArrayLayout>& layout, Party party) noexcept {
  std::uint64_t sum = 0;
  for (const ArrayLayout& array : layout) {
    const std::uint64_t numbers = share_of(array, party).count;
    const std::uint64_t more = array.is_single ? numbers / 2 + numbers % 2 : numbers;
    if (more > std::numeric_limits<std::uint64_t>::max() - sum) return std::numeric_limits<std::uint64_t>::max();
    sum += more;
  }
  return sum;
}

std::string describe_difference(const State& a, const State& b) {
  if (a.kept().holds() != b.kept().holds())
    return fmt::format("what they hold: {} against {}", a.kept().holds(), b.kept().holds());
  if (std::string difference = describe_difference(a.problem(), b.problem()); !difference.empty()) return difference;
  // What is not cut is the same thing on every party: the whole, or a part of the sum.
  const bool is_cut = std::ranges::any_of(a.layout(), [](const ArrayLayout& layout) {
    return layout.gathering == Gathering::in_slices || layout.gathering == Gathering::by_share;
  });
  if (is_cut && a.party() != b.party())
    return fmt::format("party: {} of {} against {} of {}", a.party().number, a.party().count, b.party().number,
                       b.party().count);
  const std::vector<StateArray> x = a.arrays(), y = b.arrays();
  for (std::size_t k = 0; k < x.size(); ++k) {
    const ArrayLayout& layout = *x[k].layout;
    if (!a.is_fixed(layout)) continue;
    // Of counts of events it matters only whether there were any.
    const bool same = layout.is_count ? (x[k].numbers.doubles()[0] > 0) == (y[k].numbers.doubles()[0] > 0)
                                      : std::ranges::equal(x[k].numbers.bytes(), y[k].numbers.bytes());
    if (!same)
      return fmt::format("{}: fixed in both, and not the same to the bit{}", to_string(layout.operand),
                         a.ranks == b.ranks ? "" : "; sums of real numbers depend on the number of ranks");
  }
  return {};
}

std::optional<std::pair<std::string, std::uint64_t>> find_not_finite(const State& state) {
  for (const StateArray& array : state.arrays()) {
    const std::uint64_t place = array.numbers.visit([](auto numbers) {
      const auto bad = std::ranges::find_if(numbers, [](auto number) { return !std::isfinite(number); });
      return static_cast<std::uint64_t>(bad - numbers.begin());
    });
    if (place != array.numbers.size()) return std::pair{array.layout->name, place};
  }
  return std::nullopt;
}

std::string describe_combine_problem(const State& state, double coefficient, bool is_first, bool is_only) {
  const Problem& problem = state.problem();
  if (!problem.roles.empty() && problem.with_role(Role::streams).empty() && problem.with_role(Role::forgotten).empty())
    return fmt::format("all its operands ({}) were fixed, none streamed: there is nothing to combine",
                       to_string(problem.with_role(Role::fixed)));
  if (std::string reason = state.kept().describe_combine_problem(problem, coefficient, !is_only); !reason.empty())
    return reason;
  for (const ArrayLayout& layout : state.layout()) {
    if (layout.whole_rows_only.empty() || state.is_fixed(layout)) continue;
    if (std::abs(coefficient) != 1)
      return layout.whole_rows_only + " holds rows that come and go whole: expected a coefficient of 1 or -1";
    if (is_first && coefficient == -1)
      return layout.whole_rows_only + " holds rows that come before they go: expected another state, added before it";
  }
  return {};
}

}  // namespace weir
