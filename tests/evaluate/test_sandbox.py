"""What model-written programs can do in the sandbox: be graded, and nothing else."""

# ruff: noqa: E501 - programs in one string each

import os
import socket
import time
from pathlib import Path

import pytest

from selectit.evaluate import sandbox
from selectit.evaluate.readers import read_humaneval
from selectit.evaluate.sandbox import Program, run_program, run_programs, unavailable

DATA = Path(__file__).parents[2].parent / "shared" / "data"
REASON = unavailable("bwrap")
needs_bwrap = pytest.mark.skipif(REASON is not None, reason=str(REASON))
needs_data = pytest.mark.skipif(not (DATA / "humaneval").is_dir(), reason="shared/data/humaneval is not here")

PROMPT = 'def double(n: int) -> int:\n    """ Return n times two. """\n'
TEST = "def check(candidate):\n    for n in range(3, 50):\n        assert candidate(n) == 2 * n\n"


def program(completion, prompt=PROMPT, test=TEST, entry_point="double"):
    return Program(prompt, completion, test, entry_point)


ATTACKS = {
    "infinite loop": "    while True: pass\n",
    "sleeps for ever": "    import time\n    time.sleep(1000)\n",
    "loops while it is defined": "    return 2 * n\nwhile True: pass\n",
    "sys.exit(0)": "    return 1\nimport sys\nsys.exit(0)\n",
    "os._exit(0)": "    import os\n    os._exit(0)\n",
    "fork bomb": "    import os\n    while True: os.fork()\n",
    "thread bomb": "    import threading\n    while True: threading.Thread(target=lambda: input()).start()\n",
    "memory hog": "    return len([0] * (1 << 31)) and 2 * n\n",
    "write outside": "    open('/usr/lib/x', 'w').write('x')\n    return 2 * n\n",
    "write to the root": "    open('/x', 'w').write('x')\n    return 2 * n\n",
    "read of home": "    import os\n    os.listdir(os.path.expanduser('~root') + '/.ssh')\n    return 2 * n\n",
    "read of the work tree": f"    open({str(Path(__file__))!r}).read()\n    return 2 * n\n",
    "overridden __eq__": "    class Any(int):\n        __eq__ = lambda a, b: True\n        __ne__ = lambda a, b: False\n    return Any(1)\n",
    "overridden __eq__, no number": "    class Any:\n        __eq__ = lambda a, b: True\n    return Any()\n",
    "overridden __eq__ in a list": "    class Any(list):\n        __eq__ = lambda a, b: True\n    return Any()\n",
    "prints 100 MB": "    print('x' * 1000, end='') if n < 0 else [print('x' * 1_000_000) for _ in range(100)]\n    return 1\n",
    "answers with 100 MB": "    return 'x' * 100_000_000\n",
    "fills the disk": "    for i in range(1000): open(f'/tmp/{i}', 'wb').write(bytes(1 << 24))\n    return 2 * n\n",
    "fills shared memory": "    for i in range(1000): open(f'/dev/shm/{i}', 'wb').write(bytes(1 << 24))\n    return 2 * n\n",
    "kills its parent": "    import os\n    os.kill(os.getppid(), 9)\n    return 1\n",
    "kills everything": "    import os\n    os.kill(-1, 9)\n    return 1\n",
    "stops its parent": "    import os\n    os.kill(os.getppid(), 19)\n    return 1\n",
    "claims to have passed": (
        "    import os\n    for fd in range(64):\n        try: os.write(fd, b'{\"passed\": true, \"reason\": \"\"}')\n"
        "        except OSError: pass\n    return 1\n"
    ),
    "claims it through /proc": (
        "    import os\n    open(f'/proc/{os.getppid()}/fd/1', 'w').write('{\"passed\": true, \"reason\": \"\"}')\n    return 1\n"
    ),
    "reads the tests from its parent": (
        "    import os, re\n    p = os.getppid()\n"
        "    for a, b in re.findall(r'(\\w+)-(\\w+) rw', open(f'/proc/{p}/maps').read()):\n"
        "        m = open(f'/proc/{p}/mem', 'rb'); m.seek(int(a, 16)); m.read(int(b, 16) - int(a, 16))\n    return 2 * n\n"
    ),
    # the words they look for are never whole in a variable, or they would find themselves
    "looks for the tests in its frames": (
        "    import sys\n    frame = sys._getframe().f_back\n    while frame:\n"
        "        if 'ate(n) == 2'.join(('assert candid', ' * n')) in repr(frame.f_locals) + repr(frame.f_globals): return 2 * n\n"
        "        frame = frame.f_back\n"
    ),
    "looks for the tests in its memory": (
        "    import gc\n    for o in gc.get_objects():\n"
        "        if isinstance(o, (dict, list, tuple)) and 'ate(n) == 2'.join(('assert candid', ' * n')) in repr(o): return 2 * n\n"
    ),
    "looks for the tests in its process": (
        "    words = b'assert ' + b'cand' + b'idate'\n"
        "    if words in open('/proc/self/cmdline', 'rb').read() + open('/proc/self/environ', 'rb').read(): return 2 * n\n"
        "    import sys\n    if words in sys.stdin.buffer.read(): return 2 * n\n"
    ),
    "patches the comparison": "    import builtins, operator\n    builtins.AssertionError = ValueError\n    operator.eq = lambda a, b: True\n    return 1\n",
    "plants a module": "    open('random.py', 'w').write('raise SystemExit(0)')\n    return 1\n",
    "raises SystemExit": "    raise SystemExit(0)\n",
    "pass": "    pass\n",
    "no program": "    return ((\n",
}  # fmt: skip


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 4)
    monkeypatch.setitem(sandbox.LIMITS, "CPU", 1)


@needs_bwrap
def test_no_attack_passes_or_hangs():
    start = time.monotonic()
    verdicts = run_programs([program(completion) for completion in ATTACKS.values()], "bwrap")
    assert [name for name, verdict in zip(ATTACKS, verdicts, strict=True) if verdict.passed] == []
    assert time.monotonic() - start < 60
    assert run_program(program("    return n + n\n"), "bwrap").passed, "the sandbox must still work afterwards"


@needs_bwrap
def test_no_program_reaches_the_network_of_the_host():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"    import socket\n    socket.create_connection(('127.0.0.1', {port}), 1)\n    return 2 * n\n"
        assert run_program(program(connect), "none").passed, "the same program connects outside the sandbox"
        assert "Refused" in run_program(program(connect), "bwrap").reason


@needs_bwrap
def test_nothing_of_an_attack_stays_on_the_host():
    marker = Path("/tmp") / f"selectit-{os.getpid()}"
    assert run_program(program(f"    open({str(marker)!r}, 'w').write('x')\n    return 2 * n\n"), "bwrap").passed
    assert not marker.exists(), "the program's /tmp is its own"


@needs_bwrap
def test_the_tests_of_a_program_cannot_be_replaced_from_its_folder():
    test = "def check(candidate):\n    candidate(1)\n    import colorsys\n    assert candidate(1) == 2\n"
    planted = "    open('colorsys.py', 'w').write('raise SystemExit(0)')\n    return 1\n"
    assert not run_program(program(planted, test=test), "bwrap").passed


@pytest.mark.parametrize("kind", ["none", pytest.param("bwrap", marks=needs_bwrap)])
def test_values_keep_their_type_on_the_way_to_the_tests(kind):
    values = "[1, -2.5, 'ä\\n', None, True, (1, (2,)), {1, 2}, {'a': [1]}, {(1, 2): b'x'}, 1 + 2j, range(3), 10**5000, float('inf')]"
    test = f"def check(f):\n    for value in {values}:\n        assert f(value) == value and type(f(value)) is type(value)\n"
    assert run_program(program("    return n\n", test=test), kind).reason == ""


@pytest.mark.parametrize("kind", ["none", pytest.param("bwrap", marks=needs_bwrap)])
def test_changes_to_arguments_and_errors_reach_the_tests(kind):
    test = (
        "def check(f):\n    numbers = [3, 1]\n    f(numbers)\n    assert numbers == [1, 3]\n"
        "    try:\n        f(None)\n    except AttributeError:\n        return\n    assert False\n"
    )
    assert run_program(program("    n.sort()\n", test=test), kind).reason == ""


@needs_data
@pytest.mark.parametrize("kind", ["none", pytest.param("bwrap", marks=needs_bwrap)])
def test_canonical_solutions_pass_and_empty_bodies_do_not(kind):
    rows = read_humaneval(DATA, "")["test"][:: 4 if kind == "bwrap" else 16]
    for completion, expected in (("canonical_solution", True), (None, False)):
        programs = [
            Program(row["prompt"], row[completion] if completion else "    pass\n", row["test"], row["entry_point"])
            for row in rows
        ]
        verdicts = run_programs(programs, kind)
        assert [r["task_id"] for r, v in zip(rows, verdicts, strict=True) if v.passed is not expected] == []


def test_a_missing_bubblewrap_says_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "apt install bubblewrap" in unavailable("bwrap")
