"""Computes for ever, and catches the soft limit's signal. Ends: killed."""

import signal

signal.signal(signal.SIGXCPU, signal.SIG_IGN)
while True:
    pass
