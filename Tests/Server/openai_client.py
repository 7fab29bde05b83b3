"""Talks to a running server with the official openai client: python openai_client.py http://127.0.0.1:8000 [KEY]

Whatever the model: what comes back must hold together. Adapters, keys and lengths are taken from the server itself.
"""
import concurrent.futures
import json
import sys

import openai

BASE, KEY = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "none"
client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0)
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}]


def refused(status, code=None, param=None, **request):
    """What the client raises for a request, which must be the exception of that status."""
    request = {"model": MODEL, "messages": MESSAGES, "max_tokens": 4, **request}
    try:
        client.chat.completions.create(**request)
    except openai.APIStatusError as error:
        assert error.status_code == status, (error.status_code, error.body)
        assert error.type == "invalid_request_error" and error.message, error.body
        assert code is None or error.code == code, error.body
        assert param is None or error.param == param, error.body
        return error
    raise AssertionError(f"was answered: {request}")


def models():
    listed = client.models.list().data
    for model in listed:
        assert client.models.retrieve(model.id).id == model.id
    return listed


def chat():
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=12, temperature=0, seed=1)
    choice, usage = answer.choices[0], answer.usage
    assert answer.object == "chat.completion" and answer.model == MODEL and answer.id.startswith("chatcmpl-")
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens <= 12
    assert usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens
    return choice.message.content


def stream(expected):
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=12, temperature=0, seed=1, stream=True,
            stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == expected, (text, expected)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")
    assert chunks[-1].usage.completion_tokens <= 12 and not chunks[-1].choices


def choices_and_probabilities():
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=6, n=3, temperature=1, seed=3, logprobs=True, top_logprobs=4)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        entries = choice.logprobs.content
        assert len(entries) <= 6
        for entry in entries:
            assert entry.logprob <= 0 and len(entry.top_logprobs) == 4
            assert bytes(entry.bytes).decode(errors="replace") == entry.token
            falling = [top.logprob for top in entry.top_logprobs]
            assert falling == sorted(falling, reverse=True)
    again = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=6, n=3, temperature=1, seed=3, logprobs=True, top_logprobs=4)
    assert [c.message.content for c in again.choices] == [c.message.content for c in answer.choices]


def sampling():
    client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_completion_tokens=3, top_p=0.9, presence_penalty=0.5,
        frequency_penalty=0.5, logit_bias={"5": -100}, stop=["\n", "zzz"], user="someone",
        extra_body={"top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1})


def completions():
    answer = client.completions.create(model=MODEL, prompt=["One, two,", "A, B,"], max_tokens=5, n=2, logprobs=2, seed=1)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    for choice in answer.choices:
        lists = choice.logprobs
        assert len(lists.tokens) == len(lists.token_logprobs) == len(lists.top_logprobs) == len(lists.text_offset)
    pieces = list(client.completions.create(model=MODEL, prompt="One, two,", max_tokens=5, temperature=0, stream=True))
    whole = client.completions.create(model=MODEL, prompt="One, two,", max_tokens=5, temperature=0)
    assert "".join(p.choices[0].text for p in pieces) == whole.choices[0].text
    echoed = client.completions.create(model=MODEL, prompt="One, two,", max_tokens=1, echo=True)
    assert echoed.choices[0].text.startswith("One, two,")


def conversation_with_tools():
    tools = [{
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }]
    client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=tools, tool_choice="auto", max_tokens=4)
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    client.chat.completions.create(
        model=MODEL, max_tokens=4, tools=tools, tool_choice="none",
        messages=MESSAGES + [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "sunny"},
            {"role": "user", "content": [{"type": "text", "text": "Thanks."}]},
        ])


def constrained():
    schema = {
        "type": "object", "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "maximum": 9, "minimum": 0}},
        "required": ["ok", "n"], "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=60, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}})
    if answer.choices[0].finish_reason == "stop":
        value = json.loads(answer.choices[0].message.content)
        assert set(value) == {"ok", "n"} and isinstance(value["ok"], bool) and 0 <= value["n"] <= 9, value
    free = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=40, temperature=0, response_format={"type": "json_object"})
    assert free.choices[0].message.content.lstrip().startswith("{")
    if free.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(free.choices[0].message.content), dict)


def errors():
    refused(404, code="model_not_found", param="model", model="no-such-model")
    refused(400, param="temperature", temperature=3)
    refused(400, param="messages", messages=[])
    refused(400, param="top_p", top_p=0)
    long = "word " * (listed[0].max_model_len + 1)
    refused(400, code="context_length_exceeded", messages=[{"role": "user", "content": long}])
    refused(400, param="response_format", response_format={
        "type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}})
    if KEY != "none":
        try:
            openai.OpenAI(base_url=f"{BASE}/v1", api_key="wrong", max_retries=0).models.list()
            raise AssertionError("a wrong key was taken")
        except openai.AuthenticationError as error:
            assert error.code == "invalid_api_key"


def many_at_once():
    """Greedy answers do not depend on who else asks."""
    prompts = [f"Count from {i}:" for i in range(12)]

    def ask(prompt):
        return client.completions.create(model=MODEL, prompt=prompt, max_tokens=8, temperature=0).choices[0].text

    alone = [ask(prompt) for prompt in prompts]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert list(pool.map(ask, prompts)) == alone


listed = models()
for MODEL in [model.id for model in listed]:
    stream(chat())
    choices_and_probabilities()
    sampling()
    completions()
    conversation_with_tools()
    constrained()
    errors()
    many_at_once()
    print(f"openai {openai.__version__}: {MODEL} answers as it should")
