#include <cstdint>
#include <cstdio>
#include <vector>

#include "weir/sample/sampler.hpp"
#include "weir/sketch/vector_sketch.hpp"

int main() {
  weir::SketchConfig config;
  config.dimension = std::uint64_t{1} << 20;
  config.seed = 1;

  const std::vector<std::uint64_t> keys{7, 300, 7, 41};
  weir::VectorSketch monday(config);
  monday.update(keys, std::vector<double>{2, 5, 1, -4});
  weir::VectorSketch tuesday(config);
  tuesday.update(keys, std::vector<double>{2, 0, 1, -4});
  tuesday.add(monday, -1.0);

  // Only key 300 changed, by -5: every draw is that one.
  const weir::SampleResult result = weir::draw_with_replacement(tuesday, {});
  for (const weir::Draw& draw : result.draws)
    std::printf("%llu changed by %g\n", static_cast<unsigned long long>(draw.index), draw.value);
  if (result.draws.empty()) return 1;
  for (const weir::Draw& draw : result.draws)
    if (draw.index != 300 || draw.value > -4.99 || draw.value < -5.01) return 1;
  return 0;
}
