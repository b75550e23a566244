import hashlib, mmap, os, pathlib, shutil, stat, tempfile
with tempfile.TemporaryDirectory() as d:
    p = pathlib.Path(d)
    (p / "a").write_bytes(bytes(range(256)) * 1000)
    with open(p / "a", "r+b") as f:
        m = mmap.mmap(f.fileno(), 0); m[10:14] = b"mmap"; m.flush(); m.close()
    print(hashlib.sha256((p / "a").read_bytes()).hexdigest())
    (p / "sub").mkdir(); shutil.copy2(p / "a", p / "sub/b"); os.symlink("sub/b", p / "link"); os.link(p / "a", p / "hard")
    print(sorted(str(x.relative_to(p)) for x in p.rglob("*")), os.stat(p / "a").st_nlink)
    print(stat.filemode(os.stat(p / "sub").st_mode), os.readlink(p / "link"))
    os.utime(p / "a", (1, 2)); print(os.stat(p / "a").st_mtime)
    os.rename(p / "sub", p / "moved"); print(os.listdir(p / "moved"), (p / "link").exists())
    with open(p / "sparse", "wb") as f: f.seek(10_000_000); f.write(b"x")
    print(os.path.getsize(p / "sparse"))
    for name, act in (("missing", lambda: os.unlink(p / "none")), ("full", lambda: os.rmdir(p / "moved")), ("exists", lambda: os.mkdir(p / "moved"))):
        try: act()
        except OSError as e: print(name, e.errno, e.strerror)
    print(sum(len(f) for _, _, f in os.walk("/usr/lib/python3")) >= 0, len(os.listdir("/usr/bin")))
