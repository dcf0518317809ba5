def solve(x):
    while True:
        print("48611" * 1000, flush=True)
