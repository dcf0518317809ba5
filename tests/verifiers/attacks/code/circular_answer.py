def solve(x):
    value = []
    value.append(value)
    return value
