#include "model_options.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/operand.hpp"
#include "weir/sample/dense_operand.hpp"
#include "weir/stream/reader.hpp"

namespace weir::app {

std::string ModelOptions::fixed_file(std::string_view operand) const {
  for (const std::string& given : fixed) {
    const std::size_t equals = given.find('=');
    if (given.substr(0, equals) == operand) return given.substr(equals + 1);
  }
  return {};
}

std::string_view to_string(Method method) noexcept {
  switch (method) {
    case Method::streaming:
      return "streaming";
    case Method::two_stage:
      return "two-stage";
    case Method::exact:
      return "exact";
  }
  return "";
}

Method ModelOptions::method() const {
  const bool one_is_fixed = fixed_file("A1").empty() != fixed_file("A2").empty();
  return given_method.value_or(one_is_fixed ? Method::streaming : Method::two_stage);
}

bool ModelOptions::factors_are_fixed() const {
  return is_kronecker() && !fixed_file("A1").empty() && !fixed_file("A2").empty();
}

KroneckerShape ModelOptions::kronecker_shape() const { return {*n1, *n2, *d1, *d2}; }

std::vector<engine::FixedOperand> ModelOptions::fixed_operands() const {
  std::vector<engine::FixedOperand> operands;
  for (const Operand operand : {Operand::A, Operand::A1, Operand::A2, Operand::X})
    if (std::string path = fixed_file(to_string(operand)); !path.empty())
      operands.push_back({operand, std::move(path)});
  return operands;
}

OperandSet ModelOptions::held_operands(std::uint32_t degree) const {
  if (streams_one_factor()) return {};
  // A is read as a stream would be, and what is held is y; x has a place in it where rows are lifted.
  if (!fixed_file("x").empty()) return degree == 2 ? OperandSet{Operand::x} : OperandSet();
  OperandSet held;
  for (const engine::FixedOperand& file : fixed_operands()) held.insert(file.operand);
  return held;
}

namespace {

/// The operands of a model that may be fixed.
std::vector<std::string_view> fixable(std::string_view model) {
  if (model == ProductModel::name) return {"A", "x"};
  if (model == KroneckerModel::name) return {"A1", "A2", "X"};
  return {};
}

/// Throws UsageError for options of other models than `name`.
void require_no_foreign_options(const ModelOptions& options, const std::string& name) {
  const auto refuse = [&](bool given, std::string_view option, std::string_view belongs_to) {
    if (given) throw UsageError(fmt::format("{} belongs to --model {}; the model is {}", option, belongs_to, name));
  };
  if (!options.is_kronecker()) {
    refuse(options.n1.has_value(), "--n1", KroneckerModel::name);
    refuse(options.n2.has_value(), "--n2", KroneckerModel::name);
    refuse(options.d1.has_value(), "--d1", KroneckerModel::name);
    refuse(options.d2.has_value(), "--d2", KroneckerModel::name);
    refuse(options.given_method.has_value(), "--method", KroneckerModel::name);
    if (!options.is_rows()) {
      refuse(options.exact_gram.has_value(), "--gram", "kronecker and rows");
      refuse(options.gram_buckets.has_value(), "--gram-buckets", "kronecker and rows");
    }
  } else {
    if (options.n || options.d)
      throw UsageError("--model kronecker has the sides --n1, --n2, --d1 and --d2, not --n and --d");
    if ((options.exact_gram || options.gram_buckets) && options.method() != Method::two_stage)
      throw UsageError("--gram and --gram-buckets belong to --method two-stage");
  }
}

}  // namespace

void ModelOptions::check(bool knows_shape) const {
  const std::string name = this->name();
  const std::vector<std::string_view> allowed = fixable(name);
  std::set<std::string> names;
  for (const std::string& given : fixed) {
    const std::size_t equals = given.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == given.size())
      throw UsageError(fmt::format("--fixed: '{}' given, expected NAME=FILE", given));
    const std::string operand = given.substr(0, equals);
    if (std::ranges::find(allowed, operand) == allowed.end())
      throw UsageError(fmt::format("--fixed: the operand '{}' cannot be fixed in the model {}; {}", operand, name,
                                   allowed.empty() ? std::string("it has none to fix")
                                                   : fmt::format("expected {}", fmt::join(allowed, " or "))));
    if (!names.insert(operand).second)
      throw UsageError(fmt::format("--fixed: the operand '{}' is given more than once", operand));
  }
  if (!knows_shape || model) require_no_foreign_options(*this, name);
  if (name == ProductModel::name && fixed.empty() && !d && !knows_shape)
    throw UsageError(
        "--model product with both operands in the stream needs --d, the length of x; or fix one of them: "
        "--fixed x=FILE, --fixed A=FILE");
  if (name == VectorModel::name && d) throw UsageError("--d is the length of x; the model vector has none");
  if (is_rows() && !d && !knows_shape) throw UsageError("--model rows needs --d, the number of columns of A");
  if (!is_kronecker()) return;
  if (method() == Method::streaming && names.contains("A1") == names.contains("A2"))
    throw UsageError(
        names.contains("A1")
            ? "--method streaming: A1 and A2 are both fixed, and one of them has to stream; --method two-stage and "
              "--method exact take fixed factors"
            : "--method streaming: one factor streams and the other is fixed, --fixed A1=FILE or --fixed A2=FILE; with "
              "--method two-stage both factors may stream, and X too");
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  const std::string group = "Model";
  app.add_option(
         "--model", options.model,
         "vector: y is the stream of events i,delta. product: y = A x, with events A,i,j,delta; A,i,*,v0,v1,... "
         "for a whole row that comes, A,i,-*,... for one that leaves; x,j,delta. kronecker: y = (A1 (x) A2) vec X, the "
         "matrix A1 X A2^T, with events of A1, A2 and X. rows: whole rows a of A, by a^T M a")
      ->check(one_of({"vector", "product", "kronecker", "rows"}))
      ->type_name("vector|product|kronecker|rows")
      ->default_str("vector")
      ->group(group);
  add_whole(
      app, "--n", {1, max_dimension}, [&options](std::uint64_t value) { options.n = value; },
      "Length of y, rows of A: indices are 0 .. N-1; costs no memory. Without it any index below 2^63 is taken, at "
      "about twice the time and memory of a small N; a fixed A says it itself")
      ->group(group);
  add_whole(
      app, "--d", {1, max_dimension}, [&options](std::uint64_t value) { options.d = value; },
      "Length of x, columns of A; without it that of a fixed operand. Where x streams, or rows are drawn, the sketch "
      "holds D times as much")
      ->type_name("D")
      ->group(group);
  const auto add_side = [&](const char* name, std::optional<std::uint64_t>& side, const char* description) {
    add_whole(
        app, name, {1, max_dimension}, [&side](std::uint64_t value) { side = value; }, description)
        ->group(group);
  };
  add_side("--n1", options.n1,
           "Rows of A1: i1 is 0 .. N1-1. A fixed factor says it itself; --method two-stage can do without");
  add_side("--n2", options.n2, "Rows of A2: i2 is 0 .. N2-1");
  add_side("--d1", options.d1, "Columns of A1, rows of X; without it those of a fixed operand");
  add_side("--d2", options.d2, "Columns of A2 and of X");
  app.add_option(
         "--fixed", options.fixed,
         "An operand loaded once instead of streamed. x=FILE: .npy, .mtx, or text with one number a line. "
         "A=FILE: .npy or coordinate .mtx, read in slices by all ranks and sketched; then a change of x costs next to "
         "nothing. A1=FILE, A2=FILE, X=FILE likewise; X is the identity when it neither is fixed nor streams. With all "
         "operands fixed there is no STREAM")
      ->type_name("NAME=FILE")
      ->allow_extra_args(false)
      ->group(group);
  app.add_option_function<std::string>(
         "--method",
         [&options](const std::string& text) {
           options.given_method = text == "streaming" ? Method::streaming
                                  : text == "exact"   ? Method::exact
                                                      : Method::two_stage;
         },
         "Of --model kronecker. streaming: one factor streams into a sketch of y, the other and X are fixed; exact "
         "values, O(N2) time an event (N1 when A2 streams), O((N1 + N2) D / ranks) memory. two-stage: all may stream, "
         "O(1) in "
         "N1 and N2. exact: the operands themselves, O((N1 + N2) D) a rank. Without it streaming when one factor is "
         "fixed, else two-stage")
      ->check(one_of({"streaming", "two-stage", "exact"}))
      ->type_name("streaming|two-stage|exact")
      ->group(group);
  app.add_option_function<std::string>(
         "--gram", [&options](const std::string& text) { options.exact_gram = text == "exact"; },
         "How A^T A is kept, of --model rows and --method two-stage: sketch, for every stream; exact, D^2 numbers "
         "without error, where rows come and go whole and each is there at most once, which nothing can check")
      ->check(one_of({"sketch", "exact"}))
      ->type_name("sketch|exact")
      ->default_str("sketch")
      ->group(group);
  add_whole(
      app, "--gram-buckets", {2, std::uint64_t{1} << 31},
      [&options](std::uint64_t value) { options.gram_buckets = value; },
      "Buckets of that sketch, a power of two, in place of what epsilon chooses: it moves the law of the draws by "
      "about sqrt(2 / (5 BUCKETS)) / 2")
      ->type_name("BUCKETS")
      ->group(group);
}

void ModelOptions::take_stated_shape(const engine::FixedOperand& from) {
  // Where the sides of the operand go, and which options say them.
  struct Sides {
    std::optional<std::uint64_t>& rows;
    std::optional<std::uint64_t>& columns;
    std::string_view row_option, column_option;
  };
  const auto& [operand, path] = from;
  const Sides sides = operand == Operand::A    ? Sides{n, d, "--n", "--d"}
                      : operand == Operand::A1 ? Sides{n1, d1, "--n1", "--d1"}
                      : operand == Operand::A2 ? Sides{n2, d2, "--n2", "--d2"}
                                               : Sides{d1, d2, "--d1", "--d2"};
  if (is_pipe(path))
    throw UsageError(fmt::format("--fixed: {} is read by slices and more than once: {} is a pipe, expected a file",
                                 to_string(operand), path));
  const auto stated = stated_shape(path);
  if (!stated) {
    equate_columns();
    if (sides.rows && sides.columns) return;
    throw UsageError(
        fmt::format("--fixed: {} is neither .npy nor Matrix Market and does not say its shape; as a file of events it "
                    "needs {} and {}",
                    path, sides.row_option, sides.column_option));
  }
  const auto [rows, columns] = *stated;
  const auto contradict = [&path = path, rows = rows, columns = columns](std::string_view option, std::uint64_t given) {
    throw InputError(fmt::format("{}: {} x {} numbers, but {} is {}", path, rows, columns, option, given));
  };
  // Rows that the file does not have are zero; X has none to spare.
  if (sides.rows && (operand == Operand::X ? *sides.rows != rows : *sides.rows < rows))
    contradict(sides.row_option, *sides.rows);
  if (sides.columns && *sides.columns != columns) contradict(sides.column_option, *sides.columns);
  sides.rows = sides.rows.value_or(rows);
  sides.columns = columns;
}

void ModelOptions::complete(const mpi::Communicator& communicator, std::uint64_t most_rows) {
  const std::array all{&n, &d, &n1, &n2, &d1, &d2};
  std::vector<std::uint64_t> sides(all.size());
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    for (const engine::FixedOperand& operand : fixed_operands()) take_stated_shape(operand);
    if (is_kronecker()) complete_kronecker(most_rows);
    for (std::size_t k = 0; k < all.size(); ++k) sides[k] = all[k]->value_or(0);
  });
  communicator.broadcast(sides);
  for (std::size_t k = 0; k < all.size(); ++k)
    if (sides[k] != 0) *all[k] = sides[k];
}

void ModelOptions::equate_columns() {
  if (!streams_one_factor() || !fixed_file("X").empty()) return;
  if (!d1) d1 = d2;
  if (!d2) d2 = d1;
  if (d1 && *d1 != *d2)
    throw UsageError(
        fmt::format("X is not the identity, as A1 has {} columns and A2 has {}: expected --fixed X=FILE", *d1, *d2));
}

void ModelOptions::complete_kronecker(std::uint64_t most_rows) {
  equate_columns();
  const auto require = [](const std::optional<std::uint64_t>& side, std::string_view option, std::string_view meaning) {
    if (!side) throw UsageError(fmt::format("--model kronecker needs {}, the {}", option, meaning));
  };
  require(d1, "--d1", "number of columns of A1");
  require(d2, "--d2", "number of columns of A2");
  if (method() == Method::two_stage) {
    n1 = n1.value_or(most_rows);
    n2 = n2.value_or(most_rows);
  }
  require(n1, "--n1", "number of rows of A1");
  require(n2, "--n2", "number of rows of A2");
  if (method() == Method::streaming && *n1 > max_dimension / *n2)
    throw UsageError(fmt::format(
        "--method streaming: n1 n2 = {} x {} is more than 2^63; --method two-stage has no such limit", *n1, *n2));
}

DenseMatrix ModelOptions::core(const mpi::Communicator& communicator) const {
  // Two of it, while it is read.
  const std::uint64_t bytes = engine::doubles_in_bytes(*d1, *d2);
  engine::require_memory(communicator, engine::add_saturated(bytes, bytes), 0,
                         fmt::format("X, d1 = {} by d2 = {},", *d1, *d2));
  const std::string path = fixed_file("X");
  DenseMatrix core{*d1, *d2, {}};
  if (path.empty()) {
    core.values.resize(static_cast<std::size_t>(*d1 * *d2));
    for (std::uint64_t j = 0; j < *d1; ++j) core.values[j * *d2 + j] = 1;
    return core;
  }
  DenseOperand operand(*d1, *d2, "X");
  engine::ingest(
      communicator, {.paths = {path}}, {{Operand::X, *d1, *d2}}, Operand::X,
      [&](const EventBatch& batch) {
        operand.update(batch.i, batch.j, batch.delta);
        operand.update_rows(batch.rows.i, batch.rows.weights, batch.rows.values);
      },
      engine::Delivery::every_rank);
  core.values.assign(operand.table().begin(), operand.table().end());
  return core;
}

Model ModelOptions::build(const mpi::Communicator& communicator, std::uint64_t dimension, std::uint32_t degree,
                          const GramConfig& gram) const {
  if (name() == VectorModel::name) return VectorModel(dimension);
  if (is_rows()) return RowsModel(dimension, *d, gram);
  if (is_kronecker()) return KroneckerModel(kronecker_shape(), gram);
  const std::string path = fixed_file("x");
  if (path.empty()) return StreamedProductModel(dimension, *d, degree);
  std::vector<double> x;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    DenseMatrix operand = load_operand(path);
    if (operand.rows != 1 && operand.columns != 1)
      throw InputError(fmt::format("{}: {} x {} numbers, expected a vector x", path, operand.rows, operand.columns));
    if (d && *d != operand.values.size())
      throw InputError(fmt::format("{}: a vector of length {}, but {} {}", path, operand.values.size(),
                                   fixed_file("A").empty() ? "--d is" : "the columns of A are", *d));
    x = std::move(operand.values);
  });
  communicator.broadcast(x);
  return ProductModel(dimension, std::move(x), degree);
}

}  // namespace weir::app
