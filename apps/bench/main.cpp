#include <benchmark/benchmark.h>

#include "workload.hpp"

int main(int argc, char** argv) {
  weir::bench::register_attention();
  weir::bench::register_ingest();
  weir::bench::register_kronecker();
  weir::bench::register_matrix();
  weir::bench::register_product();
  weir::bench::register_reading();
  weir::bench::register_state();
  weir::bench::register_query();
  weir::bench::register_tensor();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
