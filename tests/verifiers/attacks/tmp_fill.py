"""Fills /tmp, then /dev/shm, with many files, with holes and with one big file."""

import os

from tools import refused

for folder in ("/tmp", "/dev/shm"):
    written = 0
    try:
        for number in range(10_000):
            with open(f"{folder}/{number}", "wb") as file:
                written += file.write(bytes(1 << 16))
    except OSError:
        assert written <= 16 << 20, written
    for name in os.listdir(folder):
        os.unlink(f"{folder}/{name}")
with open("/tmp/big", "wb") as file:
    refused(os.ftruncate, file.fileno(), (4 << 20) + 1, by=("EFBIG",))
    refused(os.posix_fallocate, file.fileno(), 0, 1 << 34)
print("held")
