#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "help.hpp"
#include "options.hpp"
#include "printer.hpp"
#include "weir/engine/hand_over.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"
#include "weir/sample/softmax.hpp"
#include "weir/setting/setting.hpp"

// One-way protocols between two parties: Alice, rank 0, and Bob, rank 1. They are the reductions by which the paper proves
// its lower bounds, played with the states of this library.

namespace weir::app {
namespace {

struct ProtocolOptions {
  std::string protocol;
  std::optional<std::string> method;
  std::uint64_t n = 0;
  std::uint64_t trials = 100;
  std::optional<std::uint64_t> bytes;
  double constant = 2;
  std::uint32_t power = 2;
  std::uint64_t seed = 0;
  PrintOptions print = {};
};

/// An instance of the problem. Both ranks make it from the same random numbers; Alice's and Bob's parts are for them alone.
struct Instance {
  EventBatch alice, bob;
  bool truth = false;
  std::function<bool(std::uint64_t)> alice_has, bob_has;  ///< Whether an index is in a party's set.
  std::optional<std::uint64_t> question = {};             ///< The index that Bob has.
};

/// Bob asks Alice whether an index is in her set.
using AskAlice = std::function<bool(std::uint64_t)>;

struct Protocol {
  std::string method;
  Problem problem;  ///< Of the state that Alice sends. Its seed is another one in every trial.
  std::function<Instance(std::mt19937_64&)> draw;
  /// What Bob says, from the state of both streams.
  std::function<bool(const State&, const Instance&, const AskAlice&, std::mt19937_64&)> bob;
  bool bob_asks = false;
  std::uint64_t kept = 0;  ///< Coordinates or columns that are kept.
};

bool coin(std::mt19937_64& random) { return random() >> 63U != 0; }

/// The sketch of fixed sizes of a problem that is otherwise complete.
void size(Problem& problem, std::uint64_t buckets, std::uint32_t lanes) {
  const Setting& setting = setting_of(problem);
  setting.infer(problem, 1);
  SizeRequest request;
  request.rows = 3;
  request.buckets = buckets;
  request.lanes = lanes;
  request.levels = 1;
  request.exact_gram = true;
  request.samples = 1;
  setting.size(problem, request);
}

/// The largest power of two that is not above `number`, which is at least 1.
std::uint64_t power_below(std::uint64_t number) { return std::bit_floor(number); }

[[noreturn]] void refuse_bytes(const ProtocolOptions& options, std::uint64_t least) {
  throw UsageError(fmt::format("--bytes {}: a state of this kind takes {} bytes at least", *options.bytes, least));
}

/// Theorem 4.4. Alice's set and Bob's have one element in common, or none. In y, an element of a set counts C ln(n), so that
/// exp(y) is largest, by far, where both sets are.
Protocol set_disjointness(const ProtocolOptions& options) {
  const std::uint64_t n = options.n;
  const double height = options.constant * std::log(static_cast<double>(n));
  Protocol protocol;
  protocol.method = options.method.value_or("exponential");
  protocol.problem.setting = "vector";
  protocol.bob_asks = true;
  std::uint64_t kept = n;  // coordinates
  // Bob asks about what was drawn where he has it himself.
  const auto any_common = [](const std::vector<std::uint64_t>& found, const Instance& instance, const AskAlice& ask) {
    return std::ranges::any_of(found, [&](std::uint64_t i) { return instance.bob_has(i) && ask(i); });
  };
  if (protocol.method == "exponential") {
    // An exact y, of which only so many coordinates are kept as there is room for.
    kept = std::min(n, options.bytes.value_or(sizeof(double) * n) / sizeof(double));
    if (kept == 0) refuse_bytes(options, sizeof(double));
    protocol.problem.keeps = Keeps::exact;
    protocol.problem.sides = {{"n", kept}};
    size(protocol.problem, 16, 2);
    protocol.bob = [any_common](const State& state, const Instance& instance, const AskAlice& ask,
                                std::mt19937_64& random) {
      const SampleResult result = draw_softmax(state.array("y"), {.samples = 1, .seed = random()});
      return any_common({result.draws.at(0).index}, instance, ask);
    };
  } else {
    // A sketch of 3 rows: of 16 lanes, each of which may draw, or of one that is wide.
    const bool is_sampler = protocol.method == "l2";
    const std::uint32_t lanes = is_sampler ? 16 : 2;
    const std::uint64_t cells = options.bytes.value_or(sizeof(double) * n) / sizeof(double) / 3 / lanes;
    constexpr std::uint64_t fewest = 16;
    if (cells < fewest) refuse_bytes(options, fewest * 3 * lanes * sizeof(double));
    protocol.problem.sides = {{"n", n}};
    size(protocol.problem, power_below(cells), lanes);
    protocol.bob = [any_common, is_sampler](const State& state, const Instance& instance, const AskAlice& ask,
                                            std::mt19937_64&) {
      constexpr std::uint32_t looked_at = 16;
      std::vector<std::uint64_t> found;
      if (is_sampler) {
        const Answer answer = state.answer({.draw = DrawQuestion{.samples = looked_at}});
        for (const Draw& draw : answer.draws.draws) found.push_back(draw.index);
      } else {
        const Answer answer =
            state.answer({.top = std::min<std::size_t>(looked_at, state.problem().sketch.buckets - 1)});
        for (const HeavyCoordinate& largest : *answer.top) found.push_back(largest.index);
      }
      return any_common(found, instance, ask);
    };
  }
  protocol.kept = kept;
  protocol.draw = [=](std::mt19937_64& random) {
    auto in_alice = std::make_shared<std::vector<bool>>(n), in_bob = std::make_shared<std::vector<bool>>(n);
    for (std::uint64_t i = 0; i < n; ++i) {
      // In one of the sets, or in none.
      const std::uint64_t where = random() % 3;
      (*in_alice)[i] = where == 0;
      (*in_bob)[i] = where == 1;
    }
    Instance instance;
    instance.truth = coin(random);
    const std::uint64_t common = random() % n;
    // Whether or not there is one, the place holds as many sets as any other would without it.
    if (instance.truth) (*in_alice)[common] = (*in_bob)[common] = true;
    for (std::uint64_t i = 0; i < kept; ++i) {
      if ((*in_alice)[i]) instance.alice.push_back({Operand::y, i, 0, height});
      if ((*in_bob)[i]) instance.bob.push_back({Operand::y, i, 0, height});
    }
    instance.alice_has = [in_alice](std::uint64_t i) { return (*in_alice)[i]; };
    instance.bob_has = [in_bob](std::uint64_t i) { return (*in_bob)[i]; };
    return instance;
  };
  return protocol;
}

/// The most columns, up to `columns`, with which the numbers of a state of `problem_of(columns)` fit into the bytes.
std::uint64_t columns_kept(const ProtocolOptions& options, std::uint64_t columns,
                           const std::function<Problem(std::uint64_t)>& problem_of) {
  const auto bytes = [&](std::uint64_t kept) {
    const Problem problem = problem_of(kept);
    return engine::doubles_in_bytes(doubles_of(setting_of(problem).layout(problem), {}));
  };
  if (!options.bytes) return columns;
  if (bytes(1) > *options.bytes) refuse_bytes(options, bytes(1));
  std::uint64_t least = 1, above = columns + 1;
  while (above - least > 1) {
    const std::uint64_t middle = least + (above - least) / 2;
    (bytes(middle) <= *options.bytes ? least : above) = middle;
  }
  return least;
}

/// Random bits, and the index that Bob asks for.
struct Bits {
  std::vector<bool> bits;
  std::uint64_t index;
};
Bits random_bits(std::uint64_t count, std::uint64_t first_index, std::mt19937_64& random) {
  Bits bits{std::vector<bool>(count), 0};
  for (std::uint64_t i = 0; i < count; ++i) bits.bits[i] = coin(random);
  bits.index = first_index + random() % (count - first_index);
  return bits;
}

constexpr std::uint64_t small_buckets = 16;
constexpr std::uint32_t small_lanes = 8;

/// Lemma 6.2. A = diag(v) above a row of 1e-10, x = e_i: y is v_i at i, and 1e-10 at d. A sampler draws i if v_i = 1, and
/// else d.
Protocol index_of_product(const ProtocolOptions& options) {
  const std::uint64_t d = options.n;
  Protocol protocol;
  protocol.method = options.method.value_or("truncate");
  const auto problem_of = [d](std::uint64_t columns) {
    Problem problem;
    problem.setting = "product";
    problem.sides = {{"n", d + 1}, {"d", columns}};
    size(problem, small_buckets, small_lanes);
    return problem;
  };
  const std::uint64_t kept = protocol.kept = columns_kept(options, d, problem_of);
  // Where columns are folded, column j is added to column j mod kept.
  const bool folds = protocol.method == "fold";
  protocol.problem = problem_of(kept);
  protocol.draw = [=](std::mt19937_64& random) {
    const Bits bits = random_bits(d, 0, random);
    Instance instance;
    instance.truth = bits.bits[bits.index];
    instance.question = bits.index;
    for (std::uint64_t j = 0; j < d; ++j) {
      if (j >= kept && !folds) break;
      if (bits.bits[j]) instance.alice.push_back({Operand::A, j, j % kept, 1});
      instance.alice.push_back({Operand::A, d, j % kept, 1e-10});
    }
    if (bits.index < kept || folds) instance.bob.push_back({Operand::x, bits.index % kept, 0, 1});
    return instance;
  };
  protocol.bob = [](const State& state, const Instance& instance, const AskAlice&, std::mt19937_64& random) {
    const Answer answer = state.answer({.draw = DrawQuestion{.samples = small_lanes}});
    // Where nothing is known about i.
    if (answer.draws.zero_vector) return coin(random);
    return std::ranges::any_of(answer.draws.draws, [&](const Draw& draw) { return draw.index == *instance.question; });
  };
  return protocol;
}

/// Lemma 6.3. A = diag(S) with S_0 = 1, x the unit vector of (i, 0, ..., 0): (A (x) ... (x) A) x is zero if and only if S_i
/// is.
Protocol tensor_index(const ProtocolOptions& options) {
  const std::uint64_t n = options.n;
  std::uint64_t others = 1;  // rows of the product of all factors but the first
  for (std::uint32_t factor = 1; factor < options.power; ++factor) {
    constexpr std::uint64_t most = 512;
    if (n > most / others)
      throw UsageError(fmt::format("--n {} --power {}: expected n to the power {} of at most {}", n, options.power,
                                   options.power - 1, most));
    others *= n;
  }
  Protocol protocol;
  protocol.method = options.method.value_or("truncate");
  // The first columns of both factors. Bob asks for one of the first factor, and the first one of the second.
  const auto problem_of = [n, others](std::uint64_t columns) {
    Problem problem;
    problem.setting = "kronecker-two-stage";
    problem.sides = {{"n1", n}, {"n2", others}, {"d1", columns}, {"d2", std::min(columns, others)}};
    size(problem, small_buckets, small_lanes);
    return problem;
  };
  const std::uint64_t kept = protocol.kept = columns_kept(options, n, problem_of);
  const std::uint64_t kept_of_others = std::min(kept, others);
  protocol.problem = problem_of(kept);
  protocol.draw = [=](std::mt19937_64& random) {
    Bits bits = random_bits(n, 1, random);
    bits.bits[0] = true;
    Instance instance;
    instance.truth = bits.bits[bits.index];
    instance.question = bits.index;
    const auto row = [&](Operand operand, std::uint64_t i, std::uint64_t columns) {
      std::vector<double> values(columns);
      values[i] = 1;
      instance.alice.rows.push_back(operand, i, 1, values);
    };
    for (std::uint64_t i = 0; i < kept; ++i)
      if (bits.bits[i]) row(Operand::A1, i, kept);
    for (std::uint64_t i = 0; i < kept_of_others; ++i) {
      bool all = true;
      for (std::uint64_t rest = i; rest > 0; rest /= n) all = all && bits.bits[rest % n];
      if (all) row(Operand::A2, i, kept_of_others);
    }
    if (bits.index < kept) instance.bob.push_back({Operand::X, bits.index, 0, 1});
    return instance;
  };
  protocol.bob = [kept](const State& state, const Instance& instance, const AskAlice&, std::mt19937_64& random) {
    if (*instance.question >= kept) return coin(random);
    return !state.answer({.draw = DrawQuestion{.samples = 1}}).draws.zero_vector;
  };
  return protocol;
}

Protocol protocol_of(const ProtocolOptions& options) {
  Protocol protocol = options.protocol == "index"          ? index_of_product(options)
                      : options.protocol == "tensor-index" ? tensor_index(options)
                                                           : set_disjointness(options);
  setting_of(protocol.problem).check(protocol.problem);
  return protocol;
}

struct ProtocolReport {
  std::uint64_t message_bytes = 0;  ///< What Alice sends.
  std::uint64_t questions = 0;      ///< Of Bob to Alice, an index each, in all trials.
  std::uint64_t successes = 0;
};

constexpr int alice = 0, bob = 1;
constexpr std::uint64_t no_more_questions = std::numeric_limits<std::uint64_t>::max();

std::span<const std::byte> bytes_of(const std::uint64_t& number) { return std::as_bytes(std::span(&number, 1)); }
std::uint64_t number_of(std::span<const std::byte> bytes) {
  std::uint64_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

void play_alice(const mpi::Communicator& communicator, const Protocol& protocol, const Problem& problem,
                const Instance& instance, ProtocolReport& report) {
  State state = create_state(problem);
  state.kept().finish_fixed();
  state.add(instance.alice);
  report.message_bytes = std::max(report.message_bytes, engine::local_send_state(communicator, state, bob));
  if (!protocol.bob_asks) return;
  for (std::uint64_t i = 0; (i = number_of(communicator.local_receive(bob))) != no_more_questions;) {
    const std::uint64_t has = instance.alice_has(i) ? 1 : 0;
    communicator.local_send(bytes_of(has), bob);
    ++report.questions;
  }
}

void play_bob(const mpi::Communicator& communicator, const Protocol& protocol, const Instance& instance,
              std::mt19937_64& random, ProtocolReport& report) {
  State state = engine::local_receive_state(communicator, alice).state;
  state.add(instance.bob);
  const AskAlice ask = [&](std::uint64_t i) {
    communicator.local_send(bytes_of(i), alice);
    return number_of(communicator.local_receive(alice)) != 0;
  };
  const bool says = protocol.bob(state, instance, ask, random);
  if (protocol.bob_asks) communicator.local_send(bytes_of(no_more_questions), alice);
  if (says == instance.truth) ++report.successes;
}

/// Collective over two ranks.
ProtocolReport play(const mpi::Communicator& communicator, const Protocol& protocol, const ProtocolOptions& options) {
  ProtocolReport report;
  try {
    for (std::uint64_t trial = 0; trial < options.trials; ++trial) {
      std::mt19937_64 random(finalise(options.seed + finalise(trial + 1)));
      const Instance instance = protocol.draw(random);
      Problem problem = protocol.problem;
      problem.sketch.seed = random();
      if (communicator.local_rank() == alice) {
        play_alice(communicator, protocol, problem, instance, report);
      } else {
        play_bob(communicator, protocol, instance, random, report);
      }
    }
  } catch (const Error& error) {
    // The other party waits for an answer, and would for ever.
    throw std::runtime_error(error.what());
  }
  report.message_bytes = communicator.all_sum(report.message_bytes);
  report.questions = communicator.all_sum(report.questions);
  report.successes = communicator.all_sum(report.successes);
  return report;
}

/// What came out.
struct Outcome {
  const ProtocolOptions& options;
  const Protocol& protocol;
  const ProtocolReport& report;

  [[nodiscard]] double success() const {
    return static_cast<double>(report.successes) / static_cast<double>(options.trials);
  }
  /// Of a binomial law; not 0 where all trials ended alike.
  [[nodiscard]] double deviation() const {
    const auto trials = static_cast<double>(options.trials);
    const double smoothed = (static_cast<double>(report.successes) + 1) / (trials + 2);
    return std::sqrt(smoothed * (1 - smoothed) / trials);
  }
};

nlohmann::ordered_json to_json(const Outcome& outcome) {
  const auto& [options, protocol, report] = outcome;
  nlohmann::ordered_json json{{"protocol", options.protocol},
                              {"method", protocol.method},
                              {"n", options.n},
                              {"trials", options.trials},
                              {"seed", options.seed},
                              {"input_bits", options.n},
                              {"kept", protocol.kept},
                              {"message_bytes", report.message_bytes},
                              {"reply_bytes", report.questions * sizeof(std::uint64_t) / options.trials},
                              {"success", outcome.success()},
                              {"standard_error", outcome.deviation()},
                              {"chance", 0.5}};
  if (options.protocol == "tensor-index") json["power"] = options.power;
  return json;
}

std::string to_table(const Outcome& outcome) {
  const auto& [options, protocol, report] = outcome;
  return fmt::format(
      "{}, {}: n = {}, {} instances\n"
      "message    {} bytes, {} times the bits of Alice's input\n"
      "success    {:.4f} +- {:.4f}; a coin has 0.5, and the lower bound speaks of 0.75\n",
      options.protocol, protocol.method, options.n, options.trials, report.message_bytes,
      fmt::format("{:.3g}", 8 * static_cast<double>(report.message_bytes) / static_cast<double>(options.n)),
      outcome.success(), outcome.deviation());
}

int run_protocol(const mpi::Communicator& communicator, const ProtocolOptions& options) {
  std::optional<Protocol> protocol;
  std::optional<Printer> printer;  // on the root
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (communicator.local_size() != 2)
      throw UsageError(fmt::format(
          "a protocol has two parties, Alice and Bob, and there {}: expected mpirun -n 2 weir protocol ...",
          communicator.local_size() == 1 ? "is 1 rank" : fmt::format("are {} ranks", communicator.local_size())));
    protocol = protocol_of(options);
    if (communicator.local_is_root()) printer.emplace(options.print);
  });
  // A state and its message on each side, and the events.
  const std::uint64_t doubles = doubles_of(setting_of(protocol->problem).layout(protocol->problem), {});
  engine::require_memory(communicator, engine::doubles_in_bytes(doubles, 3), 0,
                         fmt::format("a state of n = {}", options.n));
  const ProtocolReport report = play(communicator, *protocol, options);
  const Outcome outcome{options, *protocol, report};
  if (printer) printer->print({.json = [&] { return to_json(outcome); }, .table = [&] { return to_table(outcome); }});
  return done;
}

}  // namespace

void add_protocol_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command = app.add_subcommand(
      "protocol", "One-way protocols of Alice and Bob, by which space is bounded from below; on 2 ranks");
  auto options = std::make_shared<ProtocolOptions>();
  command
      ->add_option("PROTOCOL", options->protocol,
                   "set-disjointness: has Bob's set an element in common with Alice's? By a draw from\n"
                   "exp(y). index: the bit of Alice that Bob asks for, by a draw from A x, where A is\n"
                   "Alice's and x is Bob's. tensor-index: the same by A (x) A")
      ->required()
      ->check(one_of({"set-disjointness", "index", "tensor-index"}))
      ->type_name("set-disjointness|index|tensor-index");
  add_whole(
      *command, "--n", {2, std::uint64_t{1} << 24}, [options](std::uint64_t value) { options->n = value; },
      "Bits of Alice's input")
      ->required();
  add_whole(
      *command, "--trials", {1, 1000000}, [options](std::uint64_t value) { options->trials = value; },
      "Instances, half of them of each answer")
      ->default_str("100");
  add_bytes(
      *command, "--bytes", {8, std::uint64_t{1} << 40}, [options](std::uint64_t value) { options->bytes = value; },
      "Bytes that the numbers of the state may have. By default as many as the protocol needs");
  command
      ->add_option("--method", options->method,
                   "What Alice keeps. Of set-disjointness: exponential, y itself, cut off after --bytes;\n"
                   "l2, a sketch of 16 lanes that draws by y^2; heavy-hitters, a sketch that finds the\n"
                   "largest entries. Of the others: truncate, the first columns of A; fold (index),\n"
                   "all columns, added up in as many as there is room for")
      ->type_name("exponential|l2|heavy-hitters|truncate|fold");
  add_real(
      *command, "--constant", {0, 1e6, true}, [options](double value) { options->constant = value; },
      "C of set-disjointness: an element of a set counts C ln(n) in y")
      ->default_str("2");
  add_whole(
      *command, "--power", {2, 4},
      [options](std::uint64_t value) { options->power = static_cast<std::uint32_t>(value); }, "Factors of tensor-index")
      ->default_str("2");
  add_whole(
      *command, "--seed", {0, (std::uint64_t{1} << 53) - 1}, [options](std::uint64_t value) { options->seed = value; },
      "Same seed, same instances and answers")
      ->default_str("0");
  add_print_options(*command, options->print);
  set_help(
      *command,
      "The object of --format json, and the columns of --format csv:\n"
      "  protocol, method, n, trials, seed, input_bits (of Alice), kept (coordinates, or columns), message_bytes "
      "(what\n"
      "    she sends), reply_bytes (what Bob asks her afterwards, on average), success (the share of right answers),\n"
      "    standard_error, chance (what a coin has), power (of tensor-index)",
      {"mpirun -n 2 weir protocol set-disjointness --n 1000 --trials 200",
       "mpirun -n 2 weir protocol set-disjointness --n 1000 --trials 200 --bytes 2000",
       "mpirun -n 2 weir protocol index --n 64 --trials 200 --bytes 100Ki --json"});
  command->callback([options, &action] {
    const bool is_disjointness = options->protocol == "set-disjointness";
    const std::vector<std::string> methods =
        is_disjointness                ? std::vector<std::string>{"exponential", "l2", "heavy-hitters"}
        : options->protocol == "index" ? std::vector<std::string>{"truncate", "fold"}
                                       : std::vector<std::string>{"truncate"};
    if (options->method && std::ranges::find(methods, *options->method) == methods.end())
      throw CLI::ValidationError("--method", fmt::format("'{}' is not for {}: expected {}", *options->method,
                                                         options->protocol, fmt::join(methods, " or ")));
    action = [options] {
      return run_over_mpi([&](const mpi::Communicator& communicator) { return run_protocol(communicator, *options); });
    };
  });
}

}  // namespace weir::app
