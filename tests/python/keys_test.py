"""Keys that are text, and answers as people want them: names, tables, figures."""

import io
import pickle
import re

import numpy as np
import pandas as pd
from support import Case

import weir


class TextKeys(Case):
    def setUp(self):
        super().setUp()
        self.texts = ["10.0.0.1", "10.0.0.2", "Zürich", "10.0.0.1", "7", ""]
        self.deltas = [5, 1, 2, 5, 3, 1]

    def test_golden_vectors(self):
        # Of tests/random/key_hash_test.cpp.
        found = weir.hash_keys(["", "a", "Zürich", "7", 7, b"a", "007"], seed=7)
        self.assertEqual(found.tolist(), [0x448EE1A862C5CA24, 0x73C076CB6F20C199, 0x589FB00A3AF6A02, 7, 7,
                                          0x73C076CB6F20C199, 0x190B02F40D51A6B8])

    def test_forms_of_text_are_alike(self):
        expected = bytes(weir.Vector(seed=7).update(self.texts, self.deltas))
        series = pd.Series(self.texts)
        for keys in (tuple(self.texts), np.array(self.texts), np.array([t.encode() for t in self.texts]),
                     np.array(self.texts, object), series, series.astype("category"), series.astype("string"),
                     pd.Categorical(self.texts), [t.encode() for t in self.texts], (t for t in self.texts),
                     ["10.0.0.1", "10.0.0.2", "Zürich", np.str_("10.0.0.1"), np.int64(7), ""]):
            self.assertEqual(bytes(weir.Vector(seed=7).update(keys, self.deltas)), expected, type(keys))
        frame = pd.DataFrame({"source": self.texts, "bytes": self.deltas})
        self.assertEqual(bytes(weir.Vector(seed=7).update(frame["source"], frame["bytes"])), expected)
        self.assertEqual(bytes(weir.Vector(n=9, seed=7).update(pd.Series([1, 8], dtype="Int64"))),
                         bytes(weir.Vector(n=9, seed=7).update([1, 8])))

    def test_text_that_cannot_be_a_key(self):
        state = weir.Vector(seed=7)
        for keys, naming in ((["a", None], "key 1 is None"), (["a", 1.5], "key 1 is 1.5"), (["\ud800"], "surrogates"),
                             (pd.Series(["a", None]), "key 1 is None"), (pd.Series(["a", None], dtype="string"), "key 1 is <NA>"),
                             (pd.Series(["a", None], dtype="category"), "key 1 is missing"),
                             (pd.Series([1.0, None]), "type float64"), ([[1], [2]], "key 0 is")):
            with self.assertRaisesRegex(ValueError, naming):
                state.update(keys)
        with self.assertRaisesRegex(ValueError, "text is hashed to 63 bits and needs a side of 2"):
            weir.Vector(n=10, seed=7).update(["3", "x"])
        self.assertEqual(state.updates, 0)

    def test_names_come_back(self):
        state = weir.Vector(seed=7).update(self.texts, self.deltas)
        drawn = state.sample(names=self.texts)
        self.assertLessEqual(set(drawn["name"]), set(self.texts))
        self.assertIn("10.0.0.1", drawn["name"])
        self.assertIsNone(state.sample(names=["other"])["name"][0])
        found = state.query(points=["10.0.0.1", "Zürich"], top=1, names=np.array(self.texts)).points
        self.assertEqual(found["name"].tolist(), ["10.0.0.1", "Zürich"])
        np.testing.assert_allclose(found["value"], [10, 2], atol=1e-9 + found["bound"].max())
        self.assertEqual(state.query(points="10.0.0.1").points["name"].tolist(), ["10.0.0.1"])
        labelled = weir.Vector(n=3, seed=1).update(2, 5).sample(labels=["a", "b", "c"])
        self.assertEqual(set(labelled["label"]), {"c"})
        self.assertIsNone(weir.Vector(n=9, seed=1).update(8, 5).sample(labels=["a"])["label"][0])

    def test_states_keep_names(self):
        state = weir.Vector(seed=7).update(self.texts, self.deltas)
        self.assertEqual(set(state.names.values()), set(self.texts) - {"7"})
        self.assertEqual(state.names[int(weir.hash_keys(["Zürich"], 7)[0])], "Zürich")
        self.assertLessEqual(set(state.sample()["name"]), set(self.texts) | {None})
        self.assertEqual(state.query(top=1).top["name"].tolist(), ["10.0.0.1"])
        for copy in (pickle.loads(pickle.dumps(state)), weir.Vector.from_bytes(bytes(state))):
            self.assertEqual(copy.names, state.names)
        other = weir.Vector(seed=7).update(pd.Series(["new", "10.0.0.2"], dtype="category"), -1)
        self.assertEqual(set((state + other).names.values()), set(self.texts) - {"7"} | {"new"})
        self.assertEqual(weir.Vector(n=9, seed=1).update([1, 2]).names, {})
        # More keys than names: the heavy ones are there.
        many = weir.Vector(seed=3).update(["k%d" % k for k in range(40000)])
        many.update(["heavy"] * 3, [5000, -2000, 3000])
        self.assertEqual(len(many.names), 16384)
        self.assertIn("heavy", many.names.values())

    def test_rows_have_names_too(self):
        state = weir.Rows(n=2**63, d=2, seed=1, levels=3).update_rows(["x", "y"], [[1, 2], [30, 40]])
        self.assertIn("y", state.sample(names=["x", "y"])["name"])


class Results(Case):
    def setUp(self):
        super().setUp()
        self.state = weir.Vector(n=100, seed=7).update([1, 2, 3], [30, -20, 10])
        self.drawn = self.state.sample()

    def test_pandas_takes_them(self):
        frame = pd.DataFrame(self.drawn)
        self.assertEqual(list(frame.columns), ["index", "value", "value_bound", "probability", "probability_bound", "lane"])
        self.assertEqual(frame["index"].dtype, np.uint64)
        self.assertEqual(frame["value"].tolist(), self.drawn["value"].tolist())
        self.assertEqual(len(pd.DataFrame(self.state.query(top=2).top)), 2)
        self.assertEqual(len(pd.DataFrame(self.state.query(moments=[1]).moments)), 1)
        self.assertEqual(pd.DataFrame(self.state.sample(labels=range(100)))["label"][0], self.drawn["index"][0])

    def test_they_are_arrays(self):
        part = self.drawn[self.drawn["index"] == 1]
        self.assertIsInstance(part, weir.Draws)
        self.assertEqual(part.norm, self.drawn.norm)
        self.assertIs(type(self.drawn["value"]), np.ndarray)
        self.assertIs(type(self.drawn[["index", "value"]]), np.ndarray)
        clone = pickle.loads(pickle.dumps(self.drawn))
        np.testing.assert_array_equal(clone["value"], self.drawn["value"])
        self.assertEqual(clone.norm, self.drawn.norm)
        self.assertEqual(float(self.drawn.norm), self.drawn.norm.value)

    def test_people_can_read_them(self):
        self.assertRegex(repr(self.state), r"^<weir\.Vector: n = 100, p = 2, 5 rows x \d+ buckets x \d+ lanes, .*KiB, "
                                           r"seed 7, 3 updates>$")
        self.assertRegex(repr(weir.Vector(seed=1)), r"n = 2\^63")
        self.assertRegex(repr(weir.Vector(n=5, sampler="exact", seed=1)), "exact values")
        self.assertRegex(repr(self.drawn), r"^\d draws, norm 37\.41\d+, exact")  # as there are three entries
        text = repr(weir.Vector(n=1000, seed=7).update(range(1000), np.arange(1000)).sample())
        self.assertRegex(text, r"^\d draws, norm \d+\.\d+ \+- \d")
        self.assertIn("probability_bound", text)
        self.assertEqual(repr(weir.Vector(n=5).sample()), "nothing to draw: y is the zero vector")
        self.assertIn("and 5 more", repr(weir.Vector(n=100, seed=7, sampler="exact").update([1], [30]).sample(25)))
        self.assertRegex(repr(self.state.query(norm=True, top=1, moments=[1], inner=self.state)),
                         re.compile(r"norm: .*inner: .*sum \|y_i\|\^1: .*top:.*value", re.S))
        self.assertIn("LeverageSampler(n_samples=100", repr(weir.LeverageSampler()))

    def test_figures(self):
        for figure in (self.drawn.plot(), self.state.query(top=2).plot(), self.state.query(points=[1]).plot(),
                       self.state.sample(exact=weir.Vector(n=100, sampler="exact").update([1, 2, 3], [30, -20, 10])).plot()):
            file = io.BytesIO()
            figure.savefig(file, format="svg")
            self.assertIn(b"</svg>", file.getvalue())
        bars = self.drawn.plot().axes[0].patches
        distinct = np.unique(self.drawn["index"])
        self.assertEqual(len(bars), len(distinct))
        self.assertEqual(sorted(bar.get_width() for bar in bars),
                         sorted(set(self.drawn["probability"][np.unique(self.drawn["index"], return_index=True)[1]])))
        with self.assertRaisesRegex(ValueError, "nothing to plot"):
            self.state.query().plot()

    def test_the_package_says_what_it_is(self):
        self.assertRegex(weir.__version__, r"^\d+\.\d+\.\d+$")
        with self.assertRaises(AttributeError):
            weir.missing
        self.assertTrue(issubclass(weir.InputError, ValueError) and issubclass(weir.UsageError, weir.Error))
