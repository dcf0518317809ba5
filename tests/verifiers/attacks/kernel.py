"""Interfaces of the kernel with a history of holes."""

from tools import refused, system_call

calls = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "bpf": 321, "perf_event_open": 298,
    "userfaultfd": 323, "keyctl": 250, "add_key": 248, "request_key": 249, "kexec_load": 246, "kexec_file_load": 320,
    "init_module": 175, "finit_module": 313, "reboot": 169, "swapon": 167, "acct": 163, "syslog": 103, "iopl": 172,
    "settimeofday": 164, "clock_settime": 227, "sethostname": 170, "personality": 135, "modify_ldt": 154, "vmsplice": 278,
    "fanotify_init": 300,
}  # fmt: skip
for number in calls.values():
    refused(system_call, number, 0, 0, 0, 0, 0, by=("EPERM",))
for number in (451, 462, 1000, 0x40000000 | 39, 0x40000000 | 101):  # newer than the filter; x32
    refused(system_call, number, 0, 0, 0, by=("ENOSYS",))
print("held")
