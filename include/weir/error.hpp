#pragma once

#include <stdexcept>
#include <string>

namespace weir {

/// Base of everything that weir throws on purpose. `what()` is one line, without a trailing newline, written for the
/// user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The caller asked for something impossible (a bad option, a shape that overflows). Programs exit with 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// The data is at fault, or the machine: a malformed line, a damaged file, a failed read. The message names the file
/// and the line or byte, and what was expected there. Programs exit with 1.
class InputError : public Error {
 public:
  using Error::Error;
};

}  // namespace weir
