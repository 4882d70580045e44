"""weir protocol as a user runs it: who wins, and with how long a message.

Shares of right answers are compared with what the reductions say they are, at five standard deviations: a false alarm of one
of the twenty comparisons is rarer than 1 in 50,000.
"""

import math
import unittest

from harness import Case


class Protocol(Case):
    def play(self, *options, ranks=2):
        answer = self.succeed("protocol", *options, "--json", ranks=ranks).json()
        self.assertEqual(answer["protocol"], options[0])
        self.assertGreater(answer["message_bytes"], 0)
        return answer

    def assert_success(self, answer, expected):
        deviation = math.sqrt(max(expected * (1 - expected), 1 / answer["trials"]) / answer["trials"])
        self.assertLess(abs(answer["success"] - expected), 5 * deviation, answer)
        self.assertGreater(answer["standard_error"], 0)

    def test_set_disjointness_needs_all_of_y(self):
        n, trials = 400, 400
        whole = self.play("set-disjointness", "--n", n, "--trials", trials)
        self.assertGreaterEqual(whole["message_bytes"], 8 * n)
        self.assertLess(whole["message_bytes"], 8 * n + 2000)
        self.assertEqual((whole["method"], whole["n"], whole["trials"]), ("exponential", n, trials))
        # C = 2: another index is drawn in 1 of n instances, and only where there is a common element.
        self.assert_success(whole, 1 - 0.5 / n)
        # Of what is cut off nothing is known, and a common element is found where it is kept.
        for kept in (0.75, 0.25):
            part = self.play("set-disjointness", "--n", n, "--trials", trials, "--bytes", int(8 * n * kept))
            self.assertLess(part["message_bytes"], 8 * n * kept + 2000)
            self.assert_success(part, 0.5 + kept / 2)
        # 16 draws by y^2 hit one of some 2 n / 3 elements, four times as heavy as the others, in 16 * 4 of 2 n / 3 cases at most.
        answer = self.play("set-disjointness", "--n", 4000, "--trials", trials, "--method", "l2", "--bytes", 12288)
        self.assertLess(answer["success"], 0.5 + 64 / (2 * 4000 * 2 / 3) + 5 * 0.5 / math.sqrt(trials))
        answer = self.play("set-disjointness", "--n", 4000, "--trials", trials, "--method", "heavy-hitters", "--bytes", 4096)
        self.assertLess(answer["success"], 0.55 + 5 * 0.5 / math.sqrt(trials))
        # A table of many more cells than elements has no collisions that matter.
        answer = self.play("set-disjointness", "--n", 100, "--trials", 100, "--method", "heavy-hitters", "--bytes", 2**20)
        self.assert_success(answer, 1)
        self.assertGreater(answer["reply_bytes"], 0)

    def test_bits_of_an_index_need_all_columns(self):
        table = 3 * 16 * 8 * 8  # bytes of a column
        for protocol, n in (("index", 48), ("tensor-index", 24)):
            whole = self.play(protocol, "--n", n, "--trials", 200)
            self.assertGreaterEqual(whole["message_bytes"], n * table)
            self.assertEqual(whole["kept"], n)
            self.assert_success(whole, 1)
            room = whole["message_bytes"] // 2
            half = self.play(protocol, "--n", n, "--trials", 400, "--bytes", room)
            self.assertLess(half["message_bytes"], room + 2000)
            self.assertIn(half["kept"], range(n // 2 - 2, n // 2 + 3))
            # The index of tensor-index is 1 .. n - 1.
            kept = half["kept"] / n if protocol == "index" else (half["kept"] - 1) / (n - 1)
            self.assert_success(half, 0.5 + kept / 2)
        # 48 columns in one: 24 ones on average, of which 8 lanes draw some.
        folded = self.play("index", "--n", 48, "--trials", 400, "--method", "fold", "--bytes", table + 100)
        self.assertGreater(folded["success"], 0.5)
        self.assertLess(folded["success"], 0.5 + 8 / 24 / 2 + 5 * 0.5 / math.sqrt(400))
        self.assert_success(self.play("tensor-index", "--n", 6, "--power", 3, "--trials", 50), 1)

    def test_the_same_seed_is_the_same_game(self):
        options = ["set-disjointness", "--n", 200, "--trials", 60, "--bytes", 800, "--seed"]
        self.assertEqual(self.play(*options, 3), self.play(*options, 3))
        self.assertIn("Alice", self.succeed("protocol", "index", "--n", 16, "--trials", 20, ranks=2).out)

    def test_what_is_refused(self):
        for ranks in (None, 3):
            self.fail_with(2, "protocol", "index", "--n", 8, ranks=ranks, naming="mpirun -n 2")
        for options, naming in ((["index"], "--n"), (["index", "--n", "1"], "--n"), (["chess", "--n", "8"], "chess"),
                                (["index", "--n", "8", "--method", "l2"], "truncate or fold"),
                                (["index", "--n", "8", "--bytes", "9"], "bytes at least"),
                                (["set-disjointness", "--n", "8", "--bytes", "99", "--method", "l2"], "6144 bytes"),
                                (["tensor-index", "--n", "5000"], "512"),
                                (["index", "--n", "8", "--trials", "0"], "--trials")):
            self.fail_with(2, "protocol", *options, ranks=2, naming=naming)


if __name__ == "__main__":
    unittest.main()
