def solve(x):
    return ["a" * 1000] * 100_000
