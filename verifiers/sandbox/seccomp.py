"""The system calls that a jailed program may not make, as a classic BPF program for x86_64.

The second layer: namespaces and the uid already make these calls harmless, and the filter keeps a bug in the kernel behind one
of them out of reach. It also closes the ways to hold memory that no resource limit counts (memfd, System V and POSIX IPC).
"""

import errno
import struct

_DENIED = {
    # other processes
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "process_madvise": 440, "kcmp": 312, "pidfd_getfd": 438,
    # kernel interfaces with a history
    "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "vmsplice": 278, "personality": 135, "modify_ldt": 154,
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "add_key": 248, "request_key": 249, "keyctl": 250,
    # mounts and namespaces
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "move_mount": 429, "open_tree": 428, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "unshare": 272, "setns": 308,
    "open_by_handle_at": 304, "name_to_handle_at": 303, "fanotify_init": 300,
    # the machine
    "create_module": 174, "init_module": 175, "delete_module": 176, "finit_module": 313, "kexec_load": 246,
    "kexec_file_load": 320, "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163, "quotactl": 179, "quotactl_fd": 443,
    "syslog": 103, "iopl": 172, "ioperm": 173, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
    "clock_adjtime": 305, "sethostname": 170, "setdomainname": 171, "uselib": 134, "_sysctl": 156, "vhangup": 153,
    "nfsservctl": 180, "lookup_dcookie": 212, "mbind": 237, "set_mempolicy": 238, "migrate_pages": 256, "move_pages": 279,
    # memory that no resource limit counts
    "memfd_create": 319, "memfd_secret": 447, "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "msgget": 68,
    "mq_open": 240,
    # the network
    "socket": 41,
}  # fmt: skip
_SOCKETPAIR, _AF_UNIX = 53, 1
_CLONE, _CLONE3 = 56, 435
_LAST_KNOWN = 450
"""set_mempolicy_home_node; whatever came later is answered as by a kernel that lacks it."""
_NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00000080
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME."""

_X86_64 = 0xC000003E
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data; an argument's lower half is all that is looked at here."""
_LOAD, _IF_EQUAL, _IF_GREATER, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def program() -> bytes:
    """The filter as an array of struct sock_filter, as `bwrap --seccomp` reads it."""
    steps = [
        _step(_LOAD, _ARCH),
        _step(_IF_EQUAL, _X86_64, skip_if_true=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    steps += _answer(_IF_EQUAL, _CLONE3, errno.ENOSYS)  # its flags lie in memory, unseen from here: the C library takes clone
    steps += _answer(_IF_GREATER, _LAST_KNOWN, errno.ENOSYS)  # also the whole x32 ABI, whose numbers start at 2**30
    for number in sorted(_DENIED.values()):
        steps += _answer(_IF_EQUAL, number, errno.EPERM)
    steps += [_step(_IF_EQUAL, _CLONE, skip_if_false=4), _step(_LOAD, _FIRST_ARGUMENT)]
    steps += _answer(_IF_ANY_BIT, _NEW_NAMESPACES, errno.EPERM)
    steps.append(_step(_RETURN, _ALLOW))
    # asyncio needs a pair of sockets, which reaches nobody else; other families would load kernel modules
    steps += [_step(_IF_EQUAL, _SOCKETPAIR, skip_if_false=3), _step(_LOAD, _FIRST_ARGUMENT)]
    steps += [_step(_IF_EQUAL, _AF_UNIX, skip_if_true=1), _step(_RETURN, _ERROR | errno.EPERM)]
    steps.append(_step(_RETURN, _ALLOW))
    return b"".join(steps)


def _answer(condition: int, value: int, error: int) -> list[bytes]:
    return [_step(condition, value, skip_if_false=1), _step(_RETURN, _ERROR | error)]


def _step(code: int, value: int, skip_if_true: int = 0, skip_if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if_true, skip_if_false, value)
