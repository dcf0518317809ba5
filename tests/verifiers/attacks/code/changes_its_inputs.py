class Same(int):
    pass


def solve(x):
    solve.__globals__["__builtins__"] = {}
    return Same(x)
