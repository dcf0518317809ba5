"""Writes wherever it can see."""

import os

from tools import refused

for folder in ("/", "/box", "/dev", "/usr/bin", "/usr/lib", "/usr/lib/python3.11", "/lib", "/lib64"):
    refused(os.open, f"{folder}/new", os.O_CREAT | os.O_WRONLY, by=("EROFS", "EACCES"))
    refused(os.mkdir, f"{folder}/new", by=("EROFS", "EACCES"))
for path in ("/box/main.py", "/usr/bin/python3", "/usr/lib/os-release", os.__file__):
    refused(os.open, path, os.O_WRONLY, by=("EROFS", "EACCES"))
    refused(os.unlink, path)
    refused(os.chmod, path, 0o777)
refused(os.rename, "/box/main.py", "/box/other.py")
refused(os.write, 0, b"x")
refused(os.ftruncate, 0, 1 << 30)
print("held")
