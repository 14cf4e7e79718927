"""jinja2 in the set-up in which Hugging Face transformers renders chat templates."""

import datetime
import json
from typing import Any, ClassVar

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

# What strftime_now tells: some moment, the same for both engines.
NOW = 1_757_332_805


class Generation(jinja2.ext.Extension):
    """{% generation %}, which prints its body from a scope of its own."""

    tags: ClassVar[set[str]] = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller: Any) -> str:
        return caller()


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def strftime_now(form: str) -> str:
    return datetime.datetime.fromtimestamp(NOW).strftime(form)


def environment() -> ImmutableSandboxedEnvironment:
    result = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    result.filters["tojson"] = to_json
    result.globals["raise_exception"] = raise_exception
    result.globals["strftime_now"] = strftime_now
    return result


class Reference:
    """Renders; None where jinja2 refuses, `error` then says why."""

    def __init__(self) -> None:
        self._environment = environment()
        self._parsed: dict[str, jinja2.Template] = {}
        self.error = ""

    def render(self, template: str, variables: dict[str, Any]) -> str | None:
        try:
            if template not in self._parsed:
                self._parsed[template] = self._environment.from_string(template)
            return self._parsed[template].render(**variables)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
            return None
