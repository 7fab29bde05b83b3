"""Writes chat_template_models.json: what transformers renders from chat_template_models/*.jinja.

The templates have the shape of the well-known public ones (the wording of long prompts is our own).
Usage: python chat_template_models.py   (needs transformers)
"""
import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
# Noon in UTC: the same day nearly everywhere.
NOW = datetime.datetime(2025, 3, 7, 12)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = Clock

user = lambda content: {"role": "user", "content": content}
assistant = lambda content, **more: {"role": "assistant", "content": content, **more}
system = lambda content: {"role": "system", "content": content}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place, é & <b>",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": " City ", "required": True},
                "unit": {"type": "string", "enum": ["C", "F"], "description": "Unit"},
                "days": {"type": ["integer", "null"], "description": "How many days"},
                "tags": {"type": "array", "items": {"type": "string"}, "description": "Tags"},
                "limits": {"type": "object", "additionalProperties": {"type": "number"}, "description": "Limits"},
            },
            "required": ["city"],
        },
        "return": {"type": "number", "description": "Degrees"},
    },
}
NOOP = {
    "type": "function",
    "function": {"name": "noop", "description": "Nothing", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"id": "abcdef123", "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2, "exact": 1.0, "note": None}}}
SECOND = {"id": "abcdef124", "type": "function", "function": {"name": "noop", "arguments": {}}}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"t\": 7.5}"}

CONVERSATIONS = {
    "one turn": {"messages": [user("Hi")]},
    "system": {"messages": [system("Be brief."), user("2+2?")]},
    "turns": {"messages": [user(" Hello \n"), assistant("\n Hi there. "), user("Bye 🙂"), assistant("Ciao")]},
    "system and turns": {"messages": [system("S"), user("a"), assistant("b"), user("c")]},
    "empty": {"messages": [user(""), assistant("")]},
    "unicode": {"messages": [user("日本語 e\u0301 \u00a0x\r\n<|im_end|>"), assistant("ß\t\"q\" 'p' \\ ")]},
    "thinking": {"messages": [user("q"), assistant("<think>\nhm\n</think>\n\na"), user("r"), assistant("<think>x</think>y")]},
    "reasoning": {"messages": [user("q"), assistant("a", reasoning_content="why")]},
    "old reasoning": {"messages": [user("q"), assistant("a", thinking="why")]},
    "tools": {"messages": [user("Weather?")], "tools": [WEATHER, NOOP]},
    "tool call": {"messages": [system("T"), user("Weather?"), assistant("", tool_calls=[CALL]), RESULT], "tools": [WEATHER]},
    "null content": {"messages": [user("Weather?"), assistant(None, tool_calls=[CALL]), RESULT, assistant("7.5")], "tools": [NOOP]},
    "two calls": {"messages": [user("x"), assistant("ok", tool_calls=[CALL, SECOND]), RESULT, RESULT, assistant("y"), user("z")], "tools": [WEATHER, NOOP]},
    "text arguments": {"messages": [user("x"), {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}]},
    "parts": {"messages": [user([{"type": "image"}, {"type": "text", "text": " What is it? "}, {"type": "video"}]), assistant([{"type": "text", "text": "A cat"}])]},
    "bad order": {"messages": [assistant("a"), user("b")]},
    "no messages": {"messages": []},
    "documents": {"messages": [user("x")], "documents": [{"title": "T", "text": "one"}, {"title": "U", "text": "two"}], "controls": {"length": "short"}},
    "no thinking": {"messages": [system("/no_think Do."), user("x"), assistant("y")], "enable_thinking": False, "add_vision_id": True, "tools_in_user_message": False, "reasoning_effort": "high"},
    "builtin tools": {"messages": [user("x"), assistant("", tool_calls=[{"function": {"name": "search", "arguments": {"q": "a", "r": "b"}}}]), {"role": "ipython", "content": {"k": [1]}}], "builtin_tools": ["search", "code_interpreter"], "date_string": "1 Jan"},
}


def render(source, options, prompt):
    options = {"bos_token": "<s>", "eos_token": "</s>", **json.loads(json.dumps(options))}
    messages = options.pop("messages")
    mark = "generation %}" in source
    try:
        texts, ranges = chat_template_utils.render_jinja_template(
            [messages], chat_template=source, add_generation_prompt=prompt,
            return_assistant_tokens_mask=mark, **options)
    except Exception as error:
        return {"error": str(error)}
    if not mark:
        return {"text": texts[0]}
    # Python counts characters, the interpreter bytes.
    in_bytes = lambda place: len(texts[0][:place].encode())
    return {"text": texts[0], "ranges": [[in_bytes(a), in_bytes(b)] for a, b in ranges[0]]}


cases = []
for path in sorted((HERE / "chat_template_models").glob("*.jinja")):
    for index, (name, options) in enumerate(CONVERSATIONS.items()):
        prompt = index % 2 == 0
        cases.append({"model": path.stem, "conversation": name, "prompt": prompt,
                      **render(path.read_text(), options, prompt)})
lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
conversations = json.dumps(CONVERSATIONS, ensure_ascii=False)
(HERE / "chat_template_models.json").write_text(
    f'{{"now": {NOW.replace(tzinfo=datetime.timezone.utc).timestamp()},\n"conversations": {conversations},\n"cases": [\n{lines}\n]}}\n')
errors = sorted({case["error"] for case in cases if "error" in case})
print(len(cases), "cases,", sum("error" in c for c in cases), "errors:", *errors, sep="\n  ")
