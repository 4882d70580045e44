#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/input.hpp"

namespace weir {

/// What a name picks out of a file: "heads.npz[q][3]" is member q of an .npz archive, and of this array, which has three
/// dimensions, part 3. A pick is the name of a member; or indices of leading dimensions, "3" or "2,5"; or "bfloat16", which
/// says that elements of two bytes are the upper halves of floats.
struct Picked {
  std::string file;
  std::vector<std::string> picks;
};

/// None where `name` has no picks, is a file by itself, or there is no regular file to pick from.
[[nodiscard]] std::optional<Picked> picked_of(const std::string& name);
/// The file that `name` picks from, or `name`.
[[nodiscard]] std::string file_of(const std::string& name);
/// What is picked, as a file of its own: an array is a .npy file. `file` stands at its beginning and can seek; the result can
/// if nothing in it is compressed. An archive without a pick for it must have one array. Throws InputError, which lists what
/// there is to pick from.
[[nodiscard]] std::unique_ptr<Input> pick(std::unique_ptr<Input> file, const std::vector<std::string>& picks);

}  // namespace weir
