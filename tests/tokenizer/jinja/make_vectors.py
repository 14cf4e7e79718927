#!/usr/bin/env python3
"""Writes ../data/jinja.jsonl: small templates and what jinja2 makes of them.

    pip install jinja2==3.1.6 && tests/tokenizer/jinja/make_vectors.py

The environment is the one in which Hugging Face transformers renders chat templates. A line holds
`template`, `variables`, and `rendered` or `error` (jinja2's message; ours differs in wording).
"""

import json
import pathlib
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

VARIABLES: dict[str, Any] = {
    "a": 7,
    "b": -3,
    "x": 2.5,
    "s": "Hello, World",
    "u": "  žluťoučký 北京 😀\t\n",
    "e": "",
    "yes": True,
    "nothing": None,
    "l": [1, "two", 3.0, None, True],
    "n": [3, 1, 2],
    "names": ["beta", "Alpha", "gamma"],
    "d": {"one": 1, "two": {"three": [1, 2]}, "items": "mine", "é": 'q"\\\n'},
    "ms": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <b>&</b> 'you'"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHo"},
    ],
    "numbers": [0.1, 1e16, 1e-5, 123456789.125, -0.0, 1e100, 5e-324, 9007199254740993],
}

EXPRESSIONS = """
1 + 2 * 3
(1 + 2) * 3
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
-7.5 % 2
7 / 2
6 / 2
2 ** 10
2 ** -1
-2 ** 2
2 ** 3 ** 2
1.5 + 1
0.1 + 0.2
1e3
1_000
10 // 3.0
-7.5 // 2
true + true
1 - 2 - 3
1 ~ 2 + 3
1 + 2 ~ 3
'a' 'b' "c"
'a\\tb\\u00e9\\x41\\q\\''
"\\n" ~ '|'
s ~ a ~ nothing ~ yes ~ missing ~ '.'
'ab' * 3
0 * 'ab'
[1, 2] + [3]
(1, 'a')
(1,)
()
[1, 'it\\'s', "q\\"", none, true, 1.0, [], {}]
{'a': 1, 'b': [2], 'c': {'d': none}}
a
x
yes
nothing
missing
l
d
numbers
l | tojson
d | tojson
numbers | tojson
d | tojson(indent=2)
d | tojson(indent=0)
[] | tojson(indent=2)
{} | tojson(indent=4)
d | tojson(separators=(',', ':'))
d | tojson(sort_keys=true)
u | tojson
u | tojson(ensure_ascii=true)
'<b>&\\'' | tojson
ms | tojson
none | tojson
1 | tojson
missing | tojson
a == 7
a == 7.0
1 == true
'1' == 1
none == none
missing == missing
[1, 2] == [1, 2.0]
[1] == (1,)
{'a': 1} == {'a': 1.0}
a != 7
a < 8 < 9
1 < 2 > 1
1 < 3 > 4
'a' < 'b'
[1, 2] < [1, 3]
'a' < 1
none < 1
3 in n
4 not in n
'World' in s
'' in s
'one' in d
1 in d
'x' in missing
'x' in nothing
1 in s
not true
not e
not not 'x'
true and 'x'
'' and missing.x
0 or 'y'
none or false
1 if true else 2
1 if false else 2
1 if false
'[' ~ (1 if false) ~ ']'
1 if a else 2 if b else 3
s[0]
s[-1]
s[99]
s[1:3]
s[:-1]
s[::-1]
s[::2]
s[10:2:-3]
s[-3:]
u[2:9]
u[::-1]
l[1:]
l[::-1]
l[-2:]
l[5:1]
l[::-2]
l[None:2]
l[0]
l[-1]
l[9]
l['x']
l.count(1)
n.index(2)
n.index(9)
d.one
d['one']
d.two.three[1]
d['two']['three'] | last
d.missing
d.missing.deeper
missing.deeper
missing['deeper']
nothing.deeper
nothing['deeper']
a.deeper
ms[0].role
ms[0]['content'][:2]
ms[-1].content.split('</think>')[-1].lstrip('\\n')
ms[-1].content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n')
d.get('one')
d.get('none')
d.get('none', 5)
d.get('none') is none
d.items() | list
d.keys() | list
d.values() | list
d['items']
d | items | list
d | length
d | list
d | dictsort
d | dictsort(reverse=true)
'abc' | length
u | length
l | count
missing | length
5 | length
none | length
s.upper()
s.lower()
s.title()
s.capitalize()
'hELLO wORLD-foo (bar)' | title
'hELLO wORLD-foo (bar)'.title()
s | upper | lower
s | capitalize
s.strip('Hd')
u.strip()
u.lstrip()
u.rstrip()
u | trim
'xxaxx' | trim('x')
'xxaxx'.strip('xa')
' a b  c '.split()
' a b  c '.split(' ')
' a b  c '.split(none, 1)
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.rsplit(',', 1)
'a,b,c'.rsplit(',')
''.split(',')
''.split()
'a\\nb\\r\\nc\\n'.splitlines()
'a\\nb\\n'.splitlines(true)
'a'.split('')
s.startswith('Hell')
s.startswith(('x', 'H'))
s.endswith('ld')
s.endswith('')
s.replace('l', 'L')
s.replace('l', 'L', 1)
s.replace('', '-')
'abc' | replace('b', '')
'aaa'.replace('aa', 'b')
s.find('World')
s.find('zzz')
u.find('京')
s.rfind('o')
s.count('l')
s.count('')
'-'.join(['a', 'b'])
'-'.join([1])
s.removeprefix('Hello')
s.removesuffix('World')
'12'.isdigit()
'ab'.isalpha()
''.isdigit()
'ab1'.isalpha()
s.nonsense()
s.nonsense
l | join('-')
l | join
ms | join('/', attribute='role')
n | first
n | last
'abc' | first
[] | first
[] | first | default('none')
n | list
'abc' | list
n | reverse | list
'abc' | reverse
n | sort
n | sort(reverse=true)
names | sort
names | sort(case_sensitive=true)
ms | sort(attribute='role') | map(attribute='role') | list
l | sort
n | max
n | min
n | sum
[] | sum
names | map('upper') | list
names | map('replace', 'a', 'A') | list
ms | map(attribute='role') | join(', ')
ms | map(attribute='nope', default='-') | join
ms | selectattr('role', 'equalto', 'user') | list | length
ms | selectattr('role') | list | length
ms | rejectattr('role', 'in', ['user', 'system']) | map(attribute='role') | list
ms | selectattr('role', '==', 'user') | map(attribute='content') | first
n | select('odd') | list
n | reject('odd') | list
n | select('gt', 1) | list
[0, 1, '', 'a'] | select | list
'42' | int
'4x2' | int
'4x2' | int(7)
3.9 | int
-3.9 | int
' 12 ' | int
'3.7' | int
none | int
'3.5' | float
'x' | float
7 | float
true | int
-5 | abs
2.5 | abs
5 | string
l | string
none | string
missing | default('x')
missing | default
e | default('x')
e | default('x', true)
none | default('x')
none | d('x', boolean=true)
'<a href="x">' | e
'<a>' | safe
'a\\nb\\n\\nc' | indent
'a\\nb\\n\\nc' | indent(2, true)
'a\\nb\\n\\nc' | indent(2, true, true)
'a\\nb' | indent('> ')
a is defined
missing is defined
missing is undefined
missing is not defined
nothing is none
nothing is not none
a is number
x is float
a is integer
yes is integer
yes is number
yes is boolean
true is true
1 is true
false is false
s is string
l is string
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
a is sequence
l is iterable
a is iterable
missing is iterable
4 is even
3 is odd
6 is divisibleby 3
6 is divisibleby(4)
a is eq 7
a is equalto(7)
a is gt 6
1 is in [1, 2]
none is sameas none
'A' is upper
'a' is lower
'' is upper
range is callable
s is callable
a is defined and b is defined
not a is defined
range(3) | list
range(1, 10, 3) | list
range(5, 0, -2) | list
range(0) | list
dict(a=1, b=2)
dict(a=1).a
raise_exception('stop')
'a' + 1
1 + 'a'
'a' + none
missing + 1
1 + missing
-missing
missing()
s()
1 / 0
1 // 0
1 % 0
l.append(1)
d.update({'a': 1})
namespace(a=1).a
a ~ -b
- a
+ a
-x
-5 | abs
{'a': {'b': 1}}['a']['b']
{'a': {'b': {}}}
((1, 2), 3)[0][1]
[[1, 2], [3]][0][-1]
"%}" ~ '}}'
1.0
1.50
100.0 * 1e15
1e22
1e16 + 0.5
""".strip().split("\n")

TEMPLATES = [
    "plain\n",
    "plain\n\n",
    "a\r\nb\rc\n",
    "{# comment #}x",
    "  {# comment #}\n  x",
    "x{#- c -#}  y",
    "a  {#- c #}\n b",
    "{#-#} x",
    "  {% if true %}\n  x\n  {% endif %}\ny",
    "  {%+ if true %}\n  x\n  {%+ endif %}\ny",
    "{% if true +%}\nx{% endif %}",
    "a {%- if true -%}  \n x \n {%- endif -%} \n b",
    "a {{- ' b ' -}} c",
    "a\n  {{ 'b' }}\n  c",
    "a\n\t{% if true %}b{% endif %}\n",
    "x  {% if true %}y{% endif %}",
    "{{ 1 }}\n{{ 2 }}\n",
    "{{ 1 -}}\n\n {{ 2 }}",
    "{% raw %}{{ x }}{% if %}{% endraw %}!",
    "  {% raw %}\n a {% endraw %}\n b",
    "a {%- raw -%} \n b \n {%- endraw -%} \n c",
    "{% for i in n %}{{ i }},{% endfor %}",
    "{% for i in n %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}"
    "{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for i in n %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}",
    "{% for i in n %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for i in n %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for i in [] %}x{% else %}none{% endfor %}",
    "{% for i in n if i > 1 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% else %}none{% endfor %}",
    "{% for i in n if i > 5 %}{{ i }}{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }};{% endfor %}",
    "{% for k, v in [(1, 2), [3, 4]] %}{{ k }}{{ v }}{% endfor %}",
    "{% for k, v in [1] %}{{ k }}{% endfor %}",
    "{% for k, v in [[1, 2, 3]] %}{{ k }}{% endfor %}",
    "{% for c in 'añb' %}{{ c }}.{% endfor %}",
    "{% for c in missing %}{{ c }}{% else %}empty{% endfor %}",
    "{% for c in nothing %}{{ c }}{% endfor %}",
    "{% for c in a %}{{ c }}{% endfor %}",
    "{% for i in n %}{% for j in n %}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.depth }}"
    "{% endfor %}",
    "{% for i in n %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in n %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}{{ i }}",
    "{% for m in ms[::-1] %}{{ m.role }}{{ loop.index0 }} {% endfor %}",
    "{% for m in ms %}{{ ms[loop.index0 - 1].role }} {% endfor %}",
    "{% set y = 1 %}{% for i in n %}{% set y = i %}{{ y }}{% endfor %}{{ y }}",
    "{% set ns = namespace(y=1, z='q') %}{% for i in n %}{% set ns.y = ns.y + i %}{% endfor %}"
    "{{ ns.y }}{{ ns.z }}{{ ns.w is defined }}",
    "{% set a.b = 1 %}",
    "{% set missing.b = 1 %}",
    "{% if yes %}{% set q = 1 %}{% endif %}{{ q }}",
    "{% if not yes %}{% set q = 1 %}{% endif %}{{ q is defined }}",
    "{% set q, r = 1, 2 %}{{ q }}{{ r }}",
    "{% set q = 1, 2 %}{{ q }}",
    "{% set q %}  text {{ a }} {% endset %}[{{ q }}]{{ q | length }}",
    "{% set q = 'x' %}{{ q }}{% set q = q ~ q %}{{ q }}",
    "{% set loop_messages = ms[1:] %}{{ loop_messages | length }}",
    "{% if a > 100 %}A{% elif a > 5 %}B{% elif true %}C{% else %}D{% endif %}",
    "{% if missing %}A{% else %}B{% endif %}",
    "{% if a %}{% if b %}AB{% endif %}{% endif %}",
    "{% if 'tools' in d or d.one == 1 and not missing %}y{% endif %}",
    "{% macro f(p, q=2) %}[{{ p }}{{ q }}]{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(q=4, p=5) }}",
    "{% macro f(p) %}{{ p }}{% endmacro %}{{ f() }}|{{ f('x') | upper }}|{{ f(1) ~ f(2) }}",
    "{% macro f(p) %}{{ p }}{% endmacro %}{{ f(1, 2) }}",
    "{% macro f(p) %}{{ p }}{% endmacro %}{{ f(r=2) }}",
    "{% macro f(p) %}{{ a }}{{ p }}{% if p > 0 %}{{ f(p - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro f() %}{{ hidden }}{% endmacro %}{% for hidden in n %}{{ f() }}.{% endfor %}",
    "{% set top = 5 %}{% macro f() %}{{ top }}{% endmacro %}{{ f() }}",
    "{%- macro f(p) -%}\n  {{ p }}\n{%- endmacro -%}\n<{{ f('x') }}>",
    "{% macro f(p) %}{% set z = p %}{{ z }}{% endmacro %}{{ f(1) }}{{ z is defined }}",
    "{{ raise_exception('no ' ~ s) }}",
    "{% if false %}{{ raise_exception('no') }}{% endif %}fine",
    "{% generation %}x{% endgeneration %}",
    "{{ 1, 2 }}",
    "{{ {'a': 1}.a }}{{ {'b': 2}['b'] }}",
    "{{ d.two['three'][0] }}",
    "{%for i in n%}{{i}}{%endfor%}",
    "{{ 'a' if yes else 'b' }}{{ ('a' if false else 'b') ~ 'c' }}",
    "{{ ms[0].content + '\\n' + ms[1].content }}",
    "{{ '{{' }}{{ '%}' }}",
    "{{ ms | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('\\n') }}",
    "{{ '\\u4f60\\U0001F600' }}",
    "{{ 'x' }}   {%- if true %} y {% endif -%}   z",
    "{% if true %}\n\nx\n\n{% endif %}\n\ny",
    "{{ nothing }}{{ true }}{{ 1.0 }}{{ [none] }}",
    # Broken or refused.
    "{{",
    "{{ 1",
    "{{ }}",
    "{{ 1 + }}",
    "{{ (1 }}",
    "{{ [1 }}",
    "{{ 'abc }}",
    "{{ 1 2 }}",
    "{{ a | }}",
    "{{ a | nofilter }}",
    "{{ a is notest }}",
    "{% if %}{% endif %}",
    "{% if a %}",
    "{% if a %}{% endfor %}",
    "{% endif %}",
    "{% else %}",
    "{% for %}{% endfor %}",
    "{% for i n %}{% endfor %}",
    "{% for i in n %}",
    "{% nonsense %}",
    "{% set %}",
    "{% set 1 = 2 %}",
    "{% raw %}x",
    "{# open",
    "{% break %}",
    "{% if a }}x{% endif %}",
    "{{ a ! b }}",
    "{{ a.1b }}",
    "{{ f(a=1, 2) }}",
    "{{ ) }}",
    "{% macro f( %}{% endmacro %}",
]


class Generation(jinja2.ext.Extension):
    """transformers' {% generation %}, which prints its body."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None,
            sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def main() -> None:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    path = pathlib.Path(__file__).parent.parent / "data" / "jinja.jsonl"
    templates = ["{{ " + expression + " }}" for expression in EXPRESSIONS] + TEMPLATES
    with path.open("w", encoding="ascii") as file:
        file.write(json.dumps({"variables": VARIABLES}) + "\n")
        for template in templates:
            row: dict[str, str] = {"template": template}
            try:
                row["rendered"] = environment.from_string(template).render(**VARIABLES)
            except Exception as error:  # noqa: BLE001 - whatever Jinja or Python raises
                row["error"] = f"{type(error).__name__}: {error}"
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
