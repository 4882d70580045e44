"""Heavy flows with names: which connections carry the bytes, from a state of a fixed size."""

import numpy as np

import weir

random = np.random.default_rng(1)
hosts = np.array([f"10.0.{k // 250}.{k % 250}" for k in range(2000)])
popular = random.zipf(1.3, 50_000) % 2000
flows = [f"{hosts[a]} > {hosts[b]}" for a, b in zip(popular, np.roll(popular, 1))]
sizes = random.integers(40, 1500, len(flows))

state = weir.Vector(seed=7, purpose="top", epsilon=0.05).update(flows, sizes)
print(state)

# The state keeps no names. Candidates get theirs back: those of the last hour, say.
heaviest = state.query(top=5, names=set(flows)).top
print(heaviest)

truth = {}
for flow, size in zip(flows, sizes.tolist()):
    truth[flow] = truth.get(flow, 0) + size
first = max(truth, key=truth.get)
print(f"exactly: {first} with {truth[first]:,} bytes")
assert first in heaviest["name"]
assert abs(heaviest["value"][0] - truth[heaviest["name"][0]]) <= heaviest["bound"][0]
