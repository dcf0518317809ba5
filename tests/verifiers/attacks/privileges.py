"""Becomes somebody else, or raises its limits."""

import ctypes
import os
import resource
from contextlib import suppress

from tools import refused

assert 0 not in (os.getuid(), os.geteuid(), os.getgid(), os.getegid(), *os.getgroups()), (os.getuid(), os.getgroups())
for become in (os.setuid, os.setgid, os.seteuid, os.setegid):
    refused(become, 0)
refused(os.setgroups, [0])
prctl = ctypes.CDLL(None).prctl
assert prctl(39, 0, 0, 0, 0) == 1, "it may gain privileges by exec"
assert all(prctl(23, capability, 0, 0, 0) != 1 or prctl(47, 1, capability, 0, 0) != 1 for capability in range(41)), "capabilities"
refused(os.nice, -1)
for kind in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_CORE):
    soft, hard = resource.getrlimit(kind)
    with suppress(ValueError):
        resource.setrlimit(kind, (soft, hard + 1))
        raise SystemExit("a limit was raised")
print("held")
