"""Writes for ever. Ends: output_limit."""

while True:
    print("x" * 100_000)
