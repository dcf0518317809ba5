def solve(x):
    raise AssertionError
