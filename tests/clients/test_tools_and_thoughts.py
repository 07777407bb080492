"""Tools and thoughts: the demo model calls a tool and answers from its result, through each API, streamed and not. The
server runs with --reasoning-parser auto --tool-call-parser auto."""
import json

import anthropic
import openai
import pytest

QUESTION = "What is the weather in Paris?"
DESCRIPTION = "Get the current weather in a city."
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
RESULT = json.dumps({"city": "Paris", "temperature": 21, "condition": "sunny"})


@pytest.fixture(scope="module")
def messages(url):
    return anthropic.Anthropic(base_url=url, api_key="EMPTY", max_retries=0).messages


@pytest.fixture(scope="module")
def client(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="EMPTY", max_retries=0)


def ask(history, **more):
    return {"model": "fathom-demo", "max_tokens": 400, "messages": history, "extra_body": {"temperature": 0},
            "tools": [{"name": "get_weather", "description": DESCRIPTION, "input_schema": PARAMETERS}], **more}


def test_messages_call_and_answer(messages):
    history = [{"role": "user", "content": QUESTION}]
    called = messages.create(**ask(history))
    assert called.stop_reason == "tool_use" and [block.type for block in called.content] == ["thinking", "tool_use"]
    call = called.content[-1]
    assert call.name == "get_weather" and call.input == {"city": "Paris"} and call.id.startswith("toolu_")
    history += [{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in called.content]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT}]}]
    answer = messages.create(**ask(history))
    assert answer.stop_reason == "end_turn" and "21" in answer.content[-1].text


def test_messages_stream_equals_whole(messages):
    whole = messages.create(**ask([{"role": "user", "content": QUESTION}]))
    with messages.stream(**ask([{"role": "user", "content": QUESTION}])) as stream:
        final = stream.get_final_message()
    shown = lambda message: [(block.type, getattr(block, "thinking", None), getattr(block, "input", None)) for block in message.content]
    assert shown(final) == shown(whole) and final.stop_reason == whole.stop_reason == "tool_use"


def test_messages_without_thoughts(messages):
    answer = messages.create(**ask([{"role": "user", "content": "Hello"}], thinking={"type": "disabled"}, tools=[]))
    assert [block.type for block in answer.content] == ["text"] and "<think>" not in answer.content[0].text


def test_messages_with_a_budget(messages):
    answer = messages.create(**ask([{"role": "user", "content": "Hello"}], max_tokens=2000, tools=[],
                                   thinking={"type": "enabled", "budget_tokens": 1024}))
    assert [block.type for block in answer.content] == ["thinking", "text"] and answer.content[0].thinking


def respond(items, **more):
    return {"model": "fathom-demo", "input": items, "temperature": 0,
            "tools": [{"type": "function", "name": "get_weather", "description": DESCRIPTION, "parameters": PARAMETERS, "strict": None}],
            **more}


def test_responses_call_and_answer(client):
    items = [{"role": "user", "content": QUESTION}]
    called = client.responses.create(**respond(items))
    assert called.status == "completed" and [item.type for item in called.output] == ["reasoning", "function_call"]
    assert called.usage.output_tokens_details.reasoning_tokens > 0
    call = called.output[-1]
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Paris"}
    items += [item.model_dump(exclude_none=True) for item in called.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": RESULT})
    answer = client.responses.create(**respond(items))
    assert "21" in answer.output_text


def test_responses_stream_equals_whole(client):
    whole = client.responses.create(**respond([{"role": "user", "content": QUESTION}]))
    events = list(client.responses.create(**respond([{"role": "user", "content": QUESTION}]), stream=True))
    arguments = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    thoughts = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
    assert arguments == whole.output[-1].arguments and thoughts == whole.output[0].content[0].text
    assert events[-1].type == "response.completed" and events[-1].response.output[-1].arguments == arguments
