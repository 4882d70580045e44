"""States of vectors: what they hold, how they combine, and that the program sees the same."""

import copy
import json
import pickle
import threading
import time

import numpy as np
import scipy.sparse
import scipy.stats
from support import Case, events

import weir
from weir import _arrays


class Vectors(Case):
    def setUp(self):
        super().setUp()
        self.keys, self.deltas, self.y = events(5000, 1000, 1)

    def state(self, **options):
        return weir.Vector(n=1000, **{"seed": 7, **options})

    def test_estimates_are_within_their_bounds(self):
        state = self.state(epsilon=0.05).update(self.keys, self.deltas)
        found = state.query(norm=True, top=3, points=[3, 500, 999, 4])
        self.assertLessEqual(abs(found.norm.value - np.linalg.norm(self.y)), found.norm.bound)
        for place in (3, 500, 999, 4):
            record = found.points[found.points["index"] == place]
            self.assertLessEqual(abs(record["value"][0] - self.y[place]), record["bound"][0])
        self.assertEqual(sorted(found.top["index"]), [3, 500, 999])
        self.assertEqual(state.updates, 5000)
        self.assertTrue(state.exact_sums)

    def test_draws_have_the_law(self):
        # 9 : 16 of the mass; of a thousand draws and more the share of the first is within 5 standard deviations.
        drawn = weir.Vector(n=10, samples=1500, seed=3).update([2, 8], [3, 4]).sample(1500)
        count = int((drawn["index"] == 2).sum())
        self.assertGreaterEqual(len(drawn), 1400)
        self.assertGreater(scipy.stats.binomtest(count, len(drawn), 9 / 25).pvalue, 1e-6)
        np.testing.assert_array_equal(np.abs(drawn["probability"] - np.where(drawn["index"] == 2, 0.36, 0.64)) < 1e-6, True)

    def test_states_are_linear(self):
        half = len(self.keys) // 2
        a = self.state().update(self.keys[:half], self.deltas[:half])
        b = self.state().update(self.keys[half:], self.deltas[half:])
        whole = self.state().update(self.keys, self.deltas)
        self.assertEqual(bytes(a + b), bytes(whole))
        self.assertEqual(bytes(sum([a, b])), bytes(whole))
        self.assert_same_arrays(whole - b, a)
        self.assert_same_arrays(2 * a, a + a)
        self.assert_same_arrays(a * 2 / 2, a)
        self.assert_same_arrays(-(-a), a)
        before = bytes(a)
        c = a
        c += b
        self.assertIs(c, a)
        c -= b
        self.assert_same_arrays(a, weir.State.from_bytes(before))
        a += a
        self.assert_same_arrays(a, 2 * weir.State.from_bytes(before))
        inner = weir.Vector(n=1000, seed=7).update(self.keys, self.deltas).query(inner=whole).inner
        self.assertLessEqual(abs(inner.value - self.y @ self.y), inner.bound)
        for wrong in (lambda: a + 1, lambda: a * "x", lambda: a * a, lambda: a - None, lambda: True * a, lambda: a / a):
            with self.assertRaises(TypeError):
                wrong()

    def test_scaled_by_numbers_that_are_none(self):
        for factor in (float("nan"), float("inf")):
            with self.assertRaisesRegex(ValueError, "coefficient"):
                self.state() * factor

    def test_states_that_differ_do_not_combine(self):
        for other, naming in ((self.state(seed=8), "seed: 7 against 8"), (weir.Vector(n=999, seed=7), "999")):
            with self.assertRaisesRegex(weir.InputError, naming):
                self.state() + other

    def test_copies_are_values(self):
        state = self.state().update(self.keys, self.deltas)
        before = bytes(state)
        for clone in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state)), state.copy()):
            self.assertIsInstance(clone, weir.Vector)
            self.assertEqual(bytes(clone), before)
            clone.update(1, 1)
        self.assertEqual(bytes(state), before)
        state.clear()
        self.assertTrue(state.sample().zero_vector)
        self.assertEqual(len(state.sample()), 0)

    def test_arrays_are_read_where_they_are(self):
        for array in (self.keys, self.keys.astype(np.uint64)):
            self.assertTrue(np.shares_memory(_arrays.keys(array, 0, 1000), array))
        self.assertTrue(np.shares_memory(_arrays.reals(self.deltas), self.deltas))
        self.deltas.tofile(self.path("deltas"))
        mapped = np.memmap(self.path("deltas"), dtype=np.float64, mode="r")
        self.assertTrue(np.shares_memory(_arrays.reals(mapped), mapped))

    def test_forms_of_keys_and_deltas_are_alike(self):
        expected = bytes(self.state().update(self.keys, self.deltas))
        strided = np.repeat(self.keys, 2)[::2]
        for keys in (self.keys.astype(np.uint64), self.keys.astype(np.int32), self.keys.astype(np.uint16), strided,
                     self.keys.tolist(), tuple(self.keys.tolist()), iter(self.keys.tolist()), [str(k) for k in self.keys],
                     self.keys.astype(str), self.keys.astype("S"), self.keys.astype(object), self.keys.astype(">i8")):
            self.assertEqual(bytes(self.state().update(keys, self.deltas)), expected)
        for deltas in (self.deltas.astype(np.float32), self.deltas.astype(np.int8), self.deltas.tolist(),
                       self.deltas.astype(object), np.repeat(self.deltas, 3)[::3]):
            self.assertEqual(bytes(self.state().update(self.keys, deltas)), expected)
        sparse = scipy.sparse.coo_matrix(self.y)
        self.assert_same_arrays(self.state().update(sparse), self.state().update(np.arange(1000), self.y))
        self.assert_same_arrays(self.state().update(scipy.sparse.csc_matrix(self.y).T),
                                self.state().update(np.arange(1000), self.y))
        counted = self.state().update([4, 4, 4])
        self.assertEqual(counted.query(points=4).points["value"][0], 3)
        self.assertEqual(bytes(self.state().update([], [])), bytes(self.state()))

    def test_bad_updates_change_nothing(self):
        state = self.state().update(self.keys, self.deltas)
        before = bytes(state)
        many = np.arange(20000) % 1000
        late = many.copy()
        late[15000] = 1000
        nan = np.ones(20000)
        nan[19999] = np.nan
        for keys, deltas, naming in (
            ([1000], 1, "key 1000 is not below the dimension 1000"), (late, 1, "update 15000 of the batch"),
            (np.array([2, -3]), 1, "key -3 is negative"), ([-3], 1, "key 0 is -3: expected text, bytes, or a whole"),
            (many, nan, "update 19999 of the batch: delta is nan"), (1, float("inf"), "delta is inf"),
            ([1, 2], [1, 2, 3], "indices"), ([1.5], 1, "key 0 is 1.5"), (np.array([1.0]), 1, "type float64"),
            ([True], 1, "key 0 is True"), ([None], 1, "key 0 is None"), (1, "x", "expected numbers"),
            (1, [1, "x"], "expected numbers"), (1, 1j, "expected numbers"), (1, 2**53 + 1, "9007199254740993"),
            ([1], np.array([2**63 + 1], np.uint64), "9223372036854775809"), (2**63, 1, "expected text, bytes"),
            ("a", 1, "text is hashed to 63 bits"), (np.array([2**64 - 1], np.uint64), 1, "18446744073709551615")):
            with self.subTest(naming), self.assertRaisesRegex(ValueError, naming):
                state.update(keys, deltas)
            self.assertEqual(bytes(state), before, naming)
        with self.assertRaisesRegex(ValueError, "is a vector: expected no columns"):
            state.update(1, 1, columns=2)
        with self.assertRaisesRegex(ValueError, "no operand 'x': expected y"):
            state.update(1, 1, operand="x")
        with self.assertRaisesRegex(ValueError, "y is a vector: expected update"):
            state.update_rows(1, [[1]])

    def test_resolution_makes_sums_of_reals_exact(self):
        deltas = np.random.default_rng(2).normal(size=len(self.keys))
        whole = self.state(resolution=0.001).update(self.keys, deltas)
        order = np.random.default_rng(3).permutation(len(self.keys))
        self.assertEqual(bytes(self.state(resolution=0.001).update(self.keys[order], deltas[order])), bytes(whole))
        rounded = np.rint(deltas * 1024) / 1024
        self.assert_same_arrays(whole, self.state(resolution=0.001).update(self.keys, rounded))
        self.assertTrue(whole.exact_sums)
        self.assertFalse(self.state().update(self.keys, deltas).exact_sums)

    def test_without_replacement(self):
        drawn = self.state(without_replacement=True, samples=20).update(self.keys, self.deltas).sample(
            20, without_replacement=True)
        self.assertEqual(len(set(drawn["index"])), len(drawn))
        self.assertTrue(((drawn["inclusion"] > 0) & (drawn["inclusion"] <= 1)).all())

    def test_exact_values_beside_draws(self):
        state = self.state().update(self.keys, self.deltas)
        exact = self.state(sampler="exact").update(self.keys, self.deltas)
        drawn = state.sample(exact=exact)
        np.testing.assert_array_equal(drawn["exact_value"], self.y[drawn["index"].astype(int)])
        np.testing.assert_allclose(drawn["exact_probability"], self.y[drawn["index"].astype(int)] ** 2 / (self.y @ self.y))
        self.assertAlmostEqual(drawn.exact_norm, np.linalg.norm(self.y))
        softmax = self.state(sampler="softmax").update([1, 2], [3, 2]).sample(5, scale=0.5)
        np.testing.assert_array_equal(softmax["value"], np.where(softmax["index"] == 1, 3, np.where(softmax["index"] == 2, 2, 0)))
        mass = np.exp(1.5) + np.exp(1) + 998
        np.testing.assert_allclose(softmax["probability"], np.exp(softmax["value"] / 2) / mass)

    def test_questions_that_cannot_be_answered(self):
        state = self.state()
        for ask, naming in ((lambda: state.sample(0), "samples is 0"), (lambda: state.sample(2.5), "samples is 2.5"),
                            (lambda: state.sample(metric="leverage"), "metric belongs to model='rows'"),
                            (lambda: state.sample(metric="x"), "metric is 'x'"),
                            (lambda: state.sample(threshold=-1), "threshold"), (lambda: state.sample(scale=2), "softmax"),
                            (lambda: state.query(points=1000), "index 1000 is outside"),
                            (lambda: state.query(points=[1], columns=[2]), "y is a vector"),
                            (lambda: state.query(top=512), "fewer coordinates"),
                            (lambda: state.query(moments=[17]), "above 0 and up to 16"),
                            (lambda: state.query(inner=self.state(seed=8)), "seed")):
            with self.assertRaisesRegex(ValueError, naming):
                ask()

    def test_arguments_that_make_no_problem(self):
        for options, naming in (({"samples": 0}, "samples is 0"), ({"epsilon": 0}, "epsilon"), ({"failure": 1}, "failure"),
                                ({"p": 3}, "p is 3"), ({"rows": 4}, "rows"), ({"rows": -1}, "rows is -1"),
                                ({"lanes": "x"}, "lanes is 'x'"), ({"buckets": 3}, "buckets"), ({"seed": -1}, "seed is -1"),
                                ({"seed": 2**64}, "seed is"), ({"randomness": "x"}, "x"), ({"sampler": "x"}, "sampler"),
                                ({"purpose": "x"}, "purpose"), ({"gram": "x"}, "gram"), ({"resolution": -1}, "resolution"),
                                ({"precision_constant": 1}, "precision"), ({"fixed": {"A": [[1]]}}, "cannot be fixed"),
                                ({"fixed": {"Z": [1]}}, "unknown operand 'Z'")):
            with self.assertRaisesRegex(ValueError, naming):
                self.state(**options)
        for n in (0, -1, 2**63 + 1, True):
            with self.assertRaisesRegex(ValueError, "n is"):
                weir.Vector(n=n)
        for wrong in ({"d": 3}, {"unknown": 3}):
            with self.assertRaises(TypeError):
                weir.Vector(**wrong)


class Threads(Case):
    def test_each_has_a_state_and_they_are_summed(self):
        keys, deltas, _ = events(40000, 1 << 20, 5)
        states = [weir.Vector(n=1 << 20, seed=1) for _ in range(4)]
        threads = [threading.Thread(target=state.update, args=(keys[k::4], deltas[k::4])) for k, state in enumerate(states)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(bytes(sum(states)), bytes(weir.Vector(n=1 << 20, seed=1).update(keys, deltas)))

    def test_one_state_takes_them_in_turn(self):
        keys, deltas, _ = events(4000, 1000, 6)
        state, other = weir.Vector(n=1000, seed=1), weir.Vector(n=1000, seed=1)
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                state.query()
                state.sample(exact=None)
                bytes(state)
                state.query(inner=other)
                other.query(inner=state)

        asking = threading.Thread(target=ask)
        asking.start()
        threads = [threading.Thread(target=lambda k=k: [state.update(keys[k::4], deltas[k::4]) for _ in range(20)])
                   for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        asking.join()
        self.assert_same_arrays(state, 20 * weir.Vector(n=1000, seed=1).update(keys, deltas))
        self.assertEqual(state.updates, 80000)

    def test_others_run_meanwhile(self):
        keys = np.random.default_rng(1).integers(0, 1 << 40, 1 << 20)
        state = weir.Vector(n=1 << 40, seed=1)
        thread = threading.Thread(target=state.update, args=(keys,))
        thread.start()
        seen = 0
        while thread.is_alive():
            seen += 1
            time.sleep(0)
        thread.join()
        self.assertGreater(seen, 10)


class WithTheProgram(Case):
    """States go back and forth, to the same bytes, and both give the same answers."""

    def test_saved_states_are_the_same_bytes(self):
        keys, deltas, _ = events(3000, 1000, 9)
        stream = self.write_events("y.csv", keys, deltas.astype(int))
        for options, flags in (({}, []), ({"p": 1, "samples": 3}, ["--p", 1, "--samples", 3]),
                               ({"levels": 2, "randomness": "kwise"}, ["--levels", 2, "--randomness", "kwise"]),
                               ({"resolution": 0.5}, ["--resolution", 0.5]),
                               ({"sampler": "precision", "samples": 1}, ["--sampler", "precision", "--samples", 1])):
            self.weir("sample", "--n", 1000, "--seed", 7, *flags, "--save", self.path("program.weir"), stream)
            weir.Vector(n=1000, seed=7, **options).update(keys, deltas).save(self.path("python.weir"))
            with open(self.path("program.weir"), "rb") as a, open(self.path("python.weir"), "rb") as b:
                self.assertEqual(a.read(), b.read(), options)
        for purpose, flags in (("query", ["--norm"]), ("top", ["--top", 3]), ("moments", ["--moment", 1])):
            self.weir("query", "--n", 1000, "--seed", 7, *flags, "--save", self.path("program.weir"), stream)
            state = weir.Vector(n=1000, seed=7, purpose=purpose).update(keys, deltas)
            with open(self.path("program.weir"), "rb") as file:
                self.assertEqual(file.read(), bytes(state), purpose)

    def test_both_answer_the_same(self):
        keys, deltas, _ = events(3000, 1000, 9)
        state = weir.Vector(seed=7).update(keys, deltas)
        state.save(self.path("s.weir"))
        drawn = state.sample(5)
        told = json.loads(self.weir("sample", "--state", self.path("s.weir"), "--samples", 5, "--json").stdout)
        self.assertEqual(told["updates"], 3000)
        self.assertEqual(told["norm"], drawn.norm.value)
        self.assertEqual(told["norm_bound"], drawn.norm.bound)
        for field in ("lane", "index", "value", "value_bound", "probability", "probability_bound"):
            self.assertEqual([sample[field] for sample in told["samples"]], drawn[field].tolist())
        self.assertEqual([(lane["lane"], lane["reason"]) for lane in told["failed"]], drawn.failed)
        told = json.loads(self.weir("query", "--state", self.path("s.weir"), "--norm", "--top", 3, "--point", "3,7", "--inner",
                                    self.path("s.weir"), "--json").stdout)
        found = state.query(norm=True, top=3, points=[3, 7], inner=state)
        self.assertEqual((told["norm"], told["norm_bound"]), found.norm)
        self.assertEqual((told["inner"][0]["value"], told["inner"][0]["bound"]), found.inner)
        for name in ("top", "points"):
            for field in ("index", "value", "bound"):
                self.assertEqual([entry[field] for entry in told[name]], getattr(found, name)[field].tolist())

    def test_states_of_the_program_go_on(self):
        keys, deltas, _ = events(3000, 1000, 9)
        first = self.write_events("a.csv", keys[:1000], deltas[:1000].astype(int))
        self.weir("sample", "--n", 1000, "--save", self.path("a.weir"), first)
        state = weir.load(self.path("a.weir"))
        self.assertIsInstance(state, weir.Vector)
        state.update(keys[1000:], deltas[1000:])
        self.assertEqual(bytes(weir.Vector(n=1000, seed=state.seed).update(keys, deltas)), bytes(state))
        state.save(self.path("b.weir"))
        change = state - weir.load(self.path("a.weir"))
        self.weir("combine", "-o", self.path("c.weir"), "--add", self.path("b.weir"), "--subtract", self.path("a.weir"))
        self.assert_same_arrays(weir.load(self.path("c.weir")), change)

    def test_errors_have_the_same_texts(self):
        self.assertEqual(self.error_of_program("sample", "--n", 10, "--rows", 4, "--seed", 1, "/dev/null"),
                         self.message(lambda: weir.Vector(n=10, rows=4, seed=1)))
        # But for options, which are arguments here.
        of_program = self.error_of_program("sample", "--model", "product", "--n", 10, "/dev/null")
        self.assertIn("--model product with both operands in the stream needs --d", of_program)
        self.assertEqual(self.message(lambda: weir.Product(n=10)),
                         of_program.replace("--model product", "model='product'").replace("--d", "d")
                         .replace("--fixed x=FILE", "fixed={'x': ...}").replace("--fixed A=FILE", "fixed={'A': ...}"))
        with open(self.path("bad.weir"), "wb") as file:
            file.write(bytes(weir.Vector(n=10))[:-1])
        for path in (self.path("bad.weir"), self.path("missing.weir"), self.folder):
            self.assertEqual(self.error_of_program("sample", "--state", path, code=1), self.message(lambda: weir.load(path)))
        a, b = weir.Vector(n=10, seed=1), weir.Vector(n=10, seed=2)
        a.save(self.path("a.weir"))
        b.save(self.path("b.weir"))
        told = self.error_of_program("combine", "-o", self.path("c.weir"), "--add", self.path("a.weir"), self.path("b.weir"),
                                     code=1)
        self.assertIn("seed: 1 against 2", told)
        self.assertIn("seed: 1 against 2", self.message(lambda: a + b))

    def message(self, work):
        with self.assertRaises(ValueError) as caught:
            work()
        return str(caught.exception)


class Bytes(Case):
    def test_damaged_bytes_are_refused(self):
        whole = bytes(weir.Vector(n=100, buckets=4, lanes=8, levels=1, seed=1).update([1], [2]))
        self.assertEqual(bytes(weir.State.from_bytes(bytearray(whole))), whole)
        self.assertEqual(bytes(weir.State.from_bytes(memoryview(whole))), whole)
        for place in range(0, len(whole), 37):
            damaged = bytearray(whole)
            damaged[place] ^= 16
            with self.assertRaises(weir.InputError):
                weir.State.from_bytes(damaged)
        for data in (b"", whole[:-1], whole + b"x", b"x" * 100):
            with self.assertRaises(weir.InputError):
                weir.State.from_bytes(data)
        for data in (np.zeros((2, 2), np.uint8), np.zeros(4)):
            with self.assertRaises(ValueError):
                weir.State.from_bytes(data)

    def test_a_file_that_cannot_be_written(self):
        with self.assertRaisesRegex(weir.InputError, "missing"):
            weir.Vector(n=10).save(self.path("missing/s.weir"))
