"""A model of what ranks send to each other and of the time that takes, for any number of ranks. Nothing here measures.

A message of n bytes takes latency + n * per_byte. Ranks fill one node after the other; those of a node share its network link, and
exchange messages among themselves through memory. Steps that one rank takes follow each other, and nothing overlaps: times are
upper bounds of what the model's parameters allow.
"""

import dataclasses
import math

CHUNK = 4 << 20  # bytes of one reduction
PIECE = 8192  # bytes, into which Open MPI cuts a sum in the background of two ranks
LEAST_PART = 4096  # bytes of a rank's share that are sent at a time where sums are distributed
BATCH_KEYS = 1 << 14  # of an answer: no more ranks can share a search than there are batches of keys


@dataclasses.dataclass(frozen=True)
class Network:
    """Between nodes. `latency`: seconds. `per_byte`: seconds, of one link. `source`: who published that."""

    name: str
    latency: float
    per_byte: float
    source: str


# As published, for MPI where there is such a figure. What was not found is said.
NETWORKS = [
    Network("10 GbE, TCP", 25e-6, 1 / 1.2e9,
            "1.2 GB/s of one TCP connection: pull request 861 of C5T/Current (Amazon EC2, 2019). Latency: 24.6 us of MPICH over TCP on gigabit "
            "Ethernet, OSU benchmarks by J. Grimm (2021)"),
    Network("25 GbE, TCP", 25e-6, 1 / 3.1e9, "3.1 GB/s of all TCP connections of a host: the same pull request. Latency as above"),
    Network("EDR InfiniBand, 100 Gb/s", 0.9e-6, 1 / 12.3e9,
            "0.90 us of Open MPI: J. Grimm (2021). 24.7 GB/s in both directions: issue 3216 of open-mpi/ompi (2017)"),
    Network("HDR InfiniBand, 200 Gb/s", 1.2e-6, 1 / 24e9, "Microsoft Learn, 'HBv3-series performance': 1.2 us, 192 Gb/s one way"),
    Network("Slingshot-11, 200 Gb/s", 2e-6, 1 / 22.6e9,
            "22,587 MB/s of osu_bw between two nodes: issue 11392 of ofiwg/libfabric (2025). Latency: no figure found, 2 us assumed"),
    Network("NDR InfiniBand, 400 Gb/s", 2e-6, 1 / 50e9, "Microsoft Learn, 'HBv4-series performance': below 2 us, 400 Gb/s one way"),
]


@dataclasses.dataclass(frozen=True)
class Node:
    """Inside of a node; measured, but for `ranks`, which is assumed."""

    ranks: int
    latency: float  # seconds, of a message through memory
    piece: float  # seconds, of a message of PIECE bytes
    per_byte: float  # seconds, of the messages of a sum
    add_per_byte: float  # seconds: the sum of two arrays of doubles
    letter: float  # seconds that the root spends on the letters of one other rank in an epoch, its report included
    position: float  # seconds that the root spends on the position of one file that one rank reports with a checkpoint


def chunks(size):
    """The chunks in which an array of so many bytes is summed."""
    return [min(CHUNK, size - first) for first in range(0, size, CHUNK)]


def power_below(ranks):
    """The largest power of two that is at most `ranks`."""
    return 1 << (ranks.bit_length() - 1)


@dataclasses.dataclass(frozen=True)
class Sent:
    """By all ranks, in a sum."""

    bytes: int
    messages: int
    bytes_to_root: int


def background_sum(ranks, size):
    """What MPI_Ireduce of Open MPI 4.1 sends for an array of doubles, exactly. From 3 ranks on it halves the array between pairs of
    ranks and gathers the parts at the root (Rabenseifner); the ranks beyond a power of two hand theirs over before. Two ranks
    send pieces."""
    total = messages = to_root = 0
    for chunk in chunks(size):
        if ranks == 1:
            continue
        if ranks == 2:
            total, messages, to_root = total + chunk, messages + -(-chunk // PIECE), to_root + chunk
            continue
        power = power_below(ranks)
        levels = power.bit_length() - 1
        extra = ranks - power
        total += (power - 1) * chunk + levels * chunk // 2 + 3 * extra * chunk // 2
        messages += power * levels + power - 1 + 3 * extra
        to_root += 2 * (chunk - chunk // power) + (chunk if extra else 0)
    return Sent(total, messages, to_root)


def blocking_sum_bytes(ranks, size):
    """What MPI_Reduce sends: each rank but the root its array once, whatever the tree is."""
    return (ranks - 1) * size


def distributed_sum_bytes(ranks, size):
    """What MPI_Reduce_scatter and MPI_Allgatherv send: each rank its part of the table for each other one, and the sum of its own to each."""
    return 2 * (ranks - 1) * size


def level_costs(ranks, node, network):
    """(latency, seconds for each byte) of an exchange with the rank 1, 2, 4 ... places away, while all ranks do so."""
    costs = []
    for level in range(power_below(ranks).bit_length() - 1):
        inside = 1 << level < node.ranks
        costs.append((node.latency, node.per_byte) if inside else (network.latency, network.per_byte * node.ranks))
    return costs


def background_sum_seconds(ranks, size, node, network):
    """From the end of an epoch until the sum of the tables stands on the root."""
    if ranks == 2:
        piece = max(node.piece, PIECE * node.per_byte)
        return sum(-(-chunk // PIECE) * piece + chunk * node.add_per_byte for chunk in chunks(size))
    seconds = 0.0
    for chunk in chunks(size):
        if ranks > power_below(ranks):
            seconds += 3 * (node.latency + chunk / 2 * node.per_byte) + chunk / 2 * node.add_per_byte
        for level, (latency, per_byte) in enumerate(level_costs(ranks, node, network)):
            half = chunk / 2 ** (level + 1)
            seconds += latency + half * (per_byte + node.add_per_byte)  # halves are exchanged and added
            seconds += latency + half * per_byte  # and gathered
    return seconds


def blocking_sum_seconds(ranks, size, node, network):
    """At the end of a stream, down a binomial tree: what Open MPI 4.1 took for 8 ranks and more. One rank of a node sends at a time."""
    seconds = 0.0
    for chunk in chunks(size):
        for level in range(math.ceil(math.log2(ranks))):
            latency, per_byte = (node.latency, node.per_byte) if 1 << level < node.ranks else (network.latency, network.per_byte)
            seconds += latency + chunk * (per_byte + node.add_per_byte)
    return seconds


def distributed_sum_seconds(ranks, size, node, network):
    """Each rank keeps its share of the sum, and all have the whole before an answer: a reduce-scatter and a gathering to all, each
    around a ring, in which one rank of a node sends out of it. Shares are sent in parts of CHUNK / ranks, at least LEAST_PART."""
    if ranks == 1:
        return 0.0
    crosses = ranks > node.ranks
    latency = network.latency if crosses else node.latency
    per_byte = max(network.per_byte, node.per_byte) if crosses else node.per_byte
    share = size / ranks
    rounds = math.ceil(share / max(CHUNK / ranks, LEAST_PART))
    return (ranks - 1) * (rounds * 2 * latency + share * (2 * per_byte + node.add_per_byte))


def letters_seconds(ranks, node):
    """At the root, of the letters of an epoch: the end of it to each rank, and that rank's report."""
    return (ranks - 1) * node.letter


def positions_seconds(ranks, files, node):
    """At the root, with a checkpoint: each rank reports where it stands in every file."""
    return (ranks - 1) * files * node.position


def search_ranks(ranks, keys):
    """How many ranks can search for an answer among so many keys."""
    return min(ranks, max(1, -(-keys // BATCH_KEYS)))


def root_bytes(ranks, table, window, report_bytes):
    """Memory of the root: the tables of the epoch that is read and of that which is summed, the window's sum and its epochs, the chunks on
    their way, and the reports."""
    return (2 + window + 1) * table + 4 * min(CHUNK, table) + (ranks - 1) * report_bytes
