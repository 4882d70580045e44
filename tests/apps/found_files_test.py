"""Files as people find them: graphs, archives of arrays, heads of attention. harness.py says what this needs."""

import gzip
import struct
import unittest
import zipfile

from harness import Case, as_npy

SNAP = "# Directed graph: g.txt\n# Nodes: 6 Edges: 7\n# FromNodeId\tToNodeId\n" + \
    "".join("%d\t%d\n" % edge for edge in [(0, 1), (0, 2), (0, 5), (2, 1), (3, 3), (5, 0), (5, 2)])
EDGES = [tuple(map(int, line.split())) for line in SNAP.splitlines() if line[0] != "#"]


def heads_of(matrices):
    """The matrices as one array of three dimensions, in a .npy file."""
    shape = (len(matrices), len(matrices[0]), len(matrices[0][0]))
    header = ("{'descr': '<f8', 'fortran_order': False, 'shape': (%d, %d, %d), }" % shape).ljust(117) + "\n"
    numbers = [number for matrix in matrices for row in matrix for number in row]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack("<%dd" % len(numbers), *numbers)


class Graphs(Case):
    def test_two_columns_do_not_pass_as_events_in_silence(self):
        snap = self.write("snap.txt", SNAP)
        for ranks in (None, 3):
            self.fail_with(1, "sample", "--n", 10, snap, ranks=ranks, naming=(snap + ":", "tell of a graph", "--edges"))
        self.fail_with(1, "sample", "--n", 10, "--on-error", "skip", snap, naming="--edges")
        self.fail_with(1, "sample", "--model", "rows", "--n", 10, "--d", 10, snap, naming="--edges")
        # Without comments they may be either.
        bare = self.write("bare.txt", SNAP.partition("ToNodeId\n")[2])
        for ranks in (None, 3):
            warned = self.succeed("sample", "--n", 10, "--sampler", "exact", "--seed", 1, "--json", bare, ranks=ranks)
            self.assertEqual(len(warned.err.splitlines()), 1, warned.err)
            self.assertIn("weir: warning: %s: '0\\x091' and lines like it are taken for events i,delta; --edges" % bare, warned.err)
            said = self.succeed("sample", "--n", 10, "--sampler", "exact", "--seed", 1, "--json", "--edges", "none", bare, ranks=ranks)
            self.assertEqual(said.err, "")
            self.assertEqual(said.json()["samples"], warned.json()["samples"])

    def test_lengths_come_from_comments(self):
        file = self.write("snap.txt", SNAP)
        konect = self.write("out.konect", "% asym unweighted\n% 3 4 9\n1 9 \n4 2 \n4 1 \n")
        self.assertEqual(self.succeed("sample", "--edges", "both", "--json", file).json()["n"], 6)
        self.assertEqual(self.succeed("sample", "--edges", "in", "--json", konect, ranks=2).json()["n"], 10)
        rows = self.succeed("sample", "--model", "rows", "--edges", "out", "--json", konect).json()
        self.assertEqual((rows["n"], rows["d"]), (5, 10))
        larger = self.write("larger.txt", "# Nodes: 3 Edges: 1\n0\t700\n")
        self.fail_with(1, "sample", "--edges", "both", larger, naming=("larger.txt:2", "700 is too large", "3 nodes", "--n"))
        self.succeed("sample", "--edges", "both", "--n", 701, larger)

    def test_degrees_are_those_of_the_graph(self):
        file = self.write("snap.txt", SNAP)
        for edges, ends in (("out", [0]), ("in", [1]), ("both", [0, 1])):
            wanted = {}
            for edge in EDGES:
                for end in ends:
                    wanted[edge[end]] = wanted.get(edge[end], 0) + 1
            for ranks in (None, 3):
                answer = self.succeed("sample", "--sampler", "exact", "--edges", edges, "--samples", 40, "--seed", 1, "--json",
                                      file, ranks=ranks).json()
                self.assertAlmostEqual(answer["norm"] ** 2, sum(value ** 2 for value in wanted.values()))
                for sample in answer["samples"]:
                    self.assertEqual(sample["value"], wanted[sample["index"]])


class Arrays(Case):
    def setUp(self):
        super().setUp()
        self.heads = [[[float((7 * h + 3 * i + 5 * j) % 11 - 5) for j in range(4)] for i in range(24)] for h in range(3)]
        self.file = self.write("heads.npy", heads_of(self.heads))
        self.one = self.write("one.npy", as_npy(self.heads[2]))
        for name, method in (("stored.npz", zipfile.ZIP_STORED), ("deflated.npz", zipfile.ZIP_DEFLATED)):
            with zipfile.ZipFile(self.path(name), "w", method) as archive:
                archive.writestr("heads.npy", heads_of(self.heads))
                archive.writestr("other.npy", as_npy([[1.0]]))

    def test_heads_of_attention(self):
        options = ["--mode", "exact", "-o"]
        self.succeed("attend", "--q", self.one, "--k", self.one, "--v", self.one, *options, self.path("expected.npy"))
        for name in (self.file + "[2]", self.path("stored.npz") + "[heads][2]", self.path("deflated.npz") + "[heads][2]"):
            for ranks in (None, 2):
                self.succeed("attend", "--q", name, "--k", name, "--v", name, *options, self.path("o.npy"), ranks=ranks)
                self.assertEqual(self.read("o.npy"), self.read("expected.npy"), name)
        self.fail_with(1, "attend", "--q", self.file, "--k", self.one, "--v", self.one, *options, self.path("o.npy"),
                       naming=("heads.npy", "found 3 (3 x 24 x 4)", "[0]"))
        self.fail_with(1, "attend", "--q", self.file + "[3]", "--k", self.one, "--v", self.one, *options, self.path("o.npy"),
                       naming="no part 3")

    def test_streams_and_fixed_operands(self):
        sample = ["sample", "--model", "product", "--seed", 1, "--json"]
        x = self.write("x.txt", "1\n2\n-1\n3\n")
        self.write("x.csv", "x,0,1\nx,1,2\nx,2,-1\nx,3,3\n")
        expected = self.succeed(*sample, "--fixed", "A=" + self.one, self.path("x.csv")).json()
        for name in (self.file + "[2]", self.path("stored.npz") + "[heads][2]", self.path("deflated.npz") + "[heads][2]"):
            for ranks in (None, 2):
                fixed = self.succeed(*sample, "--fixed", "A=" + name, self.path("x.csv"), ranks=ranks).json()
                self.assertEqual(fixed["samples"], expected["samples"], name)
                stream = self.succeed(*sample, "--fixed", "x=" + x, name, ranks=ranks).json()
                self.assertEqual(stream["n"], 24)
                self.assertEqual([s["index"] for s in stream["samples"]], [s["index"] for s in expected["samples"]], name)
        self.fail_with(1, *sample, "--fixed", "x=" + x, self.path("stored.npz"), naming=("2 arrays", "heads, other"))


class Parts(Case):
    def test_one_empty_part_of_many(self):
        parts = [self.write("part-0.csv", ""), self.write("part-1.csv", "1,2\n3,4\n"), self.write("part-2.csv", "# none\n"),
                 self.write("part-3.csv.gz", gzip.compress(b""))]
        expected = self.succeed("sample", "--n", 10, "--seed", 1, "--json", parts[1]).json()
        for ranks in (None, 3):
            found = self.succeed("sample", "--n", 10, "--seed", 1, "--json", *parts, ranks=ranks).json()
            self.assertEqual(found["samples"], expected["samples"])
            self.fail_with(1, "sample", "--n", 10, parts[0], parts[2], parts[3], ranks=ranks, naming="contains no events")

    def test_what_is_not_decompressed_is_named_with_its_command(self):
        file = self.write("e.bz2", b"BZh91AY&SY" + bytes(20))
        self.fail_with(1, "sample", "--n", 10, file, naming="bzip2 -dc %s | weir ... -" % file)
        self.fail_with(1, "sample", "--model", "product", "--fixed", "A=" + file, self.write("x.csv", "x,0,1\n"),
                       naming="bzip2 -dc")


if __name__ == "__main__":
    unittest.main()
