"""instructor: answers as Pydantic models, by a forced tool call, by a strict JSON schema and by JSON mode."""
from typing import Literal

import instructor
import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field


class Weather(BaseModel):
    """The weather that is asked for."""
    model_config = ConfigDict(extra="forbid")
    city: Literal["Paris", "Rome", "Oslo"]
    days: int = Field(ge=1, le=7)


MESSAGES = [{"role": "user", "content": "What is the weather in Paris?"}]


def client(url, mode):
    return instructor.from_openai(openai.OpenAI(base_url=url + "/v1", api_key="EMPTY", max_retries=0), mode=mode)


def ask(**more):
    return {"model": "fathom-demo", "messages": MESSAGES, "temperature": 0, "max_tokens": 200, "max_retries": 0, **more}


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA])
def test_model(url, mode):
    weather, completion = client(url, mode).chat.completions.create_with_completion(response_model=Weather, **ask())
    assert isinstance(weather, Weather) and completion.usage.completion_tokens > 5


def test_json_mode_is_an_object(url):
    """JSON mode promises an object and no more; what it holds is the model's affair."""
    answer = client(url, instructor.Mode.JSON).chat.completions.create(
        response_model=None, response_format={"type": "json_object"}, **ask(max_tokens=60))
    assert answer.choices[0].message.content.startswith("{")


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA])
def test_partial_models_end_in_the_whole_one(url, mode):
    whole = client(url, mode).chat.completions.create(response_model=Weather, **ask())
    partial = list(client(url, mode).chat.completions.create_partial(response_model=Weather, **ask()))
    assert len(partial) > 2 and partial[-1].model_dump() == whole.model_dump()
