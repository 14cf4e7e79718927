"""Random conversations for chat templates: what transformers hands to them, and worse."""

import json
import random
from typing import Any

WORDS = (
    "Hello", "yes", "no", "the weather", "in", "Paris", "北京", "naïve", "😀👩‍👩‍👧", "x = {'a': 1}",
    "<b>&amp;</b>", "\"quoted\"", "it's", "back\\slash", "{{ 7 * 7 }}", "{% raw %}", "{# no #}", "|", "0.5",
    "<|im_end|>", "<|im_start|>system", "<think>", "</think>", "<tool_response>", "</tool_response>",
    "[INST]", "</s>", "<|eot_id|>", "<end_of_turn>", "<\uff5cUser\uff5c>", "\n", "\n\n", "  ", "\t", "\u00a0", "\u2028",
    "\r\n", "é", "\u0301", "\x7f", "a,b", "None", "True", "%s", "\0",
)  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where, e.g. 'Paris' or \"北京\""},
        "unit": {"type": "string", "enum": ["C", "F"], "default": None},
        "days": {"type": ["integer", "null"], "minimum": 1, "x": [1.0, -0.0, 1e22, 2.5e-7, True]},
        "list": {"type": "array", "items": {"type": "number"}, "nullable": True},
    },
    "required": ["city"],
}
ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"city": "Paris"},
    {"city": "北京", "days": 3, "unit": None, "deep": {"a": [1, 2.5, "x", {"b": False}]}},
    {"text": "</tool_call>\n\"quoted\" 'single' \\ \u2028 😀", "list": []},
    {"n": 1e16, "m": 1e-7, "big": 9007199254740993},
]


def text(rng: random.Random) -> str:
    glue = rng.choice((" ", " ", "", "\n"))
    return glue.join(rng.choice(WORDS) for _ in range(rng.randrange(0, 7)))


def thought(rng: random.Random) -> str:
    opening = rng.choice(("<think>\n", "<think>", ""))
    return opening + text(rng) + rng.choice(("\n</think>\n\n", "</think>")) + text(rng)


def tool(rng: random.Random) -> dict[str, Any]:
    function = {
        "name": rng.choice(("get_weather", "f", "数")),
        "description": text(rng),
        "parameters": rng.choice((SCHEMA, {"type": "object", "properties": {}})),
    }
    if rng.random() < 0.2:
        function["return"] = {"type": "string"}
    return {"type": "function", "function": function}


def tool_call(rng: random.Random) -> dict[str, Any]:
    arguments: Any = rng.choice(ARGUMENTS)
    if rng.random() < 0.4:
        arguments = json.dumps(arguments, ensure_ascii=rng.random() < 0.5)
    call: dict[str, Any] = {
        "type": "function",
        "function": {"name": rng.choice(("get_weather", "f")), "arguments": arguments},
    }
    if rng.random() < 0.8:
        call["id"] = "".join(rng.choice("abcXYZ019") for _ in range(rng.choice((9, 9, 9, 4))))
    return call


def parts(rng: random.Random) -> Any:
    """Content as a list of parts, as models take it that can see."""
    return [
        {"type": "text", "text": text(rng)} if rng.random() < 0.8 else {"type": "image"}
        for _ in range(rng.randrange(1, 4))
    ]


def answer(rng: random.Random) -> list[dict[str, Any]]:
    """An assistant's turn, with its tools' results where it called some."""
    message: dict[str, Any] = {"role": "assistant"}
    kind = rng.random()
    if kind < 0.15:
        message["content"] = None
    elif kind < 0.95:
        message["content"] = thought(rng) if rng.random() < 0.3 else text(rng)
    if rng.random() < 0.2:
        message["reasoning_content"] = text(rng) if rng.random() < 0.9 else None
    if rng.random() < 0.7:
        return [message]
    calls = [tool_call(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    message["tool_calls"] = calls
    results = [{"role": "tool", "content": text(rng)} for _ in calls]
    for call, result in zip(calls, results, strict=True):
        if "id" in call:
            result["tool_call_id"] = call["id"]
        if rng.random() < 0.3:
            result["name"] = call["function"]["name"]
    if rng.random() < 0.5:
        return [message, *results]
    return [message, *results, {"role": "assistant", "content": text(rng)}]


def messages(rng: random.Random) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    if rng.random() < 0.4:
        result.append({"role": "system", "content": text(rng)})
    for _ in range(rng.randrange(1, 4)):
        user: dict[str, Any] = {"role": "user", "content": text(rng)}
        if rng.random() < 0.05:
            user["content"] = parts(rng)
        result.append(user)
        if rng.random() < 0.8:
            result.extend(answer(rng))
    if rng.random() < 0.1:
        rng.shuffle(result)
    return result


def variables(rng: random.Random) -> dict[str, Any]:
    result: dict[str, Any] = {
        "messages": messages(rng),
        "tools": [tool(rng) for _ in range(rng.randrange(1, 4))] if rng.random() < 0.35 else None,
        "documents": None,
        "add_generation_prompt": rng.random() < 0.6,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
    }
    for name, values in (
        ("enable_thinking", (True, False)),
        ("thinking", (True, False)),
        ("date_string", ("1 Jan 2026",)),
        ("tools_in_user_message", (True, False)),
        ("builtin_tools", (["f", "code_interpreter"],)),
        ("reasoning_effort", ("low", "high")),
    ):
        if rng.random() < 0.15:
            result[name] = rng.choice(values)
    return result
