"""Beside each attack in /box."""

import ctypes
import errno
import os

_LIBC = ctypes.CDLL(None, use_errno=True)


def refused(action, *arguments, by=()):
    """Fails loudly unless the action raises OSError (one of these errors, if given)."""
    try:
        got = action(*arguments)
    except OSError as error:
        name = errno.errorcode.get(error.errno, str(error))
        assert not by or name in by, f"{arguments}: {name}, not one of {by}"
    else:
        raise AssertionError(f"{action} {arguments} got through: {got}")


def system_call(number, *arguments):
    result = _LIBC.syscall(ctypes.c_long(number), *arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
