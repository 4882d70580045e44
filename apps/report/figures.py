"""What a step shows: charts, tables and texts as values. weir_chart draws the charts."""

import copy
import dataclasses
import json
import re
import subprocess


@dataclasses.dataclass(frozen=True)
class Figure:
    """A chart or a grid of charts in the JSON of weir_chart (`weir_chart --help`)."""

    chart: dict
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """An SVG that a program has drawn."""

    svg: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    headers: list
    rows: list
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Text:
    text: str


def axis(label, logarithmic=False, unit="number", **more):
    return {"label": label, "scale": "logarithmic" if logarithmic else "linear", "unit": unit, **more}


def series(name, x, y, **more):
    return {"name": name, "x": list(x), "y": list(y), **more}


def curve(name, x, y, line="dashed", **more):
    """A line without points, as of theory."""
    return series(name, x, y, line=line, marker="none", **more)


def chart(title, x, y, all_series, **more):
    return {"title": title, "x": x, "y": y, "series": list(all_series), **more}


def grid(title, charts, columns=2, **more):
    return {"title": title, "charts": list(charts), "columns": columns, **more}


def line(at, label=""):
    return {"at": at, "label": label}


class ChartError(Exception):
    """A chart could not be drawn."""


def draw(program, description):
    """The SVG of a chart."""
    outcome = subprocess.run([str(program)], input=json.dumps(description), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, encoding="utf-8", check=False)
    if outcome.returncode != 0:
        raise ChartError(outcome.stderr.strip() or f"weir_chart ended with exit code {outcome.returncode}")
    return outcome.stdout


WIDE, NARROW = 820, 340  # pixels


def in_two_widths(description):
    """(for screens, for phones): on the latter one chart stands below the other."""
    wide, narrow = copy.deepcopy(description), copy.deepcopy(description)
    wide["width"], narrow["width"] = WIDE, NARROW
    if "charts" in description:
        narrow["columns"] = 1
        wide.setdefault("chart_height", 220)
        narrow["chart_height"] = 180
    else:
        wide.setdefault("chart_height", 300)
        narrow["chart_height"] = 220
    return wide, narrow


STYLE = re.compile(r"<style>(.*?)</style>\s*", re.DOTALL)


def without_style(svg):
    """(the SVG without its style sheets, these): all pictures have the same, which a page needs once."""
    return STYLE.sub("", svg), STYLE.findall(svg)
