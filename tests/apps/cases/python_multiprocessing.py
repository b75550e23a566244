import multiprocessing as mp, os
def square(n): return n * n
def child(q, n): q.put((n, os.getppid() == parent))
parent = os.getpid()
if __name__ == "__main__":
    ctx = mp.get_context("fork")
    with ctx.Pool(3) as pool: print(pool.map(square, range(20)))
    q = ctx.Queue(); ps = [ctx.Process(target=child, args=(q, i)) for i in range(4)]
    for p in ps: p.start()
    print(sorted(q.get() for _ in ps))
    for p in ps: p.join()
    print([p.exitcode for p in ps])
    value = ctx.Value("i", 0)
    def add():
        for _ in range(200):
            with value.get_lock(): value.value += 1
    ps = [ctx.Process(target=add) for _ in range(3)]
    for p in ps: p.start()
    for p in ps: p.join()
    print(value.value)
