"""Random small templates over the variables VARIABLES, most of them right."""

import random
from typing import Any

VARIABLES: dict[str, Any] = {
    "a": 7,
    "b": -3,
    "x": 2.5,
    "s": "Hello, World",
    "t": "  one two\tthree\n",
    "u": "žluťoučký 北京 😀!",
    "e": "",
    "yes": True,
    "no": False,
    "nothing": None,
    "l": [1, "two", 3.0, None, True],
    "n": [3, 1, 2, 1],
    "names": ["beta", "Alpha", "gamma"],
    "d": {"one": 1, "two": {"three": [1, 2]}, "items": "mine", "é": 'q"\\\n'},
    "ms": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi <b>&</b> 'you' "},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHo", "n": 2},
    ],
}
NUMBERS = ("a", "b", "x", "0", "1", "2", "-1", "10", "1.5", "n[0]", "l[0]", "s | length", "d.one")
TEXTS = (
    "s", "t", "u", "e", "'x'", "\"it's\"", "'a,b,,c'", "'\\n'", "ms[0].role", "ms[1]['content']", "names[0]",
    "d['é']", "'<think>'", "ms[-1].content", "'%'", "'0'",
)  # fmt: skip
LISTS = (
    "l",
    "n",
    "names",
    "ms",
    "[]",
    "[1, 2]",
    "['b', 'a']",
    "(1, 'z')",
    "(range(4) | list)",
    "n[1:]",
)
DICTS = ("d", "ms[0]", "{}", "{'k': 1, 'j': [2]}", "d.two", "ms[2]")
OTHERS = ("yes", "no", "nothing", "missing", "true", "none", "d.missing", "ms[0].missing")
TESTS = (
    "defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence",
    "iterable", "true", "false", "callable", "in [1, 'x', 2]", "eq(1)", "ne 'x'", "divisibleby(2)", "odd", "even",
    "gt(2)", "le 3", "sameas none", "lower", "upper",
)  # fmt: skip
SIGNS = ("", "-", "+", "", "")


class Generator:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names: list[str] = []

    def pick(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def number(self, depth: int) -> str:
        if depth <= 0 or self.rng.random() < 0.3:
            return self.pick(*NUMBERS)
        n, t, items = self.number, self.text, self.items
        match self.rng.randrange(9):
            case 0:
                op = self.pick("+", "-", "*", "/", "//", "%")
                return f"{n(depth - 1)} {op} {n(depth - 1)}"
            case 1:
                return f"({n(depth - 1)} {self.pick('+', '-', '*')} {n(depth - 1)})"
            case 2:
                return f"{self.pick(items(depth - 1), t(depth - 1))} | length"
            case 3:
                return f"({t(depth - 1)}).{self.pick('count', 'find', 'rfind')}({t(0)})"
            case 4:
                return f"{self.pick('n', 'range(5)', '[2.5, 1]')} | {self.pick('sum', 'max', 'min', 'first', 'last')}"
            case 5:
                return f"({self.pick(n(depth - 1), t(0))}) | {self.pick('int', 'float', 'int(3)', 'abs')}"
            case 6:
                return f"-{n(0)}"
            case 7:
                return f"{items(0)}.{self.pick('index', 'count')}({self.any(0)})"
            case _:
                return f"({n(depth - 1)}) if {self.condition(depth - 1)} else {n(0)}"

    def text(self, depth: int) -> str:
        if depth <= 0 or self.rng.random() < 0.25:
            return self.pick(*TEXTS)
        n, t, items = self.number, self.text, self.items
        match self.rng.randrange(12):
            case 0:
                return f"{t(depth - 1)} {self.pick('+', '~')} {t(depth - 1)}"
            case 1:
                return f"{t(depth - 1)} ~ {self.any(depth - 1)}"
            case 2:
                return f"({t(depth - 1)})[{self.slice()}]"
            case 3:
                chars = self.pick("", "", "' '", "'\\n'", "'Hd<'", t(0))
                return f"({t(depth - 1)}).{self.pick('strip', 'lstrip', 'rstrip')}({chars})"
            case 4:
                case = self.pick("upper", "lower", "title", "capitalize")
                return f"'{self.pick('aB c', 'HELLO wo-rld', 'x1y')}'{self.pick('.' + case + '()', ' | ' + case)}"
            case 5:
                count = self.pick("", "", ", 1", ", 0")
                return f"({t(depth - 1)}).replace({t(0)}, {t(0)}{count})"
            case 6:
                return f"({t(depth - 1)}) | {self.pick('trim', 'string', 'first', 'last', 'indent(2)', 'replace(s, u)', 'string | reverse')}"
            case 7:
                if self.rng.random() < 0.2:
                    return f"({t(0)} + {t(0)} | {self.pick('e', 'safe')})"
                return f"{items(depth - 1)} | join({t(0)})"
            case 8:
                style = self.pick(
                    "",
                    "",
                    "(indent=2)",
                    "(ensure_ascii=true)",
                    "(sort_keys=true)",
                    "(separators=(',', ':'))",
                )
                return f"{self.any(depth - 1)} | tojson{style}"
            case 9:
                return f"({t(depth - 1)}).{self.pick('split', 'rsplit')}({self.pick(t(0), t(0), '')})[{self.pick('0', '-1')}]"
            case 10:
                return (
                    f"{t(0)} * {n(0)}" if self.rng.random() < 0.5 else f"{t(0)} | default({t(0)})"
                )
            case _:
                return f"({t(depth - 1)} if {self.condition(depth - 1)} else {t(0)})"

    def slice(self) -> str:
        part = lambda: self.pick("", "", "0", "1", "2", "-1", "-2", "5", "99")  # noqa: E731
        match self.rng.randrange(3):
            case 0:
                return f"{part()}:{part()}"
            case 1:
                return f"{part()}:{part()}:{self.pick('', '1', '2', '-1', '-2', '0')}"
            case _:
                return self.pick("0", "1", "-1", "7")

    def items(self, depth: int) -> str:
        if depth <= 0 or self.rng.random() < 0.35:
            return self.pick(*LISTS)
        match self.rng.randrange(9):
            case 0:
                return f"({self.items(depth - 1)})[{self.slice()}]"
            case 1:
                return f"({self.text(depth - 1)}).split({self.pick(self.text(0), '', self.text(0) + ', 1', 'none, 1')})"
            case 2:
                return f"[{self.any(depth - 1)}, {self.any(depth - 1)}]"
            case 3:
                return f"({self.items(depth - 1)} + {self.items(0)})"
            case 4:
                return f"({self.pick('n', 'names', 'ms')} | {self.pick('list', 'sort', 'sort(reverse=true)', 'reverse | list')})"
            case 5:
                test = self.pick(
                    "'string'", "'number'", "'gt', 1", "'equalto', 'two'", "'defined'", ""
                )
                where = f"({test})" if test else ""
                return f"({self.items(0)} | {self.pick('select', 'reject')}{where} | list)"
            case 6:
                match = self.pick(
                    "'role', 'equalto', 'user'", "'n', 'defined'", "'content'", "'n', 'eq', 2"
                )
                return f"(ms | {self.pick('selectattr', 'rejectattr')}({match}) | list)"
            case 7:
                mapped = self.pick(
                    "'string'",
                    "attribute='role'",
                    "'length'",
                    "attribute='n', default=0",
                    "'upper'",
                )
                return f"({self.pick('ms', 'names')} | map({mapped}) | list)"
            case _:
                return f"({self.pick(*DICTS)}{self.pick('.items()', '.keys()', '.values()', ' | items', ' | dictsort')} | list)"

    def any(self, depth: int) -> str:
        match self.rng.randrange(6):
            case 0:
                return f"({self.number(depth)})"
            case 1 | 2:
                return f"({self.text(depth)})"
            case 3:
                return self.items(depth)
            case 4:
                return self.pick(*DICTS)
            case _:
                return self.pick(*OTHERS, *self.names)

    def condition(self, depth: int) -> str:
        match self.rng.randrange(9):
            case 0:
                return f"{self.any(depth)} is {self.pick('', 'not ')}{self.pick(*TESTS)}"
            case 1:
                op = self.pick("==", "!=", "<", "<=", ">", ">=")
                return f"{self.number(depth)} {op} {self.number(depth)}"
            case 2:
                return f"{self.text(depth)} {self.pick('==', '!=', '<', '>=')} {self.text(depth)}"
            case 3:
                return f"{self.text(0)} {self.pick('in', 'not in')} {self.pick(self.text(0), self.items(0), *DICTS)}"
            case 4:
                return (
                    f"({self.condition(depth - 1)}) {self.pick('and', 'or')} ({self.condition(depth - 1)})"
                    if depth > 0
                    else "yes"
                )
            case 5:
                return f"not {self.any(depth)}"
            case 6:
                return f"({self.text(depth)}).{self.pick('startswith', 'endswith')}({self.text(0)})"
            case 7:
                return f"{self.any(depth)} {self.pick('==', '!=')} {self.any(depth)}"
            case _:
                return self.any(depth)

    def tag(self, content: str) -> str:
        return "{%" + self.pick(*SIGNS) + f" {content} " + self.pick("%}", "-%}", "%}", "+%}")

    def data(self) -> str:
        return self.pick("", " ", "\n", "  \n  ", "x", "text ", "\n\n", "\t", "{", "}", "{ {", "é")

    def output(self) -> str:
        value = self.rng.choice((self.number, self.text, self.any, self.text, self.condition))(2)
        return "{{" + self.pick("", "-", "", "+") + f" {value} " + self.pick("}}", "-}}", "}}")

    def loop(self, depth: int) -> str:
        name = self.pick("i", "item", "m")
        self.names.append(name)
        where = f" if {self.condition(1)}" if self.rng.random() < 0.2 else ""
        details = self.pick(
            "index",
            "index0",
            "first",
            "last",
            "length",
            "revindex",
            "previtem",
            "nextitem",
            "depth",
        )
        jump = ""
        if self.rng.random() < 0.2:
            jump = (
                self.tag(f"if {self.condition(0)}")
                + self.tag(self.pick("break", "continue"))
                + self.tag("endif")
            )
        otherwise = self.tag("else") + self.body(depth - 1) if self.rng.random() < 0.2 else ""
        target = self.pick(name, name, name, f"k, {name}")
        iterable = self.items(1)
        if "," in target:
            iterable = f"{self.pick(*DICTS)}.items()"
        elif self.rng.random() < 0.2:
            iterable = self.pick("range(3)", "range(1, a, 2)", "range(a, 0, b)", "d", "s")
        return (
            self.tag(f"for {target} in {iterable}{where}")
            + ("{{ loop." + details + " }}" if self.rng.random() < 0.4 else "")
            + jump
            + self.body(depth - 1)
            + otherwise
            + self.tag("endfor")
        )

    def statement(self, depth: int) -> str:
        match self.rng.randrange(12):
            case 0 | 1:
                return self.loop(depth)
            case 2 | 3:
                middle = (
                    self.tag(f"elif {self.condition(1)}") + self.body(depth - 1)
                    if self.rng.random() < 0.3
                    else ""
                )
                end = self.tag("else") + self.body(depth - 1) if self.rng.random() < 0.5 else ""
                return (
                    self.tag(f"if {self.condition(1)}")
                    + self.body(depth - 1)
                    + middle
                    + end
                    + self.tag("endif")
                )
            case 4 | 5:
                name = self.pick("v", "w")
                self.names.append(name)
                return self.tag(f"set {name} = {self.any(2)}")
            case 6:
                return (
                    self.tag("set ns = namespace(v=0, w='')")
                    + self.tag(f"for i in {self.items(0)}")
                    + self.tag(f"set ns.v = {self.pick('ns.v + 1', 'i', 'loop.index')}")
                    + self.tag("endfor")
                    + "{{ ns.v }}"
                )
            case 7:
                return (
                    self.tag("set v")
                    + self.body(depth - 1)
                    + self.tag("endset")
                    + "{{ v | length }}{{ v }}"
                )
            case 8:
                return self.tag("generation") + self.body(depth - 1) + self.tag("endgeneration")
            case 9:
                return "{#" + self.pick("", "-") + " note " + self.pick("", "-") + "#}"
            case 10:
                return "{% raw %}{{ no }}{% endraw %}"
            case _:
                return self.output()

    def body(self, depth: int) -> str:
        pieces = [self.data()]
        for _ in range(self.rng.randrange(1, 4)):
            simple = depth <= 0 or self.rng.random() < 0.5
            pieces += [self.output() if simple else self.statement(depth), self.data()]
        return "".join(pieces)

    def macro(self) -> str:
        default = self.pick("", "=1", "='q'")
        call = self.pick("f(1)", "f('x')", "f(p=s)", "f(a) | trim", "f()", "f(1, 2)", "f(n)")
        return (
            self.tag(f"macro f(p{default})")
            + self.body(1)
            + "{{ p }}"
            + self.tag("endmacro")
            + "{{ "
            + call
            + " }}"
        )

    def template(self) -> str:
        macro = self.macro() if self.rng.random() < 0.15 else ""
        return macro + self.body(2)
