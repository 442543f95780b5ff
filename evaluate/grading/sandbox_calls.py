"""Which of the kernel's calls a model-written program cannot make, as a filter for seccomp.

Limits of a process (setrlimit) count what it maps, opens and writes. What they do not count is refused here: other
processes, signals to them, memory that outlives its mapping, the network. Threads are allowed. Numbers:
asm/unistd_64.h and asm-generic/unistd.h of Linux.
"""

from __future__ import annotations

import errno

Rule = tuple[int, int, int, int]
"""An instruction of classic BPF: code, jump where true, jump where false, constant."""

SELF = -1
"""A constant that stands for the process's own id, which only the process knows."""

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""uname's machine -> the kernel's number for it, column of the tables below."""
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # another process, another program, rights of its own
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "fsopen": (430, 430),
    # signals to other processes and looks into them
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440), "kcmp": (312, 272),
    # memory that RLIMIT_AS does not count: segments, queues, files without a name, pages kept by a pipe or a ring
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "msgget": (68, 186), "msgsnd": (69, 189), "semget": (64, 190), "mq_open": (240, 180), "vmsplice": (278, 75),
    "io_uring_setup": (425, 425), "io_setup": (206, 0), "userfaultfd": (323, 282), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "landlock_add_rule": (445, 445),
    "fanotify_init": (300, 262), "bpf": (321, 280), "perf_event_open": (298, 241),
    # the keys of the user who runs the evaluation
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
}  # fmt: skip
_NEWEST = 457
"""Calls with higher numbers are newer than these tables: the program gets the answer that they do not exist."""

_LOAD, _EQUAL, _ABOVE, _HAS_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # bytes into what the kernel shows the filter
_ALLOW = 0x7FFF0000
_CLONE3 = 435
_CLONE_THREAD, _AF_UNIX, _PR_SET_PDEATHSIG = 0x10000, 1, 1


def rules(machine: str) -> list[Rule] | None:
    """The filter, or None for a machine whose numbers are not known here. Args: machine: as uname gives it."""
    if machine not in _ARCHITECTURES:
        return None
    architecture, column = _ARCHITECTURES[machine]
    refuse, absent = _error(errno.EPERM), _error(errno.ENOSYS)
    found: list[Rule] = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), refuse, (_LOAD, 0, 0, _NUMBER)]
    # clone3 hides its flags from a filter; where it does not exist, libraries call clone
    found += [(_EQUAL, 0, 1, _CLONE3), absent]
    for refused in _REFUSED.values():
        if (number := refused[column]) is not None:
            found += [(_EQUAL, 0, 1, number), refuse]
    for numbers, allowed in (
        ((56, 220), (_HAS_BIT, 0, 1, _CLONE_THREAD)),  # clone: a thread
        ((41, 198), (_EQUAL, 0, 1, _AF_UNIX)),  # socket; vsock among the rest reaches the machine below this one
        ((53, 199), (_EQUAL, 0, 1, _AF_UNIX)),  # socketpair
        ((234, 131), (_EQUAL, 0, 1, SELF)),  # tgkill
        ((302, 261), (_EQUAL, 0, 1, 0)),  # prlimit64 of the process itself
        ((157, 167), (_EQUAL, 1, 0, _PR_SET_PDEATHSIG)),  # prctl; it ends with its parent
    ):
        found += [(_EQUAL, 0, 4, numbers[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT), allowed, (_RETURN, 0, 0, _ALLOW)]
        found += [refuse]
    return [*found, (_ABOVE, 0, 1, _NEWEST), absent, (_RETURN, 0, 0, _ALLOW)]


def _error(number: int) -> Rule:
    return (_RETURN, 0, 0, 0x00050000 | number)
