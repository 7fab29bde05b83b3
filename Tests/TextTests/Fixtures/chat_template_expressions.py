"""Writes chat_template_expressions.json: small templates and what Python's jinja2 renders from them.

Usage: python chat_template_expressions.py   (needs jinja2 and transformers, whose environment it uses)
"""
import json
import pathlib

from jinja2.sandbox import SandboxedEnvironment
from transformers.utils.chat_template_utils import _compile_jinja_template

VARIABLES = {
    "text": "Hello, World",
    "messy": "  two  words\tand\nlines \n",
    "unicode": "Grüße 🙂 日本語 e\u0301",
    "quotes": "it's \"so\" \\ here",
    "empty": "",
    "zero": 0,
    "count": 7,
    "negative": -7,
    "pi": 3.14159,
    "big": 1e22,
    "small": 0.00001,
    "yes": True,
    "no": False,
    "nothing": None,
    "items": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "nested": [1, [2, [3]], {"a": [4]}],
    "dict": {"b": 1, "a": "x", "Zed": None, "items": "shadowed"},
    "people": [
        {"name": "Ann", "age": 31, "city": {"name": "Oslo"}},
        {"name": "bob", "age": 25, "city": {"name": "Rome"}},
        {"name": "Cid", "age": 31, "city": {"name": "oslo"}},
    ],
    "html": "<b>\"Tom\" & 'Jerry'</b>",
    "tool": {"type": "function", "function": {"name": "f", "parameters": {"x": 1.0, "é": ["<", None, True]}}},
}

# Rendered as `{{ expression }}`.
EXPRESSIONS = r"""
1 + 2 * 3
(1 + 2) * 3
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
7 / 2
8 / 2
2 ** 10
2 ** -1
-2 ** 2
2 ** 3 ** 2
1 / 0
1 % 0
+count
-count
- pi
1 - -1
1 + 1.0
0.1 + 0.2
1e3
1.5e-7
123456789012345678
1_000
0x1F
0b101
0o17
1e16
1e15
123456789.123
big
small
0.0001
100000.0
1.0
true
True
false
none
None
nothing
yes + yes
true + 1
"a" "b" 'c'
"a" ~ 1 ~ none ~ true ~ 1.5 ~ [1]
1 ~ 2 + 3
"a" + "b" * 3
3 * "ab"
[1] * 3
[1] + [2]
(1,) + (2,)
"a" + 1
1 + "a"
[1] + (1,)
nothing + 1
missing + 1
missing
missing.x
missing["x"]
missing()
dict.missing
dict.missing.x
dict["missing"]
"x" ~ missing ~ "y"
1 == 1.0
1 == true
"1" == 1
"a" < "b"
"Z" < "a"
1 < 2 < 3
1 < 3 < 2
1 < "a"
[1, 2] < [1, 3]
[1] == (1,)
{"a": 1} == {"a": 1.0}
none < 1
1 in items
9 not in items
"World" in text
"a" in dict
"q" in dict
1 in "abc"
"x" in missing
"x" in nothing
not yes
not not yes
not 1 in items
not missing
yes and no
0 or "x"
"" and "x"
items and "y"
no or none
1 if yes else 2
1 if no else 2
1 if no
("x" if no) is defined
1 if no else 2 if no else 3
"a" if yes and not no else "b"
text[0]
text[-1]
text[50]
text[1:4]
text[:-3]
text[::2]
text[::-1]
text[-5:]
text[5:2]
unicode[6:8]
unicode[::-1]
unicode|length
items[0]
items[-1]
items[5]
items[5] is defined
items[1:]
items[:1]
items[::-1]
items[-2:]
items[10:]
items[:100]
items[2:0:-1]
items["0"]
items[1.0]
items[yes]
items.0
nested[1][1][0]
nested.2.a.0
dict["b"]
dict.a
dict.Zed
dict["items"]
dict.keys()|list
dict.values()|list
dict.items()|list
dict.get("a")
dict.get("q")
dict.get("q", 5)
dict.get("Zed", 5)
{"a": 1, "b": [1, {"c": none}]}
{1: "x", true: "y"}
{"a": 1,}
[1, 2,]
[]
()
(1,)
(1, 2)
1, 2
[1, "a", 1.5, none, true, {"k": "v"}]
["it's", 'say "hi"', "both ' and \"", "line\n", "tab\t", "é", "\x07"]
quotes
[quotes]
[unicode]
["\u200b\xa0"]
"\n"
"\\n"
"a\tb"
"\x41\u00e9\U0001F600"
"\101"
"\q"
'it\'s'
"trim " | trim
messy | trim
"xxaxx" | trim("x")
messy | upper
text | lower
"hello wOrld it's-me (now)" | title
"hELLO" | capitalize
"" | capitalize
"ßa" | capitalize
text | replace("l", "L")
text | replace("l", "L", 2)
text | replace("", "-")
123 | replace("2", "x")
text | length
items | count
dict | length
missing | length
5 | length
items | first
items | last
[] | first
"" | last
text | first
text | last
items | list
text | list
dict | list
items | reverse | list
text | reverse
items | join
items | join(", ")
items | join(", ", attribute="x")
people | join("; ", attribute="name")
"abc" | join("-")
missing | join
items | sort
items | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
words | sort(reverse=true)
people | sort(attribute="age") | map(attribute="name") | list
people | sort(attribute="age,name") | map(attribute="name") | list
people | sort(attribute="age", reverse=true) | map(attribute="name") | join(",")
people | sort(attribute="city.name") | map(attribute="name") | join(",")
[1, "a"] | sort
words | unique | list
["\u00e9", "e\u0301", "\u00e9"] | unique(case_sensitive=true) | list
{"\u00e9": 1, "e\u0301": 2}["\u00e9"]
{"\u00e9\u007f\U0001f642\b": 1} | tojson(ensure_ascii=true)
words | unique(case_sensitive=true) | list
people | unique(attribute="age") | map(attribute="name") | list
items | min
items | max
[] | min
words | min
words | max
people | max(attribute="age")
people | min(attribute="age") | items | list
items | sum
people | sum(attribute="age")
items | sum(start=10)
[] | sum
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3, 4, 5] | batch(2, "-") | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3, 4, 5] | slice(3, "-") | list
[] | batch(2) | list
[1] | slice(3) | list
people | groupby("age") | map("first") | list
people | groupby("city.name") | map(attribute="grouper") | list
people | groupby("age") | map(attribute="list") | map("length") | list
people | groupby("zip", default="-") | map("first") | list
dict | dictsort
dict | dictsort(case_sensitive=true)
dict | dictsort(reverse=true)
{"a": 3, "b": 1} | dictsort(by="value")
{"a": 3, "b": 1} | dictsort(false, "value", true)
dict | items | list
missing | items | list
people | map(attribute="name") | list
people | map(attribute="city.name") | list
people | map(attribute="zip", default="?") | list
people | map(attribute="zip") | list
words | map("upper") | list
words | map("replace", "p", "P") | list
items | map("string") | list
items | map("nofilter") | list
items | select("odd") | list
items | reject("odd") | list
items | select("gt", 1) | list
items | select(">=", 2) | list
items | select | list
nothing | select | list
nothing | map("upper") | list
nothing | selectattr("x") | list
nothing | list
dict[[1]] is defined
5 | indent
5 | truncate
2.0 ** 9999
[0, 1, "", "a", none] | select | list
[0, 1, "", "a", none] | reject | list
items | select("divisibleby", 3) | list
items | select("in", [1, 2]) | list
words | select("equalto", "fig") | list
people | selectattr("age", "equalto", 31) | map(attribute="name") | list
people | selectattr("age", "eq", 31) | list | length
people | rejectattr("age", "lt", 30) | map(attribute="name") | list
people | selectattr("zip") | list
people | selectattr("zip", "defined") | list
people | selectattr("city.name", "eq", "Rome") | map(attribute="name") | first
people | rejectattr("zip") | list | length
missing | default("d")
missing | default
nothing | default("d")
nothing | default("d", true)
empty | d("d")
empty | d("d", boolean=true)
missing.x | default("d")
dict.q | default("d")
dict.q.r | default("d")
items | string
none | string
1.0 | string
"42" | int
"42.7" | int
" 42 " | int
"x" | int
"x" | int(5)
"ff" | int(base=16)
"0x1f" | int(base=16)
"-3" | int
none | int
3.9 | int
-3.9 | int
true | int
"1_000" | int
"1.5" | float
"x" | float
"x" | float(2.5)
"1e3" | float
"inf" | float
3 | float
none | float
-5 | abs
-5.5 | abs
"a" | abs
3.7 | round
2.5 | round
3.5 | round
42 | round
2.675 | round(2)
3.14159 | round(3)
3.1 | round(method="ceil")
3.19 | round(1, "floor")
1234.5 | round(-2)
3.7 | round | int
text | wordcount
"it's a-b c_d é" | wordcount
"foo bar baz qux" | truncate(9)
"foo bar baz qux" | truncate(9, true)
"foo bar baz qux" | truncate(11)
"foo bar baz qux" | truncate(9, true, "…")
"foo bar baz qux" | truncate(7, leeway=0)
"ab" | center(6)
"ab" | center(7)
"abc" | center(6)
"a\nb\n\nc" | indent
"a\nb\n\nc" | indent(2, true)
"a\nb\n\nc" | indent(2, first=true, blank=true)
"a\nb\n" | indent("> ")
"" | indent(2, true)
html | escape
html | e
html | safe
html | striptags
"a b/c?é&=~" | urlencode
{"a b": "c d", "e": 1} | urlencode
"%s-%s" | format("a", 1)
"%(a)s" | format(a=5)
"%05.2f|%5d|%-5s|%x|%%|%+d|%r" | format(3.14159, 42, "ab", 255, 5, "q")
"%s" % "x"
"%s %s" % ("x", 1)
"%d%%" % 50
"%s" | format
"%s" % []
"%c%c" % (65, "b")
dict | attr("b")
text | attr("missing") is defined
tool | tojson
tool | tojson(indent=2)
tool | tojson(indent=4)
tool | tojson(separators=(",", ":"))
tool | tojson(ensure_ascii=true)
dict | tojson(sort_keys=true)
tool | tojson(sort_keys=true, indent=2, separators=(", ", ": "))
html | tojson
quotes | tojson
unicode | tojson
unicode | tojson(ensure_ascii=true)
"\x01\x7f\u2028" | tojson
[] | tojson(indent=2)
{} | tojson(indent=2)
[[], {}] | tojson(indent=1)
none | tojson
1.0 | tojson
1e20 | tojson
big | tojson
(1, 2) | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
missing | tojson
range | tojson
text | nofilter
text is notest
text.strip()
messy.strip()
messy.lstrip()
messy.rstrip()
"xxaxyx".strip("xy")
"abc".lstrip("a")
messy.split()
messy.split(" ")
"a,b,c".split(",")
"a,b,c".split(",", 1)
"a,b,c".split(",", maxsplit=1)
"a,b,c".rsplit(",", 1)
" a  b c ".split(none, 1)
" a  b c ".rsplit(none, 1)
"".split()
"".split(",")
"a".split("")
"abc</think>def</think>ghi".split("</think>")[-1]
"abc</think>def".split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
"a\nb\r\nc\n\nd\n".splitlines()
"a\nb\n".splitlines(true)
text.startswith("Hello")
text.endswith(("x", "World"))
text.startswith(("a", "b"))
text.startswith("W", 7)
text.startswith(1)
text.replace("o", "0")
text.replace("o", "0", 1)
text.upper()
text.lower()
"they're bill's".title()
"hELLO".capitalize()
"aBc".swapcase()
", ".join(words)
", ".join(items)
text.find("o")
text.rfind("o")
text.find("zz")
text.find("o", 5)
unicode.find("日")
text.index("W")
text.index("zz")
text.count("l")
"aaaa".count("aa")
"abc".count("")
"{} {}".format("a", 1)
"{1} {0} {x}".format("a", "b", x=5)
"{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}".format("a", "b", "c", 42, 3.14159, 1234567)
"{a[b]} {0!r} {{}}".format("q", a=dict)
"{}".format()
"12".isdigit()
"1.2".isdigit()
"".isdigit()
"ab".isalpha()
"日本".isalpha()
"a1".isalnum()
" \t".isspace()
"ABC".isupper()
"A1".isupper()
"abc".islower()
"1".islower()
"foobar".removeprefix("foo")
"foobar".removesuffix("bar")
"foobar".removeprefix("bar")
"42".zfill(5)
"-42".zfill(5)
"ab".ljust(5) ~ "|"
"ab".rjust(5, ".")
"ab".center(5, "*")
"ab".center(6, "*")
"a=b=c".partition("=")
"a=b=c".rpartition("=")
"abc".partition("=")
text.nomethod()
text.nomethod
text()
items.count(1)
items.index(2)
items.index(9)
(1, 2, 1).count(1)
1 is defined
missing is defined
missing is undefined
missing is not defined
dict.q is defined
nothing is none
nothing is not none
text is string
5 is string
5 is number
5.5 is number
true is number
5 is integer
true is integer
5.0 is integer
5.0 is float
true is boolean
1 is true
true is true
false is false
0 is false
dict is mapping
items is mapping
items is iterable
text is iterable
5 is iterable
missing is iterable
items is sequence
text is sequence
dict is sequence
5 is sequence
range is callable
text is callable
text.upper is callable
1 in [1] is defined
3 is odd
4 is even
4 is not odd
9 is divisibleby 3
9 is divisibleby(4)
1 is sameas 1
none is sameas none
true is sameas(1)
items is sameas items
"abc" is lower
"ABC" is upper
"upper" is filter
"nofilter" is filter
"odd" is test
1 is eq 1
1 is equalto(1.0)
1 is ne 2
1 is lt 2
2 is gt 1
2 is ge 2
2 is le 1
2 is in [1, 2]
3 is not in [1, 2]
"a" is in "abc"
"==" is test
missing is none
5 is defined and 6 is defined
5 is string or 6 is number
text is string and text | length > 5
(5 is string) | string
range(3) | list
range(1, 4) | list
range(10, 0, -3) | list
range(0) | list
range(5)[2]
range(1000000)
range(0, 1, 0)
dict(a=1, b=2)
dict(people[0], age=5).age
namespace(a=1).a
namespace().b is defined
namespace({"x": 2}).x
cycler("a", "b").next()
raise_exception("told you")
text.upper().lower().title()
(text | upper).lower()
text | upper | lower | length
-1 | abs
-5 | string | length
2 * 3 | string
[1, 2, 3] | map("string") | join("+")
items | length == 3
items | length > 2 and yes
"a" if items | length > 2 else "b"
{"a": {"b": {"c": 1}}}.a.b.c
{"a": 1}["a"]
[[1, 2], [3]][0][1]
"abc"[1]
("a", "b")[1]
"a" in ["a"] and "b" not in ["a"]
"a" not in "b" == true
dict | length + 1
(dict | length) + 1
text[:5] + "!"
text[zero:count]
"a" == "b" or "c" == "c"
1 == 1 and 2 == 2 and not 3 == 4
items | tojson | length
people[0].name[0]
people | map(attribute="name") | map("lower") | join(" & ")
people | selectattr("age", ">", 26) | sort(attribute="name") | map(attribute="name") | join
(people | first).name
people[-1]["city"]["name"]
[1, 2, 3][1:] | first
"x" * 0
"x" * -1
true and "yes" or "no"
missing == missing
missing == none
missing != none
missing < 1
missing | upper
missing | list
missing | tojson | length
nothing | upper
nothing | length
nothing.x
nothing.x.y
nothing["x"]
nothing[0] is defined
nothing[1:]
5[0]
text["upper"]()
text.0
1.5.x
1 +
(1
[1, 2
{"a" 1}
{a}
a b
"unterminated
1 if
is defined
| upper
x..y
x.
f(a=1, 2)
f(*items)
range(*[1, 4]) | list
dict(**{"a": 1})
1 is
not
items | sort(wrong=1)
text | replace("a")
text | trim(1, 2)
@
a & b
"""

# Rendered as they stand, line by line; `\n` is a line end.
STATEMENTS = r"""
{% for x in items %}{{ x }},{% endfor %}
{% for x in items %}{{ loop.index }}/{{ loop.length }}:{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for x in items %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }};{% endfor %}
{% for x in items %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}
{% for x in items %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}
{% for x in items %}{{ loop.cycle('odd', 'even') }} {% endfor %}
{% for x in [1,1,2,2,1] %}{{ loop.changed(x) }} {% endfor %}
{% for x in items %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}
{% for x in [] %}a{% else %}none{% endfor %}
{% for x in items if x > 1 %}{{ loop.index }}{{ x }}{{ loop.last }} {% endfor %}
{% for x in items if x > 9 %}{{ x }}{% else %}empty{% endfor %}
{% for k, v in dict.items() %}{{ k }}={{ v }};{% endfor %}
{% for k in dict %}{{ k }};{% endfor %}
{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for c in 'abc' %}{{ c }}.{% endfor %}
{% for x in missing %}a{% else %}b{% endfor %}
{% for x in nothing %}a{% endfor %}
{% for x in 5 %}a{% endfor %}
{% for x in 1, 2, 3 %}{{ x }}{% endfor %}
{% for x in items %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}
{% for x in items %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [1,2] %}{% for y in [1,2] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}
{% for x in [1,[2,[3]]] recursive %}{{ loop.depth }}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}
{% for x in items %}{{ loop(x) }}{% endfor %}
{% for x in range(3) %}{% set y = x %}{{ y }}{% endfor %}{{ y is defined }}
{% set y = 0 %}{% for x in items %}{% set y = y + x %}{{ y }} {% endfor %}{{ y }}
{% set ns = namespace(y=0) %}{% for x in items %}{% set ns.y = ns.y + x %}{% endfor %}{{ ns.y }}
{% set ns = namespace(found=false) %}{% for x in items %}{% if x == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}
{% set ns.y = 1 %}
{% set text.y = 1 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set a = 1, 2 %}{{ a }}
{% set a = 1 if no %}[{{ a }}]
{% set x %}a{{ count }}b{% endset %}{{ x }}{{ x | length }}
{% set x | upper %}abc{% endset %}{{ x }}
{% set x | replace('a', 'b') | upper %}abc{% endset %}{{ x }}
{% set x %}{% set y = 1 %}{% endset %}{{ y is defined }}
{% if yes %}a{% elif no %}b{% else %}c{% endif %}
{% if no %}a{% elif yes %}b{% else %}c{% endif %}
{% if no %}a{% elif no %}b{% else %}c{% endif %}
{% if missing %}a{% endif %}b
{% if yes %}{% set z = 1 %}{% endif %}{{ z }}
{% if items %}x{% endif %}{% if [] %}y{% endif %}{% if {} %}z{% endif %}{% if '' %}w{% endif %}{% if 0.0 %}v{% endif %}
{% macro f(a, b=2) %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=5, a=4) }}
{% macro f(a, b=a) %}[{{ a }}{{ b }}]{% endmacro %}{{ f(1) }}
{% macro f(a) %}[{{ a is defined }}]{% endmacro %}{{ f() }}
{% macro f(a) %}{{ a.x }}{% endmacro %}{{ f() }}
{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}
{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}body{% endcall %}
{% macro f() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) f() %}{{ a + b }}{% endcall %}
{% macro f() %}x{% endmacro %}{% call f() %}body{% endcall %}
{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}
{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}
{% macro f() %}{{ text }}{% set text = 'inner' %}{{ text }}{% endmacro %}{{ f() }}{{ text }}
{% macro f() %}{{ later }}{% endmacro %}{% set later = 'L' %}{{ f() }}
{% macro f() %}a{% endmacro %}{{ f.name }}{{ f() | upper }}
{% macro f() %}{{ x is defined }}{% endmacro %}{% for x in [1] %}{{ f() }}{% endfor %}
{% for x in [1,2] %}{% macro f() %}{{ x }}{% endmacro %}{{ f() }}{% endfor %}
{% filter upper %}abc{{ text }}{% endfilter %}
{% filter replace('a', 'b') | title %}abc a{% endfilter %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}
{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}
{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}
{% raw %}{{ x }}{% if %}{% endraw %}
{%- raw -%} {{ x }} {%- endraw -%} y
a {# comment {{ x }} #} b
a\n  {# comment #}\nb
  {% if yes %}\n  a\n  {% endif %}\nb\n
  {%- if yes -%}\n  a\n  {%- endif -%}\nb
  {%+ if yes %}a{% endif %}
{% if yes +%}\na{% endif %}
a {%- if yes %} b {% endif -%} c
a\n\n{% if yes %}\n\nb{% endif %}\n\nc
a  {{- text -}}  b
a \n {{ text }} \n b
  {{ text }}\n
{{ text }}\n\n
\t{% set x = 1 %}\n\t{{ x }}
x {% set y = 1 %}\ny
{% set y = 1 %} {% set z = 2 %}\nx
{# a #} {# b #}\nx
{#- a -#}\n x
a\r\nb{% if yes %}\r\nc{% endif %}
{% for x in items -%}\n  {{ x }}\n{%- endfor %}
{% for x in items %}\n{{ x }}\n{% endfor %}\nend
{%- for x in items -%}\n    {{- x -}}\n{%- endfor -%}
{{ '{{' }} {{ "%}" }} {{ {'a': {'b': 1}} }}
{{ '}}' }}
{% set x = {'a': {'b': 2}} %}{{ x.a.b }}
{% if 1 == 1 %}é🙂{% endif %}
{% print 1, 2 %}
{% generation %}abc{% endgeneration %}
{% generation %}\nabc\n{%- endgeneration %}\nd
{% generation %}{% set q = 1 %}{% endgeneration %}{{ q is defined }}
{% set x = [] %}{% set x = x + [1] %}{{ x }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}
{% set j = joiner('|') %}{% for x in items %}{{ j() }}{{ x }}{% endfor %}
{{ raise_exception('no ' ~ text) }}
{% set messages = items[1:] %}{% for m in messages %}{{ m }}{% endfor %}
{% for p in people %}{{ p.name }}{% if p.city and p.city.name is defined %}({{ p['city']['name'] }}){% endif %}{% endfor %}
{% for m in people | selectattr('age', 'gt', 30) %}{{ loop.index }}{{ m.name }}{% endfor %}
{% for g in people | groupby('age') %}{{ g.grouper }}:{{ g.list | length }};{% endfor %}
{% for age, ps in people | groupby('age') %}{{ age }}:{{ ps | map(attribute='name') | join(',') }};{% endfor %}
{% if %}{% endif %}
{% for %}{% endfor %}
{% for x items %}{% endfor %}
{% endif %}
{% if yes %}
{% for x in items %}{% endif %}
{% unknown %}
{% break %}
{% set 1 = 2 %}
{% set true = 2 %}
{% macro f(a=1, b) %}{% endmacro %}
{% call 5 %}{% endcall %}
{{ 1
{% if yes
{# open
{% raw %}open
{{ }}
{{ "a" ) }}
{{ (1] }}
"""

# Methods that change their object, which transformers' sandbox forbids and this interpreter allows.
MUTATIONS = r"""
{% set a = [1] %}{% set _ = a.append(2) %}{{ a }}
{% set a = [1] %}{% set b = a %}{% set _ = b.append(2) %}{{ a }}{{ _ }}
{% set a = [3, 1] %}{{ a.sort() }}{{ a }}{{ a.reverse() }}{{ a }}
{% set a = [1, 2, 3] %}{{ a.pop() }}{{ a.pop(0) }}{{ a }}
{% set a = [1] %}{{ a.insert(0, 5) }}{{ a.insert(-1, 6) }}{{ a.extend([7, 8]) }}{{ a }}
{% set a = [1, 2, 1] %}{{ a.remove(1) }}{{ a }}
{% set a = [1] %}{{ a.pop(5) }}
{% set d = {'a': 1} %}{{ d.update({'b': 2}) }}{{ d.update(c=3) }}{{ d }}
{% set d = {'a': 1, 'b': 2, 'c': 3} %}{{ d.pop('a') }}{{ d.pop('q', 0) }}{{ d }}{{ d.c }}
{% set d = {'a': 1} %}{{ d.setdefault('a', 5) }}{{ d.setdefault('b', 6) }}{{ d }}
{% set d = {'a': 1} %}{% set e = d.copy() %}{{ d.clear() }}{{ d }}{{ e }}
{% set d = {'a': 1} %}{{ d.pop('q') }}
{% set a = [] %}{% for x in items %}{% set _ = a.append(x * 2) %}{% endfor %}{{ a }}
{% set ns = namespace(l=[]) %}{% for x in items %}{% set _ = ns.l.append(x) %}{% endfor %}{{ ns.l | join }}
"""


def render(source, mutable=False):
    template = _compile_jinja_template(source)
    if mutable:
        env = template.environment
        env.is_safe_attribute = SandboxedEnvironment.is_safe_attribute.__get__(env)
    return template.render(**json.loads(json.dumps(VARIABLES)))


def row(source, mutable=False):
    try:
        return {"template": source, "text": render(source, mutable)}
    except Exception as error:  # whatever Python raises, the interpreter must refuse too
        return {"template": source, "error": type(error).__name__}


rows = [row("{{ " + line + " }}") for line in EXPRESSIONS.strip("\n").split("\n")]
unescape = lambda line: line.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")
rows += [row(unescape(line)) for line in STATEMENTS.strip("\n").split("\n")]
rows += [row(line, True) for line in MUTATIONS.strip("\n").split("\n")]
body = ",\n".join(json.dumps(one, ensure_ascii=False) for one in rows)
variables = json.dumps(VARIABLES, ensure_ascii=False)
path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(f'{{"variables": {variables},\n"rows": [\n{body}\n]}}\n')
