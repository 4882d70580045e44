"""What callers pass and read: numbers, texts of errors, names of classes, and printed numbers."""

import itertools
import pathlib
import re

import numpy as np
from support import SOURCES, Case

import weir
from weir import _arguments, _core


class Numbers(Case):
    def test_whole_numbers_in_any_form(self):
        expected = bytes(weir.Vector(n=1000, seed=8, samples=4, lanes=16, levels=1).update(3, 2))
        for form in (float, np.int64, np.uint16, np.float32, np.float64, np.array):
            made = weir.Vector(n=form(1000), seed=form(8), samples=form(4), lanes=form(16), levels=form(1)).update(3, 2)
            self.assertEqual(bytes(made), expected, form)
            self.assertEqual(len(made.sample(form(2))), len(made.sample(2)))
            self.assertEqual(len(made.query(top=form(1)).top), 1)
            self.assertEqual(weir.hash_keys(["a"], seed=form(8)).tolist(), weir.hash_keys(["a"], seed=8).tolist())
        self.assertEqual(weir.Vector(n=1e6).shape, (1_000_000,))
        self.assertEqual(weir.Vector(seed=2**64 - 1).seed, 2**64 - 1)
        self.assertEqual(_arguments.whole("n", float(2**53 - 1)), 2**53 - 1)
        rows = weir.LeverageSampler(np.float64(2), n=1e3, seed=1.0).fit(np.eye(3))
        self.assertEqual(len(rows.indices_), 2)
        self.assertEqual(weir.Attention(np.eye(2), np.eye(2), np.eye(2), budget=65536.0, tokens=1e6, seed=1.0).seed, 1)

    def test_what_is_no_whole_number(self):
        state = weir.Vector(n=10, seed=1)
        makers = {
            "n": lambda value: weir.Vector(n=value),
            "seed": lambda value: weir.Vector(seed=value),
            "samples": lambda value: weir.Vector(n=10, samples=value),
            "lanes": lambda value: weir.Vector(n=10, lanes=value),
            "top": lambda value: state.query(top=value),
            "budget": lambda value: weir.Attention(np.eye(2), np.eye(2), np.eye(2), budget=value),
        }
        values = (2.5, -1, float("nan"), float("inf"), 2.0**53, 2**70, "5", True, [1], np.array([1, 2]), 1j)
        for (name, make), value in itertools.product(makers.items(), values):
            with self.subTest(name=name, value=value), self.assertRaisesRegex(
                weir.UsageError, f"^{name} is .*: expected a whole number from [01] to "
            ):
                make(value)
        for value in (2**64, -1, float(2**64)):
            with self.assertRaisesRegex(weir.UsageError, r"seed is .*: expected a whole number from 0 to 2\^64 - 1"):
                weir.Vector(n=10, seed=value)

    def test_what_is_no_number(self):
        state = weir.Vector(n=10, seed=1)
        for make, name in (
            (lambda value: weir.Vector(n=10, epsilon=value), "epsilon"), (lambda value: weir.Vector(n=10, p=value), "p"),
            (lambda value: weir.Vector(n=10, threshold=value), "threshold"), (lambda value: state.sample(scale=value), "scale"),
            (lambda value: state.query(moments=[value]), "moments"), (lambda value: state.sample(threshold=value), "threshold"),
            (lambda value: weir.Vector(n=10, resolution=value), "resolution")):
            for value in (float("nan"), True, np.array([1, 2]), 1j, 10**400):
                with self.assertRaisesRegex(weir.UsageError, f"^{name} is .*: expected a finite number"):
                    make(value)
        for name in ("without_replacement", "per_row", "verify", "second_pass"):
            with self.assertRaisesRegex(weir.UsageError, f"{name} is 1: expected True or False"):
                state.sample(**{name: 1})
        self.assertEqual(bytes(weir.Vector(n=10, seed=1, epsilon=np.float32(0.5), p=np.int8(1))),
                         bytes(weir.Vector(n=10, seed=1, epsilon=0.5, p=1)))


class Texts(Case):
    # Of commands that a shell takes, and of what is the program's alone.
    OF_THE_PROGRAM = ("xz -dc", "zstd -dc", "--merge root", "--mean-correct")

    def test_errors_name_arguments(self):
        for text, expected in (
            ("--p 4 is for --model product; it takes 2", "p=4 is for model='product'; it takes 2"),
            ("--point 3: y is", "points=3: y is"), ("expected --fixed X=FILE", "expected fixed={'X': ...}"),
            ("--fixed: A is read", "fixed: A is read"), ("(or --sampler exact)", "(or sampler='exact')"),
            ("; --edges out|in|both reads", "; edges='out|in|both' reads"), ("--window, --decay: x", "window, decay: x"),
            ("expected --gram-buckets 64 or more, or --gram exact", "expected gram_buckets=64 or more, or gram='exact'"),
            ("/tmp/--top 3: no file", "/tmp/--top 3: no file"), ("a--n", "a--n"), ("--unknown 3", "--unknown 3"), ("", "")):
            self.assertEqual(_core.in_python(text), expected)
        for text in ("x" * 10**6, "a--n" * 10**6, "--n " + "7" * 10**6, "--x" + "y" * 10**6):
            self.assertEqual(len(_core.in_python(text)), len(text) - 2 * text.startswith("--n "))
        with self.assertRaises(ValueError) as caught:
            weir.Product(n=10, p=4).as_vector().sample(metric="leverage")
        self.assertNotIn("--", str(caught.exception))

    def test_no_option_is_forgotten(self):
        """Every option that a text of the library names has an argument that takes its place."""
        literal = re.compile(r'"((?:[^"\\]|\\.)*)"')
        seen = 0
        for source in sorted(pathlib.Path(SOURCES, "src").rglob("*.cpp")):
            for text in literal.findall(source.read_text(encoding="utf-8")):
                if not re.search(r"(^|[ (;|])--[a-z]", text) or any(known in text for known in self.OF_THE_PROGRAM):
                    continue
                seen += 1
                self.assertNotRegex(_core.in_python(text), r"(^|[ (;|])--[a-z]", source)
        self.assertGreater(seen, 30)

    def test_questions_about_matrices(self):
        state = weir.Kronecker(n1=3, n2=4, d1=2, d2=2, seed=1)
        for ask, naming in ((lambda: state.query(points=1), "y is a matrix: expected columns"),
                            (lambda: state.query(points=[1, 2], columns=[1]), "as many columns"),
                            (lambda: state.query(columns=[1]), "columns belong to points"),
                            (lambda: state.query(inner=3), "inner is 3: expected a state")):
            with self.assertRaisesRegex(weir.UsageError, naming):
                ask()


class Classes(Case):
    def test_a_class_reads_its_own(self):
        vector = weir.Vector(n=10, seed=1).update(3)
        rows = weir.Rows(n=10, d=2, seed=1)
        vector.save(self.path("v.weir"))
        self.assertIs(type(weir.Vector.from_bytes(bytes(vector))), weir.Vector)
        self.assertIs(type(weir.Vector.load(self.path("v.weir"))), weir.Vector)
        self.assertIs(type(weir.State.from_bytes(bytes(rows))), weir.Rows)
        self.assertIs(type(weir.load(self.path("v.weir"))), weir.Vector)
        with self.assertRaisesRegex(weir.InputError, r"bytes: a state of weir\.Vector, not of weir\.Rows: expected "
                                                     r"weir\.Vector\.from_bytes, or weir\.State\.from_bytes for any"):
            weir.Rows.from_bytes(bytes(vector))
        with self.assertRaisesRegex(weir.InputError, r"v\.weir: a state of weir\.Vector, not of weir\.Attention: expected .*load"):
            weir.Attention.load(self.path("v.weir"))
        with self.assertRaisesRegex(weir.InputError, r"weir\.Rows, not of weir\.Product"):
            weir.Product.from_bytes(bytes(rows))


class Printed(Case):
    def test_exact_numbers_are_exact(self):
        exact = weir.Vector(n=9, sampler="exact", seed=1).update([1, 2], [3_000_000_001, 4])
        drawn = exact.sample()
        self.assertEqual(drawn.norm.bound, 0)
        self.assertIn("3000000001", repr(drawn))
        self.assertRegex(repr(drawn), "norm 3000000001.*, exact")
        self.assertEqual(repr(weir.Vector(n=9, sampler="exact").update(1, 5).sample().norm), "5, exact")
        self.assertRegex(repr(exact.query()), "^norm: 3000000001.*, exact$")
        softmax = weir.Vector(n=9, sampler="softmax", seed=1).update([1, 2], [3, 4]).sample()
        states = [weir.Vector(n=9, seed=1).update([1, 2], [3, 4]),
                  weir.Vector(n=9, seed=1, sampler="precision").update([1, 2], [3, 4]),
                  weir.Vector(n=9, seed=1, p=1).update([1, 2], [3, 4]),
                  weir.Rows(n=9, d=2, seed=1).update_rows([1, 2], [[3, 4], [5, 6]]),
                  weir.Rows(n=9, d=2, seed=1, sampler="exact").update_rows([1, 2], [[3, 4], [5, 6]]),
                  weir.Kronecker(n1=3, n2=3, d1=2, d2=2, sampler="exact").update_rows(
                      None, np.eye(3)[:, :2], operand="A1").update_rows(None, np.eye(3)[:, :2], operand="A2"),
                  weir.Product(fixed={"A": np.eye(3)}, seed=1).update([0, 1, 2], [1, 2, 3])]
        for shown in [softmax, exact.sample(without_replacement=True), *[state.sample() for state in states],
                      *[state.query() for state in states], states[0].query(moments=[0.5, 3], top=1, points=[0, 1])]:
            self.assertNotRegex(repr(shown), r"\bnan\b|\binf\b")

    def test_printed_estimates_cover(self):
        random = np.random.default_rng(1)
        for value, bound in zip(10 ** random.uniform(-8, 12, 500) * random.choice([-1, 1], 500), 10 ** random.uniform(-9, 9, 500)):
            printed, error = (float(part) for part in repr(weir.Estimate(float(value), float(bound))).split(" +- "))
            self.assertLessEqual(bound, error)
            # It still covers what the estimate covered, but for a thousandth.
            self.assertLessEqual(abs(printed - value), bound / 1000 + abs(value) * 2**-50)
        self.assertEqual(repr(weir.Estimate(1234567.0, 1.0)), "1234567 +- 1")
        self.assertEqual(repr(weir.Estimate(2.5, float("inf"))), "not known")
        self.assertEqual(repr(weir.Estimate(-0.0, 0.0)), "0, exact")
