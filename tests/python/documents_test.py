"""What people read runs: the README and the examples; and the package can be installed."""

import ast
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest
import unittest.mock

from support import SOURCES, Case

import weir

PYTHON = pathlib.Path(SOURCES) / "apps" / "python"


class Documents(Case):
    def run_in_folder(self, code, name):
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, name, "exec"), {"__name__": "__main__"})
        os.chdir(before)
        return out.getvalue()

    def test_readme(self):
        text = (pathlib.Path(SOURCES) / "README.md").read_text(encoding="utf-8")
        section = re.search(r"^## From Python$(.*?)^## ", text, re.M | re.S)[1]
        block, = re.findall(r"```python\n(.*?)```", section, re.S)
        out = self.run_in_folder(block, "README.md")
        self.assertIn("10.0.0.1", out)

    def test_notebook(self):
        """Runs the cells in order, in one namespace as a kernel does, and what they end in is shown. No kernel is needed."""
        import matplotlib

        matplotlib.use("Agg")
        notebook = json.loads((PYTHON / "examples" / "weir.ipynb").read_text(encoding="utf-8"))
        self.assertEqual((notebook["nbformat"], notebook["nbformat_minor"]), (4, 5))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        self.assertEqual(sum("".join(cell["source"]).startswith("## ") for cell in notebook["cells"]), 5)
        namespace, out = {"__name__": "__main__"}, io.StringIO()
        for cell in cells:
            self.assertEqual((cell["outputs"], cell["execution_count"]), ([], None), "outputs are not kept in the tree")
            tree = ast.parse("".join(cell["source"]))
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            with self.subTest(cell["id"]), contextlib.redirect_stdout(out):
                exec(compile(tree, cell["id"], "exec"), namespace)
                if last is not None:
                    print(eval(compile(ast.Expression(last.value), cell["id"], "eval"), namespace))
        for said in ("exactly: 10.0.", "product-1234", "KiB in place of", "times the smallest"):
            self.assertIn(said, out.getvalue())

    def test_stubs_name_what_is_there(self):
        for module, stub in (("_core", "_core.pyi"),):
            tree = ast.parse((PYTHON / "weir" / stub).read_text(encoding="utf-8"))
            real = getattr(weir, module)
            for node in tree.body:
                if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                    self.assertTrue(hasattr(real, node.name), node.name)
                if isinstance(node, ast.ClassDef):
                    for member in node.body:
                        if isinstance(member, ast.FunctionDef):
                            self.assertTrue(hasattr(getattr(real, node.name), member.name), member.name)
            named = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
            self.assertEqual({name for name in dir(real) if not name.startswith("__")} - named, set())

    def test_everything_public_is_described(self):
        for name in weir.__all__:
            if name == "Session" and not os.environ.get("WEIR_MPIEXEC"):
                continue
            item = getattr(weir, name)
            if name not in ("Error", "InputError", "UsageError"):
                self.assertTrue(item.__doc__, name)
                for member, value in vars(item).items() if isinstance(item, type) else ():
                    if not member.startswith("_") and callable(value):
                        self.assertTrue(value.__doc__, f"{name}.{member}")

    def test_versions_are_one(self):
        text = (PYTHON / "pyproject.toml").read_text(encoding="utf-8")
        self.assertEqual(re.search(r'^version = "(.+)"$', text, re.M)[1], weir.__version__)

    def test_wheel(self):
        """What `pip install` does, from the build that is tested: nothing is compiled again."""
        sys.path.insert(0, str(PYTHON / "backend"))
        self.addCleanup(sys.path.remove, str(PYTHON / "backend"))
        import weir_build

        build = pathlib.Path(weir.__file__).parents[2]
        cache = (build / "CMakeCache.txt").read_bytes()
        with unittest.mock.patch.dict(os.environ, WEIR_BUILD_DIR=str(build)):
            name = weir_build.build_wheel(self.folder)
            self.assertEqual((build / "CMakeCache.txt").read_bytes(), cache)
            info = pathlib.Path(self.folder, weir_build.prepare_metadata_for_build_wheel(self.folder))
            for tool in ("cmake", "c++"):
                with unittest.mock.patch.object(shutil, "which", lambda name, tool=tool: None if name == tool else name):
                    with self.assertRaisesRegex(SystemExit, rf"no {re.escape(tool)} \(Debian: "):
                        weir_build.build_wheel(self.folder)
        with unittest.mock.patch.dict(os.environ, WEIR_BUILD_DIR=self.path("empty")):
            self.assertEqual(weir_build._folder(), (pathlib.Path(self.path("empty")).resolve(), False))
            with unittest.mock.patch.object(weir_build, "TREE", pathlib.Path(self.folder)):
                with self.assertRaisesRegex(SystemExit, "expected the source tree"):
                    weir_build.build_wheel(self.folder)
        shutil.unpack_archive(self.path(name), self.path("site"), "zip")
        record = pathlib.Path(self.folder, "site", f"weir-{weir.__version__}.dist-info", "RECORD").read_text().splitlines()
        self.assertEqual((info / "METADATA").read_bytes(), pathlib.Path(self.path("site"), info.name, "METADATA").read_bytes())
        files = {str(path.relative_to(self.path("site"))) for path in pathlib.Path(self.path("site")).rglob("*") if path.is_file()}
        self.assertEqual({line.split(",")[0] for line in record}, files)
        done = subprocess.run([sys.executable, "-c", "import weir; print(weir.__file__, weir.Vector(n=3).update(1))"],
                              env=dict(os.environ, PYTHONPATH=self.path("site")), capture_output=True, text=True, timeout=60)
        self.assertTrue(done.stdout.startswith(self.path("site")), done.stderr)
