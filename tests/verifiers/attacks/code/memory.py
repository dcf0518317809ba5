def solve(x):
    return len([0] * 10**10)
