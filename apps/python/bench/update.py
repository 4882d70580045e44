"""How fast `Vector.update` takes arrays, beside the sketch in C++ and what else adds changes up.

PYTHONPATH=build/python python3 apps/python/bench/update.py build/apps/python/libweir_python_rates.so [--datasketches DIR]

All take the same arrays in turn, each round in another order, so that what slows the machine down slows all of them. The rates
are medians over the rounds, and the ratios medians of the ratios of a round. `--datasketches` is a checkout of
apache/datasketches-cpp, whose count_min is compiled with c++ -O3.
"""

import argparse
import ctypes
import pathlib
import subprocess
import tempfile
import time

import numpy as np

import weir


def timed(work):
    def seconds():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return seconds


def pointers(keys, deltas):
    return (
        keys.ctypes.data_as(ctypes.POINTER(ctypes.c_uint64)),
        deltas.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
        ctypes.c_size_t(keys.size),
    )


def count_min(checkout, folder):
    """The library of count_min.cpp."""
    library = pathlib.Path(folder) / "count_min.so"
    source = pathlib.Path(__file__).with_name("count_min.cpp")
    includes = [f"-I{pathlib.Path(checkout) / part / 'include'}" for part in ("count", "common")]
    command = ["c++", "-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", *includes, source, "-o", library]
    subprocess.run(command, check=True)
    found = ctypes.CDLL(str(library))
    found.count_min_update.restype = ctypes.c_double
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rates", help="the library of rates.cpp")
    parser.add_argument("--datasketches", help="a checkout of apache/datasketches-cpp")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--n", type=int, default=1 << 20)
    parser.add_argument("--rounds", type=int, default=41)
    options = parser.parse_args()
    random = np.random.default_rng(1)
    keys = random.integers(0, options.n, options.events).astype(np.uint64)
    deltas = random.normal(size=options.events)
    signed = keys.astype(np.int64)
    dense = np.zeros(options.n)

    library = ctypes.CDLL(options.rates)
    library.weir_sketch.restype = ctypes.c_void_p
    library.weir_update.restype = ctypes.c_double
    contestants = {}
    for lanes in (8, 16):
        sketch = ctypes.c_void_p(
            library.weir_sketch(ctypes.c_uint64(options.n), ctypes.c_uint64(512), ctypes.c_uint32(lanes))
        )
        state = weir.Vector(n=options.n, seed=1, buckets=512, lanes=lanes, levels=1)
        contestants[f"C++, {lanes} lanes"] = lambda sketch=sketch: library.weir_update(sketch, *pointers(keys, deltas))
        contestants[f"Python, {lanes} lanes"] = timed(lambda state=state: state.update(keys, deltas))
        contestants[f"Python, {lanes} lanes, int64 keys"] = timed(lambda state=state: state.update(signed, deltas))
    contestants["numpy.bincount"] = timed(lambda: np.bincount(signed, deltas, options.n))
    contestants["numpy.add.at"] = timed(lambda: np.add.at(dense, signed, deltas))
    with tempfile.TemporaryDirectory() as folder:
        if options.datasketches:
            rival = count_min(options.datasketches, folder)
            contestants["datasketches count_min, 5 x 512"] = lambda: rival.count_min_update(
                *pointers(keys, deltas), ctypes.c_uint8(5), ctypes.c_uint32(512)
            )
        seconds = {name: [] for name in contestants}
        for _ in range(options.rounds):
            for name in random.permutation(list(contestants)):
                seconds[name].append(contestants[name]())
    for name, taken in seconds.items():
        print(f"{name:34} {options.events / np.median(taken) / 1e6:8.1f} M updates/s")
    for lanes in (8, 16):
        for form in ("", ", int64 keys"):
            ratios = np.divide(seconds[f"C++, {lanes} lanes"], seconds[f"Python, {lanes} lanes{form}"])
            low, middle, high = 100 * np.quantile(ratios, (0.25, 0.5, 0.75))
            print(
                f"Python has {middle:.1f} % ({low:.1f} to {high:.1f} in half of the rounds) of the rate of C++ with {lanes} lanes{form}"
            )


if __name__ == "__main__":
    main()
