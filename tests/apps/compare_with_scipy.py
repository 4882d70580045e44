#!/usr/bin/env python3
"""Compares weir's readers with those of scipy and NumPy, over Matrix Market, .npy and .npz files made at random from a seed.

Each file is written by itself as the standard has it, for scipy.io.mmread, and for weir as people have it: with comments, blank
lines, tabs, a byte-order mark, lines that end with CR LF, compressed. Arrays are written by numpy. weir converts the file to
events, which must add up to the same matrix, number by number; files that weir does not read must be refused by name. Vectors are
also given to weir as fixed operands, which have a reader of their own. Needs numpy and scipy.

usage: WEIR_PROGRAM=build/weir tests/apps/compare_with_scipy.py [--files 300] [--seed 1] [--fixed 20] [--keep DIR]
"""

import argparse
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import scipy.io

PROGRAM = os.environ.get("WEIR_PROGRAM", "build/weir")


class Difference(Exception):
    pass


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


def sum_of_events(text, shape):
    """The matrix that events A,i,j,delta and A,i,*,v0,... add up to."""
    matrix = np.zeros(shape)
    for line in text.splitlines():
        name, i, j, *values = line.split(",")
        if name != "A":
            raise Difference("an event of %s: %s" % (name, line))
        if j == "*":
            if len(values) != shape[1]:
                raise Difference("a row of %d numbers: %s" % (len(values), line))
            matrix[int(i)] += [float(value) for value in values]
        else:
            matrix[int(i), int(j)] += float(values[0])
    return matrix


def is_equal(found, expected):
    return found.shape == expected.shape and np.array_equal(found, expected)


def number(source, field):
    if field == "integer":
        return str(source.choice([source.integers(-9, 10), source.integers(-2 ** 53, 2 ** 53)]))
    value = source.choice([source.normal(), source.integers(-99, 99), source.normal() * 10.0 ** source.integers(-300, 300)])
    return source.choice(["%r", "%.17g", "%g", "%.3e"]) % float(value)


def matrix_market(source):
    """The lines of a file as the standard has it, and whether weir reads it."""
    layout = source.choice(["coordinate", "array"])
    field = source.choice(["real", "integer", "pattern", "complex"], p=[0.45, 0.25, 0.2, 0.1])
    if layout == "array" and field == "pattern":
        field = "real"
    symmetry = source.choice(["general", "symmetric", "skew-symmetric", "hermitian"])
    if field == "pattern" and symmetry in ("skew-symmetric", "hermitian"):
        symmetry = "symmetric"
    n = int(source.integers(1, 12))
    m = int(source.integers(1, 12)) if symmetry == "general" else n
    value = lambda: number(source, field) + (" " + number(source, field) if field == "complex" else "")
    if symmetry == "hermitian" and field == "complex":
        value = lambda: number(source, field) + " 0"
    entries = []
    if layout == "array":
        for j in range(m):
            first = 0 if symmetry == "general" else j + (1 if symmetry == "skew-symmetric" else 0)
            entries += [value() for _ in range(first, n)]
        size = "%d %d" % (n, m)
    else:
        upper = symmetry != "general" and source.random() < 0.4
        for _ in range(int(source.integers(1, 30))):
            i, j = int(source.integers(n)), int(source.integers(m))
            if symmetry != "general" and (i < j) != upper:
                i, j = j, i
            if symmetry == "skew-symmetric" and i == j:
                continue
            entries.append("%d %d" % (i + 1, j + 1) + ("" if field == "pattern" else " " + value()))
        size = "%d %d %d" % (n, m, len(entries))
    if not entries:
        return matrix_market(source)
    return ["%%%%MatrixMarket matrix %s %s %s" % (layout, field, symmetry), size, *entries], field != "complex"


def as_people_have_it(source, lines):
    banner, size, *entries = lines
    comments = lambda: [str(source.choice(["% a comment", "%", "", "   ", "%%% 1 1 1"])) for _ in range(source.integers(3))]
    text = [source.choice([banner, banner.upper(), banner.replace(" ", "  "), banner.replace(" ", "\t")])]
    text += comments() + [size] + comments()
    blanks = source.random() < 0.5
    for entry in entries:
        if blanks and source.random() < 0.3:
            entry = source.choice([" ", "\t", "   "]) + entry.replace(" ", source.choice([" ", "\t", "  "])) + source.choice(["", " "])
        text.append(entry)
        if source.random() < 0.1:
            text += comments()
    end = source.choice(["\n", "\r\n"])
    out = source.choice(["", "\ufeff", "\n\n"], p=[0.7, 0.15, 0.15]) + end.join(text) + source.choice([end, "", end + end])
    return out.encode()


def compare_matrix_market(source, path):
    lines, is_read = matrix_market(source)
    content = as_people_have_it(source, lines)
    if source.random() < 0.25:
        content = gzip.compress(content)
    with open(path, "wb") as file:
        file.write(content)
    outcome = run("convert", path, "-o", "-", "--to", "text", "--operand", "A")
    expected = scipy.io.mmread(io.BytesIO(("\n".join(lines) + "\n").encode()))
    expected = expected if isinstance(expected, np.ndarray) else expected.toarray()
    if not is_read:
        if outcome.returncode != 1 or path not in outcome.stderr.decode() or "'complex'" not in outcome.stderr.decode().lower():
            raise Difference("a complex matrix was not refused: %d %s" % (outcome.returncode, outcome.stderr.decode()))
        return None
    if outcome.returncode != 0:
        raise Difference(outcome.stderr.decode())
    expected = expected.astype(float)
    found = sum_of_events(outcome.stdout.decode(), expected.shape)
    if not is_equal(found, expected):
        raise Difference("found\n%s\nexpected\n%s" % (found, expected))
    return path, expected


DTYPES = ["f2", "f4", "f8", "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]


def random_array(source):
    code = source.choice(DTYPES)
    shape = tuple(int(side) for side in source.integers(1, 9, size=source.choice([0, 1, 2, 2, 2, 3, 4])))
    if code[0] == "f":
        values = source.normal(size=shape) * 10.0 ** source.integers(-3, 4, size=shape)
    elif code == "b1":
        values = source.integers(0, 2, size=shape)
    else:
        limits = np.iinfo(code)
        values = source.integers(max(limits.min, -2 ** 53), min(limits.max, 2 ** 53), size=shape, endpoint=True)
    dtype = np.dtype(source.choice(["<", ">"]) + code)
    return np.asarray(values).astype(dtype, order=source.choice(["C", "F"]))


def compare_array(source, path):
    array = random_array(source)
    name, kind = path, source.choice(["npy", "npz", "npz_compressed", "gz"])
    out = io.BytesIO()
    if kind in ("npy", "gz"):
        np.lib.format.write_array(out, array, version=(int(source.integers(1, 4)), 0))
    else:
        # The others have other numbers.
        members = {"before": array + array.dtype.type(1), "a": array, "behind": np.zeros(3)}
        (np.savez if kind == "npz" else np.savez_compressed)(out, **members)
        name += "[a]"
    with open(path, "wb") as file:
        file.write(gzip.compress(out.getvalue()) if kind == "gz" else out.getvalue())
    part = array
    while part.ndim > 2 or (part.ndim > 0 and source.random() < 0.2):
        k = int(source.integers(part.shape[0]))
        name += "[%d]" % k
        part = part[k]
    matrix = part.astype(float)
    matrix = matrix.reshape(1, 1) if matrix.ndim == 0 else matrix.reshape(-1, 1) if matrix.ndim == 1 else matrix
    outcome = run("convert", name, "-o", "-", "--to", "text", "--operand", "A")
    # numpy says in the file that an array is in Fortran order only where the orders differ.
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous and min(matrix.shape) > 1
    if is_fortran and kind in ("gz", "npz_compressed"):
        if outcome.returncode != 1 or "Fortran order" not in outcome.stderr.decode():
            raise Difference("Fortran order was not refused: %d %s" % (outcome.returncode, outcome.stderr.decode()))
        return None
    if outcome.returncode != 0:
        raise Difference(outcome.stderr.decode())
    found = sum_of_events(outcome.stdout.decode(), matrix.shape)
    if not is_equal(found, matrix):
        raise Difference("%s of %s %s: found\n%s\nexpected\n%s" % (name, array.dtype, array.shape, found, matrix))
    return name, matrix


def compare_fixed(name, matrix, folder):
    """A vector as weir reads it for --fixed: the norm of the identity times it."""
    d = matrix.size
    identity = os.path.join(folder, "identity.csv")
    with open(identity, "w") as file:
        file.writelines("A,%d,%d,1\n" % (i, i) for i in range(d))
    outcome = run("sample", "--model", "product", "--n", str(d), "--d", str(d), "--fixed", "x=" + name, "--sampler", "exact",
                  "--json", identity)
    if outcome.returncode not in (0, 3):
        raise Difference(outcome.stderr.decode())
    norm = json.loads(outcome.stdout)["norm"]
    if not np.isclose(norm, np.linalg.norm(matrix), rtol=1e-12, atol=0):
        raise Difference("as a fixed operand its norm is %r, expected %r" % (norm, np.linalg.norm(matrix)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fixed", type=int, default=20, help="vectors, at most, that are read as fixed operands too")
    parser.add_argument("--keep", metavar="DIR", help="where files stay that are read differently")
    options = parser.parse_args()
    differences = refused = fixed = 0
    with tempfile.TemporaryDirectory() as folder:
        for k in range(options.files):
            source = np.random.default_rng([options.seed, k])
            compare, extension = [(compare_matrix_market, "mtx"), (compare_array, "npy")][k % 2]
            path = os.path.join(folder, "%d-%d.%s" % (options.seed, k, extension))
            try:
                compared = compare(source, path)
                refused += compared is None
                if compared and min(compared[1].shape) == 1 and np.abs(compared[1]).max() < 1e150 and fixed < options.fixed:
                    compare_fixed(*compared, folder)
                    fixed += 1
            except Difference as difference:
                differences += 1
                print("file %d of seed %d: %s" % (k, options.seed, difference))
                if options.keep:
                    os.makedirs(options.keep, exist_ok=True)
                    os.replace(path, os.path.join(options.keep, os.path.basename(path)))
    print("%d files, of which %d were to be refused; %d vectors as fixed operands too; %d differences"
          % (options.files, refused, fixed, differences))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
