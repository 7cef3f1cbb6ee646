import os, random, sys, traceback
import numpy, pandas

# Here the snapshot is taken: everything above has happened once, what follows happens in every run.
source = sys.stdin.read()
random.seed()
numpy.random.seed()
code = 0
try:
    exec(compile(source, "script.py", "exec"), {"__name__": "__main__"})
except SystemExit as end:
    code = end.code if isinstance(end.code, int) else int(end.code is not None)
except BaseException:
    traceback.print_exc()
    code = 1
sys.stdout.flush()
sys.stderr.flush()
# Taking the interpreter apart would take longer than most scripts.
os._exit(code)
