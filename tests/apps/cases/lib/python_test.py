"""Runs a module of python's own test suite by `python3 -m test` and prints a line per test, sorted: ok NAME, skip NAME or FAIL NAME. tests/apps/run compares what passes."""
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree

# What stands in neither run, with the reason. Python's runner itself fails over threaded tests whose socket(2) fails.
LEFT_OUT = {"test_socket": ["*UDPLITE*"]}  # the Sentry has no UDP-Lite (EPROTONOSUPPORT)

module = sys.argv[1]
folder = tempfile.mkdtemp(prefix="python-test-")
report = os.path.join(folder, "report.xml")
# -u network etc. stay off. A test that hangs ends the run, and what ran before it is lost: hence a subprocess and its own words on stderr.
done = subprocess.run([sys.executable, "-B", "-m", "test", "--junit-xml", report, "--tempdir", folder, "-v", *(word for pattern in LEFT_OUT.get(module, ()) for word in ("-i", pattern)), module], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                      text=True, errors="replace", check=False)
lines = []
if os.path.exists(report):
    for case in tree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "FAIL" if kinds & {"failure", "error"} else "skip" if "skipped" in kinds else "ok"
        lines.append(f"{outcome} {case.get('name')}")
        for child in case:
            if child.tag in ("failure", "error"):
                print(f"{case.get('name')}: {(child.text or child.get('message') or '').strip()[-700:]}", file=sys.stderr)
else:
    print(done.stdout[-3000:], file=sys.stderr)
print("\n".join(sorted(set(lines))))
sys.exit(0)
