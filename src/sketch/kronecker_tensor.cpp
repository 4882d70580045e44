#include <array>

#include "weir/sketch/kronecker_sketch.hpp"

namespace weir {

TensorSketch KroneckerSketch::tensor() const {
  const SketchConfig& wide = a1.wide.config();
  const TensorSketchConfig config{.dimensions = {shape.n1, shape.n2},
                                  .rows = wide.rows,
                                  .buckets = wide.buckets,
                                  .sparsity = 1,
                                  .randomness = wide.randomness,
                                  .independence = wide.independence,
                                  .seed = common.seed};
  TensorSketch tensor(config, std::array{shape.d1, shape.d2});
  // Added rather than copied: this checks that they are the CountSketches that `config` names.
  tensor.factors[0][0].add(a1.wide);
  tensor.factors[1][0].add(a2.wide);
  tensor.core = core().values;
  return tensor;
}

}  // namespace weir
