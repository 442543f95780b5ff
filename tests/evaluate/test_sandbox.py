"""What model-written programs can do in the sandbox: be graded, and nothing else."""

# ruff: noqa: E501 - programs in one string each

import contextlib
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_programs import GROUPS, HOSTILE, TAKES_NO_MEMORY, attempt

from selectit.errors import UserError
from selectit.evaluate.benchmarks.files import in_data_folder
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.grading import sandbox, sandbox_calls, sandbox_process
from selectit.evaluate.grading.sandbox import Program, run_program, run_programs, unavailable
from selectit.evaluate.grading.sandbox_process import Grader

DATA = Path(__file__).parents[2].parent / "shared" / "data"
REASON = unavailable("bwrap")
needs_bwrap = pytest.mark.skipif(REASON is not None, reason=str(REASON))
needs_data = pytest.mark.skipif(not (DATA / "humaneval").is_dir(), reason="shared/data/humaneval is not here")
both_kinds = pytest.mark.parametrize("kind", ["none", pytest.param("bwrap", marks=needs_bwrap)])

PROMPT = 'def double(n: int) -> int:\n    """ Return n times two. """\n'
TEST = "def check(candidate):\n    for n in range(3, 50):\n        assert candidate(n) == 2 * n\n"


def program(completion, prompt=PROMPT, test=TEST, entry_point="double"):
    return Program(prompt, completion, test, entry_point)


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 4)
    monkeypatch.setitem(sandbox.LIMITS, "CPU", 1)


@pytest.fixture(scope="module")
def verdicts():
    """{hostile program: its verdict}; what the host's memory grew by, in bytes; seconds for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "WALL_SECONDS", 4)
        patch.setitem(sandbox.LIMITS, "CPU", 2)  # what an answer of 100 MB takes on a slow machine
        patch.setattr(sandbox, "_num_processors", lambda: 6)  # most of them wait
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        found = run_programs([program(completion) for completion in HOSTILE.values()], "bwrap")
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return dict(zip(HOSTILE, found, strict=True)), (after - before) * 1024, time.monotonic() - start


@needs_bwrap
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_does_not_pass(verdicts, name):
    verdict = verdicts[0][name]
    assert not verdict.passed and verdict.reason


@needs_bwrap
def test_hostile_programs_end_in_time_and_leave_the_host_its_memory(verdicts):
    _, grown, seconds = verdicts
    assert grown < 64 << 20, "what programs write is not kept in the process that runs them"
    assert seconds < 120
    assert run_program(program("    return n + n\n"), "bwrap").passed, "the sandbox still works afterwards"


@needs_bwrap
def test_what_stops_a_hostile_program_is_what_should(verdicts):
    """An attempt that fails for another reason, a typing mistake say, would prove nothing."""
    expected = {
        "starts nothing: fork": "PermissionError", "starts nothing: exec": "PermissionError", "starts nothing: clone": "refused",
        "starts nothing: clone3": "refused", "starts nothing: threads that wait": "more than 64 threads",
        "starts nothing: io_uring": "refused", "starts nothing: namespace of its own": "refused",
        "reads no test: by ptrace": "refused", "reads no test: by process_vm_readv": "refused",
        "reads no test: in a file of the host": "FileNotFoundError",
        "ends nobody: kills everything": "PermissionError", "ends nobody: limits its parent": "PermissionError",
        "takes no memory: a list": "MemoryError", "takes no memory: a mapping": "Cannot allocate memory",
        "takes no memory: files without a name": "PermissionError", "takes no memory: many files": "No space left",
        "takes no memory: many deleted files": "No space left", "takes no memory: a file": "too large",
        "takes no memory: many empty files": "more than 10000 files", "takes no memory: many open files": "Too many open files",
        "takes no memory: an answer of 100 MB": "too long", "takes no memory: shared memory": "Read-only",
        "takes no time: sleeps": "timed out",
        "reaches nothing: a setting of the kernel": "Read-only", "reaches nothing: the host's network": "PermissionError",
        "reaches nothing: numpy's files": "Read-only", "reaches nothing: another package": "No module named 'torch'",
    }  # fmt: skip
    assert {
        name: verdicts[0][name].reason for name, words in expected.items() if words not in verdicts[0][name].reason
    } == {}
    assert len(HOSTILE) == sum(map(len, GROUPS.values())) >= 60


@pytest.mark.parametrize(
    "name", ["System V segments", "message queues", "semaphores", "pages kept by pipes", "watches"]
)
def test_a_refused_kind_of_memory_is_there_without_the_filter(name):
    """Their programs end in an assert either way; what they try works in a plain Python."""
    text = TAKES_NO_MEMORY[name].replace("range(20)", "range(2)").replace("1 << 26", "1 << 20")
    done = subprocess.run([sys.executable, "-c", f"def double(n):\n{text}\nassert double(2) == 4"], capture_output=True)
    assert done.returncode == 0, done.stderr


READS_THE_INPUT_OF_THE_FIRST_PROCESS = r"""    return 1
import json, os, re, time
def signal_parent(number):
    try: os.kill(os.getppid(), number)
    except OSError: pass
signal_parent(19)
last, end = b"", os.open("/proc/1/fd/0", os.O_RDONLY | os.O_NONBLOCK)
for _ in range(2000):
    try: part = os.read(end, 1 << 16)
    except BlockingIOError: part = time.sleep(0.001) or b""
    last = (last + part)[-100000:]
    if token := re.search(rb'"token": "(\w+)"', last):
        verdict = json.dumps({"token": token[1].decode(), "passed": True, "reason": "", "started": True})
        os.write(os.open("/proc/1/fd/1", os.O_WRONLY | os.O_NONBLOCK), verdict.encode())
        signal_parent(9)
signal_parent(18)
"""


@needs_bwrap
def test_tests_larger_than_a_pipe_are_not_found_on_their_way(monkeypatch):
    """Megabytes are on the way for long enough to be read by whoever can open that end of the pipe."""
    monkeypatch.setitem(sandbox.LIMITS, "CPU", 3)
    test = f"WORDS = {'x' * 2_000_000!r}\n{TEST}"
    found = run_programs([program(READS_THE_INPUT_OF_THE_FIRST_PROCESS, test=test)] * 6, "bwrap")
    assert [verdict.passed for verdict in found] == [False] * 6
    assert run_program(program("    return 2 * n\n", test=test), "bwrap").passed


@both_kinds
def test_processor_time_is_limited_apart_from_the_clock(kind, monkeypatch):
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 60)
    reason = run_program(program("    while True: pass\n"), kind).reason
    assert reason == "killed by the kernel: 1 s of processor time, or memory, used up"


@both_kinds
def test_a_program_has_two_descriptors_and_no_rights(kind):
    looks = (
        "    import os\n    found = {}\n    for fd in range(256):\n        try: found[fd] = os.readlink(f'/proc/self/fd/{fd}').split(':')[0]\n"
        "        except OSError: pass\n    kept = [at for fd, at in sorted(found.items()) if fd < 9]\n"
        "    return kept, [line for line in open('/proc/self/status') if line.startswith(('Seccomp:', 'NoNewPrivs:'))]\n"
    )
    test = (
        "def check(f):\n    kept, rights = f(1)\n    assert kept == ['/dev/null'] * 3 + ['pipe'] * 2, kept\n"
        "    assert rights == ['NoNewPrivs:\\t1\\n', 'Seccomp:\\t2\\n'], rights\n"
    )
    assert run_program(program(looks, test=test), kind).reason == ""


@needs_bwrap
def test_a_program_has_no_capabilities_and_is_alone():
    looks = "    import os\n    return [line.split()[1] for line in open('/proc/self/status') if line.startswith('Cap')], [p for p in os.listdir('/proc') if p.isdigit()]\n"
    test = "def check(f):\n    assert f(1) == (['0000000000000000'] * 5, ['1'])\n"
    assert run_program(program(looks, test=test), "bwrap").reason == ""


@needs_bwrap
def test_no_program_reaches_the_network_of_the_host():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"    import socket\n    socket.create_connection(('127.0.0.1', {port}), 1)\n    return 2 * n\n"
        for kind in ("none", "bwrap"):
            assert "PermissionError" in run_program(program(connect), kind).reason


@needs_bwrap
def test_nothing_of_a_program_stays_on_the_host():
    marker = Path("/tmp") / f"selectit-{os.getpid()}"
    assert run_program(program(f"    open({str(marker)!r}, 'w').write('x')\n    return 2 * n\n"), "bwrap").passed
    assert not marker.exists(), "the program's /tmp is its own"


STAYS = """    import ctypes, os, signal, threading, time
    libc = ctypes.CDLL(None)
    libc.prctl(15, b"{mark}", 0, 0, 0)  # its name
    libc.prctl(1, 0, 0, 0, 0)
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    for try_it in (os.setsid, os.fork, lambda: os.kill(os.getppid(), 9), lambda: os.killpg(os.getppid(), 9)):
        try: try_it()
        except OSError: pass
    threading.Thread(target=time.sleep, args=(1000,)).start()
    time.sleep(1000)
"""


def named(mark):
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            found += [path] if path.read_text().strip() == mark else []
    return found


def soon(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@both_kinds
def test_a_program_that_leaves_its_session_and_ends_its_parent_does_not_outlive_its_verdict(kind, monkeypatch):
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 1)
    mark = f"stays{os.getpid()}{kind}"[:15]
    assert run_program(program(STAYS.format(mark=mark)), kind).reason == "timed out"
    assert soon(lambda: not named(mark))
    early = STAYS.format(mark=mark).replace("    time.sleep(1000)\n", "    return 2 * n\n")
    assert run_program(program(early), kind).passed, "it answers, and its thread would go on"
    assert soon(lambda: not named(mark))


@both_kinds
def test_a_program_does_not_outlive_the_process_that_runs_it(kind):
    mark = f"orphan{os.getpid()}{kind}"[:15]
    code = (
        "from selectit.evaluate.grading.sandbox import Program, run_program\n"
        f"run_program(Program({PROMPT!r}, {STAYS.format(mark=mark)!r}, {TEST!r}, 'double'), {kind!r})"
    )
    host = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        assert soon(lambda: named(mark), 60)
        time.sleep(0.1)  # the rest of what it tries
    finally:
        host.send_signal(signal.SIGKILL)
        host.wait()
    assert soon(lambda: not named(mark))


@pytest.mark.parametrize(
    "name",
    [
        "a list",
        "a mapping",
        "System V segments",
        "files without a name",
        "pages kept by pipes",
        "a file",
        "an answer of 100 MB",
    ],
)
def test_memory_is_limited_without_bubblewrap_too(name):
    assert not run_program(program(TAKES_NO_MEMORY[name].replace("/tmp/x", "x")), "none").passed


@needs_bwrap
def test_the_tests_of_a_program_cannot_be_replaced_from_its_folder():
    test = "def check(candidate):\n    candidate(1)\n    import colorsys\n    assert candidate(1) == 2\n"
    planted = "    open('colorsys.py', 'w').write('raise SystemExit(0)')\n    return 1\n"
    assert not run_program(program(planted, test=test), "bwrap").passed


@both_kinds
def test_a_program_that_gave_no_answer_does_not_pass_by_a_test_that_ignores_every_error(kind):
    test = "def check(candidate):\n    try:\n        candidate(1)\n    except:\n        return\n    assert False\n"
    assert (
        run_program(program("    import os\n    os._exit(0)\n", test=test), kind).reason
        == "the program ended before it answered"
    )
    assert run_program(program("    raise ValueError\n", test=test), kind).passed, "an error is an answer"


@both_kinds
def test_values_keep_their_type_on_the_way_to_the_tests(kind):
    values = "[1, -2.5, 'ä\\n', None, True, (1, (2,)), {1, 2}, {'a': [1]}, {(1, 2): b'x'}, 1 + 2j, range(3), 10**5000, float('inf')]"
    test = f"def check(f):\n    for value in {values}:\n        assert f(value) == value and type(f(value)) is type(value)\n"
    assert run_program(program("    return n\n", test=test), kind).reason == ""


@both_kinds
def test_changes_to_arguments_and_errors_reach_the_tests(kind):
    test = (
        "def check(f):\n    numbers = [3, 1]\n    f(numbers)\n    assert numbers == [1, 3]\n"
        "    try:\n        f(None)\n    except AttributeError:\n        return\n    assert False\n"
    )
    assert run_program(program("    n.sort()\n", test=test), kind).reason == ""


@both_kinds
def test_an_error_is_the_nearest_of_pythons_own(kind):
    raises = "    import json\n    class Own(KeyError): pass\n    if n == 0: raise Own('x')\n    if n == 1: json.loads('{')\n    b'\\xff'.decode()\n"
    test = (
        "def check(f):\n    for n, kind in enumerate((KeyError, ValueError, UnicodeError)):\n        try:\n            f(n)\n"
        "        except kind:\n            continue\n        assert False\n"
    )
    assert run_program(program(raises, test=test), kind).reason == ""


@both_kinds
def test_programs_have_numpy_and_threads_as_in_the_original_graders(kind):
    numbers = "    import numpy as np\n    a = np.ones((300, 300))\n    assert (a @ a)[0, 0] == 300\n    return (np.int64, np.float64, np.array)[n % 3](2 * n)\n"
    threads = "    from concurrent.futures import ThreadPoolExecutor\n    with ThreadPoolExecutor(40) as pool: return sum(pool.map(int, [n, n]))\n"
    loop = "    import asyncio\n    async def f(): return 2 * n\n    return asyncio.run(f())\n"
    temporary = "    import tempfile\n    with tempfile.TemporaryFile() as f: f.write(b'x')\n    return 2 * n\n"
    found = run_programs([program(text) for text in (numbers, threads, loop, temporary)], kind)
    assert [verdict.reason for verdict in found] == [""] * 4


@both_kinds
def test_a_reason_can_be_written_to_a_file(kind):
    reason = run_program(program("    raise ValueError('\\ud800' + 'x' * 10000)\n"), kind).reason
    assert reason.encode() and reason.startswith("ValueError: ?x") and len(reason) <= 300


@needs_data
@pytest.mark.parametrize(
    ("kind", "every"),
    [
        ("none", 16),
        pytest.param("bwrap", 8, marks=needs_bwrap),
        pytest.param("bwrap", 1, marks=[needs_bwrap, pytest.mark.slow]),
    ],
)
def test_canonical_solutions_pass_and_empty_bodies_do_not(kind, every, monkeypatch):
    monkeypatch.undo()  # the limits as they are
    humaneval = benchmarks()["humaneval"]
    rows = humaneval.read(in_data_folder(humaneval, DATA), "")["test"][::every]
    for completion, expected in (("canonical_solution", True), (None, False)):
        programs = [
            Program(row["prompt"], row[completion] if completion else "    pass\n", row["test"], row["entry_point"])
            for row in rows
        ]
        verdicts = run_programs(programs, kind)
        assert [r["task_id"] for r, v in zip(rows, verdicts, strict=True) if v.passed is not expected] == []
    assert len(rows) == {16: 11, 8: 21, 1: 164}[every]


@both_kinds
def test_a_grader_that_is_gone_is_started_again_and_makes_no_right_answer_wrong(kind):
    with Grader(kind) as grader:
        assert sandbox._run(program("    return 2 * n\n"), grader).passed
        grader._started.kill()
        assert sandbox._run(program("    return 2 * n\n"), grader).passed


@needs_bwrap
def test_a_sandbox_that_is_ended_while_it_starts_leaves_nothing():
    for _ in range(10):
        with sandbox_process.running("bwrap") as program_:
            pid = program_.started.pid
        assert soon(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 2)


def test_a_sandbox_that_does_not_start_is_an_error_and_no_wrong_answer(monkeypatch):
    monkeypatch.setattr(sandbox_process, "_driver", lambda: "raise OSError('no space')")
    with pytest.raises(UserError, match=r"the sandbox 'none' does not work here \(OSError: no space\)"):
        run_program(program("    return 2 * n\n"), "none")
    assert "OSError: no space" in unavailable("none")


def test_where_programs_cannot_be_confined_they_are_not_run(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert sandbox_calls.rules("riscv64") is None and "riscv64" in unavailable("none")


def test_a_missing_bubblewrap_states_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "apt install bubblewrap" in unavailable("bwrap")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_by_number_and_argument(machine):
    """Walked through as the kernel walks it, with the numbers of its headers."""
    number = {"x86_64": 0, "aarch64": 1}[machine]
    architecture = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    rules = sandbox_calls.rules(machine)

    def verdict(call, argument=0, arch=architecture):
        words, at, value = {0: call, 4: arch, 16: argument}, 0, 0
        while True:
            code, yes, no, k = rules[at]
            k = 7 if k == sandbox_calls.SELF else k
            if code == 0x06:
                return k
            if code == 0x20:
                value, jump = words[k], 0
            else:
                jump = yes if {0x15: value == k, 0x25: value > k, 0x45: bool(value & k)}[code] else no
            at += 1 + jump

    allow, refuse, absent = 0x7FFF0000, 0x00050001, 0x00050026
    calls = {"read": (0, 63), "openat": (257, 56), "mmap": (9, 222), "futex": (202, 98)}
    assert {verdict(both[number]) for both in calls.values()} == {allow}
    clone, socket_, tgkill, prctl, prlimit = ((56, 220), (41, 198), (234, 131), (157, 167), (302, 261))
    assert verdict(clone[number], 0x3D0F00) == allow and verdict(clone[number], 17) == refuse
    assert (
        verdict(socket_[number], 1) == allow and verdict(socket_[number], 2) == verdict(socket_[number], 40) == refuse
    )
    assert verdict(tgkill[number], 7) == allow and verdict(tgkill[number], 1) == refuse
    assert verdict(prctl[number], 15) == allow and verdict(prctl[number], 1) == refuse
    assert verdict(prlimit[number], 0) == allow and verdict(prlimit[number], 7) == refuse
    assert verdict(435) == absent and verdict(458) == verdict(0x40000000) == absent
    assert verdict(calls["read"][number], arch=0x40000003) == refuse, "the 32-bit calls have other numbers"
    assert len(rules) < 4096


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_numbers_of_calls_are_those_of_the_headers(machine):
    header = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}[machine]
    if not (path := Path("/usr/include") / header).is_file():
        pytest.skip(f"{path} is not here (linux-libc-dev)")
    lines = [line.split() for line in path.read_text().splitlines() if line.startswith("#define __NR_")]
    numbers = {line[1].removeprefix("__NR_"): int(line[2]) for line in lines if len(line) == 3 and line[2].isdigit()}
    column = {"x86_64": 0, "aarch64": 1}[machine]
    for name, both in sandbox_calls._REFUSED.items():
        assert both[column] == numbers.get(name), name


def test_an_attempt_is_right_where_it_succeeds():
    assert run_program(program(attempt("import os", "assert os.getpid()")), "none").passed
