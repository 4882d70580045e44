#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

class Input;
struct NpyHeader;

/// The header of a .npy file as it is written there.
struct NpyDictionary {
  std::string descr;  ///< "<f8"
  bool is_fortran_order = false;
  std::vector<std::uint64_t> shape;  ///< Each below 2^63.
  std::size_t length = 0;            ///< Bytes before the data.
};

/// As parse_npy_header(), for any dtype and number of dimensions.
[[nodiscard]] NpyDictionary parse_npy_dictionary(std::string_view header, const std::string& name);
/// The bytes of such a header; `length` is not used.
[[nodiscard]] std::string npy_header(const NpyDictionary& dictionary);
/// Bytes of an element. Throws InputError for a dtype that is not read.
[[nodiscard]] std::size_t npy_element_size(const std::string& descr, const std::string& name);
/// "3 x 4", for messages; of many sides only the first few.
[[nodiscard]] std::string shape_text(std::span<const std::uint64_t> shape);
/// Throws InputError where it is known, without reading it, that `input` does not have the data that its header promises.
void require_data(const NpyHeader& header, const Input& input);
/// The `descr` of bfloat16, little-endian, which NumPy does not have: the upper halves of floats. Arrays of it are saved as u2
/// or V2.
inline constexpr std::string_view npy_bfloat16 = "<bfloat16";

}  // namespace weir
