class Pending(BaseException):
    pass


class NotData(BaseException):
    pass


def solve(x):
    raise (Pending, NotData)[x % 2]
