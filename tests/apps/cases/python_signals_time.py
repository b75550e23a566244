import os, select, signal, time
got = []
signal.signal(signal.SIGUSR1, lambda s, f: got.append(s)); os.kill(os.getpid(), signal.SIGUSR1); print(got)
signal.signal(signal.SIGALRM, lambda s, f: got.append("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause(); print(got)
a = time.monotonic(); time.sleep(0.05); print(0.05 <= time.monotonic() - a < 5, abs(time.time() - time.clock_gettime(time.CLOCK_REALTIME)) < 1)
r, w = os.pipe(); print(select.select([r], [w], [], 0)[1] == [w]); os.write(w, b"x"); p = select.poll(); p.register(r, select.POLLIN); print(p.poll(100) == [(r, select.POLLIN)])
pid = os.fork()
if pid == 0: os._exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
pid = os.fork()
if pid == 0: os.kill(os.getpid(), signal.SIGKILL)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
try: os.kill(999999, 0)
except ProcessLookupError as e: print(e.strerror)
