"""Takes memory until there is none."""

blocks = []
try:
    while True:
        blocks.append(bytearray(1 << 20))
except MemoryError:
    size = len(blocks)
    del blocks
assert size < 256, size
print("held")
