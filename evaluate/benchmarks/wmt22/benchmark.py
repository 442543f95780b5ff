"""WMT22 between English and German and English and Chinese, asked as ALMA asks; COMET has benchmarks of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import NOT_MEASURED, Benchmark, Find, HubRows, ReadHub, Row, Rows
from selectit.evaluate.grading.kinds import Translations

PAIRS = (("en", "de"), ("de", "en"), ("en", "zh"), ("zh", "en"))


def _read(find: Find, pair: str) -> dict[str, Rows]:
    """Two files with a sentence a line. Args: pair: such as en-de."""
    paths = [find(f"test.{pair}.{code}") for code in pair.split("-")]
    # a line ends at a newline only: sentences hold separators that splitlines would take for one
    source, target = (path.read_text(encoding="utf-8").removesuffix("\n").split("\n") for path in paths)
    if len(source) != len(target):
        raise UserError(f"{paths[0]} has {len(source)} lines and {paths[1]} {len(target)}; they must be translations")
    return {"test": [_row(n, *texts) for n, texts in enumerate(zip(source, target, strict=True))]}


def _row(number: int, source: str, reference: str) -> Row:
    return {"id": str(number), "source": source.strip(), "reference": reference.strip()}


def _of_hub(splits: Mapping[str, Sequence[Row]], pair: str) -> dict[str, Rows]:
    texts = [[row[pair][code] for code in pair.split("-")] for row in splits["test"]]
    return {"test": [_row(number, *two) for number, two in enumerate(texts)]}


def _declared(source: str, target: str, comet: bool) -> Benchmark:
    name, pair = f"wmt22_{source}_{target}", f"{source}-{target}"

    def to_files(read_hub: ReadHub, _: Sequence[str]) -> dict[str, bytes]:
        rows = [row[pair] for row in read_hub(pair, "test")]
        return {
            f"test.{pair}.{code}": "".join(" ".join(row[code].split("\n")) + "\n" for row in rows).encode()
            for code in (source, target)
        }

    return Benchmark(
        name=f"{name}_comet" if comet else name,
        display_name=f"WMT22 {pair} (COMET)" if comet else f"WMT22 {pair}",
        folder="wmt22",
        published_at="outputs/wmt22_outputs/wmt-testset of github.com/fe1ixxu/ALMA, its files test.*, without their "
        "folders",
        files=(f"test.{pair}.{source}", f"test.{pair}.{target}"),
        read=_read,
        source=HubRows("haoranxu/WMT22-Test", to_files, _of_hub),
        grading=Translations(source, target, comet),
        right_answer=lambda row: f" {row['reference']}",
        size=NOT_MEASURED,
        asked_as=name if comet else None,
    )


BENCHMARKS = tuple(_declared(*pair, comet) for comet, pair in product((False, True), PAIRS))
