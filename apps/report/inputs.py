"""Inputs of experiments: arrays, vectors and events, without numpy."""

import array
import random
import struct
import sys


def write_npy(path, rows, columns, seed, normal=False):
    """An array of doubles: whole numbers from -9 to 9, or normal ones. Long arrays repeat a block of 65,521
    numbers: a prime, so that no two rows nearby are alike."""
    source = random.Random(seed)
    count = rows * columns
    block = array.array("d", [source.gauss(0, 1) if normal else float(source.randrange(-9, 10)) for _ in range(min(count, 65521))])
    if sys.byteorder == "big":
        block.byteswap()
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    header += " " * (117 - len(header)) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        while count > 0:
            part = block[:count]
            file.write(part.tobytes())
            count -= len(part)


def write_lines(path, lines):
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f"{line}\n" for line in lines)
