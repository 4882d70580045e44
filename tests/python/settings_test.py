"""Products, pairs, rows and attention, against NumPy."""

import json
import pickle

import numpy as np
import scipy.sparse
from support import Case

import weir


def whole(shape, seed):
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(float)


class Products(Case):
    def setUp(self):
        super().setUp()
        self.a, self.x = whole((40, 5), 1), whole(5, 2)
        self.y = self.a @ self.x

    def product(self, **options):
        return weir.Product(**{"seed": 7, "epsilon": 0.05, **options})

    def check(self, state):
        found = state.query(norm=True, points=range(40))
        self.assertTrue((np.abs(found.points["value"] - self.y) <= found.points["bound"]).mean() >= 0.95)
        self.assertLessEqual(abs(found.norm.value - np.linalg.norm(self.y)), found.norm.bound)
        self.assertTrue((self.y[state.sample()["index"].astype(int)] != 0).all())

    def test_whatever_streams(self):
        both = self.product(n=40, d=5).update_rows(None, self.a).update(range(5), self.x, operand="x")
        self.check(both)
        a_streams = self.product(n=40, fixed={"x": self.x}).update_rows(np.arange(40), self.a)
        self.check(a_streams)
        x_streams = self.product(fixed={"A": self.a}).update(range(5), self.x)
        self.check(x_streams)
        self.check(self.product(fixed={"A": self.a, "x": self.x[:, None]}))
        i, j = np.nonzero(self.a)
        entries = self.product(n=40, d=5).update(i, self.a[i, j], j).update(range(5), self.x, operand="x")
        self.assert_same_arrays(entries, both)
        self.assertIn("A fixed", repr(x_streams))
        for state in (both, a_streams, x_streams):
            clone = pickle.loads(pickle.dumps(state))
            self.assertIsInstance(clone, weir.Product)
            self.assertEqual(bytes(clone), bytes(state))
            self.assertIsInstance(state.as_vector(), weir.Vector)

    def test_what_is_at_hand_verifies(self):
        shares = self.y**2 / (self.y @ self.y)

        def check(state):
            drawn = state.sample()
            place = drawn["index"].astype(int)
            self.assertTrue(drawn.verified)
            np.testing.assert_allclose(drawn["value"], self.y[place])
            np.testing.assert_allclose(drawn["probability"], shares[place])
            self.assertTrue((drawn["value_bound"] == 0).all() and (drawn["probability_bound"] == 0).all())
            self.assertAlmostEqual(drawn.exact_norm, np.linalg.norm(self.y))

        state = self.product(fixed={"A": self.a}).update(range(5), self.x)
        check(state)
        check(state.copy())
        check(self.product(fixed={"A": np.asfortranarray(self.a)}).update(range(5), self.x))
        check(self.product(fixed={"A": scipy.sparse.csr_matrix(self.a)}).update(range(5), self.x))
        check(0.5 * (state + state))
        self.assertFalse(state.sample(verify=False).verified)
        self.assertIsNone(state.sample(verify=False).exact_norm)
        fourth = self.product(fixed={"A": self.a}, p=4).update(range(5), self.x).sample()
        np.testing.assert_allclose(fourth["probability"], (self.y**4 / (self.y**4).sum())[fourth["index"].astype(int)])
        rounded = np.floor(self.a / 3 * 4 + 0.5) / 4 @ self.x
        coarse = self.product(fixed={"A": self.a / 3}, resolution=0.25).update(range(5), self.x).sample(verify=True)
        np.testing.assert_allclose(coarse["value"], rounded[coarse["index"].astype(int)])
        # What is not at hand cannot be asked for.
        for other in (pickle.loads(pickle.dumps(state)), self.product(n=40, d=5).update_rows(None, self.a).update(
                range(5), self.x, operand="x"), weir.Vector(n=9).update(1)):
            self.assertFalse(other.sample().verified)
            with self.assertRaisesRegex(weir.UsageError, "verify=True, but nothing that is kept tells exact values"):
                other.sample(verify=True)

    def test_an_array_that_was_changed_verifies_nothing(self):
        theirs = self.a.copy()
        state = self.product(fixed={"A": theirs}).update(range(5), self.x)
        theirs[39, 4] += 1
        with self.assertRaisesRegex(weir.InputError, "the array of A was changed"):
            state.sample()
        self.assertGreater(len(state.sample(verify=False)), 0)
        theirs[39, 4] -= 1
        self.assertTrue(state.sample().verified)

    def test_exact_states_of_a_fixed_matrix(self):
        exact = self.product(fixed={"A": self.a}, sampler="exact").update(range(5), self.x)
        self.assertAlmostEqual(exact.query().norm.value, np.linalg.norm(self.y))
        drawn = exact.sample(20)
        np.testing.assert_allclose(drawn["value"], self.y[drawn["index"].astype(int)])
        self.assertEqual(drawn.norm.bound, 0)
        both = self.product(n=40, d=5).update_rows(None, self.a).update(range(5), self.x, operand="x")
        beside = both.sample(exact=exact)
        np.testing.assert_allclose(beside["exact_value"], self.y[beside["index"].astype(int)])
        self.assertFalse(beside.verified)
        instead = both.sample(exact=exact, verify=True)
        self.assertTrue(instead.verified)
        np.testing.assert_allclose(instead["value"], self.y[instead["index"].astype(int)])
        state = self.product(fixed={"A": self.a + 1}).update(range(5), self.x)
        for ask, naming in ((lambda: state.sample(exact=exact), "exact has another A"),
                            (lambda: both.sample(exact=both), "expected one with sampler='exact'"),
                            (lambda: both.sample(exact=weir.Vector(n=39, sampler="exact")), "same model and sides"),
                            (lambda: both.sample(exact=True), "exact is True: expected a state"),
                            (lambda: both.sample(second_pass=True), "second_pass belongs to a Session")):
            with self.assertRaisesRegex(weir.UsageError, naming):
                ask()

    def test_rows_that_leave_leave_nothing(self):
        state = self.product(n=40, d=5).update(range(5), self.x, operand="x").update_rows(None, self.a)
        state.update_rows(None, self.a, weights=-1)
        self.assertTrue(state.sample().zero_vector)

    def test_sparse_matrices_and_memory_maps(self):
        dense = self.product(n=40, fixed={"x": self.x}).update_rows(None, self.a)
        for make in (scipy.sparse.csr_matrix, scipy.sparse.coo_matrix, scipy.sparse.csc_array):
            self.assertEqual(bytes(self.product(n=40, fixed={"x": self.x}).update_rows(None, make(self.a))), bytes(dense))
            self.assert_same_arrays(self.product(n=40, fixed={"x": self.x}).update(make(self.a)), dense)
        np.save(self.path("a.npy"), self.a)
        mapped = np.load(self.path("a.npy"), mmap_mode="r")
        self.assertEqual(bytes(self.product(n=40, fixed={"x": self.x}).update_rows(None, mapped)), bytes(dense))
        self.assertEqual(bytes(self.product(n=40, fixed={"x": self.x}).update_rows(None, np.asfortranarray(self.a))),
                         bytes(dense))
        self.assertEqual(bytes(self.product(fixed={"A": self.path("a.npy")})), bytes(self.product(fixed={"A": self.a})))
        self.assertEqual(bytes(self.product(fixed={"A": scipy.sparse.csr_matrix(self.a)})),
                         bytes(self.product(fixed={"A": self.a})))

    def test_fourth_powers_need_whole_rows(self):
        state = self.product(n=40, fixed={"x": self.x}, p=4).update_rows(None, self.a)
        self.assertTrue((self.y[state.sample()["index"].astype(int)] != 0).all())
        with self.assertRaisesRegex(weir.InputError, "come and go whole"):
            state.update(1, 1, columns=1)
        with self.assertRaisesRegex(weir.InputError, "coefficient of 1 or -1"):
            state * 2

    def test_bad_updates_change_nothing(self):
        state = self.product(n=40, d=5).update_rows(None, self.a)
        before = bytes(state)
        nan = self.a.copy()
        nan[39, 4] = np.nan
        late = np.arange(20000) % 40
        late[19999] = 40
        for work, naming in ((lambda: state.update(late, 1, columns=np.zeros(20000, int)), "A,40,0,1: A is 40 x 5"),
                             (lambda: state.update(1, 1, columns=5), "A is 40 x 5"),
                             (lambda: state.update(1, np.nan, columns=4), "delta is nan"),
                             (lambda: state.update(1, 1), "expected columns, or update_rows"),
                             (lambda: state.update(5, 1, operand="x"), "x,5,1: x is 5 x 1"),
                             (lambda: state.update([1, 2], [1, 1], columns=[1, 2, 3]), "indices"),
                             (lambda: state.update_rows(None, nan), "row 39 of the batch: entry 4 is nan"),
                             (lambda: state.update_rows([40], [[1] * 5]), "index 40 of A is not below 40"),
                             (lambda: state.update_rows([1], [[1] * 4]), "4 numbers"),
                             (lambda: state.update_rows([1, 2], [[1] * 5]), "shape"),
                             (lambda: state.update_rows([1], [[1] * 5], weights=2), "weight 2"),
                             (lambda: state.update_rows([1], [[1] * 5], operand="x"), "x is a vector and has no rows"),
                             (lambda: state.update_rows(None, scipy.sparse.csr_matrix(nan)), "not finite"),
                             (lambda: state.update_rows([1], scipy.sparse.csr_matrix(self.a)), "shape"),
                             (lambda: state.update(scipy.sparse.csr_matrix((1, 1)), operand="x2"), "no operand")):
            with self.assertRaisesRegex(ValueError, naming):
                work()
            self.assertEqual(bytes(state), before, naming)

    def test_operands_that_do_not_fit(self):
        for options, naming in (({"fixed": {"x": self.x}, "d": 4}, "x is 5 x 1, but d is 4"),
                                ({"fixed": {"A": self.a}, "n": 39}, "A is 40 x 5, but n is 39"),
                                ({"fixed": {"A": self.a, "x": self.x[:4]}}, "x is 4 x 1, but d is 5"),
                                ({"fixed": {"x": self.a}}, "expected a vector"), ({"fixed": {"x": ["a"]}}, "expected numbers"),
                                ({"fixed": {"A": np.zeros((2, 2, 2))}}, "3 dimensions"),
                                ({"fixed": {"A": [[np.nan]]}}, "entry 0 is nan"), ({"fixed": {"x": [np.nan]}}, "nan"),
                                ({"fixed": {"A": [[np.inf]]}, "sampler": "exact"}, "entry 0 is inf"),
                                ({"n": 40}, "needs d, the length of x"), ({"n": 40, "d": 5, "method": "x"}, "no method x")):
            with self.assertRaisesRegex(ValueError, naming):
                self.product(**options)
        with self.assertRaisesRegex(ValueError, "x is fixed and cannot change: expected A"):
            self.product(n=40, fixed={"x": self.x}).update(1, 1, operand="x")

    def test_the_program_goes_on(self):
        state = self.product(n=40, fixed={"x": self.x}).update_rows(None, self.a)
        state.save(self.path("s.weir"))
        told = json.loads(self.weir("sample", "--state", self.path("s.weir"), "--json").stdout)
        drawn = state.sample()
        self.assertEqual([sample["index"] for sample in told["samples"]], drawn["index"].tolist())
        self.assertEqual([sample["value"] for sample in told["samples"]], drawn["value"].tolist())
        np.save(self.path("x.npy"), self.x)
        np.save(self.path("a.npy"), self.a)
        self.weir("sample", "--model", "product", "--n", 40, "--fixed", "x=" + self.path("x.npy"), "--seed", 7, "--epsilon",
                  0.05, "--save", self.path("p.weir"), self.path("a.npy"))
        self.assert_same_arrays(weir.load(self.path("p.weir")), state)
        self.assertEqual(weir.load(self.path("p.weir")).problem, state.problem)


class Pairs(Case):
    def setUp(self):
        super().setUp()
        self.a1, self.a2, self.core = whole((6, 3), 1), whole((8, 3), 2), whole((3, 3), 3)
        self.y = self.a1 @ self.core @ self.a2.T

    def test_streaming_is_verified(self):
        state = weir.Kronecker(n1=6, n2=8, fixed={"A2": self.a2, "X": self.core}, seed=7).update_rows(None, self.a1)
        drawn = state.sample()
        self.assertTrue(drawn.verified)
        places = drawn["i1"].astype(int), drawn["i2"].astype(int)
        np.testing.assert_allclose(drawn["value"], self.y[places])
        np.testing.assert_allclose(drawn["probability"], self.y[places] ** 2 / (self.y**2).sum())
        state.save(self.path("s.weir"))
        told = json.loads(self.weir("sample", "--state", self.path("s.weir"), "--json").stdout)
        self.assertTrue(told["verified"])
        self.assertEqual([sample["index"] for sample in told["samples"]], [list(pair) for pair in drawn[["i1", "i2"]].tolist()])
        self.assertEqual([sample["value"] for sample in told["samples"]], drawn["value"].tolist())

    def test_all_operands_stream(self):
        state = weir.Kronecker(n1=6, n2=8, d1=3, d2=3, seed=7, epsilon=0.05)
        for name, rows in (("A1", self.a1), ("A2", self.a2), ("X", self.core)):
            state.update_rows(None, rows, operand=name)
        found = state.query(norm=True, points=[1, 5], columns=[2, 7])
        self.assertLessEqual(abs(found.norm.value - np.linalg.norm(self.y)), found.norm.bound)
        self.assertLessEqual(abs(found.points["value"][1] - self.y[5, 7]), found.points["bound"][1])
        drawn = state.sample(labels=([f"q{k}" for k in range(6)], [f"k{k}" for k in range(8)]))
        self.assertTrue((self.y[drawn["i1"].astype(int), drawn["i2"].astype(int)] != 0).all())
        self.assertEqual(drawn["label2"][0], f"k{drawn['i2'][0]}")
        self.assertEqual(state.shape, (6, 8))

    def test_exact_pairs_by_softmax(self):
        state = weir.Kronecker(n1=6, n2=8, d1=3, sampler="softmax", seed=1, d2=3)
        state.update_rows(None, self.a1, operand="A1").update_rows(None, self.a2, operand="A2")
        drawn = state.sample(20, scale="sqrt", per_row=True)
        scores = np.exp(self.a1 @ self.a2.T / np.sqrt(3))
        law = scores / scores.sum(1, keepdims=True) / 6
        np.testing.assert_allclose(drawn["probability"], law[drawn["i1"].astype(int), drawn["i2"].astype(int)])
        with self.assertRaisesRegex(ValueError, "expected a number, sqrt or dim"):
            state.sample(scale="x")


class RowsOfMatrices(Case):
    def test_rows_are_recovered(self):
        a = whole((50, 4), 4)
        a[7] = 100, 0, 0, 1
        state = weir.Rows(n=50, d=4, seed=7, epsilon=0.05).update_rows(None, a)
        drawn = state.sample(8)
        self.assertEqual(drawn.rows.shape, (len(drawn), 4))
        self.assertIn(7, drawn["index"])
        np.testing.assert_allclose(drawn.rows[drawn["index"].tolist().index(7)], a[7], atol=10)
        self.assertLessEqual(abs(state.query().norm.value - np.linalg.norm(a)), state.query().norm.bound)
        by_metric = state.sample(8, metric=np.diag([0, 1, 1, 1]))
        self.assertGreater(len(by_metric), 0)
        for metric, naming in ((np.ones((3, 3)), "d x d"), (-np.eye(4), "metric"), (np.full((4, 4), np.nan), "metric")):
            with self.assertRaisesRegex(ValueError, naming):
                state.sample(metric=metric)
        with self.assertRaisesRegex(ValueError, "answers norm alone"):
            state.query(points=1)

    def test_regression_on_drawn_rows(self):
        random = np.random.default_rng(5)
        x = random.normal(size=(3000, 3))
        x[:5] *= 100
        target = x @ [1, -2, 3] + random.normal(size=3000)
        sampler = weir.LeverageSampler(200, seed=3, n=3000, epsilon=0.05)
        for first in range(0, 3000, 1000):
            sampler.partial_fit(x[first : first + 1000], target[first : first + 1000])
        rows, targets = sampler.transform(x), target[sampler.indices_]
        self.assertGreater(len(rows), 100)
        self.assertLessEqual(set(range(5)), set(sampler.indices_))
        root = np.sqrt(sampler.weights_)
        found = np.linalg.lstsq(rows * root[:, None], targets * root, rcond=None)[0]
        best = np.linalg.lstsq(x, target, rcond=None)
        loss = np.sum((x @ found - target) ** 2)
        # An eps-approximation with 200 rows of 3 columns: the excess is about d / rows.
        self.assertLess(loss, 1.1 * best[1][0])
        self.assertEqual(sampler.rows_.shape, (len(rows), 3))
        heavy = sampler.indices_ < 5
        np.testing.assert_allclose(sampler.rows_[heavy], x[sampler.indices_[heavy]], atol=30)
        np.testing.assert_allclose(sampler.targets_[heavy], target[sampler.indices_[heavy]], atol=60)
        self.assertEqual(sampler.get_params()["n_samples"], 200)
        again = weir.LeverageSampler(**sampler.get_params()).fit(scipy.sparse.csr_matrix(x), target)
        np.testing.assert_array_equal(again.indices_, sampler.indices_)
        self.assertEqual(again.set_params(n_samples=5).fit_transform(x).shape[1], 3)
        self.assertIsNone(again.targets_)

    def test_metrics_that_are_not_known(self):
        for metric in ("levrage", np.eye(3), [[1.0]]):
            with self.assertRaisesRegex(ValueError, "metric is .*: expected norm or leverage"):
                weir.Rows(n=3, d=3, metric=metric)
        with self.assertRaisesRegex(ValueError, "expected norm or leverage"):
            weir.LeverageSampler(3, metric="levrage").fit(np.eye(3))

    def test_only_what_was_fitted_is_transformed(self):
        sampler = weir.LeverageSampler(2, seed=1).fit(np.eye(5))
        self.assertEqual(sampler.transform(np.eye(5)).shape, (2, 5))
        for other in (np.eye(4), np.zeros((5, 3)), np.zeros((20, 5))):
            with self.assertRaisesRegex(ValueError, "expected that of all rows that were fitted"):
                sampler.transform(other)

    def test_what_a_sampler_refuses(self):
        sampler = weir.LeverageSampler(5)
        for work, naming in ((lambda: sampler.indices_, "fit"), (lambda: sampler.fit([1, 2]), "rows of features"),
                             (lambda: sampler.fit([[1, 2]], [1, 2]), "1 rows and y 2"),
                             (lambda: sampler.set_params(unknown=1), "unknown"),
                             (lambda: sampler.fit([[1, 2]]).partial_fit([[1, 2, 3]]), "3 features"),
                             (lambda: sampler.fit([[1, 2]]).partial_fit([[1, 2]], [1]), "no targets")):
            with self.assertRaisesRegex(ValueError, naming):
                work()


class Attentions(Case):
    def test_outputs_are_near_the_exact_ones(self):
        random = np.random.default_rng(1)
        keys, values, queries = random.normal(size=(2000, 4)), random.normal(size=(2000, 3)), random.normal(size=(50, 4))
        state = weir.Attention(queries, keys[:400], values[:400], budget=65536, expected=2000, seed=1)
        state.update_rows(None, keys[:1500], values[:1500])
        more = state.copy()
        more.clear()
        more.update_rows(np.arange(1500, 2000), keys[1500:], values[1500:])
        state += more
        scores = np.exp(queries @ keys.T / 2)
        exact = scores @ values / scores.sum(1, keepdims=True)
        found = state.attend(queries, errors=True)
        error = np.linalg.norm(found.outputs - exact, axis=1) / np.linalg.norm(exact, axis=1)
        self.assertLess(np.median(error), 0.05)
        self.assertGreaterEqual((error <= 3 * found.errors + 1e-3).mean(), 0.9)
        self.assertEqual(state.attend(queries[0]).errors.size, 0)
        self.assertIsInstance(pickle.loads(pickle.dumps(state)), weir.Attention)
        again = weir.State.from_bytes(bytes(state)).attend(queries)
        np.testing.assert_allclose(again.outputs, found.outputs)
        state.update_rows(np.arange(1500, 2000), keys[1500:], values[1500:], weights=-1)
        scores = scores[:, :1500]
        exact = scores @ values[:1500] / scores.sum(1, keepdims=True)
        error = np.linalg.norm(state.attend(queries).outputs - exact, axis=1) / np.linalg.norm(exact, axis=1)
        self.assertLess(np.median(error), 0.05)

    def test_what_it_refuses(self):
        rows = np.eye(3)
        state = weir.Attention(rows, rows, rows)
        for work, naming in ((lambda: weir.Attention(rows, rows, rows[:2]), "3 keys and 2 values"),
                             (lambda: weir.Attention(rows[:, :2], rows, rows), "queries have 2"),
                             (lambda: weir.Attention(rows, rows, rows, budget=10), "budget"),
                             (lambda: weir.Attention(rows, rows, rows, scale="x"), "scale"),
                             (lambda: weir.Attention(rows, rows, rows * np.nan), "nan"),
                             (lambda: state.attend(rows), "no key"), (lambda: state.attend(rows[:, :2]), "queries have 2"),
                             (lambda: state.sample(), "answers queries"),
                             (lambda: state.update_rows(None, rows, rows[:2]), "3 keys and 2 values"),
                             (lambda: state.update_rows(None, rows), "3 numbers|9 numbers"),
                             (lambda: state * 2, "coefficient")):
            with self.assertRaisesRegex(ValueError, naming):
                work()
