#pragma once

// What the programs have in common: options, files, exit codes.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "weir/dense_matrix.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/npy.hpp"

namespace weir::experiments {

/// Parses the command line and runs `work()`. What it throws goes to stderr as one line; exit codes are those of weir.
template <class Work>
int run_program(CLI::App& app, int argc, char** argv, const Work& work) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;  // 0 after --help
  }
  const auto fail = [&](const std::exception& error, int code) {
    std::cerr << app.get_name() << ": " << error.what() << '\n';
    return code;
  };
  try {
    work();
    return 0;
  } catch (const UsageError& error) {
    return fail(error, 2);
  } catch (const std::exception& error) {
    return fail(error, 1);
  }
}

/// The option --json FILE.
class JsonFile {
 public:
  /// Stays where it is until the command line has been parsed.
  explicit JsonFile(CLI::App& app) { app.add_option("--json", path_, "Writes the numbers to this file as well"); }
  JsonFile(const JsonFile&) = delete;
  JsonFile& operator=(const JsonFile&) = delete;

  /// Before hours of work: throws what write() would.
  void require_creatable() const {
    if (!path_.empty()) weir::require_creatable(path_);
  }
  void write(const nlohmann::json& json) const {
    if (path_.empty()) return;
    OutputFile file(path_);
    file.write(json.dump(1) + '\n');
    file.commit();
  }

 private:
  std::string path_;
};

/// Queries and keys of an attention head, a row a token.
struct QueriesAndKeys {
  std::string name;
  DenseMatrix queries;
  DenseMatrix keys;
};

/// The arguments `folder heads...`.
class HeadFiles {
 public:
  /// Stays where it is until the command line has been parsed.
  explicit HeadFiles(CLI::App& app) {
    app.add_option("folder", folder_, "Holds NAME_q.npy and NAME_k.npy, tokens x d, for each head")
        ->required()
        ->check(CLI::ExistingDirectory);
    app.add_option("heads", names_, "Names of heads")->required();
  }
  HeadFiles(const HeadFiles&) = delete;
  HeadFiles& operator=(const HeadFiles&) = delete;

  /// All heads. Throws InputError when one has fewer tokens than that, or other keys than queries.
  [[nodiscard]] std::vector<QueriesAndKeys> load(std::size_t least_tokens) const {
    std::vector<QueriesAndKeys> heads;
    for (const std::string& name : names_) {
      const std::string path = folder_ + "/" + name;
      heads.push_back({name, load_npy(path + "_q.npy"), load_npy(path + "_k.npy")});
      const DenseMatrix& queries = heads.back().queries;
      const DenseMatrix& keys = heads.back().keys;
      if (keys.rows != queries.rows || keys.columns != queries.columns || keys.rows < least_tokens) {
        throw InputError(
            fmt::format("{}: {} x {} queries and {} x {} keys: expected the same shape, and {} tokens or more", name,
                        queries.rows, queries.columns, keys.rows, keys.columns, least_tokens));
      }
    }
    return heads;
  }

 private:
  std::string folder_;
  std::vector<std::string> names_;
};

}  // namespace weir::experiments
