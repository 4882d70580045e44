"""Runs a command, one rank, and leaves the peak of its resident memory in bytes in FOLDER/<process>.

Usage: watch_rank.py FOLDER COMMAND...
"""

import os
import resource
import subprocess
import sys

code = subprocess.call(sys.argv[2:])
with open(os.path.join(sys.argv[1], str(os.getpid())), "w", encoding="ascii") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code)
