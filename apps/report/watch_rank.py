"""Runs a command, one rank, and leaves the peak of its resident memory in bytes in FOLDER/<rank>, or <process> where there are no ranks.

Usage: watch_rank.py FOLDER COMMAND...
"""

import os
import resource
import subprocess
import sys

code = subprocess.call(sys.argv[2:])
name = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK") or str(os.getpid())
with open(os.path.join(sys.argv[1], name), "w", encoding="ascii") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code)
