"""The host's files, by path, symbolic link, hard link, relative path and device."""

import os
import stat

from tools import refused

for path in ("/etc/passwd", "/etc/shadow", "/root", "/home", "/var", "/run", "/sys", "/mnt", "/proc", "/opt", "/usr/bin/sh"):
    refused(os.stat, path, by=("ENOENT",))
    refused(os.stat, "../../../../.." + path, by=("ENOENT",))
    link = "/tmp/link"
    os.symlink(path, link)
    refused(os.stat, link, by=("ENOENT",))
    os.unlink(link)
refused(os.link, "/usr/bin/python3", "/tmp/python3", by=("EXDEV", "EPERM"))
refused(os.mknod, "/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))
assert sorted(os.listdir("/dev")) == ["null", "shm", "urandom"], os.listdir("/dev")
refused(os.open, "/dev/tty", os.O_RDWR, by=("ENOENT",))
print("held")
