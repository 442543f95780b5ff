"""A vLLM engine at the other end of a socket. Runs in the Python of `vllm_python`, which has other packages than this
project's: no other module imports it, and it imports none of them.

Argument: the socket. Each message is (method, arguments), each answer ("done", value) or ("error", text).
"""

import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Client, wait


class Engine:
    def __init__(self, **settings):
        from vllm import LLM, __version__

        # token ids come in and go out: the tokenizer is the other side's
        self._llm = LLM(skip_tokenizer_init=True, disable_log_stats=True, logprobs_mode="raw_logprobs", **settings)
        self._version = __version__
        threading.Thread(target=end_with_engine, args=(multiprocessing.active_children(),), daemon=True).start()

    def facts(self):
        from vllm.platforms import current_platform

        config = self._llm.llm_engine.model_config
        device = "cuda" if current_platform.is_cuda_alike() else current_platform.device_type
        return {
            "version": self._version, "dtype": str(config.dtype).removeprefix("torch."), "device": device,
            "max_model_len": config.max_model_len,
        }  # fmt: skip

    def _run(self, rows, sampling):
        return self._llm.generate([{"prompt_token_ids": row} for row in rows], sampling, use_tqdm=False)

    def next_of_each(self, rows, token_ids):
        """Of each row the most likely next token, and the log-probabilities of tokens of its own over the whole
        vocabulary.
        """
        from vllm import SamplingParams

        common = {"max_tokens": 1, "temperature": 0, "ignore_eos": True, "detokenize": False}
        wanted = [SamplingParams(logprob_token_ids=tokens, **common) for tokens in token_ids]
        found = [output.outputs[0] for output in self._run(rows, wanted)]
        return [
            (one.token_ids[0], [one.logprobs[0][token].logprob for token in tokens])
            for one, tokens in zip(found, token_ids, strict=True)
        ]

    def top_of_each(self, rows, most):
        """The most probable next tokens of each row with their log-probabilities, most probable first."""
        from vllm import SamplingParams

        wanted = SamplingParams(max_tokens=1, temperature=0, ignore_eos=True, detokenize=False, logprobs=most)
        found = [output.outputs[0].logprobs[0] for output in self._run(rows, wanted)]
        ranked = [sorted(of_row.items(), key=lambda pair: pair[1].rank) for of_row in found]
        return [[(token, one.logprob) for token, one in pairs[:most]] for pairs in ranked]

    def start_generating(self, rows, seeds, **sampling):
        """Rows that `generate_on` goes on with. `seeds`: one for each row; None: greedy."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        for number, (row, seed) in enumerate(zip(rows, seeds, strict=True)):
            wanted = SamplingParams(
                seed=seed, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.DELTA,
                logprobs=1, **sampling,
            )  # fmt: skip
            self._llm.llm_engine.add_request(str(number), {"prompt_token_ids": row}, wanted)

    def generate_on(self, stopped, num_steps):
        """After so many steps, {row: (its new tokens, whether it has ended, whether their log-probabilities are
        finite)}; `stopped` rows go no further.
        """
        engine = self._llm.llm_engine
        engine.abort_request([str(number) for number in stopped])
        new = {}
        for _ in range(num_steps):
            if not engine.has_unfinished_requests():
                break
            for output in engine.step():
                one, (tokens, _, finite) = output.outputs[0], new.get(int(output.request_id), ([], False, True))
                written = zip(one.token_ids, one.logprobs, strict=True)
                finite = finite and all(math.isfinite(logprobs[token].logprob) for token, logprobs in written)
                new[int(output.request_id)] = ([*tokens, *one.token_ids], output.finished, finite)
        return new


def end_with_engine(processes):
    """vLLM's own process may be killed for memory, and vLLM then waits for it for ever."""
    if processes:
        wait([process.sentinel for process in processes])
        if threading.main_thread().is_alive():  # not at the ordinary end, which ends them too
            os._exit(1)


def end_with_parent(parent):
    """A killed parent cannot say that it has ended, and vLLM may be at work for long."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the way on which vLLM ends its own processes
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    connection = Client(sys.argv[1], authkey=bytes.fromhex(os.environ.pop("SELECTIT_VLLM_KEY")))
    engine = None
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:  # the other side has ended
            return
        try:
            if method == "load":
                engine = Engine(**arguments)
                value = engine.facts()
            else:
                value = getattr(engine, method)(**arguments)
            connection.send(("done", value))
        except Exception as error:
            connection.send(("error", f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
