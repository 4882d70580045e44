"""Rows for regression: least squares on some hundred rows, drawn by leverage scores from a stream of many."""

import numpy as np

import weir

random = np.random.default_rng(5)
X = random.normal(size=(20_000, 4))
X[::5000] *= 50  # few rows decide much
y = X @ [1.0, -2.0, 0.5, 3.0] + random.normal(size=len(X))

sampler = weir.LeverageSampler(300, n=len(X), epsilon=0.05, seed=7)
for first in range(0, len(X), 2000):
    sampler.partial_fit(X[first : first + 2000])

# 1 / inclusion makes sums over the drawn rows unbiased for those over all rows.
root = np.sqrt(sampler.weights_)
found = np.linalg.lstsq(sampler.transform(X) * root[:, None], y[sampler.indices_] * root, rcond=None)[0]
best = np.linalg.lstsq(X, y, rcond=None)[0]
loss = [np.sum((X @ w - y) ** 2) for w in (found, best)]
print(f"{len(sampler.indices_)} of {len(X):,} rows")
print(f"coefficients {found.round(3)}, of all rows {best.round(3)}")
print(f"loss {loss[0] / loss[1]:.4f} times the smallest")
assert loss[0] < 1.1 * loss[1]
