"""Reads a state file of format version 2, independently of weir: the layout is written down here a second time.

A test that lets weir read what weir wrote passes when both change together. The files of this folder do not change, and
this reader shares no code with weir. It checks every field and both checksums, and computes the norm from the cells.
Usage: read_state.py FILE...    prints what the tests compare. Python 3.8 and its standard library are enough.
"""

import json
import math
import struct
import sys

MASK = (1 << 64) - 1
CHECKSUM_SEED = 0x7765697273746174  # "weirstat"
MODELS = {1: ("vector", "product"), 2: ("product",), 3: ("kronecker",), 4: ("rows",), 5: ("kronecker",)}
LAWS = ("exponential", "uniform")
RANDOMNESS = ("mix", "kwise")
OPERANDS = ("y", "x", "A", "A1", "A2", "X")


def xxh64(data, seed):
    """XXH64 as its specification describes it (github.com/Cyan4973/xxHash, doc/xxhash_spec.md)."""
    p1, p2, p3, p4, p5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                          0x27D4EB2F165667C5)

    def rotate(value, count):
        return (value << count | value >> (64 - count)) & MASK

    def mix(accumulator, lane):
        return rotate((accumulator + lane * p2) & MASK, 31) * p1 & MASK

    position = 0
    if len(data) >= 32:
        sums = [(seed + p1 + p2) & MASK, (seed + p2) & MASK, seed, (seed - p1) & MASK]
        while position + 32 <= len(data):
            sums = [mix(old, lane) for old, lane in zip(sums, struct.unpack_from("<4Q", data, position))]
            position += 32
        digest = sum(rotate(part, count) for part, count in zip(sums, (1, 7, 12, 18))) & MASK
        for part in sums:
            digest = ((digest ^ mix(0, part)) * p1 + p4) & MASK
    else:
        digest = (seed + p5) & MASK
    digest = (digest + len(data)) & MASK
    while position + 8 <= len(data):
        digest = (rotate(digest ^ mix(0, struct.unpack_from("<Q", data, position)[0]), 27) * p1 + p4) & MASK
        position += 8
    if position + 4 <= len(data):
        digest = (rotate(digest ^ struct.unpack_from("<I", data, position)[0] * p1 & MASK, 23) * p2 + p3) & MASK
        position += 4
    for byte in data[position:]:
        digest = rotate(digest ^ byte * p5 & MASK, 11) * p1 & MASK
    digest = (digest ^ digest >> 33) * p2 & MASK
    digest = (digest ^ digest >> 29) * p3 & MASK
    return digest ^ digest >> 32


class Fields:
    """Little-endian numbers, one after the other."""

    def __init__(self, data):
        self.data, self.position = data, 0

    def take(self, code):
        value, = struct.unpack_from("<" + code, self.data, self.position)
        self.position += struct.calcsize("<" + code)
        return value

    def name(self):
        length = self.take("I")
        self.position += length
        return self.data[self.position - length:self.position].decode()

    def doubles(self, count):
        return [self.take("d") for _ in range(count)]


def require(holds, what):
    if not holds:
        raise ValueError(what)


def rows_of_levels(config, row_length):
    """Rows of each level; the top level of groups has about half of them where it has few groups."""
    levels, rows = config["levels"], [config["rows"]] * config["levels"]
    if levels > 1:
        bits = (config["n"] - 1).bit_length()
        group = row_length or 1 << bits * (levels - 1) // levels
        groups = (config["n"] - 1) // group + 1
        if groups <= config["buckets"] // 2 * (config["buckets"] // 4):
            rows[-1] = (config["rows"] + 1) // 2 | 1
    return rows


def read(data):
    """The fields of a state, and its arrays by name. Throws ValueError, or struct.error where the data ends too early."""
    require(data[:8] == b"\x89WEIR\r\n\x1a", "the magic bytes")
    version, header_size, kind, zero, length, payload_sum, header_sum = struct.unpack_from("<4I3Q", data, 8)
    require((version, header_size, zero) == (2, 48, 0), "version 2, a header of 48 bytes, and 0")
    require(kind in MODELS, "a kind from 1 to 5")
    require(len(data) == 48 + length, "the length of the payload")
    require(header_sum == xxh64(data[:40], CHECKSUM_SEED), "the checksum of the header")
    require(payload_sum == xxh64(data[48:], CHECKSUM_SEED), "the checksum of the payload")

    fields = Fields(data[48:])
    require(fields.take("B") == 1, "a little-endian archive")
    state = {"kind": kind, "model": fields.name(), "updates": fields.take("Q"), "ranks": fields.take("Q")}
    require(state["model"] in MODELS[kind], "a model that has this kind of state")
    bits = fields.take("B")
    state["fixed"] = [name for value, name in enumerate(OPERANDS) if bits >> value & 1]
    state["epsilon"], state["constant"] = fields.take("d"), fields.take("d")
    config = {name: fields.take(code) for name, code in (("n", "Q"), ("rows", "I"), ("buckets", "Q"), ("lanes", "I"), ("levels", "I"))}
    config["law"] = LAWS[fields.take("B")]
    config["p"] = fields.take("d")
    config["randomness"] = RANDOMNESS[fields.take("B")]
    config["independence"] = fields.take("I")
    config["seed"] = fields.take("Q")
    row_length = 0
    if kind == 3:
        row_length, state["transposed"] = fields.take("Q"), bool(fields.take("B"))
    state["fingerprint"] = "%016x" % fields.take("Q")
    table_rows = sum(rows_of_levels(config, row_length))
    cells = table_rows * config["buckets"] * config["lanes"]
    arrays = {}

    def factor(name, d, buckets, exact):
        arrays[name + "draws"] = (fields.doubles(cells * d))
        arrays[name + "wide"] = (fields.doubles(config["rows"] * buckets * d))
        arrays[name + "gram"] = (fields.doubles(d * d if exact else 0))

    if kind in (1, 3):
        arrays["table"] = fields.doubles(cells)
    elif kind == 2:
        d, degree = fields.take("Q"), fields.take("I")
        columns = d if degree == 1 else d + d * (d + 1) // 2
        state.update({"d": d, "degree": degree, "columns": columns})
        arrays["x"] = fields.doubles(d)
        arrays["table"] = fields.doubles(cells * columns)
    elif kind == 4:
        d, buckets, exact = fields.take("Q"), fields.take("Q"), fields.take("B")
        state.update({"d": d, "gram_buckets": buckets, "gram_exact": bool(exact), "operands_fingerprint": "%016x" % fields.take("Q")})
        factor("", d, buckets, exact)
    else:
        n2, d1, d2, buckets, exact = fields.take("Q"), fields.take("Q"), fields.take("Q"), fields.take("Q"), fields.take("B")
        state.update({"n2": n2, "d1": d1, "d2": d2, "gram_buckets": buckets, "gram_exact": bool(exact),
                      "operands_fingerprint": "%016x" % fields.take("Q"), "x_events": fields.take("d")})
        arrays["X"] = fields.doubles(d1 * d2)
        factor("A1.", d1, buckets, exact)
        factor("A2.", d2, buckets, exact)
    require(fields.position == length, "nothing after the arrays")
    state.update(config)
    if row_length:
        state["row_length"] = row_length
    return state, arrays


def median_square(state, cells):
    """The median, over the rows of level 0, of the sum of the squares of cells(row, bucket)."""
    sums = [sum(cells(row, bucket) ** 2 for bucket in range(state["buckets"])) for row in range(state["rows"])]
    return sorted(sums)[len(sums) // 2]


def gram_of(state, arrays, name, d):
    """A^T A of a factor: as it was kept, or the mean over the rows of its CountSketch."""
    if state["gram_exact"]:
        flat = arrays[name + "gram"]
        return [flat[k * d:(k + 1) * d] for k in range(d)]
    wide = arrays[name + "wide"]
    buckets = [wide[k:k + d] for k in range(0, len(wide), d)]
    return [[sum(cell[j] * cell[k] for cell in buckets) / state["rows"] for k in range(d)] for j in range(d)]


def norm(state, arrays):
    """The estimate of the l2 norm of y, for rows of the Frobenius norm of A."""
    lanes, buckets = state["lanes"], state["buckets"]
    if state["kind"] in (1, 3):
        return math.sqrt(median_square(state, lambda row, bucket: arrays["table"][(row * buckets + bucket) * lanes]))
    if state["kind"] == 2:
        columns, table, x = state["columns"], arrays["table"], arrays["x"]
        return math.sqrt(median_square(state, lambda row, bucket: sum(
            table[((row * buckets + bucket) * columns + column) * lanes] * x[column] for column in range(len(x)))))
    if state["kind"] == 4:
        gram = gram_of(state, arrays, "", state["d"])
        return math.sqrt(sum(gram[k][k] for k in range(state["d"])))
    d1, d2 = state["d1"], state["d2"]
    g1, g2 = gram_of(state, arrays, "A1.", d1), gram_of(state, arrays, "A2.", d2)
    x = [arrays["X"][k * d2:(k + 1) * d2] for k in range(d1)]
    if state["x_events"] == 0:
        x = [[float(j == k) for k in range(d2)] for j in range(d1)]
    return math.sqrt(sum(g1[a][b] * x[a][j] * g2[j][k] * x[b][k]
                         for a in range(d1) for b in range(d1) for j in range(d2) for k in range(d2)))


def summary(data):
    """What is compared: the fields, and of every array its length, the XXH64 (seed 0) of its bytes and four numbers."""
    state, arrays = read(data)
    described = {name: {"numbers": len(numbers), "xxh64": "%016x" % xxh64(struct.pack("<%dd" % len(numbers), *numbers), 0),
                        "not_0": [[k, numbers[k]] for k in range(len(numbers)) if numbers[k] != 0][:4]}
                 for name, numbers in arrays.items()}
    return {**state, "norm": norm(state, arrays), "arrays": described}


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            print(path, json.dumps(summary(file.read())))
