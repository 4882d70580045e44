#include "io/pick.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "io/compression.hpp"
#include "io/npy_dictionary.hpp"
#include "io/zip.hpp"
#include "weir/error.hpp"
#include "weir/io/npy.hpp"
#include "weir/io/text.hpp"

namespace weir {

namespace {

constexpr std::string_view npy_extension = ".npy";

std::string_view without_extension(std::string_view member) noexcept {
  return member.ends_with(npy_extension) ? member.substr(0, member.size() - npy_extension.size()) : member;
}

/// "q, k, v", of the first few.
std::string list_of(const std::vector<ZipMember>& members) {
  constexpr std::size_t most = 12;
  std::string list;
  for (std::size_t k = 0; k < std::min(members.size(), most); ++k) {
    const std::string quoted = quoted_excerpt(without_extension(members[k].name));
    list += fmt::format("{}{}", k == 0 ? "" : ", ", std::string_view(quoted).substr(1, quoted.rfind('\'') - 1));
  }
  return members.size() > most ? list + ", ..." : list;
}

std::unique_ptr<Input> pick_member(std::unique_ptr<Input> archive, const std::string* pick) {
  std::vector<ZipMember> members = zip_members(*archive);
  std::erase_if(members, [](const ZipMember& member) { return !member.name.ends_with(npy_extension); });
  if (members.empty())
    throw InputError(
        fmt::format("{0}: a ZIP archive without arrays (.npy), which weir does not read: expected it "
                    "decompressed, as by unzip -p {0} | weir ... -",
                    archive->name()));
  if (pick == nullptr && members.size() > 1)
    throw InputError(fmt::format("{}: has {} arrays: expected the name of one behind it, in brackets; there are {}",
                                 archive->name(), members.size(), list_of(members)));
  // As NumPy has it, a whole name comes before one without its extension.
  const auto named = [&](const auto& name_of) {
    std::vector<const ZipMember*> found;
    for (const ZipMember& member : members)
      if (pick == nullptr || name_of(member) == *pick) found.push_back(&member);
    return found;
  };
  std::vector<const ZipMember*> found = named([](const ZipMember& member) { return std::string_view(member.name); });
  if (found.empty()) found = named([](const ZipMember& member) { return without_extension(member.name); });
  if (found.empty())
    throw InputError(
        fmt::format("{}: has no array {}: there are {}", archive->name(), quoted_excerpt(*pick), list_of(members)));
  if (found.size() > 1)
    throw InputError(fmt::format("{}: has {} arrays called {}: expected one of each name", archive->name(),
                                 found.size(), quoted_excerpt(*pick)));
  return open_member(std::move(archive), *found.front());
}

/// A .npy file made of a header and of elements of another one: `count` of them, every `stride`-th from byte `begin` on.
class PickedArray final : public Input {
 public:
  PickedArray(std::string header, std::unique_ptr<Input> array, std::uint64_t begin, std::uint64_t count,
              std::uint64_t stride, std::size_t element_size)
      : Input(array->name()),
        header_(std::move(header)),
        array_(std::move(array)),
        begin_(begin),
        length_(count * element_size),
        stride_(stride),
        element_size_(element_size) {}

  std::optional<std::uint64_t> size() const noexcept override {
    return array_->size() ? std::optional(header_.size() + length_) : std::nullopt;
  }
  std::optional<std::uint64_t> most() const noexcept override { return header_.size() + length_; }
  bool is_live() const noexcept override { return array_->is_live(); }

 private:
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) override {
    if (offset < header_.size()) {
      const std::string_view rest = std::string_view(header_).substr(static_cast<std::size_t>(offset));
      const std::size_t count = std::min(rest.size(), out.size());
      std::ranges::copy(std::as_bytes(std::span(rest.substr(0, count))), out.begin());
      return count;
    }
    const std::uint64_t at = offset - header_.size();
    const std::uint64_t left = length_ - std::min(length_, at);
    out = out.first(static_cast<std::size_t>(std::min<std::uint64_t>(left, out.size())));
    if (out.empty()) return 0;
    if (stride_ != 1) return read_strided(at, out);
    go_to(begin_ + at);
    return array_->read(out);
  }

  /// Reads the elements between, too.
  std::size_t read_strided(std::uint64_t at, std::span<std::byte> out) {
    const std::uint64_t step = stride_ * element_size_;
    std::uint64_t element = at / element_size_;
    auto inside = static_cast<std::size_t>(at % element_size_);
    std::size_t filled = 0;
    constexpr std::uint64_t most = std::uint64_t{1} << 18;
    std::vector<std::byte> bytes;
    while (filled < out.size()) {
      const std::uint64_t wanted = (inside + (out.size() - filled) + element_size_ - 1) / element_size_;
      const std::uint64_t elements = std::clamp<std::uint64_t>(most / step, 1, wanted);
      bytes.resize(static_cast<std::size_t>((elements - 1) * step) + element_size_);
      go_to(begin_ + element * step);
      if (array_->read_fully(bytes) < bytes.size()) break;
      for (std::uint64_t k = 0; k < elements && filled < out.size(); ++k) {
        const std::size_t count = std::min(element_size_ - inside, out.size() - filled);
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(k * step + inside), count,
                    out.begin() + static_cast<std::ptrdiff_t>(filled));
        filled += count;
        inside = 0;
      }
      element += elements;
    }
    return filled;
  }

  /// What cannot seek is read up to there.
  void go_to(std::uint64_t offset) {
    if (array_->size()) return array_->seek(offset);
    std::vector<std::byte> passed(std::size_t{1} << 16);
    while (array_->offset() < offset) {
      const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(passed.size(), offset - array_->offset()));
      if (array_->read(std::span(passed).first(wanted)) == 0) return;
    }
  }

  std::string header_;
  std::unique_ptr<Input> array_;
  std::uint64_t begin_, length_, stride_;
  std::size_t element_size_;
};

/// The indices of a pick, "3" or "2,5".
std::vector<std::uint64_t> indices_of(const std::string& pick, const std::string& name) {
  std::vector<std::uint64_t> indices;
  for (std::string_view rest = pick;;) {
    std::uint64_t index = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
    const auto length = static_cast<std::size_t>(end - rest.data());
    if (error != std::errc() || (length < rest.size() && rest[length] != ','))
      throw InputError(
          fmt::format("{}: [{}] picks nothing out of an array: expected indices that count from 0, as in [3] "
                      "or [2,5], or [bfloat16]",
                      name, pick));
    indices.push_back(index);
    if (length == rest.size()) return indices;
    rest.remove_prefix(length + 1);
  }
}

/// The product; throws InputError where it does not fit.
std::uint64_t product(std::span<const std::uint64_t> sides, std::uint64_t factor, const std::string& name) {
  unsigned __int128 all = factor;
  for (const std::uint64_t side : sides) {
    all *= side;  // both are below 2^63
    if (all >> 63 != 0) throw InputError(fmt::format("{}: the array has 2^63 bytes or more", name));
  }
  return static_cast<std::uint64_t>(all);
}

std::unique_ptr<Input> pick_part(std::unique_ptr<Input> array, const std::vector<std::string>& picks) {
  const std::string name = array->name();
  const std::size_t header_length = npy_header_length(array->peek(npy_prefix), name);
  NpyDictionary dictionary = parse_npy_dictionary(array->peek(header_length), name);
  std::vector<std::uint64_t> indices;
  for (const std::string& pick : picks) {
    if (pick == "bfloat16") {
      if (!dictionary.descr.ends_with("u2") && !dictionary.descr.ends_with("V2"))
        throw InputError(fmt::format("{}: [bfloat16] is for arrays of dtype u2 or V2, found {}", name,
                                     quoted_excerpt(dictionary.descr)));
      dictionary.descr = (dictionary.descr.starts_with('>') ? ">" : "<") + std::string(npy_bfloat16.substr(1));
      continue;
    }
    const std::vector<std::uint64_t> more = indices_of(pick, name);
    indices.insert(indices.end(), more.begin(), more.end());
  }
  std::vector<std::uint64_t>& shape = dictionary.shape;
  if (indices.size() > shape.size())
    throw InputError(
        fmt::format("{}: picks {} indices out of an array of {} dimensions", name, indices.size(), shape.size()));
  const std::size_t element_size = npy_element_size(dictionary.descr, name);
  const std::uint64_t whole = product(shape, element_size, name);
  const auto most = array->most();
  if (most && (array->size() ? *most - dictionary.length != whole : *most - dictionary.length < whole))
    throw InputError(fmt::format("{}: expected {} entries of {} bytes from byte {} on, found {}{} bytes", name,
                                 shape_text(shape), element_size, dictionary.length, array->size() ? "" : "at most ",
                                 *most - dictionary.length));
  // Elements between the first of the part and that of the array, and between two of the part.
  std::uint64_t first = 0, stride = 1;
  for (std::size_t k = 0; k < indices.size(); ++k) {
    if (indices[k] >= shape[k])
      throw InputError(fmt::format("{}: there is no part {} of the {} that the array has, counted from 0", name,
                                   indices[k], shape[k]));
    if (dictionary.is_fortran_order) {
      first += indices[k] * stride;
      stride *= shape[k];
    } else {
      first = first * shape[k] + indices[k];
    }
  }
  shape.erase(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(indices.size()));
  const std::uint64_t count = product(shape, 1, name);
  if (!dictionary.is_fortran_order) first *= count;
  const std::uint64_t begin = dictionary.length + first * element_size;
  return std::make_unique<PickedArray>(npy_header(dictionary), std::move(array), begin, count, stride, element_size);
}

}  // namespace

std::optional<Picked> picked_of(const std::string& name) {
  if (!name.ends_with(']')) return std::nullopt;
  struct stat status {};
  if (::stat(name.c_str(), &status) == 0) return std::nullopt;
  Picked picked{name, {}};
  while (picked.file.ends_with(']')) {
    const std::size_t bracket = picked.file.rfind('[');
    if (bracket == std::string::npos || bracket == 0) return std::nullopt;
    picked.picks.insert(picked.picks.begin(), picked.file.substr(bracket + 1, picked.file.size() - bracket - 2));
    picked.file.resize(bracket);
  }
  if (::stat(picked.file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return picked;
}

std::string file_of(const std::string& name) {
  const auto picked = picked_of(name);
  return picked ? picked->file : name;
}

std::unique_ptr<Input> pick(std::unique_ptr<Input> file, const std::vector<std::string>& picks) {
  std::vector<std::string> rest = picks;
  if (is_zip_archive(*file)) {
    file = pick_member(std::move(file), rest.empty() ? nullptr : &rest.front());
    if (!rest.empty()) rest.erase(rest.begin());
  } else {
    file = content_of(std::move(file));
  }
  if (rest.empty()) return file;
  if (!looks_like_npy(file->peek(npy_magic.size())))
    throw InputError(fmt::format("{}: not an array (.npy) or an archive of them (.npz), of which a part can be picked",
                                 file->name()));
  return pick_part(std::move(file), rest);
}

}  // namespace weir
