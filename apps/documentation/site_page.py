#!/usr/bin/env python3
"""What Doxygen reads in place of a page of Markdown, and the pages of the commands.

    site_page.py PAGE                         prints the page: Doxygen's filter
    site_page.py --commands WEIR FOLDER       writes a page for each command of the program, from its own help

Doxygen 1.9 does not know the names that headings have on forges, so that links to them need names of its own. Links to files
that are no part of the site become plain text.
"""

import os
import pathlib
import re
import subprocess
import sys

TREE = pathlib.Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)```")
HEADING = re.compile(r"^(#+) (.*\S)\s*$")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"(!?)\[([^\]]+)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def pages():
    """The pages of the site, by path: the name that Doxygen knows each by."""
    names = {"README.md": "index", ".github/CONTRIBUTING.md": "contributing", "scripts/packaging/release-notes.md": "release-notes"}
    for path in sorted((TREE / "apps" / "documentation").glob("*.md")):
        names[str(path.relative_to(TREE))] = path.stem
    for folder in ("apps/python", "apps/experiments", "apps/bench", "apps/report", "apps/demo/debian-dependencies", "scripts/packaging"):
        names[folder + "/README.md"] = pathlib.Path(folder).name
    return names


def anchor(page, slug):
    return page + "-" + re.sub(r"[^a-z0-9]+", "-", slug).strip("-")


def slug_of(title):
    """The name of a heading on a forge: small letters, digits and dashes."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def converted(path):
    """The text of a page with names for headings, and links that Doxygen resolves."""
    known = pages()
    own = str(path.relative_to(TREE))
    page, is_code, is_first, lines = known[own], False, True, []

    def link(match):
        is_image, text, target, place = match[1], match[2], match[3], match[4]
        if re.match(r"[a-z]+:", target) or is_image:
            return text if is_image else match[0]
        goal = own if not target else os.path.relpath(path.parent / target, TREE)
        if goal not in known:
            return text
        if place:
            return "[%s](@ref %s)" % (text, anchor(known[goal], place[1:]))
        return "[%s](@ref %s)" % (text, known[goal])

    prose = []

    def end_prose():
        # A link may stand on two lines. An apostrophe ends a span of one backtick.
        text = LINK.sub(link, "\n".join(prose))
        lines.extend(SPAN.sub(lambda match: "``%s``" % match[1] if "'" in match[1] else match[0], text).split("\n") if prose else [])
        prose.clear()

    for line in path.read_text(encoding="utf-8").splitlines():
        fence, heading = FENCE.match(line), HEADING.match(line)
        if fence:
            is_code = not is_code
            # A language that Doxygen has no colours for would be taken as text; what no language is given is shown as it is.
            if is_code:
                line = re.sub(r"```(\w*)", lambda match: "```{%s}" % {"cpp": ".cpp", "python": ".py"}.get(match[1], ".unparsed"), line)
        elif not is_code and not heading:
            prose.append(line)
            continue
        elif not is_code:
            title = heading[2]
            if is_first:
                is_first = False
                line = "# %s {#%s}" % (title, "mainpage" if page == "index" else page)
            else:
                line = "%s %s {#%s}" % (heading[1], title, anchor(page, slug_of(title)))
        end_prose()
        lines.append(line)
    end_prose()
    return "\n".join(lines) + "\n"


def write_commands(weir, folder):
    def help_of(*command):
        return subprocess.run([weir, "help", *command], check=True, stdout=subprocess.PIPE).stdout.decode()

    folder.mkdir(parents=True, exist_ok=True)
    overview = help_of()
    commands = re.findall(r"^  ([a-z]+) {2,}", overview[overview.index("ommands"):], re.M)
    text = "# Commands {#commands}\n\n```{.unparsed}\n%s```\n\n" % overview
    for command in commands:
        text += "- @subpage command-%s\n" % command
        (folder / (command + ".md")).write_text("# weir %s {#command-%s}\n\n```{.unparsed}\n%s```\n" % (command, command, help_of(command)), encoding="utf-8")
    (folder / "commands.md").write_text(text, encoding="utf-8")


def main():
    if sys.argv[1] == "--commands":
        write_commands(sys.argv[2], pathlib.Path(sys.argv[3]))
        return
    path = pathlib.Path(sys.argv[1]).resolve()
    if TREE in path.parents and str(path.relative_to(TREE)) in pages():
        sys.stdout.write(converted(path))
        return
    sys.stdout.write(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
