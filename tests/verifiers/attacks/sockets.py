"""Every way out: TCP, UDP, DNS, netlink, raw, vsock, unix sockets by path and by abstract name."""

import asyncio
import ctypes
import socket

from tools import refused, system_call

families = [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK, socket.AF_ALG]
for family in families:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        refused(socket.socket, family, kind)
for family in (socket.AF_TIPC, socket.AF_INET, 45, 1 << 32):
    refused(system_call, 53, ctypes.c_long(family), 1, 0, ctypes.create_string_buffer(8), by=("EPERM",))  # socketpair
for address in (("127.0.0.1", 6379), ("169.254.169.254", 80), ("1.1.1.1", 53)):
    refused(socket.create_connection, address, 1)
refused(socket.getaddrinfo, "example.org", 80)
asyncio.run(asyncio.sleep(0))  # needs a socket pair, which reaches nobody
print("held")
