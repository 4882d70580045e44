"""Every command of the tutorials runs, and prints what the page shows.

A tutorial is apps/documentation/NAME.md. Its blocks run one after the other in one temporary folder: `sh` by bash, which stops at
the first command that fails, `python` in one interpreter, so that later blocks know the names of earlier ones. A block `text` is
what the block before it prints on standard output. In it "..." stands for any text within a line, and a line "..." for any
lines; all else is compared to the letter, without blanks at ends of lines. No other block is allowed.

WEIR_PROGRAM, WEIR_MPIEXEC (the launcher) and WEIR_SOURCES as elsewhere; the interpreter that runs this has the package weir.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

PAGES = os.path.join(os.environ["WEIR_SOURCES"], "apps", "documentation")
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.M)


def blocks_of(text):
    """(language, code, line, output that the page shows or None) of each block that runs."""
    blocks = []
    for match in FENCE.finditer(text):
        language, body, line = match[1], match[2], text.count("\n", 0, match.start()) + 1
        if language == "text":
            assert blocks and blocks[-1][3] is None, "line %d: this output follows no command" % line
            blocks[-1] = blocks[-1][:3] + (body,)
        else:
            assert language in ("sh", "python"), "line %d: a block of '%s': expected sh, python or text" % (line, language)
            blocks.append((language, body, line, None))
    return blocks


def pattern_of(shown):
    """The regular expression that an output must match as a whole."""
    lines = []
    for line in shown.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(".*?".join(re.escape(part) for part in line.rstrip().split("...")) + r"\n")
    return re.compile("".join(lines))


def without_trailing_blanks(output):
    return "".join(line.rstrip() + "\n" for line in output.splitlines())


class Rules(unittest.TestCase):
    """What is said above holds, so that a wrong output cannot pass."""

    def matches(self, shown, output):
        return pattern_of(shown).fullmatch(without_trailing_blanks(output)) is not None

    def test_outputs(self):
        self.assertTrue(self.matches("a 1.5\nb\n", "a 1.5  \nb\n"))
        self.assertFalse(self.matches("a 1.5\n", "a 1x5\n"))
        self.assertFalse(self.matches("a\n", "a\nb\n"))
        self.assertFalse(self.matches("a\n", ""))
        self.assertTrue(self.matches("a 0.61...\n...\n", "a 0.6197\nb\nc\n"))
        self.assertFalse(self.matches("a 0.61...\n", "a 0.62\n"))
        self.assertFalse(self.matches("a...\n", "a\nb\n"))
        self.assertTrue(self.matches("...\nz\n", "z\n"))

    def test_blocks(self):
        blocks = blocks_of("one\n```sh\nls\n```\n```text\nfile\n```\n```python\nx = 1\n```\n")
        self.assertEqual(blocks, [("sh", "ls\n", 2, "file\n"), ("python", "x = 1\n", 8, None)])
        for text in ("```\nls\n```\n", "```text\nout\n```\n", "```sh\nls\n```\n```text\na\n```\n```text\nb\n```\n"):
            with self.assertRaises(AssertionError):
                blocks_of(text)

    def test_no_page_is_forgotten(self):
        tested = {name[5:] + ".md" for name in dir(Tutorials) if name.startswith("test_")}
        self.assertEqual(tested, {name for name in os.listdir(PAGES) if name.endswith(".md")} - {"README.md"})


class Tutorials(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, tools = os.path.join(folder.name, "work"), os.path.join(folder.name, "tools")
        os.mkdir(self.folder)
        os.mkdir(tools)
        for name, path in (("weir", os.environ["WEIR_PROGRAM"]), ("mpirun", os.environ["WEIR_MPIEXEC"]), ("python3", sys.executable)):
            with open(os.path.join(tools, name), "w") as file:
                file.write("#!/bin/sh\nexec %s \"$@\"\n" % shlex.quote(path))
            os.chmod(file.name, 0o755)
        self.environment = dict(os.environ, PATH=tools + os.pathsep + os.environ["PATH"], LC_ALL="C.UTF-8")

    def run_sh(self, code):
        completed = subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(completed.returncode, 0, completed.stderr.decode())
        return completed.stdout.decode()

    def run_page(self, name):
        names, before = {"__name__": "__main__"}, os.getcwd()
        with open(os.path.join(PAGES, name), encoding="utf-8") as file:
            blocks = blocks_of(file.read())
        for language, code, line, shown in blocks:
            with self.subTest(page=name, line=line):
                if language == "sh":
                    output = self.run_sh(code)
                else:
                    printed = io.StringIO()
                    os.chdir(self.folder)
                    try:
                        with contextlib.redirect_stdout(printed):
                            exec(compile(code, "%s, line %d" % (name, line), "exec"), names)
                    finally:
                        os.chdir(before)
                    output = printed.getvalue()
                output = without_trailing_blanks(output)
                if shown is not None and not pattern_of(shown).fullmatch(output):
                    self.fail("the page shows\n%sbut this came\n%s" % (shown, output))

    def test_arrays(self):
        self.run_page("arrays.md")

    def test_graphs(self):
        self.run_page("graphs.md")

    def test_logs(self):
        self.run_page("logs.md")


if __name__ == "__main__":
    unittest.main()
