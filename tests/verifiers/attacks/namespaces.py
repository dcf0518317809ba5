"""New namespaces, mounts and roots, by every call that makes them."""

import os

from tools import refused, system_call

for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00000080):
    refused(system_call, 272, flag, by=("EPERM",))  # unshare
    refused(system_call, 56, flag | 17, None, None, None, None, by=("EPERM",))  # clone
refused(system_call, 435, None, 88, by=("ENOSYS",))  # clone3
refused(system_call, 308, 0, 0)  # setns
refused(system_call, 165, b"proc", b"/tmp", b"proc", 0, None)  # mount
refused(system_call, 165, None, b"/", None, 0x1020, None)  # mount: remount read-write
refused(system_call, 166, b"/tmp", 2)  # umount2
refused(system_call, 428, -100, b"/", 1)  # open_tree
refused(system_call, 430, b"proc", 0)  # fsopen
refused(system_call, 155, b"/tmp", b"/tmp")  # pivot_root
refused(os.chroot, "/tmp")
refused(system_call, 304, 0, None, 0)  # open_by_handle_at
print("held")
