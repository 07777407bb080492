"""Thoughts and tool calls of the demo model, through the unmodified OpenAI client."""
import json
import re

import openai
import pytest

QUESTION = [{"role": "user", "content": "Tom has 5 apples. He buys 7 more apples. How many apples does Tom have now?"}]
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the current weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
CALCULATOR = {"type": "function", "function": {
    "name": "calculator", "description": "Evaluate an arithmetic expression.",
    "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}}}
TOOLS = [WEATHER, CALCULATOR]
ASK_WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def client(parsing_demo):
    return openai.OpenAI(base_url=parsing_demo.url + "/v1", api_key="EMPTY")


def chat(client, messages, **more):
    return client.chat.completions.create(model="default", messages=messages, temperature=0, **more)


class Streamed:
    """A stream put together again, as clients do."""

    def __init__(self, stream):
        self.content, self.reasoning, self.calls, self.finish, self.usage = "", "", {}, None, None
        self.pieces = {"reasoning": 0, "arguments": 0}
        for chunk in stream:
            self.usage = chunk.usage or self.usage
            for choice in chunk.choices:
                delta = choice.delta
                self.finish = choice.finish_reason or self.finish
                self.content += delta.content or ""
                thought = getattr(delta, "reasoning_content", None)
                self.reasoning += thought or ""
                self.pieces["reasoning"] += bool(thought)
                for call in delta.tool_calls or []:
                    one = self.calls.setdefault(call.index, {"id": None, "name": "", "arguments": ""})
                    one["id"] = call.id or one["id"]
                    one["name"] += call.function.name or ""
                    one["arguments"] += call.function.arguments or ""
                    self.pieces["arguments"] += bool(call.function.arguments)


def test_thoughts_are_separated(client):
    answer = chat(client, QUESTION)
    message = answer.choices[0].message
    assert "12" in message.content and "think>" not in message.content
    assert message.reasoning_content and "think>" not in message.reasoning_content
    usage = answer.usage
    assert 0 < usage.reasoning_tokens < usage.completion_tokens
    assert usage.completion_tokens_details.reasoning_tokens == usage.reasoning_tokens
    streamed = Streamed(chat(client, QUESTION, stream=True, stream_options={"include_usage": True}))
    assert (streamed.content, streamed.reasoning) == (message.content, message.reasoning_content)
    cached = streamed.usage.prompt_tokens_details  # the second request finds the first one's prompt
    assert streamed.usage.model_copy(update={"prompt_tokens_details": usage.prompt_tokens_details}) == usage
    assert cached.cached_tokens > usage.prompt_tokens_details.cached_tokens
    assert streamed.finish == "stop" and streamed.pieces["reasoning"] > 3


def test_thoughts_in_one_piece_or_unseparated(client):
    message = chat(client, QUESTION).choices[0].message
    late = Streamed(chat(client, QUESTION, stream=True, extra_body={"stream_reasoning": False}))
    assert late.reasoning == message.reasoning_content and late.pieces["reasoning"] == 1
    raw = chat(client, QUESTION, extra_body={"separate_reasoning": False}).choices[0].message
    assert raw.content == message.reasoning_content + "</think>" + message.content
    assert raw.reasoning_content is None


@pytest.mark.parametrize("off", [{"reasoning_effort": "none"}, {"chat_template_kwargs": {"thinking": False}}])
def test_thinking_off(client, off):
    answer = chat(client, QUESTION, extra_body=off)
    assert "12" in answer.choices[0].message.content
    assert answer.choices[0].message.reasoning_content is None and answer.usage.reasoning_tokens == 0


def test_thinking_budget(client):
    free = chat(client, QUESTION)
    assert free.usage.reasoning_tokens > 6
    for budget in (0, 1, 5):
        answer = chat(client, QUESTION, extra_body={"custom_params": {"thinking_budget": budget}})
        assert answer.usage.reasoning_tokens == budget + 1  # the closing tag is a token
        assert answer.choices[0].message.content
        if budget:
            assert free.choices[0].message.reasoning_content.startswith(answer.choices[0].message.reasoning_content)


def test_thinking_budget_of_a_raw_prompt(parsing_demo):
    answer = parsing_demo.generate(text="<｜User｜>1+1?<｜Assistant｜><think>\n",
                             sampling_params={"temperature": 0, "max_new_tokens": 16, "custom_params": {"thinking_budget": 3}})
    before, tag, _ = answer["text"].partition("</think>")
    assert tag and len(parsing_demo.post("/tokenize", {"prompt": before, "add_special_tokens": False})["tokens"]) == 3


def test_stop_strings_do_not_end_thoughts(client):
    thoughts = chat(client, QUESTION).choices[0].message.reasoning_content
    cut = chat(client, QUESTION, stop=[thoughts.split()[0]])
    assert cut.choices[0].message.reasoning_content == thoughts


def test_tools_are_called_and_the_answer_uses_the_result(client):
    first = chat(client, ASK_WEATHER, tools=TOOLS)
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content == ""
    assert "get_weather" in choice.message.reasoning_content
    (call,) = choice.message.tool_calls
    assert call.id.startswith("call_") and call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}

    history = ASK_WEATHER + [choice.message.model_dump(exclude_none=True),
                             {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 21, "condition": "sunny"}'}]
    last = chat(client, history, tools=TOOLS).choices[0]
    assert last.finish_reason == "stop" and not last.message.tool_calls
    assert "21" in last.message.content and "sunny" in last.message.content
    assert last.message.reasoning_content is None
    streamed = Streamed(chat(client, history, tools=TOOLS, stream=True))
    assert streamed.content == last.message.content


def test_streamed_calls_are_the_same(client):
    whole = chat(client, ASK_WEATHER, tools=TOOLS).choices[0].message
    streamed = Streamed(chat(client, ASK_WEATHER, tools=TOOLS, stream=True))
    assert streamed.finish == "tool_calls" and streamed.content == ""
    assert streamed.reasoning == whole.reasoning_content
    (call,) = streamed.calls.values()
    assert call["name"] == "get_weather" and call["id"].startswith("call_")
    assert call["arguments"] == whole.tool_calls[0].function.arguments
    assert streamed.pieces["arguments"] > 1  # piece by piece


def test_two_calls_unless_one_is_wanted(client):
    ask = [{"role": "user", "content": "What is the weather in Paris and in Rome?"}]
    calls = chat(client, ask, tools=[WEATHER]).choices[0].message.tool_calls
    # The tiny model does not copy the second name on every CPU; that there are two calls is ours.
    assert [list(json.loads(c.function.arguments)) for c in calls] == [["city"], ["city"]]
    assert calls[0].id != calls[1].id
    one = chat(client, ask, tools=[WEATHER], parallel_tool_calls=False).choices[0]
    assert [c.function.arguments for c in one.message.tool_calls] == [calls[0].function.arguments]
    assert one.finish_reason == "tool_calls"


def test_tool_choice_none(client):
    message = chat(client, ASK_WEATHER, tools=TOOLS, tool_choice="none", max_tokens=64).choices[0].message
    assert not message.tool_calls


def test_unknown_tools_stay_in_the_text(client):
    renamed = {"type": "function", "function": dict(WEATHER["function"], name="forecast")}
    message = chat(client, ASK_WEATHER, tools=[renamed], max_tokens=64).choices[0].message
    # Whether the model takes the new name or not, nothing it says is lost.
    assert message.tool_calls or message.content


def test_cut_short_a_call_is_text(client):
    full = chat(client, ASK_WEATHER, tools=TOOLS)
    cut = chat(client, ASK_WEATHER, tools=TOOLS, max_tokens=full.usage.completion_tokens - 6).choices[0]
    assert cut.finish_reason == "length" and not cut.message.tool_calls
    assert "get_weather" in cut.message.content


def test_without_parsers_the_text_is_raw(demo):
    body = {"messages": ASK_WEATHER, "tools": TOOLS, "temperature": 0}
    message = demo.post("/v1/chat/completions", body)["choices"][0]["message"]
    assert "</think>" in message["content"] and "<｜tool▁call▁begin｜>" in message["content"]
    assert "reasoning_content" not in message and "tool_calls" not in message


def test_strict_thinking_and_stripped_cache(launch):
    server = launch("--random-seed", 1, "--reasoning-parser", "deepseek-r1", "--enable-strict-thinking",
                    "--strip-thinking-cache")
    body = {"messages": QUESTION, "temperature": 0, "logit_bias": {"1": 100.0}}  # the end token, at every step
    answer = server.post("/v1/chat/completions", {**body, "max_tokens": 8})
    assert answer["choices"][0]["finish_reason"] == "length"  # it cannot end inside its thoughts
    # Of an answer with thoughts only the prompt is cached: its continuation finds no more.
    first = server.post("/v1/chat/completions", {"messages": QUESTION, "temperature": 0, "max_tokens": 40, "return_token_ids": True,
                                                 "return_prompt_token_ids": True})
    prompt, made = first["choices"][0]["prompt_token_ids"], first["choices"][0]["token_ids"]
    again = server.generate(input_ids=prompt + made, sampling_params={"max_new_tokens": 1})
    assert again["meta_info"]["cached_tokens"] == len(prompt)


def test_default_template_arguments(launch):
    server = launch("--random-seed", 1, "--reasoning-parser", "deepseek-v3", "--default-chat-template-kwargs",
                    '{"thinking": false}')
    body = {"messages": QUESTION, "temperature": 0}
    assert server.post("/v1/chat/completions", body)["choices"][0]["message"]["reasoning_content"] is None
    body["chat_template_kwargs"] = {"thinking": True}
    assert server.post("/v1/chat/completions", body)["choices"][0]["message"]["reasoning_content"]


def forced(answer):
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls" and choice.message.tool_calls, choice
    return choice.message


def test_required_calls(client):
    # Small talk, for which the model would call nothing.
    messages = [{"role": "user", "content": "Who are you?"}]
    assert not chat(client, messages, tools=TOOLS).choices[0].message.tool_calls
    message = forced(chat(client, messages, tools=TOOLS, tool_choice="required", parallel_tool_calls=False))
    assert message.reasoning_content and message.content == ""
    (call,) = message.tool_calls
    wanted = {"get_weather": "city", "calculator": "expression"}[call.function.name]
    assert isinstance(json.loads(call.function.arguments)[wanted], str)
    streamed = Streamed(chat(client, messages, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, stream=True))
    assert streamed.finish == "tool_calls" and streamed.reasoning == message.reasoning_content
    assert streamed.calls[0]["arguments"] == call.function.arguments


def test_a_named_tool_is_called(client):
    message = forced(chat(client, ASK_WEATHER, tools=TOOLS,
                          tool_choice={"type": "function", "function": {"name": "calculator"}}))
    (call,) = message.tool_calls
    assert call.function.name == "calculator" and "expression" in json.loads(call.function.arguments)


def test_strict_tools_follow_their_schema(client):
    strict = {"type": "function", "function": dict(
        WEATHER["function"], strict=True,
        parameters={"type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
                    "required": ["city"], "additionalProperties": False})}
    (call,) = forced(chat(client, ASK_WEATHER, tools=[strict])).tool_calls
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Oslo")  # though it was asked for Paris


def test_an_answer_does_not_end_before_its_call(client):
    ask = [{"role": "user", "content": "Who are you?"}]
    for seed in range(12):  # at random some thoughts would end with the answer
        answer = client.chat.completions.create(model="default", messages=ask, tools=TOOLS, tool_choice="required",
                                                temperature=1.5, seed=seed, max_tokens=40)
        assert answer.choices[0].finish_reason in ("tool_calls", "length"), answer


def test_grammars_wait_for_the_thoughts_of_raw_prompts(parsing_demo):
    body = {"text": "<｜User｜>1+1?<｜Assistant｜><think>\n", "require_reasoning": True,
            "sampling_params": {"temperature": 0, "max_new_tokens": 40, "regex": "[0-9]{3}", "custom_params": {"thinking_budget": 8}}}
    answer = parsing_demo.generate(**body)
    assert re.fullmatch("(?s).*[^0-9].*</think>[0-9]{3}", answer["text"]), answer
    assert answer["meta_info"]["finish_reason"]["type"] == "stop"
    body["require_reasoning"] = False
    assert re.fullmatch("[0-9]{3}", parsing_demo.generate(**body)["text"])


def test_forced_calls_need_no_parser(demo):
    body = {"messages": ASK_WEATHER, "tools": TOOLS, "temperature": 0, "tool_choice": "required"}
    choice = demo.post("/v1/chat/completions", body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])["city"] == "Paris"


def test_forced_calls_exclude_other_grammars(client):
    with pytest.raises(openai.BadRequestError, match="response_format"):
        chat(client, ASK_WEATHER, tools=TOOLS, tool_choice="required", response_format={"type": "json_object"})


def test_thoughts_are_free_of_grammars(client):
    answer = chat(client, QUESTION, response_format={"type": "json_object"}, max_tokens=200)
    message = answer.choices[0].message
    assert message.reasoning_content
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(message.content), dict)
