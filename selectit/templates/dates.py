"""Chat templates that print today's date print one fixed date instead: a row must not change overnight.

The date is written into the template's text, and so reaches losses, training, evaluation, the saved tokenizer and the
fingerprints alike.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from selectit.errors import UserError

if TYPE_CHECKING:
    import jinja2

DATE = datetime.date(2024, 7, 26)
"""The date that Llama 3.2's template prints where it is given no clock."""
CLOCK = "strftime_now"
"""What transformers offers templates."""


def frozen(text: str, where: str) -> str:
    """The template with a clock of its own that stands still; the same text where it asks for no date.

    Args:   where: names the template in errors.
    Raises: UserError for a text that is not Jinja, or a date whose format is computed.
    """
    from jinja2 import TemplateSyntaxError, nodes

    try:
        tree = _environment().parse(text)
    except TemplateSyntaxError as error:
        raise UserError(f"{where} is not a Jinja template: line {error.lineno}: {error.message}") from error
    if any(macro.name == CLOCK for macro in tree.find_all(nodes.Macro)):
        return text
    calls = [call for call in tree.find_all(nodes.Call) if _is_clock(call.node)]
    conditions = [branch.test for branch in tree.find_all(nodes.If)]
    conditions += [branch.test for branch in tree.find_all(nodes.CondExpr)]
    asked_for = [name for test in conditions for name in (test, *test.find_all(nodes.Name))]
    plain = {id(node) for node in [*(call.node for call in calls), *asked_for]}
    for name in tree.find_all(nodes.Name):
        if _is_clock(name) and id(name) not in plain:
            raise UserError(
                f"{where}: line {name.lineno} hands {CLOCK} on under another name, so the date that is printed cannot "
                "be fixed; write the date into a copy of the template and name that .jinja file as finetune.template"
            )
    if not calls:
        return text
    formats: dict[str, str] = {}
    for call in calls:
        arguments = [argument for argument in call.args if isinstance(argument, nodes.Const)]
        if len(arguments) != 1 or call.kwargs:
            raise UserError(
                f"{where}: line {call.lineno} prints a date in a format that is computed, so it cannot be fixed; write "
                "the date into a copy of the template and name that .jinja file as finetune.template"
            )
        formats[arguments[0].value] = DATE.strftime(arguments[0].value)
    table = ", ".join(f"{key!r}: {value!r}" for key, value in formats.items())
    # transformers drops the line end behind a block
    return f"{{%- macro {CLOCK}(format) %}}{{{{- {{{table}}}[format] -}}}}{{% endmacro %}}\n{text}"


def fixed_date(text: str) -> str | None:
    """The date that a template's clock was stopped at; None where it prints none."""
    return DATE.isoformat() if f"macro {CLOCK}(" in text else None


def _is_clock(node: object) -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.Name) and node.name == CLOCK


def _environment() -> jinja2.Environment:
    """Reads what transformers' environment reads: `{% generation %}`, `{% break %}` and `{% continue %}` too."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return jinja2.Environment(extensions=[Generation, loopcontrols])
