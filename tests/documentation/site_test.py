"""The site: links of the pages lead somewhere, and Doxygen builds it without a warning.

WEIR_SOURCES, WEIR_PROGRAM as elsewhere; WEIR_DOXYGEN and WEIR_DOXYFILE where the site is built.
"""

import html.parser
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

SOURCES = pathlib.Path(os.environ["WEIR_SOURCES"])
sys.path.insert(0, str(SOURCES / "apps" / "documentation"))
import site_page  # noqa: E402


def prose(text):
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)


class Links(unittest.TestCase):
    def test_they_lead_to_files_and_headings(self):
        for name in site_page.pages():
            for match in site_page.LINK.finditer(prose((SOURCES / name).read_text(encoding="utf-8"))):
                target, place = match[3], match[4]
                if re.match(r"[a-z]+:", target):
                    continue
                goal = (SOURCES / name).parent / target if target else SOURCES / name
                self.assertTrue(goal.exists(), "%s: %s" % (name, match[0]))
                if place:
                    headings = re.findall(r"^#+ (.*\S)", prose(goal.read_text(encoding="utf-8")), re.M)
                    self.assertIn(place[1:], [site_page.slug_of(title) for title in headings], "%s: %s" % (name, match[0]))

    def test_names_of_headings_are_those_that_links_use(self):
        defined, used = set(), set()
        for name in site_page.pages():
            text = site_page.converted(SOURCES / name)
            places = re.findall(r"^#+ .*\{#([\w-]+)\}$", text, re.M)
            self.assertEqual(len(places), len(set(places)), name)
            defined |= set(places) | ({"index"} if name == "README.md" else set())
            used |= set(re.findall(r"\(@ref ([\w-]+)\)", text))
        self.assertGreaterEqual(len(used), 10)
        self.assertLessEqual(used, defined)


class PagesOfHtml(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.places = [], set()

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if tag == "a" and name == "href" and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


class Site(unittest.TestCase):
    def test_builds(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            commands, site, warnings = folder / "commands", folder / "site", folder / "warnings"
            site_page.write_commands(os.environ["WEIR_PROGRAM"], commands)
            settings = pathlib.Path(os.environ["WEIR_DOXYFILE"]).read_text(encoding="utf-8")
            inputs = re.search(r"^INPUT +=((?:.*\\\n)*.*)$", settings, re.M)[1]
            inputs = re.sub(r"\S*/site-commands", str(commands), inputs)
            settings += "\nINPUT = %s\nOUTPUT_DIRECTORY = %s\nWARN_LOGFILE = %s\n" % (inputs, site, warnings)
            site.mkdir()
            subprocess.run([os.environ["WEIR_DOXYGEN"], "-"], input=settings.encode(), check=True, timeout=240)
            self.assertEqual(warnings.read_text(encoding="utf-8"), "")
            pages = {}
            for path in site.glob("*.html"):
                pages[path.name] = PagesOfHtml()
                pages[path.name].feed(path.read_text(encoding="utf-8"))
            for page in ("index.html", "logs.html", "arrays.html", "graphs.html", "commands.html", "command-sample.html", "classweir_1_1State.html"):
                self.assertIn(page, pages)
            # Doxygen's own pages name some places that it leaves out, such as tables of nested classes that are empty.
            written = {name + ".html" for name in site_page.pages().values()} | {name for name in pages if name.startswith("command")}
            for page, found in pages.items():
                for link in found.links:
                    address = urllib.parse.urlparse(link)
                    if address.scheme or not link.strip("#"):
                        continue
                    self.assertTrue((address.path or page) in pages, "%s: %s" % (page, link))
                    if address.fragment and page in written:
                        self.assertIn(address.fragment, pages[address.path or page].places, "%s: %s" % (page, link))
            self.assertIn("--without-replacement", (site / "command-sample.html").read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
