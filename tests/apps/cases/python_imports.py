import compileall, importlib, io, contextlib, pkgutil, sys, tempfile, shutil, pathlib
names = sorted(m.name for m in pkgutil.iter_modules() if m.name in sys.stdlib_module_names and not m.name.startswith(("_", "idle", "turtle", "tk", "lib2to3", "antigravity", "this", "test", "distutils", "ensurepip")))
good, bad = [], []
for n in names:
    try:
        with contextlib.redirect_stdout(io.StringIO()): importlib.import_module(n)
        good.append(n)
    except Exception as e: bad.append((n, type(e).__name__))
print(len(good), bad)
d = pathlib.Path(tempfile.mkdtemp()); shutil.copytree(pathlib.Path(json.__file__).parent if (json := importlib.import_module("json")) else d, d / "json", ignore=shutil.ignore_patterns("__pycache__"))
print(compileall.compile_dir(d, quiet=1), sorted(p.name for p in d.rglob("*.pyc")))
