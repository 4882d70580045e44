"""The report of all experiments (apps/report), from stored numbers that are made here, and weir_chart, which draws its figures.

WEIR_CHART is the program, WEIR_REPORT the folder apps/report.
"""

import html.parser
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

FOLDER = os.environ["WEIR_REPORT"]
CHART = os.environ["WEIR_CHART"]
sys.path.insert(0, FOLDER)

import cost  # noqa: E402
import figures  # noqa: E402
import judging  # noqa: E402
import monitoring  # noqa: E402
import page  # noqa: E402
import running  # noqa: E402
from judging import Check, Verdict  # noqa: E402
from running import Step, StepFailed, Store, run_step  # noqa: E402
from steps import ALL, attention, calibration, cluster, lower_bounds, samplers, scaling, tensor, updates, windows  # noqa: E402

HOSTILE = "<script>alert('x')</script>&\"\x07<b"


def a_step(name="one", measure=None, judge=None, show=None, **texts):
    fields = {"title": "A title", "claim": "A claim", "source": "Theorem 0", "criterion": "It is", **texts}
    return Step(name=name, seconds=(1, 2), measure=measure or (lambda bench: bench.part("number", lambda: 3)),
                judge=judge or (lambda parts: [Check("Is it?", judging.decide(parts["number"], 4), f"It is {parts['number']}.")]),
                show=show or (lambda parts: []), **fields)


class Parser(html.parser.HTMLParser):
    """Tags that are open, names of all, and texts."""

    VOID = {"meta", "br"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes another element")

    def handle_data(self, data):
        self.texts.append(data)


class Report(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.store = Store(self.folder, "quick")

    def run_step(self, step, version="v1", **options):
        return run_step(step, self.store, "quick", version, "/nowhere", **options)

    def page_of(self, steps, version="v1"):
        documents = {step.name: self.store.load(step.name) for step in steps}
        text, fine = page.make(steps, documents, "quick", version, "a machine", CHART)
        parser = Parser()
        parser.feed(text)
        parser.close()
        self.assertEqual(parser.open, [])
        self.assertEqual(len(parser.ids), len(set(parser.ids)))
        return text, fine, parser

    def test_verdicts_follow_from_numbers(self):
        self.assertEqual(judging.decide(1, 2), Verdict.YES)
        self.assertEqual(judging.decide(3, 2), Verdict.NO)
        self.assertEqual(judging.decide(1.9, 2, 0.2), Verdict.UNDECIDED)
        self.assertEqual(judging.decide(2.1, 2, 0.2), Verdict.UNDECIDED)
        self.assertEqual(judging.decide(float("nan"), 2), Verdict.UNDECIDED)
        self.assertEqual(judging.combined([Verdict.YES, Verdict.UNDECIDED, Verdict.NO]), Verdict.NO)
        self.assertEqual(judging.combined([Verdict.YES, Verdict.UNDECIDED]), Verdict.UNDECIDED)
        self.assertEqual(judging.combined([Verdict.YES]), Verdict.YES)
        self.assertEqual(judging.combined([]), Verdict.UNDECIDED)
        checks = [Check("a", Verdict.YES, "A holds."), Check("b", Verdict.UNDECIDED, "B?"), Check("c", Verdict.NO, "C does not.")]
        self.assertEqual(judging.summary(checks), "1 of 3 checks hold. No: c. Not decided: b.")
        self.assertEqual(judging.summary(checks[:2]), "1 of 2 checks hold. Not decided: b.")
        self.assertEqual(judging.summary(checks[:1]), "A holds.")

    def test_statistics(self):
        # 0.5^10, and the sum of the last three terms of a binomial law of 4 trials: (6 + 4 + 1) / 16.
        self.assertAlmostEqual(judging.upper_tail(10, 0.5, 10), 0.5 ** 10, delta=1e-15)
        self.assertAlmostEqual(judging.upper_tail(4, 0.5, 2), 11 / 16, delta=1e-12)
        self.assertEqual((judging.upper_tail(4, 0.5, 0), judging.upper_tail(4, 0, 1), judging.upper_tail(4, 1, 4)), (1, 0, 1))
        self.assertAlmostEqual(judging.slope([1, 10, 100], [5, 50, 500]), 1)
        self.assertAlmostEqual(judging.slope([1, 10, 100], [5, 5, 5]), 0)
        self.assertEqual((judging.duration(0.002), judging.duration(1.5e-8), judging.duration(12)), ("2.00 ms", "15.0 ns", "12.0 s"))
        self.assertEqual((judging.size_text(100), judging.size_text(1 << 21)), ("100 bytes", "2.00 MiB"))

    def test_a_page_says_what_came_out(self):
        steps = [a_step("good"), a_step("bad", measure=lambda bench: bench.part("number", lambda: 5)), a_step("absent")]
        for step in steps[:2]:
            self.run_step(step)
        text, fine, parser = self.page_of(steps)
        self.assertTrue(fine)
        self.assertIn("It is 3.", text)
        self.assertIn("It is 5.", text)
        self.assertIn("has not been run", text)
        marks = re.findall(r'<span class="mark (\w+)">', text)
        # In the contents, and at the head of each section.
        self.assertEqual(marks, ["yes", "no", "missing", "yes", "no", "missing"])
        links = [attributes["href"] for tag, attributes in parser.tags if tag == "a"]
        self.assertEqual(links, ["#good", "#bad", "#absent"])
        self.assertTrue({"good", "bad", "absent"} <= set(parser.ids))

    def test_formulas_and_long_tables(self):
        self.assertEqual(page.rich("n^{2} < y_{i}, n^2"), "n<sup>2</sup> &lt; y<sub>i</sub>, n^2")
        self.assertEqual(page.rich("n^{<b>}"), "n<sup>&lt;b&gt;</sup>")
        self.assertEqual(page.plain("n^{2}\n y_{i}"), "n^2 y_i")
        step = a_step(judge=lambda parts: [Check("a|b^{2}", Verdict.NO, "x"), Check("c", Verdict.YES, "y")])
        text = page.markdown([step, a_step("absent")], {"one": self.run_step(step)}, "about")
        self.assertEqual(text.splitlines()[4:], ["| one | Theorem 0 | a\\|b^2 | **no** | x |", "| one | Theorem 0 | c | yes | y |",
                                                 "| absent | Theorem 0 | A title | **not run** | This step has not been run. |"])
        short, long = ([[str(k), "a"] for k in range(count)] for count in (3, 50))
        self.assertNotIn("<details>", page.table_html(figures.Table(["n", "b"], short)))
        text = page.table_html(figures.Table(["n", "b"], long))
        self.assertIn("<summary>table of 50 rows</summary>", text)
        self.assertIn("<td class=n>49</td><td>a</td>", text)

    def test_a_page_needs_nothing_else(self):
        chart = figures.chart("c", figures.axis("x"), figures.axis("y"), [figures.series("s", [1, 2], [3, None])])
        step = a_step(show=lambda parts: [figures.Figure(chart, "first"), figures.Figure(figures.grid("g", [chart, chart])),
                                          figures.Table(["a"], [["1"]])])
        self.run_step(step)
        text, _, parser = self.page_of([step])
        names = [tag for tag, _ in parser.tags]
        for tag in ("script", "link", "img", "iframe", "object"):
            self.assertNotIn(tag, names)
        for _, attributes in parser.tags:
            self.assertFalse({"src", "onload", "onclick", "style"} & set(attributes))
        # The only addresses are names of namespaces.
        self.assertEqual(set(re.findall(r"https?://[^\"' ]+", text)), {"http://www.w3.org/2000/svg"})
        # Two pictures, for two widths each; one style sheet for all, which follows the theme of the reader.
        self.assertEqual(names.count("svg") - text.count("<svg x="), 4)
        self.assertEqual(names.count("style"), 1)
        self.assertEqual(text.count(".weir-plot .ground{fill:#fff}"), 1)
        self.assertEqual(text.count("prefers-color-scheme:dark"), 2)

    def test_text_of_others_is_text(self):
        def fail(bench):
            bench.part("number", lambda: 1)
            raise StepFailed(HOSTILE)

        shown = [figures.Table([HOSTILE], [[HOSTILE]], HOSTILE), figures.Text(HOSTILE),
                 figures.Figure(figures.chart(HOSTILE, figures.axis(HOSTILE), figures.axis(HOSTILE), [figures.series(HOSTILE, [1], [1])],
                                              horizontal=[figures.line(1, HOSTILE)], notes=[HOSTILE]), HOSTILE)]
        checks = [Check(HOSTILE, Verdict.NO, HOSTILE), Check(HOSTILE, Verdict.YES, HOSTILE)]
        texts = {name: HOSTILE for name in ("title", "claim", "source", "criterion")}
        steps = [a_step("shown", judge=lambda parts: checks, show=lambda parts: shown, **texts), a_step("fails", measure=fail, **texts)]
        for step in steps:
            document = self.run_step(step, version=HOSTILE)
            document["commands"] = [HOSTILE, HOSTILE, HOSTILE]
            self.store.save(step.name, document)
        text, _, parser = self.page_of(steps, version="other " + HOSTILE)
        self.assertNotIn("script", [tag for tag, _ in parser.tags])
        self.assertNotIn("<script", text)
        self.assertNotIn("\x07", text)
        self.assertIn("&lt;script&gt;", text)

    def test_a_step_that_fails_does_not_stop_others(self):
        fails = [True]

        def measure(bench):
            bench.part("before", lambda: 1)
            bench.run(["false" if fails else "true"])
            bench.part("number", lambda: 2)

        steps = [a_step("fails", measure=measure), a_step("good")]
        document = self.run_step(steps[0])
        self.assertIn("exit code 1", document["error"])
        self.run_step(steps[1])
        text, fine, _ = self.page_of(steps)
        self.assertFalse(fine)
        self.assertIn("ended with exit code 1", text)
        self.assertEqual(re.findall(r'<span class="mark (\w+)">', text)[:2], ["failed", "yes"])
        # It is run again, and goes on with the parts that it had.
        fails.clear()
        again = self.run_step(steps[0])
        self.assertNotIn("error", again)
        self.assertTrue(running.is_finished(again))
        self.assertEqual(again["parts"], {"before": 1, "number": 2})
        self.assertEqual(again["commands"], ["false", "true"])
        self.assertTrue(self.page_of(steps)[1])

    def test_errors_of_programs_are_told(self):
        step = a_step(measure=lambda bench: bench.run(["sh", "-c", "echo what went wrong >&2; exit 7"]))
        self.assertIn("exit code 7\nwhat went wrong", self.run_step(step)["error"])
        step = a_step("absent", measure=lambda bench: bench.run(["/no/such/program"]))
        self.assertIn("FileNotFoundError", self.run_step(step)["error"])
        step = a_step("numbers", measure=lambda bench: bench.part("x", lambda: json.loads("{")))
        self.assertIn("JSONDecodeError", self.run_step(step)["error"])
        step = a_step("infinite", measure=lambda bench: bench.part("x", lambda: float("inf")))
        self.assertIn("ValueError", self.run_step(step)["error"])
        self.assertEqual(self.store.load("infinite")["parts"], {})

    def test_a_run_that_was_cut_goes_on(self):
        ran = []

        def measure(bench):
            for key in ("a", "b", "number"):
                def work(key=key):
                    if key == "b" and ran == ["a"]:
                        raise KeyboardInterrupt
                    ran.append(key)
                    return 3
                bench.part(key, work)

        step = a_step(measure=measure)
        with self.assertRaises(KeyboardInterrupt):
            self.run_step(step)
        self.assertEqual(self.store.load("one")["parts"], {"a": 3})
        self.assertIn("is not finished", self.page_of([step])[0])
        ran.append("cut")
        self.assertTrue(running.is_finished(self.run_step(step)))
        self.assertEqual(ran, ["a", "cut", "b", "number"])
        # What is finished is not run again, also by another version, unless that is wanted.
        self.run_step(step)
        self.run_step(step, version="v2")
        self.assertEqual(len(ran), 4)
        self.assertIn("run this step again", self.page_of([step], version="v2")[0])
        self.run_step(step, version="v2", again=True)
        self.assertEqual(len(ran), 7)
        self.assertNotIn("run this step again", self.page_of([step], version="v2")[0])

    def test_parts_of_another_version_are_not_mixed(self):
        def first(bench):
            bench.part("a", lambda: 1)
            raise StepFailed("cut")

        def second(bench):
            bench.part("a", lambda: 2)
            bench.part("number", lambda: 2)

        self.run_step(a_step(measure=first))
        self.assertEqual(self.run_step(a_step(measure=second), version="v2")["parts"], {"a": 2, "number": 2})

    def test_what_is_stored_may_be_damaged(self):
        step = a_step()
        self.run_step(step)
        path = self.store.folder / "one.json"
        for content in ("{", "[]", "{}", '{"format": 0, "parts": {}}'):
            path.write_text(content, encoding="utf-8")
            self.assertIsNone(self.store.load("one"))
            self.assertIn("has not been run", self.page_of([step])[0])
        document = self.run_step(step)
        document["parts"] = {"other": 1}
        self.store.save("one", document)
        text, fine, _ = self.page_of([step])
        self.assertFalse(fine)
        self.assertIn("cannot be shown", text)
        # A chart that cannot be drawn does not take the page with it.
        step = a_step("drawn", show=lambda parts: [figures.Figure({"charts": 3}), figures.Text("after")])
        self.run_step(step)
        text, fine, _ = self.page_of([step])
        self.assertFalse(fine)
        self.assertIn("charts: expected a list, not 3", text)
        self.assertIn("after", text)

    def test_progress_and_commands(self):
        stream = io.StringIO()
        with running.Progress(stream, every=0.01).step("[1/2] one", 30, 0, 60):
            time.sleep(0.1)
        self.assertRegex(stream.getvalue(), r"\[1/2\] one: 0:00 of about 0:30; all: 0:00, about 0:59 to go")
        root = str(running.ROOT)
        self.assertEqual(running.displayed(["mpirun", root + "/build/weir", "a b", f"A={root}/x"]), "mpirun build/weir 'a b' A=x")

    def test_a_command_may_read_a_file(self):
        path = self.folder / "three"
        path.write_text("3\n", encoding="ascii")
        document = self.run_step(a_step(measure=lambda bench: bench.part("number", lambda: int(bench.run(["cat"], stdin=path)))))
        self.assertEqual((document["parts"], document["commands"]), ({"number": 3}, [f"cat < {path}"]))

    def test_the_command_line(self):
        def report(*words):
            return subprocess.run([sys.executable, "-B", FOLDER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)

        listed = report("--list", "--output", str(self.folder))
        self.assertEqual(listed.returncode, 0, listed.stderr)
        self.assertEqual(len(listed.stdout.splitlines()), len(ALL))
        self.assertEqual(sum("not run" in line for line in listed.stdout.splitlines()), len(ALL))
        self.assertEqual(report("--only", "chess").returncode, 2)
        absent = report("--build", str(self.folder), "--output", str(self.folder))
        self.assertEqual(absent.returncode, 2)
        self.assertIn("is missing", absent.stderr)
        self.assertEqual(len({step.name for step in ALL}), len(ALL))


class Judgements(unittest.TestCase):
    """Each step says yes and no, by its numbers."""

    def assert_verdicts(self, checks, *wanted):
        self.assertEqual([check.verdict.value for check in checks], list(wanted), [check.sentence for check in checks])

    def test_calibration(self):
        def parts(distortion, observed, error=0.01, trials=1000):
            law = {"p": 2, "threshold": 1, "shape": "flat", "n": 1024, "buckets": 128, "distortion": distortion, "distortion_error": error,
                   "value_rms": 0.1}
            other = dict(law, buckets=64, distortion=9, value_rms=0.2)  # too few buckets for the promise
            failure = {"samples": 8, "p": 2, "promised": 0.1, "lanes": 24, "exact": 0.01, "trials": trials, "observed": observed}
            return {"calibration": {"law": [law, other], "failure": [failure]}}
        self.assert_verdicts(calibration.judge(parts(0.02, 0.05)), "yes", "yes")
        self.assert_verdicts(calibration.judge(parts(0.2, 0.2)), "no", "no")
        self.assert_verdicts(calibration.judge(parts(0.09, 0.0, 0.04, 20)), "not decided", "not decided")
        self.assertEqual(len(calibration.show(parts(0.02, 0.05))), 2)

    def test_audit(self):
        def parts(*verdicts):
            checks = [{"check": "value bound", "verdict": verdict, "numbers": 10, "independent_numbers": 9, "covered": 0.9} for verdict in verdicts]
            return {"audit": {"lines": [{"line": "a line", "checks": checks}]}}
        self.assert_verdicts(calibration.judge_audit(parts("yes", "wide", "few")), "yes")
        self.assert_verdicts(calibration.judge_audit(parts("yes", "few", "few")), "not decided")
        self.assert_verdicts(calibration.judge_audit(parts("yes", "no")), "no")
        self.assertIn("a line: value bound", calibration.judge_audit(parts("no"))[0].sentence)
        self.assertEqual(len(calibration.show_audit(parts("yes", "no"))), 4)

    def test_softmax(self):
        def game(n, kept, success, bits=None):
            return {"method": "exponential", "n": n, "kept": kept, "trials": 100, "success": success, "standard_error": 0.05,
                    "message_bytes": (bits or 64 * kept) // 8}
        good = [game(n, kept, 0.5 + kept / (2 * n)) for n in (100, 10000) for kept in (n // 4, n // 2, n)]
        self.assert_verdicts(lower_bounds.judge_softmax(dict(enumerate(good))), "yes", "yes", "yes")
        # A message of few bits that wins, whatever n, refutes the theorem.
        magic = [game(n, n, 1.0, bits=80) for n in (100, 1000)]
        self.assert_verdicts(lower_bounds.judge_softmax(dict(enumerate(magic))), "no", "no", "yes")
        # Few games: the shortest message that succeeds may be any of two.
        vague = [dict(game(n, kept, 0.5 + kept / (2 * n)), standard_error=0.12) for n in (100, 400) for kept in (n // 4, n)]
        self.assertEqual(lower_bounds.judge_softmax(dict(enumerate(vague)))[1].verdict, Verdict.UNDECIDED)
        self.assert_verdicts(lower_bounds.judge_softmax(dict(enumerate([game(100, 100, 0.5)]))), "not decided", "not decided", "no")
        self.assertEqual(len(lower_bounds.show_softmax(dict(enumerate(good)))), 2)

    def test_lower_bounds(self):
        def game(protocol, kept, success):
            return {"protocol": protocol, "method": "truncate", "n": 21, "kept": kept, "trials": 100, "success": success, "standard_error": 0.02,
                    "message_bytes": 3072 * kept}
        good = [game("index", 21, 1.0), game("index", 7, 0.5 + 1 / 6), game("tensor-index", 21, 1.0), game("tensor-index", 11, 0.75)]
        self.assert_verdicts(lower_bounds.judge_index(dict(enumerate(good))), "yes", "yes", "yes", "yes")
        good[1]["success"], good[3]["success"] = 0.9, 0.5
        self.assert_verdicts(lower_bounds.judge_index(dict(enumerate(good))), "yes", "no", "yes", "no")
        self.assertEqual(len(lower_bounds.show_index(dict(enumerate(good)))), 2)

    def test_updates(self):
        def event(n, d, x, a):
            return {"n": n, "d": d, "x": x, "A": a, "both, x": x, "both, A": a}

        def parts(slow=1e-8, noisy=1e-8, same=True, exact=1.0):
            rows = [event(1000, 16, [1e-8, 1e-8], [1e-7, 1e-7]), event(64000, 16, [slow, slow], [noisy * 10, 1e-7]),
                    event(1000, 4, [1e-8, 1e-8], [1e-7, 1e-7])]
            draw = {"same": same, "draws": 16, "inside": 16, "events": 10, "left": 5}
            return {**{f"event/{k}": row for k, row in enumerate(rows)}, "same/1": draw,
                    "question/1": {"n": 100, "d": 4, "sketch": [0.1, 0.1], "exact": [exact, exact]}}
        verdicts = [check.verdict.value for check in updates.judge(parts())]
        self.assertEqual(verdicts, ["yes"] * 9)
        verdicts = [check.verdict.value for check in updates.judge(parts(slow=1e-7, same=False, exact=0.01))]
        self.assertEqual(verdicts, ["no", "no", "yes", "yes", "yes", "yes", "yes", "no", "no"])
        # A least run that is not confirmed by another decides nothing.
        noisy = parts()
        noisy["event/1"]["x"] = [4e-8, 9e-8]
        self.assertEqual(updates.judge(noisy)[1].verdict, Verdict.UNDECIDED)
        self.assertEqual(len(updates.show(parts())), 3)

    def test_windows_compute_what_options_say(self):
        # Two coordinates over three epochs: sums of the last four, of all, and of what decays by 0.7 an epoch.
        changes = [(0, 1.0)] * windows.EPOCH + [(1, 2.0)] * windows.EPOCH + [(0, -1.0)] * 10
        for mode, expected in (("window", {0: windows.EPOCH - 10, 1: 2 * windows.EPOCH}), ("all", {0: windows.EPOCH - 10, 1: 2 * windows.EPOCH}),
                               ("decay", {0: 0.49 * windows.EPOCH - 10, 1: 1.4 * windows.EPOCH})):
            last = windows.vectors(changes, mode)[-1]
            for i, value in expected.items():
                self.assertAlmostEqual(last[i], value, delta=1e-6)
        five = [(k, 1.0) for k in range(5) for _ in range(windows.EPOCH)]
        self.assertEqual(sorted(windows.vectors(five, "window")[-1]), [1, 2, 3, 4])
        # 3 of a norm of 5, with bounds: the least and the largest share that are possible.
        self.assertEqual(windows.share((3, 1), (5, 1)), ((2 / 6) ** 2, (3 / 5) ** 2, 1.0))

    def test_windows(self):
        def parts(outside, left, same, long, drift=0.9):
            def epoch(share):
                return {"events": 12000, "norm": [1.0, 0.01, 1.0], "points": [["a", share ** 0.5, 0.01, share ** 0.5]]}
            runs = {f"drift/{mode}/1": {"mode": mode, "seed": 1, "values": 400, "outside": outside, "counted": 100, "counted outside": outside,
                                        "epochs": [epoch(drift if mode == "window" else 0.2)]} for mode in windows.MODES}
            row = {"begin": 0, "end": 48000, "norm": 1.0, "drawn": [["a", 3]], "of": 3, "sections": ["games"]}
            draws = {"draws": 1000, "left": left, "same": same, "compared": 3, "mass": [0.1], "first": [row]}
            seconds = {str(k): [1e-4, 1e-4] for k in windows.SLIDES}
            seconds[str(max(windows.SLIDES))] = [long, long]
            return {**runs, "draws/1": draws, "slides": {"table": 1000, "epochs": 200, "seconds": seconds, "peaks": {k: 10 ** 6 for k in seconds}}}
        self.assert_verdicts(windows.judge(parts(1, 0, 3, 1e-4)), *["yes"] * 7)
        self.assert_verdicts(windows.judge(parts(9, 1, 2, 1e-3, drift=0.2)), *["no"] * 7)
        self.assertEqual(len(windows.show(parts(1, 0, 3, 1e-4))), 4)

    def test_tensor(self):
        def parts(bytes_each, power):
            return {str(n): {"n": n, "ranks": 1, "peak": 1e7 + bytes_each * n, "row": [1e-6 * n ** power] * 2} for n in (1024, 8192, 65536)}
        self.assert_verdicts(tensor.judge(parts(3 * 8 * 16, 1)), "yes", "yes")
        self.assert_verdicts(tensor.judge(parts(3 * 8 * 16 * 2, 2)), "no", "no")
        self.assertEqual(len(tensor.show(parts(3 * 8 * 16, 1))), 2)

    def test_samplers_and_worp(self):
        def parts(variation, fewer, faster):
            def row(sampler, **more):
                law = {"total_variation": variation, "by_chance": 0.01, "draws": 100, "accepted": 0.6}
                return {"sampler": sampler, "n": 1024, "samples": 8, "epsilon": 0.1, "failure": 0.05, "lanes": 8, "buckets": 64, "counters": 100.0,
                        "updates_per_second": 1e6, "laws": {shape: law for shape in samplers.SHAPES}, **more}
            return {"samplers": {"samplers": [row("precision", fewer_counters=1, faster=1), row("perfect", fewer_counters=fewer, faster=faster)],
                                 "additive_error": [{"shape": "flat", "n": 1024, "epsilon": 0.1, "buckets": 256, "violated": 0.03}]}}
        self.assert_verdicts(samplers.judge(parts(0.012, 20, 30)), "yes", "yes", "yes", "yes")
        self.assert_verdicts(samplers.judge(parts(0.2, 0.5, 0.5)), "no", "no", "no", "no")
        self.assertEqual(len(samplers.show(parts(0.012, 20, 30))), 3)

        def moment(one_pass, two_passes, seeds=100):
            return {"seeds": seeds, "worp": [{"rows": 5, "buckets": 256, "p": 2, "vector": "Zipf[1]", "moment": 1, "perfect": 0.1, "one_pass": one_pass,
                              "two_passes": two_passes}]}
        self.assert_verdicts(samplers.judge_worp(moment(0.1, 0.3)), "yes", "no")
        self.assert_verdicts(samplers.judge_worp(moment(0.149, 0.1)), "not decided", "yes")
        self.assert_verdicts(samplers.judge_worp(moment(0.18, 0.14, seeds=40)), "not decided", "not decided")
        self.assert_verdicts(samplers.judge_worp(moment(0.18, 0.14, seeds=4000)), "no", "yes")
        self.assertEqual(len(samplers.show_worp(moment(0.1, 0.1))), 2)

    def test_attention(self):
        def parts(chi_squared, outside, sketch):
            law = {"head": "h", "buckets": 128, "draws": 5000, "total_variation": 0.1, "exact_total_variation": 0.1, "chi_squared": chi_squared,
                   "exact_chi_squared": 290, "degrees_of_freedom": 299, "outside": outside, "accepted": 0.6}
            memory = [{"n": n, "d": 64, "samples": 8, "replacement": "with", "sketch_mib": sketch, "cache_mib": 100.0} for n in (4096, 10 ** 6)]
            return {"attention": {"law": [law], "memory": memory, "held": [{"head": "h", "sampler": "uniform", "squared": [0.1] * 4, "softmax": [0.1] * 4}]}}
        # A distortion of 0.2 is 5000 * 0.04 = 200 more; one standard deviation of chi-squared is 24.
        self.assert_verdicts(attention.judge_draws(parts(260, 0, 10)), "yes", "yes", "yes")
        self.assert_verdicts(attention.judge_draws(parts(299 + 200, 5, 200)), "no", "no", "no")
        self.assert_verdicts(attention.judge_draws(parts(320, 0, 10)), "not decided", "yes", "yes")
        self.assertEqual(len(attention.show_draws(parts(260, 0, 10))), 3)

        def study(ours, largest, power, missed, covered):
            runs = [{"method": "anisotropic", "budget": 65536, "error": ours}, {"method": "uniform", "budget": 65536, "error": 0.1}]
            recovery = {f"n/{n}": {"n": n, "candidates": 1e-6 * n ** power, "decoding": 1e-9} for n in (1000, 10000)}
            return {"error_by_bytes": {"pictures": {"a.svg": "<svg></svg>"}, "parts": {"h/all": {"runs": runs}}},
                    "features": {"pictures": {}, "parts": {"f": {"taylor": [{"bound": 1, "largest": largest}, {"bound": None, "largest": 9}]}}},
                    "recovery_time": {"pictures": {}, "parts": recovery},
                    "sparsity": {"pictures": {}, "parts": {"h": {"points": [{"k": 32, "columns": missed}]}, "planted": {"points": [{"k": 32, "columns": 1}]}}},
                    "limits": {"pictures": {}, "parts": {"l": {"budget": 3, "ours": {"covered": covered}}}}}
        self.assert_verdicts(attention.judge_study(study(0.01, 0.1, 0, 0.2, 1.0)), "yes", "yes", "yes", "yes", "yes")
        self.assert_verdicts(attention.judge_study(study(0.2, 2, 1, 0.9, 0.9)), "no", "no", "no", "no", "no")
        self.assertEqual(len(attention.show_study(study(0.01, 0.1, 0, 0.2, 1.0))), 2)

    def test_queries(self):
        def parts(with_levels, without, big):
            rows = {}
            for kind in ("zipf", "flat"):
                for power in (12, 16, 20, 24):
                    rows[f"{kind}/1/{power}"] = {"kind": kind, "n": 1 << power, "power": power, "flat_search": True, "levels": 1, "bytes": 1000,
                                                 "event": 1e-7, "query": 1e-7 * (1 << power) ** without}
                for power in (20, 30, 40):
                    rows[f"{kind}/2/{power}"] = {"kind": kind, "n": 1 << power, "power": power, "flat_search": False, "levels": 2, "bytes": big,
                                                 "event": 1e-7, "query": 1e-3 * (1 << power) ** with_levels}
            return rows
        self.assert_verdicts(scaling.judge_queries(parts(0.1, 1, 5000)), "yes", "yes", "yes")
        self.assert_verdicts(scaling.judge_queries(parts(0.8, 0.1, 10 ** 6)), "no", "no", "no")
        self.assertEqual(len(scaling.show_queries(parts(0.1, 1, 5000))), 2)

    def test_ranks(self):
        def parts(two, jobs, answer=1):
            return {"turn/1": {"cores": 2, "seconds": {"1": 1.0, "2": two, "4": two, "two jobs": jobs}, "merge": {"1": 1e-4, "2": 1e-4, "4": 1e-4},
                               "answers": [[1], [1], [answer]]}}
        self.assert_verdicts(scaling.judge_ranks(parts(0.5, 0.5)), "yes", "yes", "yes")
        self.assert_verdicts(scaling.judge_ranks(parts(0.9, 0.5, answer=2)), "no", "no", "no")
        # Where two jobs at once get no faster, the machine has no two free cores.
        self.assert_verdicts(scaling.judge_ranks(parts(0.9, 0.9)), "yes", "yes", "not decided")
        self.assertIn("4 (oversubscribed)", scaling.show_ranks(parts(0.5, 0.5))[1].rows[2])


    def test_what_sums_send(self):
        # By hand, for a table of 8 in units of 8 bytes: ranks exchange halves, and the parts are gathered.
        sent = cost.background_sum(4, 64)
        self.assertEqual((sent.bytes, sent.messages, sent.bytes_to_root), (4 * 32 + 4 * 16 + 2 * 16 + 32, 4 + 4 + 2 + 1, 32 + 16 + 16 + 32))
        # A third rank hands over a half, takes a half of the other, and gets the sum of it back.
        sent = cost.background_sum(3, 64)
        self.assertEqual((sent.bytes, sent.messages), (2 * 32 + 32 + 3 * 32, 2 + 1 + 3))
        self.assertEqual(cost.background_sum(2, cost.CHUNK + 1).messages, cost.CHUNK // cost.PIECE + 1)
        self.assertEqual((cost.background_sum(1, 64).bytes, cost.blocking_sum_bytes(5, 64)), (0, 256))
        self.assertEqual((cost.search_ranks(4096, 1 << 20), cost.search_ranks(3, 1 << 20), cost.search_ranks(8, 5)), (64, 3, 1))
        # With links that cost nothing only the additions of the root are left: in all those of one table.
        free, node = cost.Network("", 0, 0, ""), cost.Node(1, 0, 0, 0, 1.0, 0, 0)
        self.assertAlmostEqual(cost.background_sum_seconds(1024, 1 << 20, node, free), (1 << 20) * 1023 / 1024)
        self.assertAlmostEqual(cost.distributed_sum_seconds(1024, 1 << 20, node, free), (1 << 20) * 1023 / 1024)
        self.assertAlmostEqual(cost.blocking_sum_seconds(1024, 1 << 20, node, free), 10 * (1 << 20))
        # And of links of one second a byte: all of the table comes to the root once or ten times.
        slow, node = cost.Network("", 0, 1.0, ""), cost.Node(1, 0, 0, 0, 0, 0, 0)
        self.assertAlmostEqual(cost.background_sum_seconds(1024, 1 << 20, node, slow), 2 * (1 << 20) * 1023 / 1024)
        self.assertAlmostEqual(cost.blocking_sum_seconds(1024, 1 << 20, node, slow), 10 * (1 << 20))

    def test_messages_that_open_mpi_counts(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "sent.0.prof").write_text("# POINT TO POINT\nE\t0\t1\t344 bytes\t24 msgs sent\t2,0,1\nI\t0\t1\t1721679 bytes\t111 msgs sent\n"
                                                           "# COLLECTIVES\nC\t0\t1\t5 bytes\t1 msgs sent\n", encoding="ascii")
            pathlib.Path(folder, "sent.1.prof").write_text("E\t1\t0\t7 bytes\t2 msgs sent\t2,0,1\n", encoding="ascii")
            traffic = monitoring.read(folder)
        self.assertEqual(monitoring.total(traffic, True), (1721679, 111))
        self.assertEqual(monitoring.total(traffic, False), (351, 26))
        self.assertEqual(monitoring.total(traffic, False, target=0), (7, 2))
        self.assertEqual(monitoring.total(traffic, False, source=0), (344, 24))

    def test_cluster(self):
        def parts(more=0, letters=2, tables=8, slow=1.0, letter=1e-7, load=0.5, answer=0.01):
            table = 5 * 8 * cluster.BUCKETS

            def counts(ranks, epochs):
                sent = cost.background_sum(ranks, table)
                others = ranks - 1
                return {"collective": [1000 + epochs * (sent.bytes + more), 10 + epochs * sent.messages], "to root": [500 + epochs * sent.bytes_to_root, 5],
                        "out": [others * (8 + 16 * epochs), others * (3 + epochs)], "in": [others * 84 * epochs, others * (2 + letters * epochs)]}
            out = {f"epochs/{ranks}": {"ranks": ranks, "table": table, "few": counts(ranks, 9), "many": counts(ranks, 21)} for ranks in (2, 3, 16)}
            out["ends/4"] = {"ranks": 4, "tables": [100, 300], "counts": [{"collective": [50, 1]}, {"collective": [50 + 600 + more, 1]}]}
            for ranks in (1, 4):
                times = [[1e-3, 0.2], [2e-3, 0.1]]
                out[f"distributed/{ranks}"] = {"ranks": ranks, "cores": 2, "same": more == 0, "root": times, "distributed": times, "tables": [300, 100],
                                               "counts": [50 + 2 * (ranks - 1) * 200 + more, 50]}
            out["positions"] = {"1": [[840, 5], [2440, 5]], "5": [[840, 5], [6440, 5]]}
            for ranks, window in ((2, 2), (2, 10), (8, 2)):
                out[f"memory/{ranks}/{window}"] = {"ranks": ranks, "window": window, "table": 10 ** 7, "root": 10 ** 8 + tables * 10 ** 7 * (window > 2), "others": 10 ** 8}
            sizes = {"small": 80_000, "default": 240_000, "large": 40_000_000}
            for name, size in sizes.items():
                out[f"rate/{name}"] = {"bytes": size, "event": 1e-7, "answer": answer}
            rows = []
            for size in sizes.values():
                rows.append({"bytes": size, "message_seconds_per_byte": 1e-10, "add_seconds_per_byte": 1e-11, "background": 0, "blocking": slow * size * 1.1e-10 + 1e-6})
                rows[-1]["background"] = slow * (size / cost.PIECE * 1e-6 + size * 1e-11)
            out["messages/1"] = out["messages/2"] = {"latency": 5e-7, "piece_seconds": 1e-6, "letter_seconds": letter, "report_seconds": letter, "positions_seconds": 1e-6, "tables": rows,
                                                        "load": load, "cores": 2}
            out["two ranks"] = {"files": 2e7, "live": 1e7}
            return out
        self.assert_verdicts(cluster.judge(parts()), *["yes"] * 8)
        self.assert_verdicts(cluster.judge(parts(more=8, letters=3, tables=20, slow=5.0, letter=1e-4)), *["no"] * 8)
        self.assertIn("0 of 3", cluster.judge(parts(more=8))[0].sentence)
        # Where others keep the cores busy, a time that is too long refutes nothing.
        self.assertEqual(cluster.judge(parts(slow=5.0, load=7))[6].verdict, Verdict.UNDECIDED)
        shown = cluster.show(parts())
        self.assertEqual(len(shown), 9)
        # What takes longest is what breaks first: 4,095 reports of 100 files at a microsecond each, or an answer of nine seconds.
        for seconds, expected in ((0.01, f"positions of {cluster.FILES} files"), (9, "answer")):
            rows = {row[0]: row[1:] for row in cluster.first_to_break(parts(answer=seconds), cost.NETWORKS[0])}
            self.assertEqual(rows["breaks first"], [expected] * 3)


class Charts(unittest.TestCase):
    def draw(self, text, *words):
        return subprocess.run([CHART, *words], input=text.encode() if isinstance(text, str) else text, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)

    def test_charts_and_grids(self):
        chart = {"title": "t <", "x": {"label": "n", "scale": "logarithmic", "unit": "bytes", "least": 1, "most": 4096}, "y": {"unit": "percent"},
                 "series": [{"name": "a", "x": [1, 64, 4096], "y": [0.1, None, 0.3], "low": [0, 0, 0], "high": [1, 1, 1], "band": True,
                             "line": "dotted", "marker": "plus", "colour": 3}],
                 "horizontal": [{"at": 0.2, "label": "here"}], "vertical": [{"at": 64}], "notes": ["a note"], "width": 500, "chart_height": 100}
        svg = self.draw(json.dumps(chart))
        self.assertEqual((svg.returncode, svg.stderr), (0, b""))
        for text in (b"<svg", b'width="500"', b"t &lt;", b"here", b"a note", b"4 KiB", b"30%", b'class="band c3"'):
            self.assertIn(text, svg.stdout)
        del chart["width"], chart["chart_height"]
        svg = self.draw(json.dumps({"title": "all", "charts": [chart, chart], "columns": 1, "share_x": True, "share_y": True, "notes": ["n"]}))
        self.assertEqual(svg.returncode, 0, svg.stderr)
        self.assertEqual(svg.stdout.count(b"a note"), 2)
        self.assertIn(b"no data", self.draw("{}").stdout)

    def test_what_is_refused(self):
        for text, expected in (
                ("", "the input is no JSON"), ("{", "error at byte 2 of 1"), (b'{"title": "\xff"}', "error at byte 12 of 14"), ("[]", "the input: expected an object, not []"),
                ('{"serie": []}', "serie: there is no such field; expected width, chart_height, title"),
                ('{"series": [{"x": [1, "a"]}]}', 'series[0].x[1]: expected a number or null, not "a"'),
                ('{"series": [{"x": [1, 2], "y": [1]}]}', "x, y, low and high have 2, 1, 0 and 0 numbers"),
                ('{"x": {"scale": "log"}}', 'x.scale: expected "linear" or "logarithmic", not "log"'),
                ('{"charts": [{"y": {"unit": 3}}]}', "charts[0].y.unit: expected"),
                ('{"charts": [{"width": 300}]}', "charts[0].width: there is no such field"),
                ('{"charts": [], "columns": -1}', "columns: expected a whole number"),
                ('{"charts": [], "columns": 0}', "no columns"), ('{"width": 10}', "a picture of 10 pixels"),
                ('{"width": 1e999}', "out of range"), ('{"horizontal": [{"at": null}]}', "horizontal[0].at: expected a number, not null"),
                ('{"a\\nb": 7}', "a?b: there is no such field"), ('{"title": 7}', "title: expected a text, not 7"), ('{"charts": [], "share_x": 1}', "share_x: expected true or false")):
            outcome = self.draw(text)
            self.assertEqual((outcome.returncode, outcome.stdout), (1, b""), text)
            error = outcome.stderr.decode()
            self.assertIn(expected, error)
            self.assertTrue(error.startswith("weir_chart: "))
            self.assertEqual(error.count("\n"), 1, error)
        self.assertEqual(self.draw("{}", "--what").returncode, 2)
        self.assertIn(b"Usage", self.draw("", "--help").stdout)


if __name__ == "__main__":
    unittest.main()
