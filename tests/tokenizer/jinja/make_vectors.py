#!/usr/bin/env python3
"""Writes ../data/jinja.jsonl: small templates and what jinja2 makes of them.

    pip install jinja2==3.1.6 && tests/tokenizer/jinja/make_vectors.py

Rendered as Hugging Face transformers renders chat templates. A line holds
`template`, `variables`, and `rendered` or `error` (jinja2's message; ours differs in wording).
"""

import json
import pathlib
from typing import Any

from reference import NOW, Reference

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

FOLDER = pathlib.Path(__file__).parent
EXPRESSIONS = (FOLDER / "expressions.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")

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
    "{% generation %}{% set z = 1 %}{{ z }}{{ a }}{% endgeneration %}{{ z is defined }}",
    "{% for i in n %}{% generation %}{{ i }}{{ loop.index }}{% endgeneration %}{% endfor %}",
    "{% for i in n %}{% continue %}{% else %}none{% endfor %}",
    "{% for i in n %}{% break %}{% else %}none{% endfor %}",
    "{% if a, b %}x{% endif %}",
    "{% if a if b else x %}{% endif %}",
    "{% set g = ms | selectattr('role', 'equalto', 'nobody') %}{% if g %}true{% endif %}"
    "{% for m in g %}{{ m }}{% endfor %}",
    "{% set g = n | map('string') %}{% for i in g %}{{ i }}{% endfor %}|{% for i in g %}{{ i }}"
    "{% endfor %}",
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


def main() -> None:
    reference = Reference()
    path = FOLDER.parent / "data" / "jinja.jsonl"
    templates = ["{{ " + expression + " }}" for expression in EXPRESSIONS] + TEMPLATES
    with path.open("w", encoding="ascii") as file:
        file.write(json.dumps({"variables": VARIABLES, "now": NOW}) + "\n")
        for template in templates:
            row: dict[str, str] = {"template": template}
            rendered = reference.render(template, VARIABLES)
            if rendered is None:
                row["error"] = reference.error
            else:
                row["rendered"] = rendered
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
