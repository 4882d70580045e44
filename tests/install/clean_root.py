"""A folder that holds what a machine would have on which nothing but some Debian packages were installed.

The packages and all that they depend on are taken from those that are installed here: no network, a second or two. What a
package forgot to depend on is then missing, as it would be for a user.
"""

import os
import re
import shutil
import subprocess

HEAVY = ("/usr/share/doc/", "/usr/share/locale/", "/usr/share/man/")


def names_in(field):
    """What a field like Depends asks for: a list of lists, one of which names is enough for each."""
    return [[re.match(r"\s*([^\s:(]+)", choice)[1] for choice in wanted.split("|")] for wanted in field.split(",") if wanted.strip()]


def closure(wanted):
    """The installed packages that these names bring; AssertionError for one that is not installed."""
    out = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}\t${binary:Package}\t${Provides}\t${Pre-Depends},${Depends}\n"],
                         check=True, stdout=subprocess.PIPE).stdout.decode()
    needs, provider = {}, {}
    for line in out.splitlines():
        status, package, provides, field = line.split("\t")
        if status == "installed":
            needs[package] = field
            for name in [package.split(":")[0]] + [choice[0] for choice in names_in(provides)]:
                provider.setdefault(name, package)
            provider[package.split(":")[0]] = package
    found, open_ones = set(), [[name] for name in wanted]
    while open_ones:
        choices = open_ones.pop()
        package = next((provider[name] for name in choices if name in provider), None)
        assert package, "none of these packages is installed: %s" % choices
        if package not in found:
            found.add(package)
            open_ones += names_in(needs[package])
    return sorted(found)


def place(path, root):
    """Puts a file, a link or a folder of this machine at the same place below `root`."""
    target = root + path
    if os.path.lexists(target) or path.startswith(HEAVY):
        return
    if os.path.islink(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(path), target)
    elif os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    elif os.path.isfile(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(path, target)


def place_alternatives(root):
    """The links that update-alternatives makes when a package is installed, of those whose programs are in `root`."""
    folder = "/var/lib/dpkg/alternatives"
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name)) as file:
            lines = file.read().split("\n\n")[0].split("\n")[1:]
        pairs = [(name, lines[0])] + list(zip(lines[1::2], lines[2::2]))
        for entry, link in pairs:
            chosen = "/etc/alternatives/" + entry
            if os.path.islink(chosen) and os.path.lexists(root + os.readlink(chosen)):
                place(chosen, root)
                place(link, root)


def make_clean_root(root, packages):
    for folder in ("bin", "sbin", "lib", "lib64"):
        os.makedirs(os.path.join(root, "usr", folder))
        os.symlink("usr/" + folder, os.path.join(root, folder))
    for folder in ("dev", "proc", "sys", "tmp", "root", "etc", "dev/shm"):
        os.makedirs(os.path.join(root, folder))
    for name in ("null", "zero", "random", "urandom"):
        device = os.path.join(root, "dev", name)
        try:
            os.mknod(device, 0o20666, os.stat("/dev/" + name).st_rdev)
        except PermissionError:  # then what is written there becomes a file, which does no harm
            open(device, "w").close()
    listing = subprocess.run(["dpkg-query", "-L", *closure(packages)], check=True, stdout=subprocess.PIPE).stdout.decode()
    for path in listing.splitlines():
        if path.startswith("/") and path != "/.":
            place(path, root)
    place_alternatives(root)
    subprocess.run(["/sbin/ldconfig", "-r", root], check=True)


AS_ROOT = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]


def may_change_root():
    """Some containers do not allow it."""
    return subprocess.run(AS_ROOT + ["/usr/sbin/chroot", "/", "true"], stderr=subprocess.DEVNULL).returncode == 0


def run_in(root, command, **options):
    """The command with `root` as its root, as root or as a user who may be one within a namespace."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", "TMPDIR": "/tmp"}
    environment.update({name: value for name, value in os.environ.items() if name.startswith(("OMPI_", "PRTE_", "MPIR_"))})
    return subprocess.run(AS_ROOT + ["/usr/sbin/chroot", root] + command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, **options)
