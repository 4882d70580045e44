"""Messages that a job really sends, as Open MPI's component pml_monitoring counts them."""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What one rank has sent to another one, by sends of the program's own or in the steps of collective operations."""

    source: int
    target: int
    is_collective: bool
    bytes: int
    messages: int


def options(folder):
    """Options of mpirun: each rank writes what it has sent to a file of `folder` when it ends. The program's own messages and those of
    collective operations are counted apart (2)."""
    return ["--mca", "pml_monitoring_enable", 2, "--mca", "pml_monitoring_enable_output", 3,
            "--mca", "pml_monitoring_filename", pathlib.Path(folder) / "sent"]


def read(folder):
    """The Traffic between all pairs of ranks that have exchanged messages."""
    traffic = []
    for path in sorted(pathlib.Path(folder).glob("sent.*.prof")):
        for line in path.read_text(encoding="ascii").splitlines():
            fields = line.split("\t")
            # E and I: messages of the program and of collective operations. The other lines repeat them by kinds of calls.
            if fields[0] in ("E", "I"):
                traffic.append(Traffic(int(fields[1]), int(fields[2]), fields[0] == "I", int(fields[3].split()[0]), int(fields[4].split()[0])))
    return traffic


def total(traffic, is_collective, source=None, target=None):
    """(bytes, messages) of one kind, of all ranks or of those from `source` and to `target`."""
    chosen = [one for one in traffic if one.is_collective == is_collective and source in (None, one.source) and target in (None, one.target)]
    return sum(one.bytes for one in chosen), sum(one.messages for one in chosen)
