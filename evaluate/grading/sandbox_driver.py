"""Both sides of one grading. Runs as `python -c` with its side as the argument, and is imported nowhere.

`program` runs the completion and answers calls to its function. `grader` runs the tests, and sees of every answer
only plain values (numbers, text, lists...), rebuilt on its own side. The two are in sandboxes of their own and have two
pipes between them, on which the one side's calls and the other's answers go. The tests and the verdict are never
in the program's sandbox, so no exit, overridden `__eq__`, printed text or look into files, frames or processes can
pass a test: what passes is the value alone. sandbox.py starts both.

A frame is ten digits of length and that much JSON.
program: stdin: {program, entry_point, limits, calls, packages}, then calls; stdout: {ready}, then answers.
grader: stdin, a socket, again and again: a byte with the ends of the program's pipes, a frame for the program,
{prompt, test, entry_point, seconds, memory}; back on it, as lines: {started}, then {passed, reason}.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys

MAX_REPLY_BYTES = 16_000_000
MAX_ITERATOR_ITEMS = 100_000
MAX_REASON_CHARS = 300
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 4, 38, 22


class Rejected(BaseException):
    """Ends a test; not an Exception, so that no `except Exception` of a test can swallow it."""

    reasons = ()
    """All of them, for a bare `except:` of a test: a program that once gave no answer does not pass for that."""

    def __init__(self, reason):
        super().__init__(reason)
        Rejected.reasons += (reason,)


def encode(value):
    """A value as JSON that keeps its type; subclasses become the plain type, anything else is refused."""
    if value is None or value is True or value is False:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind.__add__(value, kind())
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a number of numpy
        return encode(value.item())
    if hasattr(value, "__next__") or type(value) in (type({}.keys()), type({}.values()), type({}.items())):
        return {"iterator": [encode(item) for _, item in zip(range(MAX_ITERATOR_ITEMS), value, strict=False)]}
    raise TypeError(f"a value of type {type(value).__name__} is not a plain value")


def decode(data):
    if not isinstance(data, dict):
        return data
    ((kind, content),) = data.items()
    if kind == "complex":
        return complex(*content)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "range":
        return range(*content)
    if kind == "dict":
        return {decode(key): decode(item) for key, item in content}
    makers = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "iterator": iter}
    return makers[kind]([decode(item) for item in content])


def read_exactly(fd, size):
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            raise Rejected("the program ended before it answered")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_frame(fd):
    size = int(read_exactly(fd, 10))
    if size > MAX_REPLY_BYTES:
        raise Rejected("the answer is too long")
    return json.loads(read_exactly(fd, size))


def write_frame(fd, data):
    text = json.dumps(data).encode()
    text = b"%010d" % len(text) + text
    while text:
        text = text[os.write(fd, text) :]


def control(what, value, more=0):
    """prctl, or an OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(what, value, more, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {what} is not available")


def refuse_calls(rules):
    """Install the filter of sandbox_calls.py; it holds for all threads that come and cannot be taken off."""

    class Rule(ctypes.Structure):
        _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32)]

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("rules", ctypes.POINTER(Rule))]

    own = [Rule(code, jt, jf, os.getpid() if k < 0 else k) for code, jt, jf, k in rules]
    control(PR_SET_NO_NEW_PRIVS, 1)
    control(PR_SET_SECCOMP, 2, ctypes.byref(Filter(len(own), (Rule * len(own))(*own))))


class Packages:
    """Finds the packages that are offered, and no neighbour of theirs."""

    def __init__(self, folders):
        self.folders = folders

    def find_spec(self, name, path=None, target=None):
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [self.folders[name]]) if path is None and name in self.folders else None


def serve():
    """The program's side: define the function, then answer calls until killed."""
    order = read_frame(0)
    control(PR_SET_PDEATHSIG, signal.SIGKILL)
    for name, value in order["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    sys.meta_path.append(Packages(order["packages"]))
    refuse_calls(order["calls"])
    requests, replies = os.dup(0), os.dup(1)
    write_frame(replies, {"ready": True})
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    os.close(nowhere)
    function, failure = None, {}
    try:
        namespace = {"__name__": "candidate"}
        exec(compile(order["program"], "<completion>", "exec"), namespace)
        function = namespace[order["entry_point"]]
    except Exception as error:
        failure = {"program": f"{type(error).__name__}: {str(error)[:200]}"}
    while True:
        call = read_frame(requests)
        if function is None:
            write_frame(replies, failure)
            continue
        try:
            arguments = decode(call["arguments"])
            reply = {"value": encode(function(*arguments, **decode(call["keywords"])))}
        except Exception as error:
            name = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
            reply = {"error": [name, str(error)[:200]]}
        with contextlib.suppress(Exception):  # arguments that cannot be sent stay as they were for the test
            reply["arguments"] = encode(arguments)
        write_frame(replies, reply)


def caller(requests, replies):
    """The function under test, as the tests see it."""

    def candidate(*arguments, **keywords):
        try:
            write_frame(requests, {"arguments": encode(arguments), "keywords": encode(keywords)})
            reply = read_frame(replies)
            if "program" in reply:
                raise Rejected(str(reply["program"]))
            for original, now in zip(arguments, decode(reply.get("arguments", {"tuple": []})), strict=False):
                if type(original) is type(now) is list:
                    original[:] = now
                elif type(original) is type(now) in (dict, set):
                    original.clear()
                    original.update(now)
            raised = error_of(*reply["error"]) if "error" in reply else None
            value = None if raised else decode(reply["value"])
        except OSError as error:
            raise Rejected("the program ended before it answered") from error
        except Exception as error:
            raise Rejected("the answer is not a plain value") from error
        if raised:
            raise raised
        return value

    return candidate


def error_of(name, message):
    """The exception that the program's function raised, as the nearest of Python's own."""
    import builtins

    kind = getattr(builtins, name)
    assert issubclass(kind, Exception)
    try:
        return kind(message)
    except TypeError:  # UnicodeDecodeError takes more
        return kind.__base__(message)


def whole(prompt):
    """A prompt that ends in a bare `def` line is not a program yet."""
    try:
        compile(prompt, "<prompt>", "exec")
    except SyntaxError:
        return prompt.rstrip() + "\n    pass\n"
    return prompt


def grade(tests, candidate):
    """Why the candidate does not pass; an empty text where every test passes."""
    namespace = {"__name__": "test"}
    try:
        exec(compile(whole(tests["prompt"]), "<prompt>", "exec"), namespace)  # its imports and helper functions
        namespace[tests["entry_point"]] = candidate
        exec(compile(tests["test"], "<test>", "exec"), namespace)
        namespace["check"](candidate)
    except AssertionError:
        return "a test failed"
    except Rejected as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def stop(*_):
    raise Rejected("timed out")


def judge(host, order, tests, requests, replies):
    """One grading, in a process of its own."""
    control(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (tests["memory"], tests["memory"]))
    signal.signal(signal.SIGALRM, stop)
    try:
        write_frame(requests, order)
        started = read_frame(replies) == {"ready": True}
    except (OSError, Rejected):
        started = False
    write_line(host, {"started": started})
    if not started:
        return
    signal.setitimer(signal.ITIMER_REAL, tests["seconds"])
    try:
        reason = grade(tests, caller(requests, replies))
    except Rejected as error:  # the clock ran out between two lines of this file
        reason = str(error)
    signal.setitimer(signal.ITIMER_REAL, 0)
    # what a program reports of its errors may hold what no file takes
    reason = (reason or "".join(Rejected.reasons[:1])).encode(errors="replace").decode()[:MAX_REASON_CHARS]
    write_line(host, {"passed": not reason, "reason": reason})


def write_line(fd, data):
    os.write(fd, json.dumps(data).encode() + b"\n")


def grade_all():
    """The grader's side: a process for each grading, until the host hangs up."""
    import socket

    control(PR_SET_PDEATHSIG, signal.SIGKILL)
    control(PR_SET_DUMPABLE, 0)  # without a sandbox, the program must not read the tests out of this process's memory
    host = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    while True:
        mark, pipes, _, _ = socket.recv_fds(host, 1, 2)
        if not mark:
            return
        order, tests = read_frame(host.fileno()), read_frame(host.fileno())
        child = os.fork()
        if child == 0:
            try:
                os.dup2(nowhere, 2)
                judge(host.fileno(), order, tests, *pipes)
                os._exit(0)
            finally:
                os._exit(1)
        for pipe in pipes:
            os.close(pipe)
        _, status = os.waitpid(child, 0)
        if status:
            write_line(host.fileno(), {"passed": False, "reason": "the tests ended before they were through"})


if __name__ == "__main__":
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    {"program": serve, "grader": grade_all}[sys.argv[1]]()
