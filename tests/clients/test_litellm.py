"""litellm: as an OpenAI-compatible server, as Anthropic's, and as a hosted vLLM."""
import litellm
import pytest

litellm.telemetry = False


@pytest.mark.parametrize("provider, base", [("openai", "/v1"), ("hosted_vllm", "/v1"), ("anthropic", "")])
def test_chat(url, question, provider, base):
    call = {"model": f"{provider}/fathom-demo", "api_base": url + base, "api_key": "EMPTY", "temperature": 0, "max_tokens": 200,
            "messages": [{"role": "user", "content": question}], "num_retries": 0}
    whole = litellm.completion(**call)
    assert "12" in whole.choices[0].message.content and whole.choices[0].finish_reason == "stop"
    chunks = list(litellm.completion(**call, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content


def test_text_completion(url):
    answer = litellm.text_completion(model="text-completion-openai/fathom-demo", api_base=url + "/v1", api_key="EMPTY",
                                     prompt="1 2 3", max_tokens=4, temperature=0)
    assert answer.usage.completion_tokens <= 4 and answer.choices[0].text
