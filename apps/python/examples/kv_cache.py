"""A KV cache that does not grow: softmax attention over tokens that come and go, in 64 KiB."""

import numpy as np

import weir

random = np.random.default_rng(4)
d, tokens = 16, 4000
mixing = random.normal(size=(3, d)) * 0.6  # scores vary in few directions, as in many heads
keys = random.normal(size=(tokens, 3)) @ mixing
values = random.normal(size=(tokens, 8)) + keys[:, :8]
queries = random.normal(size=(100, 3)) @ mixing

state = weir.Attention(queries, keys[:512], values[:512], budget=65536, expected=tokens, seed=1)
for first in range(0, tokens, 500):
    state.update_rows(None, keys[first : first + 500], values[first : first + 500])

found = state.attend(queries, errors=True)
scores = np.exp(queries @ keys.T / np.sqrt(d))
exact = scores @ values / scores.sum(1, keepdims=True)
error = np.linalg.norm(found.outputs - exact, axis=1) / np.linalg.norm(exact, axis=1)
whole = (keys.nbytes + values.nbytes) / 1024
print(f"{state.nbytes / 1024:.0f} KiB in place of {whole:.0f}")
print(f"relative error: median {np.median(error):.2g}, estimated {np.median(found.errors):.2g}")
assert np.median(error) < 0.05
