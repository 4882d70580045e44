#pragma once

#include <initializer_list>
#include <memory>
#include <string_view>

#include "weir/setting/setting.hpp"

namespace weir {

// The settings that are built in, a file each.
[[nodiscard]] std::unique_ptr<const Setting> vector_setting();
[[nodiscard]] std::unique_ptr<const Setting> product_setting();
[[nodiscard]] std::unique_ptr<const Setting> rows_setting();
[[nodiscard]] std::unique_ptr<const Setting> kronecker_streaming_setting();
[[nodiscard]] std::unique_ptr<const Setting> kronecker_two_stage_setting();
[[nodiscard]] std::unique_ptr<const Setting> attention_setting();
[[nodiscard]] std::unique_ptr<const Setting> attention_monomials_setting();
[[nodiscard]] std::unique_ptr<const Setting> attention_sketched_setting();
[[nodiscard]] std::unique_ptr<const Setting> attention_outputs_setting();

/// The most coordinates of an exact vector: 16 GiB of doubles a party.
inline constexpr std::uint64_t most_exact_coordinates = std::uint64_t{1} << 31;
/// What exact draws of a problem depend on.
struct DenseLaw;
[[nodiscard]] DenseLaw dense_law(const Problem& problem);
/// The configuration of an exact state: the dimension, p and the seed.
void size_exactly(Problem& problem, const SizeRequest& request, std::uint64_t dimension);
/// Throws UsageError unless Gram matrices can be kept of sketched matrices with as many columns as these sides say, and
/// the sketches are those of vectors, column by column.
void require_gram(const Problem& problem, std::initializer_list<std::string_view> sides);
/// Throws UsageError unless a sketch has as many coordinates as the side says.
void require_dimension(const Problem& problem, std::string_view side);
/// Throws UsageError unless n is known and small enough for exact values of y.
void require_exact_length(const Problem& problem, std::string_view side);

}  // namespace weir
