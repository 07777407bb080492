"""Structured output: what is finished conforms, what cannot be promised is refused, hostile grammars cost little."""
import concurrent.futures
import json
import re
import time

import jsonschema
import pytest

from conftest import Server
from json_schemas import SCHEMAS

SAMPLES = 5


def generate(server, grammar, text="The answer as JSON:", **params):
    body = {"text": text, "sampling_params": {"max_new_tokens": 200, "temperature": 1, **grammar, **params}}
    status, answer = server.request("POST", "/generate", body)
    assert status == 200, (status, answer)
    return json.loads(answer)


def refused(server, grammar):
    status, answer = server.request("POST", "/generate", {"text": "x", "sampling_params": {"max_new_tokens": 8, **grammar}})
    assert status == 400, (status, answer[:300])
    return json.loads(answer)["error"]["message"]


def finished(answers):
    return [a["text"] for a in answers if a["meta_info"]["finish_reason"]["type"] == "stop"]


def test_every_schema_holds(demo):
    assert len(SCHEMAS) >= 150 and len({name for name, _ in SCHEMAS}) == len(SCHEMAS)

    def run(item):
        index, (name, schema) = item
        answers = generate(demo, {"json_schema": json.dumps(schema, ensure_ascii=False)}, n=SAMPLES, sampling_seed=index * 1000)
        validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        validator.check_schema(schema)
        texts = finished(answers)
        for text in texts:
            try:
                validator(schema).validate(json.loads(text))
            except (ValueError, jsonschema.ValidationError) as error:
                pytest.fail(f"{name}: {text!r}: {error}")
        return name, len(texts)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        counts = dict(pool.map(run, enumerate(SCHEMAS)))
    done = sum(counts.values())
    assert done >= 0.8 * SAMPLES * len(SCHEMAS), (done, [name for name, n in counts.items() if n == 0])


@pytest.mark.parametrize("grammar,full", [
    ({"regex": "(yes|no)"}, "(yes|no)"), ({"regex": "[0-9]{3}-[a-f]+!"}, "[0-9]{3}-[a-f]+!"), ({"regex": "^a?b$"}, "a?b"), ({"regex": "日(本|月)"}, "日(本|月)"),
    ({"ebnf": 'root ::= "a" digit{2,3} # two or three\ndigit ::= [0-9]'}, "a[0-9]{2,3}"),
    ({"ebnf": 'root ::= expr\nexpr ::= [0-9] | "(" expr "+" expr ")"'}, r"[0-9()+]+"),
    ({"ebnf": 'root ::= item | item "," root\nitem ::= [^,"\\n]{1,3}'}, '[^,"\n]+(,[^,"\n]+)*'),
])
def test_regex_and_ebnf(demo, grammar, full):
    texts = finished(generate(demo, grammar, n=4, sampling_seed=7))
    assert texts
    for text in texts:
        assert re.fullmatch(full, text), text


def test_structural_tags(demo):
    call = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["x"], "additionalProperties": False}
    old = {"type": "structural_tag", "structures": [{"begin": "<f=add>", "schema": call, "end": "</f>"}], "triggers": ["<f="]}
    for text in finished(generate(demo, {"structural_tag": json.dumps(old)}, n=3, sampling_seed=1)):
        for inner in re.findall(r"<f=(.*?)</f>", text, re.S):
            jsonschema.validate(json.loads(inner.removeprefix("add>")), call)
    new = {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": ["<f="], "at_least_one": True, "stop_after_first": True, "tags": [
        {"type": "tag", "begin": "<f=add>", "content": {"type": "json_schema", "json_schema": call}, "end": "</f>"}]}}
    texts = finished(generate(demo, {"structural_tag": json.dumps(new)}, n=3, sampling_seed=2))
    assert texts
    for text in texts:
        inner = re.fullmatch(r"<f=add>(.*)</f>", text, re.S)
        jsonschema.validate(json.loads(inner.group(1)), call)
    sequence = {"type": "structural_tag", "format": {"type": "sequence", "elements": [
        {"type": "const_string", "value": "A:"}, {"type": "regex", "pattern": "[0-9]{1,3}"},
        {"type": "or", "elements": [{"type": "const_string", "value": "x"}, {"type": "grammar", "grammar": 'root ::= "y"{2}'}]}]}}
    for text in finished(generate(demo, {"structural_tag": json.dumps(sequence)}, n=3)):
        assert re.fullmatch("A:[0-9]{1,3}(x|yy)", text), text


def test_openai_formats(demo):
    from openai import OpenAI
    client = OpenAI(base_url=demo.url + "/v1", api_key="x")
    messages = [{"role": "user", "content": "Give me JSON."}]
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["a"], "additionalProperties": False}
    strict = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": schema}}
    chat = client.chat.completions.create(model="m", messages=messages, response_format=strict, max_tokens=100, seed=1, logprobs=True, top_logprobs=3)
    assert chat.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(chat.choices[0].message.content), schema)
    assert all(token.logprob <= 0 for token in chat.choices[0].logprobs.content)
    parts = client.chat.completions.create(model="m", messages=messages, response_format=strict, max_tokens=100, seed=1, stream=True)
    assert "".join(p.choices[0].delta.content or "" for p in parts if p.choices) == chat.choices[0].message.content
    anything = client.chat.completions.create(model="m", messages=messages, response_format={"type": "json_object"}, max_tokens=60, seed=3)
    assert anything.choices[0].message.content.startswith("{")
    text = client.completions.create(model="m", prompt="x", max_tokens=50, seed=4, extra_body={"regex": "[ab]{3}"})
    assert re.fullmatch("[ab]{3}", text.choices[0].text)
    text = client.completions.create(model="m", prompt="x", max_tokens=50, seed=4, extra_body={"response_format": strict})
    jsonschema.validate(json.loads(text.choices[0].text), schema)


def test_end_of_grammar(demo):
    """The end token is sampled, counted and reported; it ends the output whatever else is asked for."""
    for more in [{}, {"ignore_eos": True}, {"min_new_tokens": 150}]:
        answer = generate(demo, {"regex": "ab"}, **more)
        meta = answer["meta_info"]
        assert answer["text"] == "ab" and meta["finish_reason"] == {"type": "stop", "matched": 1}, (more, answer)
        assert answer["output_ids"][-1] == 1 and meta["completion_tokens"] == len(answer["output_ids"])
    answer = generate(demo, {"regex": "[a-z]*"}, min_new_tokens=5, max_new_tokens=12)
    assert answer["meta_info"]["completion_tokens"] >= 5
    answer = generate(demo, {"regex": "abcdefgh"}, stop="d")
    assert answer["text"] == "abc" and answer["meta_info"]["finish_reason"]["matched"] == "d"
    answer = generate(demo, {"regex": "(cat|dog)"}, logit_bias={"1": 100}, repetition_penalty=2, frequency_penalty=2, top_k=1)
    assert answer["text"] in ("cat", "dog")


def test_listed_properties_are_all_there_are(demo):
    """Without a word on others; a schema that describes an object in several places stays open."""
    person = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}, "home": {"type": "object", "properties": {
        "city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}}, "required": ["name", "home"]}
    texts = finished(generate(demo, {"json_schema": json.dumps(person)}, n=8, sampling_seed=1))
    assert len(texts) >= 6
    for text in texts:
        assert set(json.loads(text)) == {"name", "home"} and set(json.loads(text)["home"]) == {"city"}
    # Still possible to satisfy, though each part names but one of the two.
    for schema in ({"allOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
                              {"type": "object", "properties": {"b": {"const": 2}}, "required": ["b"]}]},
                   {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a", "b"], "maxProperties": 2},
                   {"type": "object", "properties": {"a": {"const": 1}}, "anyOf": [{"required": ["b"]}, {"required": ["c"]}]}):
        for text in finished(generate(demo, {"json_schema": json.dumps(schema)}, n=4, sampling_seed=3)):
            jsonschema.validate(json.loads(text), schema)


FORCED = {"json_schema": json.dumps({"type": "object", "properties": {
    "the name of the city": {"enum": ["Paris", "Rome"]}, "the temperature there, in degrees": {"type": "integer", "minimum": -99, "maximum": 99},
    "what the sky looks like": {"const": "as on any other day in this part of the world"}},
    "required": ["the name of the city", "the temperature there, in degrees", "what the sky looks like"], "additionalProperties": False})}


def test_forced_text_is_not_sampled(demo):
    """What the grammar leaves no choice about takes no step of its own, and is tokenised as one text."""
    def passes():
        text = demo.request("GET", "/metrics")[1]
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("sglang:cuda_graph_passes_total{"))

    text = "There are seven days in a week, and this is said in every one of them."
    before = passes()
    answer = generate(demo, {"regex": text.replace(".", "[.]")})
    assert answer["text"] == text and answer["meta_info"]["finish_reason"] == {"type": "stop", "matched": 1}
    assert passes() - before <= 8 < 16 < answer["meta_info"]["completion_tokens"]
    # The last token of what is forced might grow with what follows, so the end is sampled.
    tokens = demo.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
    assert answer["output_ids"][:15] == tokens[:15]


def test_jumping_forward_changes_nothing(launch, demo):
    """Tokens are the same one by one (as under logprobs), in steps of few rows, and in a pool too small for all."""
    crowded = launch("--chunked-prefill-size", 8, "--max-total-tokens", 400, "--disable-radix-cache")
    for grammar in (FORCED, {"regex": "([0-9]{3} and then it goes on with the same words, )+"}):
        ask = {"n": 4, "sampling_seed": 5, "max_new_tokens": 90}
        ids = [a["output_ids"] for a in generate(demo, grammar, **ask)]
        single = demo.post("/generate", {"text": "The answer as JSON:", "return_logprob": True, "sampling_params": {"temperature": 1, **grammar, **ask}})
        assert [a["output_ids"] for a in single] == ids
        assert all(len(a["meta_info"]["output_token_logprobs"]) == len(a["output_ids"]) for a in single)
        assert [a["output_ids"] for a in generate(crowded, grammar, **ask)] == ids


def test_forced_text_ends_where_it_is_told_to(demo):
    text = "one two three four five six seven"
    whole = generate(demo, {"regex": text})["output_ids"]
    for n in range(1, len(whole)):
        answer = generate(demo, {"regex": text}, max_new_tokens=n)
        assert answer["output_ids"] == whole[:n] and answer["meta_info"]["finish_reason"] == {"type": "length", "length": n}
    answer = generate(demo, {"regex": text}, stop_token_ids=[whole[4]])
    end = whole.index(whole[4])
    assert answer["output_ids"] == whole[:end + 1] and answer["meta_info"]["finish_reason"] == {"type": "stop", "matched": whole[4]}
    answer = generate(demo, {"regex": text}, stop="four", frequency_penalty=1)
    assert answer["text"] == "one two three " and answer["meta_info"]["finish_reason"]["matched"] == "four"
    assert answer["meta_info"]["completion_tokens"] < len(whole) - 3


def test_neighbours_do_not_matter(demo):
    grammar = {"json_schema": json.dumps({"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}, "required": ["n", "s"]})}
    params = {"sampling_seed": 11, "max_new_tokens": 40}
    alone = generate(demo, grammar, **params)["output_ids"]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        noise = [pool.submit(generate, demo, {"regex": "[a-z ]{30}"}, sampling_seed=i) for i in range(6)]
        noise += [pool.submit(generate, demo, {}, sampling_seed=i, max_new_tokens=40) for i in range(6)]
        assert generate(demo, grammar, **params)["output_ids"] == alone
        assert all(n.result() for n in noise)


def test_retraction_keeps_the_grammar():
    """A pool too small for all: sequences are put back and computed again in the middle of their grammar."""
    server = Server("--max-total-tokens", 192, "--disable-radix-cache", "--schedule-conservativeness", 0.1)
    try:
        answers = generate(server, {"regex": "([0-9]{4}-){24}"}, n=8, sampling_seed=1, max_new_tokens=170)
        for answer in answers:
            assert re.fullmatch("([0-9]{4}-){24}", answer["text"]), answer
        assert sum(a["meta_info"]["num_retractions"] for a in answers) > 0
    finally:
        server.stop()


@pytest.mark.parametrize("schema,place", [
    ({"type": "object", "properties": {"a": {"not": {}}}}, "#/properties/a/not"), ({"items": {"uniqueItems": True}}, "#/items/uniqueItems"),
    ({"$defs": {"d": {"if": {}}}, "$ref": "#/$defs/d"}, "#/$defs/d/if"), ({"anyOf": [{"type": "string", "pattern": "(?<=a)b"}]}, "#/anyOf/0/pattern"),
    ({"properties": {"a": {"type": "string", "pattern": "*a"}}}, "#/properties/a/pattern"), ({"type": "string", "format": "fruit"}, "#/format"),
    ({"$ref": "#/$defs/none"}, "#/$ref"), ({"$ref": "https://example.com/s"}, "#/$ref"), ({"properties": {"a": {"type": "text"}}}, "#/properties/a"),
    ({"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 2}}, "required": ["a"]}, "#/properties/a"), ({"contains": {}}, "#/contains"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"), ({"properties": {"x/y": {"minLength": -1, "type": "string"}}}, "#/properties/x~1y"),
    ({"properties": []}, "#/properties"), ({"minProperties": 5}, "#/minProperties"), ({"multipleOf": 0}, "#/multipleOf"), (False, "true"), ([1], "object"),
])
def test_what_cannot_be_promised_is_refused(demo, schema, place):
    message = refused(demo, {"json_schema": json.dumps(schema)})
    assert message.startswith("Failed to compile json grammar: ") and place in message, message


@pytest.mark.parametrize("grammar,words", [
    ({"json_schema": "{"}, ["json", "EOF"]), ({"regex": "(a"}, ["regex", "unclosed"]), ({"regex": "a**{"}, ["regex"]), ({"regex": "(a)\\1"}, ["backreference"]),
    ({"ebnf": "root ::= x"}, ["ebnf", "line 1", "'x'"]), ({"ebnf": 'root ::= "a"\nb ::= *'}, ["line 2", "nothing to repeat"]), ({"ebnf": "start ::= \"a\""}, ["root"]),
    ({"ebnf": 'root ::= "a\n"'}, ["line 1", "not closed"]), ({"ebnf": 'root ::= "a" (="b")'}, ["look-ahead"]), ({"ebnf": "root ::= root"}, ["no output"]),
    ({"structural_tag": "{}"}, ["structural_tag", "format"]), ({"structural_tag": '{"format": {"type": "poem"}}'}, ["format.type", "poem"]),
    ({"structural_tag": '{"structures": [{"begin": "<a>", "schema": {"not": {}}, "end": ""}], "triggers": ["<a"]}'}, ["structures[0].schema", "#/not"]),
    ({"regex": "a", "ebnf": "b"}, ["Only one of json_schema, regex, ebnf, or structural_tag can be set."]), ({"regex": 5}, ["regex"]),
])
def test_errors_say_where(demo, grammar, words):
    message = refused(demo, grammar)
    assert all(word in message for word in words), message


def nested(n, inner):
    return {"type": "object", "properties": {"a": nested(n - 1, inner)}} if n else inner


HOSTILE = {
    "recursion without end": {"json_schema": json.dumps({"$ref": "#"})},
    "a circle of references": {"json_schema": json.dumps({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})},
    "recursion through allOf": {"json_schema": json.dumps({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}})},
    "allOf of anyOf": {"json_schema": json.dumps({"allOf": [{"anyOf": [{"properties": {f"p{i}": {}}}, {"properties": {f"q{i}": {}}}]} for i in range(40)]})},
    "allOf of patterns": {"json_schema": json.dumps({"allOf": [{"type": "string", "pattern": f".*a.{{{i}}}b.*"} for i in range(2, 30)]})},
    "100,000 values": {"json_schema": json.dumps({"enum": [f"value-{i}" for i in range(100000)]})},
    "100,000 numbers": {"json_schema": json.dumps({"enum": list(range(100000))})},
    "remainders": {"json_schema": json.dumps({"type": "integer", "multipleOf": 79190001})},
    "deep schema": {"json_schema": '{"items":' * 50000 + "{}" + "}" * 50000},
    "deep but valid": {"json_schema": json.dumps(nested(70, {"not": {}}))},
    "60,000 groups": {"regex": "(" * 60000 + "a" + ")" * 60000}, "60,000 groups in EBNF": {"ebnf": "root ::= " + "(" * 60000 + '"a"' + ")" * 60000},
    "lookbehind": {"regex": "(?<!a)b"}, "nothing to repeat": {"regex": "*a"}, "nothing to repeat in EBNF": {"ebnf": "root ::= +"},
    "a chain of rules": {"ebnf": "root ::= r0\n" + "\n".join(f'r{i} ::= r{i + 1} | "x"' for i in range(9000)) + '\nr9000 ::= "y"'},
    "doubling rules": {"ebnf": "root ::= r0\n" + "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(40)) + '\nr40 ::= "y"'},
    "long": {"regex": "a" * (1 << 21)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_grammars_are_refused(demo, name):
    refused(demo, HOSTILE[name])
    assert generate(demo, {}, max_new_tokens=1)["text"] is not None


@pytest.mark.parametrize("grammar", [
    {"json_schema": json.dumps({"type": "array", "items": {"type": "integer"}, "minItems": 10**9})}, {"json_schema": json.dumps({"type": "string", "minLength": 10**9})},
    {"json_schema": json.dumps({"type": "string", "pattern": "^(.*a.{12}){3}$"})}, {"regex": "((a{1,1000}){1,1000}){1,1000}"}, {"regex": "(\\p{L}{1,100}\\s?){1,100}"},
    {"regex": "(.*a.{15}b.*){3}"}, {"regex": "a" * 100000}, {"ebnf": 'root ::= root root root | root root | "a" | ""'}, {"ebnf": 'root ::= ("a"{1,100000}){1,100000}'},
    {"json_schema": json.dumps({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "required": ["x"]}}})},
])
def test_heavy_grammars_end(demo, grammar):
    """Valid, but costly: they answer or fail alone, and others go on."""
    status, text = demo.request("POST", "/generate", {"text": "x", "sampling_params": {"max_new_tokens": 24, **grammar}})
    assert status in (200, 400), text[:300]
    assert generate(demo, {}, max_new_tokens=1)["text"] is not None


def test_a_client_that_leaves_while_its_grammar_compiles(demo):
    import socket
    body = json.dumps({"text": "x", "sampling_params": {"json_schema": json.dumps({"anyOf": [
        {"type": "object", "properties": {f"p{i}": {"type": "integer"}}, "required": [f"p{i}"]} for i in range(2000)]})}}).encode()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", demo.port)) as s:
            s.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            time.sleep(0.01)
    assert finished([generate(demo, {"regex": "ok"})]) == ["ok"]


def test_backend_flags(tmp_path):
    off = Server("--grammar-backend", "none")
    try:
        assert "is not supported when the server is launched with --grammar-backend none" in refused(off, {"regex": "a"})
        assert generate(off, {}, max_new_tokens=1)
    finally:
        off.stop()
    schema = json.dumps({"type": "object", "properties": {"a": {"const": 1}, "b": {"const": [1, 2]}}, "required": ["a", "b"], "additionalProperties": False})
    compact = Server("--grammar-backend", "xgrammar", "--constrained-json-disable-any-whitespace")
    try:
        assert generate(compact, {"json_schema": schema})["text"] == '{"a": 1, "b": [1, 2]}'
    finally:
        compact.stop()
    spaced = Server("--constrained-json-whitespace-pattern", " {0,2}")
    try:
        assert re.fullmatch(r'[{} 1-2ab":,\[\]]+', generate(spaced, {"json_schema": schema})["text"])
    finally:
        spaced.stop()
