// Experiments with streaming attention: numbers, tables and pictures in one folder.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "../program.hpp"
#include "study.hpp"
#include "weir/error.hpp"

namespace {

using namespace weir;
using namespace weir::experiments;

/// The heads that the tables of the README are about.
constexpr std::array<std::string_view, 10> known_heads{
    "kwt1_layer0",  "kwt1_layer3",  "kwt1_layer5",  "kwt1_layer9",    "layer1_head0",
    "layer1_head5", "layer2_head0", "layer2_head3", "lm_rope_layer0", "lm_rope_layer2"};

/// An ordinary head, a peaked one, and one of 64 numbers.
std::vector<Head> made_heads(bool quick) {
  const std::uint64_t tokens = quick ? 2048 : 4096;
  return {
      make_head("made_ordinary", {.tokens = tokens, .d = 15, .dv = 15, .deviations = {0.42, 0.15, 0.08}, .seed = 1}),
      make_head("made_peaked", {.tokens = tokens, .d = 15, .dv = 15, .deviations = {4, 1, 0.3}, .seed = 2}),
      make_head("made_wide", {.tokens = tokens / 2, .d = 64, .dv = 64, .deviations = {0.6, 0.4, 0.3, 0.2}, .seed = 3})};
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  OutputFile file(path.string());
  file.write(text);
  file.commit();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 3 && argv[1] == watch_option) return watch_peak({argv + 2, static_cast<std::size_t>(argc - 2)});
  const std::vector<Experiment> experiments{error_by_bytes(), features(), sensitivity(), recovery_time(),
                                            sparsity(),       million(),  limits()};
  std::string about = "Experiments with streaming attention: numbers, tables and pictures\n\n";
  for (const Experiment& experiment : experiments)
    about += fmt::format("  {:<16}{}\n", experiment.name, experiment.about);
  CLI::App app(about, "attention_study");
  std::string heads;
  app.add_option("--heads", heads,
                 "Folder of NAME_q.npy, NAME_k.npy, NAME_v.npy, a row a token; by default three\nheads are made")
      ->check(CLI::ExistingDirectory);
  std::vector<std::string> only;
  std::vector<std::string> names;
  names.reserve(experiments.size());
  for (const Experiment& experiment : experiments) names.emplace_back(experiment.name);
  app.add_option("--only", only, "Experiments to run; all by default")->check(CLI::IsMember(names));
  bool quick = false;
  app.add_flag("--quick", quick, "Fewer sizes and heads: a minute or so in place of six");
  bool again = false;
  app.add_flag("--again", again, "Does not use numbers that the folder has already");
  std::string folder;
  app.add_option("-o,--output", folder, "Folder of the results")->required();
  std::string program;
  app.add_option("--program", program, "The program weir; by default that of the same build")->check(CLI::ExistingFile);
  return run_program(app, argc, argv, [&] {
    std::filesystem::create_directories(folder);
    if (program.empty())
      program = (std::filesystem::canonical("/proc/self/exe").parent_path() / ".." / ".." / "weir")
                    .lexically_normal()
                    .string();
    Study study{.quick = quick, .folder = folder, .program = program};
    if (!heads.empty())
      study.heads = load_heads(heads, known_heads, [](const std::string& line) { std::cerr << line << '\n'; });
    if (study.heads.empty()) {
      std::cerr << "heads are made: there are no others\n";
      study.heads = made_heads(quick);
    }
    if (quick && study.heads.size() > 3) {
      // Three from all over the list, as neighbours are of one network.
      const std::size_t step = study.heads.size() / 3;
      study.heads = {study.heads[0], study.heads[step], study.heads[2 * step]};
    }
    Json all = Json::object();
    std::string failures;
    for (const Experiment& experiment : experiments) {
      const std::string name(experiment.name);
      if (!only.empty() && std::ranges::find(only, name) == only.end()) continue;
      Parts parts(study, name, again);
      try {
        if (!parts.is_finished()) {
          experiment.measure(study, parts);
          parts.finish();
        }
      } catch (const std::exception& error) {
        // The others may still do; the numbers that are there are kept.
        std::cerr << fmt::format("\n{}: {}\n", name, error.what());
        failures += (failures.empty() ? "" : ", ") + name;
        continue;
      }
      for (const Figure& figure : experiment.draw(parts.all()))
        write_file(std::filesystem::path(folder) / figure.file, figure.svg);
      std::cout << fmt::format("## {}: {}\n\n{}\n", name, experiment.about, experiment.table(parts.all()))
                << std::flush;
      all[name] = parts.document();
    }
    write_file(std::filesystem::path(folder) / "study.json", all.dump(1) + '\n');
    if (!failures.empty()) throw InputError(fmt::format("these experiments failed: {}", failures));
  });
}
