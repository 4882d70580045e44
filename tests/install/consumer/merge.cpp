#include <vector>

#include "weir/mpi/communicator.hpp"
#include "weir/mpi/environment.hpp"
#include "weir/sketch/vector_sketch.hpp"

// One process, so the sum over all ranks is the rank's own state.
int main(int argc, char** argv) {
  const weir::mpi::Environment environment(argc, argv);
  const weir::mpi::Communicator world;
  weir::VectorSketch sketch{weir::SketchConfig{.dimension = 100}};
  sketch.update(std::vector<std::uint64_t>{7}, std::vector<double>{3});
  world.reduce_sum(sketch.table());
  const double norm_squared = sketch.f2().value;
  return world.local_size() == 1 && norm_squared > 8.99 && norm_squared < 9.01 ? 0 : 1;
}
