"""Looks into, traces and signals what it should not see."""

import os
import signal

from tools import refused, system_call

assert os.getpid() == 1
child = os.fork()
if child == 0:
    signal.pause()
refused(system_call, 101, 16, child, 0, 0)  # ptrace attach, even its own child
refused(system_call, 101, 0, 0, 0, 0)  # ptrace traceme
refused(system_call, 310, child, None, 0, None, 0, 0)  # process_vm_readv
refused(system_call, 311, child, None, 0, None, 0, 0)  # process_vm_writev
refused(system_call, 438, 0, 0, 0)  # pidfd_getfd
for pid in set(range(2, 33000)) - {child}:
    refused(os.kill, pid, 0, by=("ESRCH",))
os.kill(-1, signal.SIGKILL)  # everything it can see: its child
os.waitpid(child, 0)
print("held")
