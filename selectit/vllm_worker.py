"""A vLLM engine at the other end of a socket. Runs in the Python of `vllm_python`, which has other packages than this
project's: no other module imports it, and it imports none of them.

Argument: the socket. Each message is (method, arguments), each answer ("done", value) or ("error", text).
"""

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Client


class Engine:
    def __init__(self, **settings):
        from vllm import LLM, __version__

        # token ids come in and go out: the tokenizer is the other side's
        self._llm = LLM(skip_tokenizer_init=True, disable_log_stats=True, logprobs_mode="raw_logprobs", **settings)
        self._version = __version__

    def facts(self):
        from vllm.platforms import current_platform

        config = self._llm.llm_engine.model_config
        device = "cuda" if current_platform.is_cuda_alike() else current_platform.device_type
        return {
            "version": self._version, "dtype": str(config.dtype).removeprefix("torch."), "device": device,
            "max_model_len": config.max_model_len,
        }  # fmt: skip

    def next_tokens(self, rows, token_ids):
        """Log-probabilities of these tokens behind each row, over the whole vocabulary."""
        from vllm import SamplingParams

        wanted = SamplingParams(max_tokens=1, temperature=0, logprob_token_ids=token_ids, detokenize=False)
        outputs = self._run(rows, wanted)
        return [[output.outputs[0].logprobs[0][token].logprob for token in token_ids] for output in outputs]

    def _run(self, rows, sampling):
        return self._llm.generate([{"prompt_token_ids": row} for row in rows], sampling, use_tqdm=False)


def end_with(parent):
    """A killed parent cannot say that it has ended, and vLLM may be at work for long."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the way on which vLLM ends its own processes
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
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
