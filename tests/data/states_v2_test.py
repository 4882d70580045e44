"""State files of format version 2 are read for ever: this program answers what the program that wrote them answered, where
answers follow from the state alone. (Which entry a lane draws, and the estimate of an entry, follow from estimators that have
become better since. Every number of every array is compared in tests/io/state_file_test.cpp.)

states-v2/ holds the files and the tables, states-v2/make says how they were made. harness.py says what this needs.
"""

import glob
import json
import math
import os
import re
import sys
import unittest

from harness import Case

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "states-v2")
sys.path.insert(0, FOLDER)
import read_state  # noqa: E402

# What depends on estimators.
ESTIMATED = ("samples", "failed", "reason", "top", "moments", "norm_bound", "verified", "exact_norm")
TABLES = sorted(glob.glob(os.path.join(FOLDER, "*.json")))


def differences(expected, found, tolerance, path=""):
    """The places in which `found` is not what was expected. It may hold more fields than that, and no fewer."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [line for key, value in expected.items() for line in
                (differences(value, found[key], tolerance, path + "." + key) if key in found else ["%s.%s is not there" % (path, key)])]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [line for k, pair in enumerate(zip(expected, found)) for line in differences(*pair, tolerance, "%s[%d]" % (path, k))]
    if isinstance(expected, float) and isinstance(found, (int, float)) and tolerance > 0:
        return [] if math.isclose(expected, found, rel_tol=tolerance) else ["%s is %r, expected about %r" % (path, found, expected)]
    return [] if expected == found else ["%s is %r, expected %r" % (path, found, expected)]


class StatesV2(Case):
    def test_every_kind_is_there(self):
        kinds = set()
        for path in TABLES:
            with open(path) as file:
                state = json.load(file)["state"]
            kinds.add((state["kind"], state["model"], tuple(state["fixed"]), state["law"], state["p"], state["randomness"], state["levels"] > 1,
                       state.get("degree"), state.get("gram_exact"), state.get("transposed")))
        self.assertEqual(len(kinds), 22, sorted(map(str, kinds)))
        self.assertEqual({kind[0] for kind in kinds}, {1, 2, 3, 4, 5})

    def test_the_files_are_what_an_independent_reader_finds(self):
        for path in TABLES:
            with self.subTest(os.path.basename(path)), open(path) as table, open(path[:-4] + "weir", "rb") as state:
                data = state.read()
                self.assertEqual(read_state.summary(data), json.load(table)["state"])
                for damaged in (data[:-1], data + b"\0", data[:60] + bytes([data[60] ^ 1]) + data[61:]):
                    with self.assertRaises(ValueError):
                        read_state.read(damaged)

    def test_the_answers_are_the_same(self):
        for path in TABLES:
            with open(path) as file:
                table = json.load(file)
            # Cells and estimates of whole numbers are exact. Fourier transforms and eigenvalues are not: their last bits depend
            # on the instructions of the machine.
            tolerance = 1e-9 if table["state"]["kind"] in (4, 5) else 0
            places = {"state": path[:-4] + "weir"}
            for name, text in table["files"].items():
                places[name] = self.write(name, text.encode("latin-1"))
            for asked in table["answers"]:
                command = [re.sub("@(.+)", lambda match: places[match[1]], word) for word in asked["command"]]
                with self.subTest(os.path.basename(path), command=" ".join(asked["command"])):
                    outcome = self.weir(*command)
                    # Whether any of few lanes draws is a matter of estimators too.
                    self.assertIn(outcome.code, (0, 3) if asked["code"] in (0, 3) else (asked["code"],), outcome.err)
                    answer = outcome.json()
                    if "x" in table["state"]["fixed"]:
                        # The old program held a 1 in the place of such an x, and took that for it: x is not known.
                        asked["answer"].pop("x_zero", None)
                    for field in ESTIMATED:
                        asked["answer"].pop(field, None)
                    if answer.get("p") in (2, 4) and answer["law"] == "exponential":
                        asked["answer"].pop("points", None)  # from all lanes; otherwise they are medians of lane 0, as then
                    self.assertEqual(differences(asked["answer"], answer, tolerance), [])
                    # The norm in the cells, by the independent reader. Continuing changes it; a query about a Kronecker sketch
                    # estimates it by a TensorSketch, and --metric asks for another norm.
                    other = (table["state"]["kind"] == 5 and command[0] == "query") or "--metric" in command
                    if "norm" in answer and "@more.csv" not in asked["command"] and not other:
                        self.assertAlmostEqual(answer["norm"], table["state"]["norm"], delta=1e-12 * table["state"]["norm"])


if __name__ == "__main__":
    unittest.main()
