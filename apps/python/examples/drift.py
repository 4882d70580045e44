"""Drift between two days: the difference of two states draws what changed most."""

import numpy as np

import weir

random = np.random.default_rng(2)
products = np.array([f"product-{k}" for k in range(5000)])


def day(sold):
    return weir.Vector(seed=7).update(products[sold])


monday = day(random.integers(0, 5000, 40_000))
# On Tuesday one product sells far better, and another not at all.
tuesday_sold = random.integers(0, 5000, 40_000)
tuesday_sold = np.concatenate([tuesday_sold[tuesday_sold != 17], np.full(900, 1234)])
tuesday = day(tuesday_sold)

change = tuesday - monday
drawn = change.sample(8, names=products)
print(drawn)
print(f"norm of the change: {change.query().norm!r}")
assert "product-1234" in drawn["name"]
