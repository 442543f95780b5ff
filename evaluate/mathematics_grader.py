"""Grades final answers with math-verify. Runs as `python -c` in a process of its own, and is imported nowhere.

math-verify's own limits are seconds on the clock, so that its verdict would depend on what else the machine does, and
work in a main thread only. Here processor time is limited: first by an exception, then, where a formula is computed
in one long step (10^10^10), by the end of the process.

stdin: lines of JSON {final_answers, answer, seconds, last_seconds}. stdout: a line {right, reason} for each.
"""

import json
import logging
import resource
import signal
import sys

from math_verify import parse, verify

MEMORY_BYTES = 4 << 30


class OutOfTimeError(BaseException):
    """Not an Exception, so that no `except Exception` on the way swallows it."""


def stop(*_):
    raise OutOfTimeError


def grade(final_answers, answer):
    references = [parse(f"${text.strip().strip('$')}$", parsing_timeout=None) for text in final_answers]
    if not any(references):
        return "the published answer is not a formula to math-verify"
    found = parse(answer, parsing_timeout=None)
    if not found:
        return "no final answer was found"
    right = any(verify(reference, found, timeout_seconds=None) for reference in references if reference)
    return "" if right else "another answer"


def main():
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGVTALRM, stop)
    for line in sys.stdin:
        order = json.loads(line)
        signal.setitimer(signal.ITIMER_VIRTUAL, order["seconds"])
        signal.setitimer(signal.ITIMER_PROF, order["last_seconds"])  # whose signal ends the process
        try:
            reason = grade(order["final_answers"], order["answer"])
        except OutOfTimeError:
            reason = "out of time"
        except (MemoryError, RecursionError, ValueError) as error:
            reason = f"math-verify failed: {type(error).__name__}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"right": not reason, "reason": reason}), flush=True)


if __name__ == "__main__":
    main()
