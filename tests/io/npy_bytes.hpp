#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

namespace weir::testing_support {

/// The dictionary in the header of a .npy file.
inline std::string dictionary(const std::string& descr, const std::string& fortran_order, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran_order + ", 'shape': " + shape + ", }";
}

/// A .npy file of format version `major`.0 with this dictionary, padded as NumPy pads it, and these data.
inline std::string npy(std::string header, const std::string& data, char major = 1) {
  const std::size_t length_size = major == 1 ? 2 : 4;
  header.append(64 - (8 + length_size + header.size() + 1) % 64, ' ');
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += major;
  bytes += '\0';
  for (std::size_t k = 0; k < length_size; ++k) bytes += static_cast<char>(header.size() >> (8 * k) & 0xff);
  return bytes + header + data;
}

/// The bytes of `values` as an array of another machine or of this one would hold them.
template <class Value>
std::string raw(const std::vector<Value>& values, std::endian order = std::endian::little) {
  std::string bytes;
  for (const Value value : values) {
    std::string one(sizeof(Value), '\0');
    std::memcpy(one.data(), &value, sizeof(Value));
    if (order != std::endian::native) std::reverse(one.begin(), one.end());
    bytes += one;
  }
  return bytes;
}

}  // namespace weir::testing_support
