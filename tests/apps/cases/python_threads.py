import threading, queue
results, work, lock = [], queue.Queue(), threading.Lock()
def worker():
    while (n := work.get()) is not None:
        value = sum(i * i for i in range(n))
        with lock:
            results.append((n, value))
threads = [threading.Thread(target=worker) for _ in range(8)]
for t in threads: t.start()
for n in range(200): work.put(n)
for _ in threads: work.put(None)
for t in threads: t.join()
print(len(results), sum(v for _, v in results), sorted(results)[:3])
barrier, event, seen = threading.Barrier(5), threading.Event(), []
def meet(i):
    barrier.wait()
    event.wait(5)
    with lock: seen.append(i)
group = [threading.Thread(target=meet, args=(i,)) for i in range(5)]
for t in group: t.start()
event.set()
for t in group: t.join()
print(sorted(seen), threading.active_count())
timer = threading.Timer(0.05, lambda: print("timer"))
timer.start(); timer.join()
