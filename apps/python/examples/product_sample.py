"""Sampling a product: draws of documents by the square of their score, while the query changes."""

import numpy as np

import weir

random = np.random.default_rng(3)
documents = random.integers(-3, 4, (2000, 16)).astype(float)
query = random.integers(-3, 4, 16).astype(float)

# The documents are given whole, and the query streams: y = documents @ query is never formed.
state = weir.Product(fixed={"A": documents}, seed=7, epsilon=0.05).update(range(16), query)
print(state.sample(4))

# A change of one term costs O(1), whatever the number of documents is.
state.update(5, 30)
query[5] += 30
drawn = state.sample(4)
print(drawn)
scores = documents @ query
norm = state.query().norm
print(f"norm {norm!r}, exactly {np.linalg.norm(scores):.6g}")
assert abs(norm.value - np.linalg.norm(scores)) <= norm.bound
