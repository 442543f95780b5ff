"""Bodies of `def double(n)` that try to pass with a wrong answer, or to do what no program may do.

In a group of the first kind (FORGE) the answer is wrong whatever the program achieves. In one of the second (TRY) it
is right if, and only if, the attempt succeeds. So each of them must fail.
"""

# ruff: noqa: E501 - programs in one string each

import textwrap
from pathlib import Path

_VERDICT = r"""b'{"started": true}\n{"passed": true, "reason": ""}\n' * 3"""
_NEEDLE = "'ate(n) == 2'.join(('assert candid', ' * n'))"  # never whole in a variable, or a search would find itself


def forge(*lines):
    """Runs the lines, whatever they raise, and answers wrongly."""
    return (
        "    try:\n" + textwrap.indent("\n".join(lines), " " * 8) + "\n    except BaseException: pass\n    return 1\n"
    )


def attempt(*lines):
    """Runs the lines, and answers rightly if they all succeed."""
    return textwrap.indent("\n".join(lines), " " * 4) + "\n    return 2 * n\n"


def call(name, *arguments):
    """A call of the C library that must not succeed."""
    return attempt(
        "import ctypes, os", "libc = ctypes.CDLL(None, use_errno=True)",
        f"if libc.{name}({', '.join(map(str, arguments))}) < 0: raise OSError(ctypes.get_errno(), 'refused')",
    )  # fmt: skip


def outside(*lines):
    """Runs the lines when the program is defined."""
    return "    return 1\n" + "\n".join(lines) + "\n"


WRITES_NO_VERDICT = {
    "to every descriptor": forge("import os", f"for fd in range(256):\n    try: os.write(fd, {_VERDICT})\n    except OSError: pass"),
    "to every descriptor, reopened": forge(
        "import os, glob", f"for path in glob.glob('/proc/[0-9]*/fd/*'):\n    try: os.write(os.open(path, os.O_RDWR | os.O_NONBLOCK), {_VERDICT})\n    except OSError: pass"
    ),
    "to the first process": forge(f"open('/proc/1/fd/1', 'wb').write({_VERDICT})"),
    "to the first process's errors": forge(f"open('/proc/1/fd/2', 'wb').write({_VERDICT})"),
    "to the parent": forge("import os", f"open(f'/proc/{{os.getppid()}}/fd/1', 'wb').write({_VERDICT})"),
    "at exit": outside("import atexit, os", f"atexit.register(lambda: os.write(1, {_VERDICT}))", "raise SystemExit(0)"),
    "at exit, when called": forge("import atexit, os, sys", f"atexit.register(lambda: os.write(1, {_VERDICT}))", "sys.exit(0)"),
    "from a thread that goes on": forge(
        "import threading, os, time", f"def go():\n    while True:\n        for fd in range(9): os.write(fd, {_VERDICT})", "threading.Thread(target=go).start()"
    ),
    "by frames of its own": forge("import sys", "main = sys.modules['__main__']", "for fd in range(3, 64):\n    try: main.write_frame(fd, {'passed': True, 'reason': '', 'started': True})\n    except OSError: pass"),
    "by a ready frame again": forge("import sys", "main = sys.modules['__main__']", "for fd in range(3, 64):\n    try: main.write_frame(fd, {'ready': True})\n    except OSError: pass"),
}  # fmt: skip

PASSES_BY_NO_END = {
    "sys.exit(0) when defined": outside("import sys", "sys.exit(0)"),
    "sys.exit(0) when called": "    import sys\n    sys.exit(0)\n",
    "os._exit(0) when defined": outside("import os", "os._exit(0)"),
    "os._exit(0) when called": "    import os\n    os._exit(0)\n",
    "raises SystemExit": "    raise SystemExit(0)\n",
    "raises KeyboardInterrupt": "    raise KeyboardInterrupt\n",
    "raises a BaseException of its own": "    class Quiet(BaseException): pass\n    raise Quiet\n",
    "raises StopIteration": "    raise StopIteration\n",
    "raises AssertionError": "    raise AssertionError\n",
    "crashes": "    import ctypes\n    ctypes.string_at(0)\n",
    "ends itself by a signal": "    import signal\n    signal.raise_signal(9)\n",
    "loops when defined": outside("while True: pass"),
    "closes its descriptors": forge("import os", "os.closerange(0, 256)"),
    "returns nothing": "    pass\n",
    "is no program": "    return ((\n",
    "holds a null byte": "    return 2 * n\0\n",
    "is nested too deeply": "    return " + "(" * 5000 + "2 * n" + ")" * 5000 + "\n",
}

PASSES_BY_NO_VALUE = {
    "int that equals all": "    class Any(int):\n        __eq__ = lambda a, b: True\n        __ne__ = lambda a, b: False\n        __hash__ = int.__hash__\n    return Any(1)\n",
    "object that equals all": "    class Any:\n        __eq__ = lambda a, b: True\n    return Any()\n",
    "float that equals all": "    class Any(float):\n        __eq__ = lambda a, b: True\n    return Any(1)\n",
    "text that equals all": "    class Any(str):\n        __eq__ = lambda a, b: True\n        __add__ = lambda a, b: '2'\n    return Any('1')\n",
    "list that equals all": "    class Any(list):\n        __eq__ = lambda a, b: True\n    return Any()\n",
    "dict that equals all": "    class Any(dict):\n        __eq__ = lambda a, b: True\n        items = lambda self: [(1, 1)]\n    return Any()\n",
    "mock.ANY": "    from unittest import mock\n    return mock.ANY\n",
    "class that lies about itself": "    class Any:\n        __class__ = property(lambda self: int)\n        __eq__ = lambda a, b: True\n    return Any()\n",
    "type that equals all": "    class Meta(type):\n        __eq__ = lambda a, b: True\n        __hash__ = type.__hash__\n    class Any(metaclass=Meta): pass\n    return Any\n",
    "not a number": "    return float('nan')\n",
    "number of numpy that is none": "    class Any:\n        shape = ()\n        item = lambda self: self\n        __eq__ = lambda a, b: True\n    return Any()\n",
    "iterator without end": "    import itertools\n    return itertools.count()\n",
    "list that holds itself": "    found = []\n    found.append(found)\n    return found\n",
    "patched comparison": forge("import builtins, operator", "builtins.AssertionError = ValueError", "operator.eq = lambda a, b: True"),
    "patched int": outside("import builtins", "class Any(int):\n    __eq__ = lambda a, b: True", "builtins.int = Any", "def double(n): return Any(1)"),
    "patched json": outside("import json, sys", "json.dumps = lambda *a, **k: '{\"value\": true}'", "sys.modules['__main__'].json = json"),
    "patched encoder": outside("import sys", "sys.modules['__main__'].encode = lambda value: {'eval': '2 * n'}"),
    "value of an unknown kind": outside("import sys", "sys.modules['__main__'].encode = lambda value: {'__import__': ['os']}"),
    "error of an unknown kind": outside("import sys", "main = sys.modules['__main__']", "real = main.write_frame", "main.write_frame = lambda fd, data: real(fd, {'error': ['exec', 'import os; os._exit(0)']})"),
    "error that is a whole call": outside("import sys", "main = sys.modules['__main__']", "real = main.write_frame", "main.write_frame = lambda fd, data: real(fd, {'error': ['SystemExit', '0']})"),
    "frame without a length": outside("import os, sys", "sys.modules['__main__'].write_frame = lambda fd, data: os.write(fd, b'-000000001{}')"),
    "frame of a tebibyte": outside("import os, sys", "sys.modules['__main__'].write_frame = lambda fd, data: os.write(fd, b'9999999999' + b'x' * 99999)"),
    "frame that is no JSON": outside("import os, sys", "sys.modules['__main__'].write_frame = lambda fd, data: os.write(fd, b'0000000009' + b'\\xff' * 9)"),
    "frame cut short": outside("import os, sys, time", "sys.modules['__main__'].write_frame = lambda fd, data: (os.write(fd, b'0000000009{'), time.sleep(1000))"),
    "frame nested a million deep": outside("import os, sys", "def write(fd, data):\n    text = b'0001000000' + b'[' * 1000000\n    while text: text = text[os.write(fd, text):]", "sys.modules['__main__'].write_frame = write"),
    "arguments made another's": "    import sys\n    sys._getframe(1).f_locals['arguments'] = ()\n    n = 0\n    return n\n",
}  # fmt: skip

READS_NO_TEST = {
    "in its standard input": "    import sys\n    if 'assert' in open(0, closefd=False).read(): return 2 * n\n",
    "in its descriptors": "    import os\n    found = b''\n    for fd in range(256):\n        try:\n            os.set_blocking(fd, False)\n            found += os.read(fd, 1 << 20)\n        except OSError: pass\n    if b'assert ' + b'candidate' in found: return 2 * n\n",
    "in the first process's input": "    import os\n    f = os.open('/proc/1/fd/0', os.O_RDONLY | os.O_NONBLOCK)\n    if b'assert ' + b'candidate' in os.read(f, 1 << 20): return 2 * n\n",
    "in every process's descriptors": "    import os, glob\n    found = b''\n    for path in glob.glob('/proc/[0-9]*/fd/*'):\n        try: found += os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 1 << 20)\n        except OSError: pass\n    if b'assert ' + b'candidate' in found: return 2 * n\n",
    "in its frames": f"    import sys\n    frame = sys._getframe().f_back\n    while frame:\n        if {_NEEDLE} in repr(frame.f_locals) + repr(frame.f_globals): return 2 * n\n        frame = frame.f_back\n",
    "in its objects": f"    import gc\n    for o in gc.get_objects():\n        if isinstance(o, (dict, list, tuple)) and {_NEEDLE} in repr(o): return 2 * n\n",
    "in its memory": "    import os, re\n    words = b'ate(n) == 2'.join((b'assert candid', b' * n'))\n    own = id(words)\n    memory = open('/proc/self/mem', 'rb', buffering=0)\n    for a, b in re.findall(r'(\\w+)-(\\w+) rw', open('/proc/self/maps').read()):\n        memory.seek(int(a, 16))\n        text = memory.read(int(b, 16) - int(a, 16))\n        if any(not 0 <= int(a, 16) + m.start() - own < 100 for m in re.finditer(re.escape(words), text)) and b'def check' in text: return 2 * n\n",
    "in the memory of others": "    import os, re, glob\n    for p in glob.glob('/proc/[0-9]*'):\n        if int(p[6:]) == os.getpid(): continue\n        m = open(p + '/mem', 'rb', buffering=0)\n        for a, b in re.findall(r'(\\w+)-(\\w+) rw', open(p + '/maps').read()):\n            m.seek(int(a, 16)); m.read(int(b, 16) - int(a, 16))\n            return 2 * n\n",
    "in command lines": "    import glob\n    for path in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ'):\n        if b'assert ' + b'candidate' in open(path, 'rb').read(): return 2 * n\n",
    "by a trace": "    import sys\n    seen = []\n    sys.settrace(lambda frame, *_: seen.append(frame.f_code.co_name))\n    sys.setprofile(lambda frame, *_: seen.append(frame.f_code.co_name))\n    if 'check' in seen: return 2 * n\n",
    "by ptrace": call("ptrace", 16, "os.getppid() or 1", 0, 0),
    "by process_vm_readv": call("process_vm_readv", "os.getppid() or 1", 0, 0, 0, 0, 0),
    "in a process next to it": attempt(
        "import os",
        "others = [p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]",
        "assert others",
    ),
    "in a file of the host": attempt(f"open({str(Path(__file__))!r}).read()"),
    "in a folder of the grader": attempt("import os", "assert os.listdir('/tmp') or os.listdir('/dev/shm')"),
}

ENDS_NOBODY = {
    "kills its parent": forge("import os", "os.kill(os.getppid(), 9)"),
    "kills everything": attempt("import os", "os.kill(-1, 9)"),
    "stops its parent": forge("import os", "os.kill(os.getppid(), 19)"),
    "signals itself as another": attempt("import os", "os.kill(os.getpid(), 0)"),
    "signals by a descriptor": attempt("import os", "os.pidfd_open(os.getpid())"),
    "limits its parent": attempt("import os, resource", "resource.prlimit(os.getppid() or 2, resource.RLIMIT_CPU, (0, 0))"),
    "outlives its parent": attempt("import ctypes, signal", "assert ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0"),
}  # fmt: skip

STARTS_NOTHING = {
    "fork": attempt("import os", "if os.fork() == 0: os._exit(0)"),
    "fork bomb": "    import os\n    while True: os.fork()\n",
    "fork bomb that ignores errors": "    import os\n    while True:\n        try: os.fork()\n        except OSError: pass\n",
    "vfork": call("syscall", "58 if os.uname().machine == 'x86_64' else 1000"),
    "clone": call("syscall", "56 if os.uname().machine == 'x86_64' else 220", 17, 0, 0, 0, 0),
    "clone3": call("syscall", 435, "ctypes.byref((ctypes.c_uint64 * 8)(0, 0, 0, 0, 17))", 64),
    "fork in the 32-bit numbers": attempt(
        "import ctypes, mmap, os", "assert os.uname().machine == 'x86_64'", "code = mmap.mmap(-1, 4096, prot=7)", r"code.write(b'\xb8\x02\x00\x00\x00\xcd\x80\xc3')",
        "found = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()", "assert found >= 0",
    ),
    "subprocess": attempt("import subprocess", "subprocess.run(['/bin/true'], check=True)"),
    "os.system": attempt("import os", "assert os.system('true') == 0"),
    "posix_spawn": attempt("import os", "os.posix_spawn('/bin/true', ['true'], {})"),
    "multiprocessing": attempt("import multiprocessing as m", "p = m.get_context('fork').Process(target=print)", "p.start(); p.join()"),
    "exec": "    import os, sys\n    os.execv(sys.executable, [sys.executable, '-c', 'while True: pass'])\n",
    "daemon": forge("import os", "os.setsid()", "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        while True: pass"),
    "thread bomb": "    import threading\n    threading.stack_size(65536)\n    while True: threading.Thread(target=lambda: input() or threading.Event().wait()).start()\n",
    "threads that wait": attempt("import threading, time", "threading.stack_size(65536)", "for _ in range(500): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "time.sleep(2)"),
    "namespace of its own": call("unshare", "0x10000000"),
    "mount of its own": attempt("import ctypes", "libc = ctypes.CDLL(None, use_errno=True)", "assert libc.unshare(0x10020000) == 0 and libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0"),
    "namespace of another": attempt("import ctypes, os", "assert ctypes.CDLL(None).setns(os.open('/proc/self/ns/net', 0), 0) == 0"),
    "another user": attempt("import os", "os.setuid(0)"),
    "keys of the user": call("syscall", "250 if os.uname().machine == 'x86_64' else 219", 0, -3, 0),
    "io_uring": call("syscall", 425, 8, "(ctypes.c_char * 120)()"),
}  # fmt: skip

TAKES_NO_MEMORY = {
    "a list": attempt("found = [0] * (1 << 31)"),
    "many lists": attempt("found = [bytes(1 << 20) for _ in range(3000)]"),
    "a mapping": attempt("import mmap", "found = [mmap.mmap(-1, 1 << 28) for _ in range(8)]", "for one in found: one.write(b'x' * (1 << 28))"),
    "System V segments": attempt(
        "import ctypes", "libc = ctypes.CDLL(None)", "libc.shmat.restype = ctypes.c_void_p", "for _ in range(20):\n"
        "    key = libc.shmget(0, 1 << 26, 0o1600)\n    at = libc.shmat(key, None, 0)\n    assert key >= 0\n    ctypes.memset(at, 1, 1 << 26)\n    libc.shmdt(ctypes.c_void_p(at))",
    ),
    "files without a name": attempt("import os", "for i in range(50): os.write(os.memfd_create('x'), bytes(1 << 24))"),
    "secret memory": call("syscall", 447, 0),
    "message queues": attempt("import ctypes", "assert ctypes.CDLL(None).msgget(0, 0o1600) >= 0"),
    "semaphores": attempt("import ctypes", "assert ctypes.CDLL(None).semget(0, 1000, 0o1600) >= 0"),
    "POSIX queues": attempt("import ctypes", "assert ctypes.CDLL('librt.so.1').mq_open(b'/x', 0o102, 0o600, None) >= 0"),
    "pages kept by pipes": attempt("import ctypes, os", "text = ctypes.create_string_buffer(4096)", "a, b = os.pipe()", "part = (ctypes.c_void_p * 2)(ctypes.addressof(text), 4096)", "assert ctypes.CDLL(None).vmsplice(b, ctypes.byref(part), 1, 0) == 4096"),
    "watches": attempt("import ctypes", "assert ctypes.CDLL(None).inotify_init1(0) >= 0"),
    "shared memory": attempt("for i in range(1000): open(f'/dev/shm/{i}', 'wb').write(bytes(1 << 24))"),
    "a file": attempt("open('/tmp/x', 'wb').write(bytes(1 << 25))"),
    "a sparse file": attempt("import os", "os.truncate(os.open('/tmp/x', os.O_CREAT | os.O_RDWR), 1 << 30)"),
    "many files": attempt("for i in range(10): open(f'/tmp/{i}', 'wb').write(bytes(1 << 23))"),
    "many deleted files": attempt("import os", "found = []", "for i in range(10):\n    found.append(open('/tmp/x', 'wb'))\n    found[-1].write(bytes(1 << 23))\n    found[-1].flush()\n    os.remove('/tmp/x')"),
    "many empty files": attempt("import os, time", "for i in range(30000): os.mknod(f'/tmp/{i}')", "time.sleep(2)"),
    "many empty files, hidden": attempt("import ctypes, os, time", "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)", "for i in range(30000): os.mknod(f'/tmp/{i}')", "time.sleep(2)"),
    "many open files": attempt("found = [open('/dev/null') for _ in range(100)]"),
    "a huge number": attempt("found = 10 ** (10 ** 9) % 7"),
    "an answer of 100 MB": "    return 'x' * 100_000_000\n",
    "answers that grow": "    if n == 3: double.kept = []\n    double.kept.append('x' * 15_000_000)\n    return double.kept\n",
    "an argument of 100 MB": "    import sys\n    main = sys.modules['__main__']\n    real = main.write_frame\n    main.write_frame = lambda fd, data: real(fd, {**data, 'arguments': {'tuple': ['x' * 100_000_000]}})\n    return 2 * n\n",
    "an answer of ten million digits": "    import sys\n    main = sys.modules['__main__']\n    def write(fd, data):\n        text = b'0010000000' + b'9' * 10_000_000\n        while text: text = text[main.os.write(fd, text):]\n    main.write_frame = write\n    return 1\n",
    "100 MB printed": "    for _ in range(100): print('x' * 1_000_000)\n    return 1\n",
    "400 MB to every descriptor": forge("import os", "for fd in range(1, 64):\n    try:\n        os.set_blocking(fd, False)\n        for _ in range(400): os.write(fd, bytes(1 << 20))\n    except OSError: pass"),
    "400 MB to the first process's errors": forge("with open('/proc/1/fd/2', 'wb') as f:\n    for _ in range(400): f.write(bytes(1 << 20))"),
    "answers without being asked": "    import sys\n    main = sys.modules['__main__']\n    def write(fd, data):\n        while True: main.os.write(fd, b'00000000100000000000' * 50000)\n    main.write_frame = write\n    return 1\n",
}  # fmt: skip

TAKES_NO_TIME = {
    "loops": "    while True: pass\n",
    "sleeps": "    import time\n    time.sleep(1000)\n",
    "waits for a lock": "    import threading\n    threading.Event().wait()\n",
    "reads for ever": "    import os\n    a, b = os.pipe()\n    os.read(a, 1)\n",
    "ignores signals": "    import signal, time\n    for number in range(1, 65):\n        try: signal.signal(number, signal.SIG_IGN)\n        except (OSError, ValueError): pass\n    while True: pass\n",
    "computes in one step": "    return len(str(7 ** (1 << 24))) and 1\n",
    "backtracks": "    import re\n    return bool(re.match('(a+)+$', 'a' * 40 + 'b'))\n",
    "loops in threads": "    import threading\n    def go():\n        while True: pass\n    for _ in range(4): threading.Thread(target=go).start()\n    go()\n",
    "raises its limits": attempt("import resource", "resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))"),
    "raises its memory": attempt("import resource", "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))"),
}

REACHES_NOTHING = {
    "a file next to Python's": attempt("open('/usr/lib/x', 'w').write('x')"),
    "a file in the root": attempt("open('/x', 'w').write('x')"),
    "the interpreter": attempt("import sys, os", "open(os.path.realpath(sys.executable), 'ab').write(b'x')"),
    "the standard library": attempt("import json", "open(json.__file__, 'a').write('raise SystemExit(0)')"),
    "numpy's files": attempt("import numpy", "open(numpy.__file__, 'a').write('raise SystemExit(0)')"),
    "a module next to it": outside("open('random.py', 'w').write('raise SystemExit(0)')"),
    "a home": attempt("import os", "os.listdir(os.path.expanduser('~root') + '/.ssh')"),
    "the users": attempt("open('/etc/passwd').read()"),
    "a setting of the kernel": attempt("open('/proc/sys/kernel/core_pattern', 'w')"),
    "the kernel's keyboard": attempt("open('/proc/sysrq-trigger', 'w')"),
    "a disk": attempt("import glob", "open((glob.glob('/dev/[svn][dv]*') + ['/dev/mem'])[0], 'rb')"),
    "another root": attempt("import os", "os.chroot('/tmp')"),
    "the host's network": attempt("import socket", "socket.socket(socket.AF_INET)"),
    "the machine below": attempt("import socket", "socket.socket(40, socket.SOCK_STREAM)"),
    "the kernel's network": attempt("import socket", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    "a terminal": attempt("open('/dev/tty', 'w')"),
    "another package": attempt("import torch"),
}  # fmt: skip

GROUPS = {
    "writes no verdict": WRITES_NO_VERDICT, "passes by no end": PASSES_BY_NO_END, "passes by no value": PASSES_BY_NO_VALUE,
    "reads no test": READS_NO_TEST, "ends nobody": ENDS_NOBODY, "starts nothing": STARTS_NOTHING,
    "takes no memory": TAKES_NO_MEMORY, "takes no time": TAKES_NO_TIME, "reaches nothing": REACHES_NOTHING,
}  # fmt: skip
HOSTILE = {f"{group}: {name}": text for group, programs in GROUPS.items() for name, text in programs.items()}
"""What it must not achieve, and how it tries -> the completion."""
