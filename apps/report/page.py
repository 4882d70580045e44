"""The page: one HTML file that needs nothing else."""

import html
import re
import time

import figures
import judging
from judging import Verdict
from running import is_finished

MARKS = {Verdict.YES: ("yes", "\u2713"), Verdict.NO: ("no", "\u2717"), Verdict.UNDECIDED: ("undecided", "?")}
# What numbers that are not those of this program may cause.
STORED_ERRORS = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)
MOST_ROWS = 14  # of a table that is shown at once
FAILED, NOT_RUN = ("failed", "!"), ("missing", "\u2013")

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--text:#24292f;--soft:#57606a;--line:#d8dee4;--panel:#f6f8fa;--link:#0969da;
--yes:#1a7f37;--no:#c93c37;--undecided:#9a6700;--failed:#c93c37;--missing:#6e7781}
@media (prefers-color-scheme:dark){:root{--ground:#0d1117;--text:#e6edf3;--soft:#9da7b1;--line:#30363d;--panel:#161b22;
--link:#6cb6ff;--yes:#57d364;--no:#ff7b72;--undecided:#e3b341;--failed:#ff7b72;--missing:#8b949e}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--text);
font:16px/1.55 "Helvetica Neue",Helvetica,Arial,"Liberation Sans","DejaVu Sans",sans-serif;overflow-wrap:break-word}
main{max-width:900px;margin:0 auto;padding:40px 32px 80px}
h1{font-size:30px;line-height:1.2;margin:0 0 8px;letter-spacing:-.01em}
h2{font-size:22px;line-height:1.3;margin:0 0 10px;letter-spacing:-.005em}
p{margin:0 0 12px}
a{color:var(--link);text-decoration:none}
a:hover{text-decoration:underline}
.lead,.about,figcaption,.caption{color:var(--soft)}
.lead{margin-bottom:24px;font-size:15px}
section{border-top:1px solid var(--line);margin-top:44px;padding-top:28px}
.mark{display:inline-flex;align-items:center;gap:5px;font-weight:600;white-space:nowrap}
.mark i{display:inline-flex;width:1.35em;height:1.35em;border-radius:50%;align-items:center;justify-content:center;font-style:normal;
font-size:.82em;line-height:1;background:currentColor}
.mark i b{color:var(--ground)}
.yes{color:var(--yes)}.no{color:var(--no)}.undecided{color:var(--undecided)}.failed{color:var(--failed)}.missing{color:var(--missing)}
.verdict{background:var(--panel);border-left:4px solid;border-radius:4px;padding:12px 16px;margin:16px 0 20px}
.verdict p{margin:0;color:var(--text)}
.verdict .mark{margin-bottom:4px}
dl.claim{display:grid;grid-template-columns:max-content 1fr;gap:6px 16px;margin:0 0 16px}
dl.claim dt{color:var(--soft)}
dl.claim dd{margin:0}
figure{margin:24px 0}
figcaption,.caption{font-size:14px;margin:8px 0 0}
.box{overflow-x:auto;max-width:100%}
.box svg{display:block;max-width:100%;height:auto}
.box.fixed svg{max-width:100%}
.narrow{display:none}
table{border-collapse:collapse;font-size:14px;line-height:1.4;font-variant-numeric:tabular-nums}
th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{font-weight:600;color:var(--soft)}
td.n,th.n{text-align:right}
.data td,.data th{white-space:nowrap}
.data td.long{white-space:normal;min-width:220px}
pre,code{font:13px/1.5 ui-monospace,"SFMono-Regular",Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--panel);border-radius:6px;padding:10px 14px;margin:8px 0 12px;overflow-x:auto}
pre.error{white-space:pre-wrap}
details{margin:0 0 12px}
summary{cursor:pointer;color:var(--soft);font-size:14px}
section>.contents{margin-bottom:20px}
.contents{width:100%}
sup,sub{font-size:.75em;line-height:0}
.contents td:first-child{width:128px}
.contents .what{font-weight:600}
.contents .says{color:var(--soft);font-size:14px}
.about{font-size:14px}
@media (max-width:620px){
.box.fixed svg{max-width:none;width:640px}
main{padding:24px 16px 56px}
h1{font-size:25px}
h2{font-size:20px}
.wide{display:none}
.narrow{display:block}
dl.claim{display:block}
dl.claim dt{font-size:13px}
dl.claim dd{margin:0 0 8px}
.contents,.contents tbody,.contents tr,.contents td{display:block;width:auto}
.contents tr{border-bottom:1px solid var(--line);padding:8px 0}
.contents td{border:0;padding:1px 0}
.contents td:first-child{width:auto}
}
@media print{section{break-inside:avoid-page}}
"""


def escaped(text):
    """Also for attributes. Control characters that HTML does not allow are left out."""
    return html.escape("".join(c for c in str(text) if c >= " " or c in "\t\n"))


def rich(text):
    """Escaped, with n^{2} raised and y_{i} lowered."""
    return re.sub(r"_\{([^{}]*)\}", r"<sub>\1</sub>", re.sub(r"\^\{([^{}]*)\}", r"<sup>\1</sup>", escaped(text)))


def plain(text):
    """Without the braces of n^{2} and y_{i}, and on one line."""
    return " ".join(re.sub(r"([_^])\{([^{}]*)\}", r"\1\2", str(text)).split())


def word_of(verdict):
    return verdict.value if isinstance(verdict, Verdict) else {"failed": "failed", "missing": "not run"}[verdict[0]]


def verdicts(steps, documents):
    """(name, title, source, word, sentence, words and questions of the checks) of each step, as plain text."""
    out = []
    for step in steps:
        try:
            verdict, sentence, checks = outcome(step, documents.get(step.name))
        except STORED_ERRORS as error:
            verdict, sentence, checks = FAILED, f"What is stored of this step cannot be shown: {error}", []
        out.append((step.name, plain(step.title), plain(step.source), word_of(verdict), plain(sentence),
                    [(word_of(check.verdict), plain(check.question), plain(check.sentence)) for check in checks]))
    return out


def markdown(steps, documents, about):
    """All checks as a table of Markdown."""
    def cell(text):
        return text.replace("|", "\\|")

    lines = [plain(about), "", "| step | claim of | checked | verdict | by the numbers |", "|---|---|---|---|---|"]
    for name, title, source, word, sentence, checks in verdicts(steps, documents):
        for one_word, question, says in checks or [(word, title, sentence)]:
            lines.append("| " + " | ".join(map(cell, (name, source, question, f"**{one_word}**" if one_word != "yes" else "yes", says))) + " |")
    return "\n".join(lines) + "\n"


def mark(verdict):
    name, sign = verdict if isinstance(verdict, tuple) else MARKS[verdict]
    words = {"yes": "yes", "no": "no", "undecided": "not decided", "failed": "failed", "missing": "not run"}[name]
    return f'<span class="mark {name}"><i aria-hidden="true"><b>{sign}</b></i> {words}</span>'


def outcome(step, document):
    """(mark, sentence, checks) of a step, from what is stored of it."""
    if document is None:
        return NOT_RUN, "This step has not been run.", []
    if document.get("error"):
        return FAILED, "This step failed: " + document["error"].splitlines()[0], []
    if not is_finished(document):
        return NOT_RUN, "This step was cut and is not finished; the next run goes on with it.", []
    checks = step.judge(document["parts"])
    return judging.combined(check.verdict for check in checks), judging.summary(checks), checks


def is_number(text):
    stripped = str(text).strip()
    return bool(stripped) and (stripped[0].isdigit() or stripped[0] in "+-.\u2212" and any(c.isdigit() for c in stripped))


def table_html(table):
    # A column is aligned at the right where all of its cells are numbers.
    columns = len(table.headers)
    right = [bool(table.rows) and all(is_number(row[k]) or str(row[k]) in ("", "\u2013") for row in table.rows)
             for k in range(columns)]

    def cell(tag, k, content):
        text = rich(content)
        name = "n" if right[k] else "long" if len(str(content)) > 60 else ""
        return f'<{tag}{f" class={name}" if name else ""}>{text}</{tag}>'

    head = "".join(cell("th", k, text) for k, text in enumerate(table.headers))
    body = "\n".join("<tr>" + "".join(cell("td", k, text) for k, text in enumerate(row)) + "</tr>" for row in table.rows)
    caption = f'<p class="caption">{rich(table.caption)}</p>' if table.caption else ""
    whole = (f'<div class="box" tabindex="0"><table class="data"><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
             f"{caption}")
    if len(table.rows) > MOST_ROWS:
        return f"<details><summary>table of {len(table.rows)} rows</summary><figure>{whole}</figure></details>"
    return f"<figure>{whole}</figure>"


class Page:
    """Collects the style sheets of the pictures, which are all the same and stand in the page once."""

    def __init__(self, chart_program):
        self.chart_program = chart_program
        self.styles = []
        self.errors = []

    def picture(self, svg):
        body, styles = figures.without_style(svg)
        self.styles += [style for style in styles if style not in self.styles]
        return body[body.find("<svg"):].strip()

    def block(self, block):
        if isinstance(block, figures.Table):
            return table_html(block)
        if isinstance(block, figures.Text):
            return f"<p>{rich(block.text)}</p>"
        caption = f"<figcaption>{rich(block.caption)}</figcaption>" if block.caption else ""
        if isinstance(block, figures.Picture):
            return f'<figure><div class="box fixed" tabindex="0">{self.picture(block.svg)}</div>{caption}</figure>'
        try:
            wide, narrow = (self.picture(figures.draw(self.chart_program, one)) for one in figures.in_two_widths(block.chart))
        except (figures.ChartError, OSError) as error:
            self.errors.append(str(error))
            return f'<pre class="error">The figure could not be drawn: {escaped(error)}</pre>'
        return (f'<figure><div class="box wide">{wide}</div>\n<div class="box narrow">{narrow}</div>{caption}</figure>')


def commands_html(commands):
    if not commands:
        return "<p>none</p>"
    text = "\n".join(escaped(command) for command in commands)
    if len(commands) <= 2:
        return f"<pre>{text}</pre>"
    first = escaped(commands[0])
    return (f"<pre>{first}</pre><details><summary>all {len(commands)} commands</summary><pre>{text}</pre></details>")


def minutes(seconds):
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} minutes"


def section(step, document, version, page):
    verdict, sentence, checks = outcome(step, document)
    name = verdict[0] if isinstance(verdict, tuple) else MARKS[verdict][0]
    out = [f'<section id="{escaped(step.name)}"><h2>{rich(step.title)}</h2>',
           '<dl class="claim">', f"<dt>Claim</dt><dd>{rich(step.claim)}</dd>",
           f"<dt>From</dt><dd>{rich(step.source)}</dd>",
           f"<dt>Holds when</dt><dd>{rich(step.criterion)}</dd></dl>",
           f'<div class="verdict {name}">{mark(verdict)}<p>{rich(sentence)}</p></div>']
    if document and document.get("error"):
        out.append(f'<pre class="error">{escaped(document["error"])}</pre>')
    if len(checks) > 1:
        rows = "\n".join(f"<tr><td>{mark(check.verdict)}</td><td><span class=\"what\">{rich(check.question)}</span><br>"
                         f'<span class="says">{rich(check.sentence)}</span></td></tr>' for check in checks)
        out.append(f'<table class="contents"><tbody>{rows}</tbody></table>')
    if is_finished(document):
        out += [page.block(block) for block in step.show(document["parts"])]
    if document:
        out += ["<p class=\"caption\">Made by</p>", commands_html(document.get("commands", []))]
        other = f" The program is now {version}: run this step again." if document.get("version") != version else ""
        out.append(f'<p class="about">{escaped(document.get("started", ""))}, {minutes(document.get("seconds", 0))}, '
                   f'{escaped(document.get("version", ""))}; load average {document.get("load", 0):.1f} at the start.'
                   f"{escaped(other)}</p>")
    out.append("</section>")
    return "\n".join(out), verdict, sentence


def broken_section(step, error):
    """Of a step whose numbers could not be judged or shown: stored numbers may be of another program."""
    text = f"{type(error).__name__}: {error}"
    return (f'<section id="{escaped(step.name)}"><h2>{rich(step.title)}</h2>'
            f'<div class="verdict failed">{mark(FAILED)}<p>What is stored of this step cannot be shown.</p></div>'
            f'<pre class="error">{escaped(text)}</pre></section>', FAILED, f"What is stored of this step cannot be shown: {text}")


def make(steps, documents, size, version, machine, chart_program):
    """(the page, True if every step that was run is there without an error). `documents`: by the names of steps."""
    page = Page(chart_program)
    sections, rows, fine = [], [], True
    for step in steps:
        document = documents.get(step.name)
        try:
            text, verdict, sentence = section(step, document, version, page)
        except STORED_ERRORS as error:
            text, verdict, sentence = broken_section(step, error)
        fine = fine and verdict != FAILED
        sections.append(text)
        rows.append(f'<tr><td>{mark(verdict)}</td><td><a class="what" href="#{escaped(step.name)}">{rich(step.title)}</a><br>'
                    f'<span class="says">{rich(sentence)}</span></td></tr>')
    quick = ("This is the quick size: it shows how things lie, and leaves undecided what it cannot see."
             if size == "quick" else "This is the full size.")
    document = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>weir: all experiments</title>
<style>{STYLE}{"".join(page.styles)}</style>
</head>
<body>
<main>
<h1>weir: all experiments</h1>
<p class="lead">What the papers claim, and what this program shows of it. Every verdict is computed from the numbers of its step by
the criterion that stands beside it. {escaped(quick)} {escaped(version)}. {escaped(machine)}. Made on
{time.strftime("%Y-%m-%d %H:%M", time.localtime())}.</p>
<nav aria-label="Contents"><table class="contents"><tbody>
{chr(10).join(rows)}
</tbody></table></nav>
{chr(10).join(sections)}
<section id="papers"><h2>Papers</h2>
<p>[Tensor] Zhao Song, Shenghao Xie, Samson Zhou: \u201cTowards Sampling Data Structures for Tensor Products in Turnstile
Streams\u201d, arXiv:2510.03678.</p>
<p>[Attention] Raghav Addanki, Chenyang Li, Zhao Song, Chiwun Yang: \u201cOne Pass Streaming Algorithm for Super Long Token Attention
Approximation in Sublinear Space\u201d, arXiv:2311.14652.</p>
<p>[WORp] Edith Cohen, Rasmus Pagh, David Woodruff: \u201cWOR and p\u2019s: Sketches for l_p-Sampling Without Replacement\u201d,
arXiv:2007.06744.</p>
</section>
</main>
</body>
</html>
"""
    return document, fine and not page.errors
