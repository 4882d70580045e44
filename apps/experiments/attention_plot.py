#!/usr/bin/python3
"""Draws what weir_attention measured: attention_plot.py attention.json OUT.png [HEAD ...]    (python3-matplotlib)

One column a head, shares of squared scores above and of softmax below, against the number of draws.
"""
import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STYLES = {
    "largest softmax": ("black", "-"),
    "largest |y|": ("black", "--"),
    "without replacement, shifted, fourth power": ("tab:red", "-"),
    "without replacement, fourth power": ("tab:red", "--"),
    "without replacement, shifted": ("tab:blue", ":"),
    "without replacement": ("tab:blue", "--"),
    "with replacement": ("tab:green", "-"),
    "uniform": ("tab:gray", "-."),
}


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    curves = report["held"]
    heads = sys.argv[3:] or list(dict.fromkeys(curve["head"] for curve in curves))
    missing = set(heads) - {curve["head"] for curve in curves}
    if missing:
        sys.exit(f"attention_plot.py: no head {', '.join(sorted(missing))} in {sys.argv[1]}")
    figure, axes = plt.subplots(2, len(heads), figsize=(4.5 * len(heads), 7), sharex=True, squeeze=False)
    for column, head in enumerate(heads):
        for axis, measure, label in zip(axes[:, column], ("squared", "softmax"), ("squared scores", "softmax")):
            for curve in curves:
                if curve["head"] == head and curve["sampler"] in STYLES:
                    color, line = STYLES[curve["sampler"]]
                    shares = curve[measure]
                    axis.plot(range(1, len(shares) + 1), shares, line, color=color, label=curve["sampler"])
            axis.set_ylim(0, 1)
            axis.grid(alpha=0.3)
            axis.set_title(f"{head}: share of {label}", fontsize=10)
        axes[1, column].set_xlabel(f"draws, from a window of {report['window']} tokens")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    order = [labels.index(name) for name in STYLES if name in labels]
    figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="lower center", ncol=2, fontsize=9)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.savefig(sys.argv[2], dpi=90)


main()
