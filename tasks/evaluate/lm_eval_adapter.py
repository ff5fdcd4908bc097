"""lm-evaluation-harness and Hibari, each on the other's models: its tasks on our backends, our benchmarks on its LMs.

`HibariLM` is an `lm_eval.api.model.LM` over a `Backend`, so that lm-eval runs any of its tasks with our batches, shared
prefixes and ties that do not depend on the batch. `LmEvalBackend` is a `Backend` over any of lm-eval's LMs (a served
model, SGLang, vLLM), so that our benchmarks run on those. What goes between the two is text; each tokenises for itself.

Of generation the harness knows more than we do: sampling and beams are refused, chat templates are not applied.
Needs the extra `lm-eval` (0.4.13).

    lm = HibariLM.load("runs/export/demo-0123")
    lm_eval.simple_evaluate(model=lm, tasks=["hellaswag"], num_fewshot=4)
    backend = LmEvalBackend(lm_eval.models.huggingface.HFLM(pretrained="gpt2"), load_encoder("gpt2-folder"))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from tasks.evaluate.answering import Method, answer, plan_requests
from tasks.evaluate.backends import BackendName, load_backend
from tasks.evaluate.loops import before_loop
from tasks.evaluate.requests import (
    Backend,
    Context,
    Fitted,
    Generate,
    Generated,
    LogLikelihood,
    Request,
    Rolling,
    Scored,
)
from tokenizer.encoder import Encoder, load_encoder

try:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM, TemplateLM
except ImportError as error:
    raise ImportError("lm-evaluation-harness is not installed: pip install 'hibari[lm-eval]'") from error

MAX_NEW_TOKENS = 256  # where a task says nothing; lm-eval's own default
BYTES_OF_A_CHARACTER = 4  # at most, in UTF-8; an id is a byte at least
_MAX_LENGTH = 2048  # ids read by an LM that does not say how many it can
# lm-eval's names for one setting, the first that is given counts.
_TOKEN_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


class HibariLM(LM):
    """A backend as lm-eval wants its models.

    Args:
        encoder: of the backend's model.
        batch_size: questions computed together.
        on_requests: called with (done, of all) requests; lm-eval shows no progress of its own here.
    """

    def __init__(
        self,
        backend: Backend,
        encoder: Encoder,
        *,
        batch_size: int = 16,
        on_requests: Callable[[int, int], None] | None = None,
    ) -> None:
        super().__init__()
        self._backend = backend
        self._encoder = encoder
        self._batch_size = batch_size
        self._on_requests = on_requests
        self._device = backend.device

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        backend: BackendName = "transformers",
        dtype: Literal["fp32", "bf16"] = "fp32",
        max_length: int | None = None,
        batch_size: int = 16,
    ) -> Self:
        """Over a Hugging Face folder.

        Raises:
            ValueError: no tokenizer of a kind we know is in it.
        """
        encoder = load_encoder(folder)
        model = load_backend(backend, Path(folder), dtype=dtype, max_length=max_length, encoder=encoder)
        return cls(model, encoder, batch_size=batch_size)

    @property
    def max_length(self) -> int:
        return self._backend.max_length

    @property
    def tokenizer_name(self) -> str:
        return self._backend.name

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each (context, continuation); a long context loses ids at its left."""
        asked = [LogLikelihood(_context(request.args[0]), request.args[1]) for request in requests]
        return self._answer("loglikelihood", requests, asked, lambda scored: (scored.log_likelihood, scored.is_greedy))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each whole text, in windows where it is longer than the model reads."""
        asked = [Rolling(request.args[0]) for request in requests]
        return self._answer("loglikelihood_rolling", requests, asked, lambda scored: scored.log_likelihood)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text after each context, greedily.

        Raises:
            ValueError: a task wants samples or beams.
        """
        asked = [generate_request(*request.args) for request in requests]
        return self._answer("generate_until", requests, asked, lambda generated: generated.text)

    def _answer(
        self,
        method: Method,
        instances: Sequence[Instance],
        requests: Sequence[Request],
        as_lm_eval_has_it: Callable[[Any], Any],
    ) -> list[Any]:
        """In the order of the requests; lm-eval's cache learns each result as it comes."""
        work = plan_requests(
            requests,
            _items(instances),
            self._encoder,
            max_length=self._backend.max_length,
            batch_size=self._batch_size,
        )
        results: dict[int, Any] = {}
        for number, places in enumerate(work.batches):
            for place, result in zip(places, answer(self._backend, work.job(number)), strict=True):
                results[place] = as_lm_eval_has_it(result)
                self.cache_hook.add_partial(method, instances[place].args, results[place])
            if self._on_requests:
                self._on_requests(len(results), len(requests))
        return [results[place] for place in range(len(requests))]


def generate_request(context: str, settings: Mapping[str, Any]) -> Generate:
    """What lm-eval asks with a context and its `generation_kwargs`.

    Raises:
        ValueError: it wants something else than the one greedy text.
    """
    if settings.get("do_sample") or float(settings.get("temperature") or 0) > 0 or settings.get("num_beams", 1) != 1:
        raise ValueError(
            f"generation_kwargs {dict(settings)}: backends of Hibari write the greedy text only; give the task "
            "do_sample: false, temperature: 0 and no beams (lm-eval's --gen_kwargs)"
        )
    until = settings.get("until") or []
    stops = [until] if isinstance(until, str) else until
    limits = (settings[name] for name in _TOKEN_LIMITS if settings.get(name) is not None)
    return Generate(_context(context), tuple(stop for stop in stops if stop), int(next(limits, MAX_NEW_TOKENS)))


class LmEvalBackend:
    """One of lm-eval's LMs as a backend.

    It answers with texts and sums only: numbers of ids are those of our tokenizer, of a rolling log-likelihood it
    is not known whether it was greedy (False), and of a text that ended before a limit not whether at a stop or at
    the end of the document ("stop").

    Args:
        encoder: of the model; it cuts what is too long, and counts ids.
    """

    def __init__(self, lm: LM, encoder: Encoder) -> None:
        self._lm = lm
        self._encoder = encoder
        self._quiet = {"disable_tqdm": True} if isinstance(lm, TemplateLM) else {}
        self.name = f"lm-eval-{type(lm).__name__}"
        self.device = str(lm.device or "unknown").split(":")[0]
        self.max_length = int(getattr(lm, "max_length", None) or _MAX_LENGTH)

    def loglikelihood(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Scored]:
        pairs = []
        for each in batch:
            assert isinstance(each.request, LogLikelihood)
            pairs.append((cut_context(each, each.request.context).text, each.request.continuation))
        found = self._lm.loglikelihood(_instances("loglikelihood", pairs), **self._quiet)
        return [
            Scored(float(value), bool(is_greedy), len(each.continuation))
            for each, (value, is_greedy) in zip(batch, found, strict=True)
        ]

    def loglikelihood_rolling(self, batch: Sequence[Fitted]) -> list[Scored]:
        texts = [(each.request.text,) for each in batch if isinstance(each.request, Rolling)]
        found = self._lm.loglikelihood_rolling(_instances("loglikelihood_rolling", texts), **self._quiet)
        return [Scored(float(value), False, len(each.continuation)) for each, value in zip(batch, found, strict=True)]

    def generate_until(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Generated]:
        asked = []
        for each in batch:
            request = each.request
            assert isinstance(request, Generate)
            settings = {"until": list(request.stops), "max_gen_toks": self._limit(each), "do_sample": False}
            asked.append((cut_context(each, request.context).text, settings))
        texts = self._lm.generate_until(_instances("generate_until", asked), **self._quiet)
        return [self._generated(each, text) for each, text in zip(batch, texts, strict=True)]

    def _limit(self, fitted: Fitted) -> int:
        """Ids that may be written."""
        request = fitted.request
        assert isinstance(request, Generate)
        limits = [self.max_length - len(fitted.context)]
        if request.max_tokens is not None:
            limits.append(request.max_tokens)
        if request.max_characters is not None:
            limits.append(BYTES_OF_A_CHARACTER * request.max_characters)
        return max(1, min(limits))

    def _generated(self, fitted: Fitted, text: str) -> Generated:
        request = fitted.request
        assert isinstance(request, Generate)
        num_tokens = len(self._encoder.encode(text))
        if (cut := before_loop(text, request)) is not None:
            return Generated(cut, num_tokens, "loop")
        if request.max_characters is not None and len(text) >= request.max_characters:
            return Generated(text[: request.max_characters], num_tokens, "characters")
        return Generated(text, num_tokens, "tokens" if num_tokens >= self._limit(fitted) else "stop")


def load_lm_eval(
    folder: Path,
    *,
    dtype: Literal["fp32", "bf16"],
    device: str | None = None,
    max_length: int | None = None,
    encoder: Encoder | None = None,
    batch_size: int = 16,
) -> LmEvalBackend:
    """lm-eval's model of a Hugging Face folder: to see whether its and our runner agree."""
    import torch
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(
        pretrained=str(folder),
        dtype={"fp32": "float32", "bf16": "bfloat16"}[dtype],
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        max_length=max_length,
        batch_size=batch_size,
    )
    return LmEvalBackend(lm, encoder or load_encoder(folder))


def cut_context(fitted: Fitted, context: Context) -> Context:
    """What is left of a context whose shots or passage had to go; ids at its left are the LM's to drop."""
    passage = context.passage[: len(context.passage) - fitted.characters_cut]
    return replace(context, shots=context.shots[fitted.shots_dropped :], passage=passage)


def _context(text: str) -> Context:
    return Context(after=text, overlong="left")


def _items(instances: Sequence[Instance]) -> list[int]:
    """A number for the document that each request belongs to."""
    numbers: dict[tuple[Any, ...], int] = {}
    keys = [(place,) if each.doc_id is None else (each.task_name, each.doc_id) for place, each in enumerate(instances)]
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _instances(kind: Method, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, each, number) for number, each in enumerate(arguments)]
