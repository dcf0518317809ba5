"""Memory that the address space does not count: memfd, System V shared memory, message queues."""

from tools import refused, system_call

refused(system_call, 319, b"m", 0)  # memfd_create
refused(system_call, 447, 0)  # memfd_secret
refused(system_call, 29, 0, 1 << 30, 0o1600)  # shmget
refused(system_call, 68, 0, 0o1600)  # msgget
refused(system_call, 64, 0, 100, 0o1600)  # semget
refused(system_call, 240, b"q", 0o100, 0o600, None)  # mq_open
print("held")
