"""Verdicts, and the statistics that they need. A verdict follows from numbers and a criterion; nothing here knows a step."""

import dataclasses
import enum
import math


class Verdict(enum.Enum):
    YES = "yes"
    NO = "no"
    UNDECIDED = "not decided"


@dataclasses.dataclass(frozen=True)
class Check:
    """One question, its answer, and the numbers that decided it, in one sentence."""

    question: str
    verdict: Verdict
    sentence: str


def decide(value, limit, uncertainty=0.0):
    """Is `value` at most `limit`? Not decided where the limit is within the uncertainty."""
    if not math.isfinite(value) or not math.isfinite(uncertainty):
        return Verdict.UNDECIDED
    if value + uncertainty <= limit:
        return Verdict.YES
    return Verdict.NO if value - uncertainty > limit else Verdict.UNDECIDED


def combined(verdicts):
    """No if one is no; yes if all are yes; otherwise not decided. Of no verdicts nothing is decided."""
    verdicts = list(verdicts)
    if Verdict.NO in verdicts:
        return Verdict.NO
    return Verdict.YES if verdicts and all(one is Verdict.YES for one in verdicts) else Verdict.UNDECIDED


def summary(checks):
    """One sentence for a step: that of its check, or how many hold, and which do not."""
    if not checks:
        return "There is nothing to judge."
    if len(checks) == 1:
        return checks[0].sentence
    holding = sum(check.verdict is Verdict.YES for check in checks)
    if holding == len(checks):
        return f"{'Both' if holding == 2 else f'All {holding}'} checks hold. {checks[0].sentence}"
    others = [f"{verdict.value.capitalize()}: " + "; ".join(check.question for check in checks if check.verdict is verdict) + "."
              for verdict in (Verdict.NO, Verdict.UNDECIDED) if any(check.verdict is verdict for check in checks)]
    return " ".join([f"{holding} of {len(checks)} checks hold.", *others])


def upper_tail(trials, rate, count):
    """P[a binomial number of `trials` with that rate is `count` or more]."""
    if count <= 0:
        return 1.0
    if rate <= 0 or count > trials:
        return 0.0
    if rate >= 1:
        return 1.0
    log_terms = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
                 + k * math.log(rate) + (trials - k) * math.log1p(-rate) for k in range(count, trials + 1)]
    largest = max(log_terms)
    return min(1.0, math.exp(largest) * math.fsum(math.exp(term - largest) for term in log_terms))


def slope(x, y):
    """Of the line of least squares through (log x, log y): the exponent of a power law."""
    log_x, log_y = [math.log(value) for value in x], [math.log(value) for value in y]
    mean_x, mean_y = math.fsum(log_x) / len(x), math.fsum(log_y) / len(y)
    spread = math.fsum((value - mean_x) ** 2 for value in log_x)
    if spread == 0:
        return math.nan
    return math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(log_x, log_y)) / spread


def ratio_of(times, others):
    """(quotient of the least times, its uncertainty: how far the least but one is above the least)."""
    ratio = times[0] / others[0]
    return ratio, ratio * (times[1] / times[0] - 1 + others[1] / others[0] - 1)


def digits(value, count=3):
    """A number with so many significant digits, as people write it."""
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if 1e-4 <= abs(value) < 1e6:
        places = max(0, count - 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{places}f}"
    return f"{value:.{count - 1}e}"


def duration(seconds):
    """As in 2.1 us, 35 ms, 4 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds / 1e-9)} ns"


def size_text(count):
    """Bytes, as in 2.0 MiB."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if abs(count) >= size:
            return f"{digits(count / size)} {unit}"
    return f"{count:,.0f} bytes"
