"""Grades one completion against its tests. Runs inside the sandbox as `python -c`, and is imported nowhere.

Two processes. The child, forked before the tests are read, holds the completion and answers calls to its
function. The parent holds the tests and sees of every answer only plain values (numbers, text, lists...),
rebuilt on its own side. So no exit, overridden `__eq__`, printed text or look into files, arguments or frames
can pass a test: what passes is the value alone.

stdin: two frames (ten digits of length, JSON): {program, entry_point, limits}, then {prompt, test, token}.
stdout: one JSON line {token, passed, reason}.
"""

import sys

sys.path = [folder for folder in sys.path if folder]  # never import what the completion may write to its folder

import contextlib  # noqa: E402
import ctypes  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402

MAX_REPLY_BYTES = 16_000_000
MAX_ITERATOR_ITEMS = 100_000
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 4, 38, 22
SYSTEM_CALLS = {  # architecture: (its audit number, clone, clone3, fork and vfork where they exist)
    "x86_64": (0xC000003E, (56, 435, 57, 58)),
    "aarch64": (0xC00000B7, (220, 435)),
}


class Rejected(BaseException):
    """Ends a test; not an Exception, so that no `except Exception` of a test can swallow it."""


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


def forbid_processes(libc):
    """No fork, no thread. RLIMIT_NPROC does not bind where the sandbox was started by root; seccomp does."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if platform.machine() not in SYSTEM_CALLS:
        return
    architecture, numbers = SYSTEM_CALLS[platform.machine()]
    allow, deny = 0x7FFF0000, 0x00050001  # deny: the call fails with EPERM
    rules = [(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, deny), (0x20, 0, 0, 0)]
    rules += [(0x35, len(numbers) + 1, 0, 0x40000000)]  # the x32 twins of the same calls
    rules += [(0x15, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    rules += [(0x06, 0, 0, allow), (0x06, 0, 0, deny)]

    class Rule(ctypes.Structure):
        _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32)]

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("rules", ctypes.POINTER(Rule))]

    program = Program(len(rules), (Rule * len(rules))(*[Rule(*rule) for rule in rules]))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp is not available")


def serve(order, requests, replies, libc):
    """The child: define the function, then answer calls until killed."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    first, second = sorted((requests, replies))
    os.closerange(3, first)
    os.closerange(first + 1, second)
    os.closerange(second + 1, 4096)
    for name, value in order["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    forbid_processes(libc)
    try:
        namespace = {"__name__": "candidate"}
        exec(compile(order["program"], "<completion>", "exec"), namespace)
        function = namespace[order["entry_point"]]
    except Exception as error:
        function = None
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
            reply = {"error": [type(error).__name__, str(error)[:200]]}
        with contextlib.suppress(Exception):  # arguments that cannot be told stay as they were for the test
            reply["arguments"] = encode(arguments)
        write_frame(replies, reply)


def caller(requests, replies):
    """The function under test, as the tests see it."""
    import builtins

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
            if "error" not in reply:
                return decode(reply["value"])
            name, message = reply["error"]
            kind = getattr(builtins, name, RuntimeError)
            raised = kind(message) if issubclass(kind, Exception) else RuntimeError(message)
        except OSError as error:
            raise Rejected("the program ended before it answered") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Rejected("the answer is not a plain value") from error
        raise raised

    return candidate


def whole(prompt):
    """A prompt that ends in a bare `def` line is not a program yet."""
    try:
        compile(prompt, "<prompt>", "exec")
    except SyntaxError:
        return prompt.rstrip() + "\n    pass\n"
    return prompt


def grade(tests, candidate, entry_point):
    """Why the candidate does not pass; an empty text where every test passes."""
    namespace = {"__name__": "test"}
    try:
        exec(compile(whole(tests["prompt"]), "<prompt>", "exec"), namespace)  # its imports and helper functions
        namespace[entry_point] = candidate
        exec(compile(tests["test"], "<test>", "exec"), namespace)
        namespace["check"](candidate)
    except AssertionError:
        return "a test failed"
    except Rejected as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return ""


def stop(*_):
    raise Rejected("out of time")


def main():
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    libc = ctypes.CDLL(None, use_errno=True)
    # Without it a completion could read the tests out of this process's memory, or write to its stdout.
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this process cannot be protected from its child")
    order = read_frame(0)
    seconds = order.pop("seconds")
    request_out, request_in = os.pipe()
    reply_out, reply_in = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            serve(order, request_out, reply_in, libc)
        finally:
            os._exit(1)
    os.close(request_out)
    os.close(reply_in)
    signal.signal(signal.SIGALRM, stop)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    tests = read_frame(0)
    answer = os.dup(1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        reason = grade(tests, caller(request_in, reply_out), order["entry_point"])
    except Rejected as error:  # the clock ran out between two lines of this file
        reason = str(error)
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.kill(child, signal.SIGKILL)
    os.write(answer, json.dumps({"token": tests["token"], "passed": not reason, "reason": reason}).encode())


if __name__ == "__main__":
    main()
