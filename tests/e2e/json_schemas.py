"""Schemas for test_structured_output.py: what the JSON Schema vocabulary can say and a grammar can
promise, alone and combined. (name, schema) pairs; outputs are meant to be short."""


def obj(properties, required=None, **more):
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required,
            "additionalProperties": False, **more}


def arr(items, low=0, high=3, **more):
    return {"type": "array", "items": items, "minItems": low, "maxItems": high, **more}


INT, NUM, BOOL, NULL = {"type": "integer"}, {"type": "number"}, {"type": "boolean"}, {"type": "null"}
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
WORD = {"type": "string", "pattern": "^[a-z]{1,6}$"}
SHORT = {"type": "string", "maxLength": 8}


def scalars():
    yield "null", NULL
    yield "boolean", BOOL
    yield "integer", INT
    yield "number", NUM
    yield "short string", SHORT
    for low, high in [(0, 0), (0, 9), (-5, 5), (1, 100), (10, 12), (-100, -90), (99, 101), (0, 255), (1000, 99999), (-1, 0)]:
        yield f"integer {low}..{high}", {"type": "integer", "minimum": low, "maximum": high}
    for low, high in [(0, 1), (-1, 1), (0.5, 0.75), (10, 20), (-2.5, -1.5), (99.9, 100.1), (0, 0.001)]:
        yield f"number {low}..{high}", {"type": "number", "minimum": low, "maximum": high}
    yield "exclusive integer", {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 7}
    yield "exclusive number", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
    yield "exclusive and inclusive", {"type": "number", "minimum": 0, "exclusiveMaximum": 2}
    yield "at least", {"type": "integer", "minimum": 10}
    yield "at most", {"type": "integer", "maximum": -10}
    yield "draft 4 exclusive", {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 1, "maximum": 5,
                                "exclusiveMinimum": True}
    for factor in [2, 3, 5, 7, 10, 25, 100]:
        yield f"multiple of {factor}", {"type": "integer", "multipleOf": factor, "minimum": 0, "maximum": 10000}
    yield "multiple of a half", {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 100}
    yield "negative multiples", {"type": "integer", "multipleOf": 4, "minimum": -50, "maximum": 50}


def strings():
    for low, high in [(0, 0), (1, 1), (0, 3), (2, 4), (5, 5), (8, 12)]:
        yield f"length {low}..{high}", {"type": "string", "minLength": low, "maxLength": high}
    for pattern in ["^a*$", "^[a-z]+$", "^[A-Z][a-z]{2,5}$", "^(yes|no|maybe)$", "^\\d{3}-\\d{4}$", "^[^\"\\\\]{1,5}$", "^x?y+z{2}$", "abc", "^a.c$",
                    "^(ab|cd){1,3}$", "^[0-9a-f]{8}$", "^\\w{1,8}$", "^[\\u00e4\\u00f6\\u00fc]{2}$", "^\\$\\d+\\.\\d{2}$", "^https?://[a-z]{1,8}\\.com$",
                    "^(a|b(c|d(e|f)))$", "^\\s?[a-z]\\s?$", "^-?\\d+$", "^[a-z]{1,4}(-[a-z]{1,4}){0,2}$", "^\"q\"$", "^/[a-z]+/$", "^(?i)ok$"]:
        if pattern == "^(?i)ok$":
            pattern = "^[Oo][Kk]$"
        yield f"pattern {pattern}", {"type": "string", "pattern": pattern, "maxLength": 24}
    yield "pattern and length", {"type": "string", "pattern": "^[ab]*$", "minLength": 3, "maxLength": 5}
    for name in ["date", "time", "date-time", "email", "uuid", "ipv4", "ipv6", "uri", "hostname", "duration"]:
        yield f"format {name}", {"type": "string", "format": name}
    yield "format and length", {"type": "string", "format": "email", "maxLength": 20}


def choices():
    yield "const string", {"const": "only this"}
    yield "const escapes", {"const": "a\"b\\c\n\t/é€😀"}
    yield "const integer", {"const": 42}
    yield "const negative", {"const": -7}
    yield "const fraction", {"const": 1.5}
    yield "const null", {"const": None}
    yield "const true", {"const": True}
    yield "const list", {"const": [1, "a", None]}
    yield "const object", {"const": {"a": 1, "b": [True]}}
    yield "enum strings", {"enum": ["red", "green", "blue"]}
    yield "enum prefixes", {"enum": ["a", "ab", "abc", ""]}
    yield "enum mixed", {"enum": [1, "1", None, True, [1], {"a": 1}]}
    yield "enum integers", {"enum": [1, 2, 3, 5, 8, 13, 21]}
    yield "enum and type", {"type": "string", "enum": ["x", "y"]}
    yield "enum unicode", {"enum": ["日本", "中国", "한국", "naïve"]}
    yield "enum many", {"enum": [f"item-{i}" for i in range(200)]}
    yield "type list", {"type": ["integer", "null", "boolean"]}
    yield "anyOf scalars", {"anyOf": [DIGIT, BOOL, NULL]}
    yield "anyOf objects", {"anyOf": [obj({"a": DIGIT}), obj({"b": BOOL})]}
    yield "anyOf overlapping", {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 5}, {"type": "integer", "minimum": 3, "maximum": 9}]}
    yield "anyOf nested", {"anyOf": [{"anyOf": [NULL, BOOL]}, {"anyOf": [DIGIT]}]}
    yield "oneOf types", {"oneOf": [DIGIT, WORD, NULL]}
    yield "oneOf tagged", {"oneOf": [obj({"kind": {"const": k}, "value": DIGIT}) for k in ("a", "b", "c")]}
    yield "oneOf tagged references", {"oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
                                      "$defs": {"cat": obj({"kind": {"const": "cat"}, "lives": DIGIT}),
                                                "dog": obj({"kind": {"const": "dog"}, "good": BOOL})}}
    yield "allOf bounds", {"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 6}]}
    yield "allOf objects", {"allOf": [{"type": "object", "properties": {"a": DIGIT}, "required": ["a"]},
                                      {"type": "object", "properties": {"b": BOOL}, "required": ["b"]}],
                            "properties": {"a": {}, "b": {}}, "additionalProperties": False}
    yield "allOf with anyOf", {"allOf": [{"anyOf": [DIGIT, NULL]}, {"type": ["integer", "null"]}]}
    yield "anyOf with a sibling", {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
                                   "properties": {"a": DIGIT, "b": DIGIT}, "additionalProperties": False}
    yield "true inside", obj({"any": True})


def objects():
    yield "empty object", obj({})
    yield "one property", obj({"a": DIGIT})
    yield "two properties", obj({"a": DIGIT, "b": BOOL})
    yield "optional", obj({"a": DIGIT, "b": BOOL, "c": NULL}, [])
    yield "optional around required", obj({"a": DIGIT, "b": BOOL, "c": NULL}, ["b"])
    yield "many optional", obj({f"p{i}": DIGIT for i in range(12)}, [])
    yield "nested", obj({"a": obj({"b": obj({"c": obj({"d": BOOL})})})})
    yield "names to escape", obj({"a b": DIGIT, "quo\"te": DIGIT, "back\\slash": DIGIT, "é": DIGIT, "": DIGIT, "line\n": DIGIT})
    yield "required without schema", {"type": "object", "properties": {"a": DIGIT}, "required": ["a", "z"], "additionalProperties": BOOL, "maxProperties": 2}
    yield "additional booleans", {"type": "object", "additionalProperties": BOOL, "maxProperties": 3}
    yield "properties and additional", {"type": "object", "properties": {"a": DIGIT}, "required": ["a"], "additionalProperties": NULL, "maxProperties": 3}
    yield "at least one", obj({"a": DIGIT, "b": DIGIT}, [], minProperties=1)
    yield "at most one", obj({"a": DIGIT, "b": DIGIT}, [], maxProperties=1)
    yield "exactly one", obj({"a": DIGIT, "b": DIGIT, "c": DIGIT}, [], minProperties=1, maxProperties=1)
    yield "one free name", {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": DIGIT}
    yield "pattern names", {"type": "object", "patternProperties": {"^x[0-9]$": DIGIT}, "additionalProperties": False, "maxProperties": 2}
    yield "pattern and property", {"type": "object", "properties": {"name": WORD}, "required": ["name"], "patternProperties": {"^x_[a-z]$": BOOL},
                                   "additionalProperties": False, "maxProperties": 3}
    yield "two patterns", {"type": "object", "patternProperties": {"^a[0-9]$": DIGIT, "^b[0-9]$": BOOL}, "additionalProperties": False, "maxProperties": 2}
    yield "pattern binds a property", {"type": "object", "properties": {"x1": {"minimum": 3}}, "patternProperties": {"^x": DIGIT}, "required": ["x1"],
                                       "additionalProperties": False, "maxProperties": 1}
    yield "annotations", {"title": "T", "description": "D", "$comment": "c", "examples": [1], "default": 3, "readOnly": True, "deprecated": True, **DIGIT}
    yield "unknown words", {"x-order": 1, "nullable": False, **DIGIT}
    yield "unsatisfiable option", obj({"a": DIGIT, "b": False}, ["a"])
    yield "idle words", {"type": "array", "uniqueItems": False, "items": DIGIT, "maxItems": 2}


def arrays():
    yield "empty list", arr(DIGIT, 0, 0)
    yield "digits", arr(DIGIT)
    yield "exactly three", arr(DIGIT, 3, 3)
    yield "at least two", arr(BOOL, 2, 5)
    yield "of lists", arr(arr(DIGIT, 1, 2), 1, 2)
    yield "of objects", arr(obj({"id": DIGIT}), 1, 2)
    yield "of choices", arr({"enum": ["a", "b"]}, 1, 4)
    yield "tuple", {"type": "array", "prefixItems": [DIGIT, BOOL, NULL], "items": False, "minItems": 3}
    yield "open tuple", {"type": "array", "prefixItems": [DIGIT, BOOL], "items": NULL, "minItems": 2, "maxItems": 4}
    yield "short tuple", {"type": "array", "prefixItems": [DIGIT, BOOL, NULL], "items": False}
    yield "draft 7 tuple", {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [DIGIT, BOOL], "additionalItems": False,
                            "minItems": 2}
    yield "draft 2019 tuple", {"$schema": "https://json-schema.org/draft/2019-09/schema", "type": "array", "items": [DIGIT, BOOL],
                               "additionalItems": NULL, "minItems": 2, "maxItems": 3}
    yield "strings", arr(SHORT, 1, 2)
    yield "words", arr(WORD, 1, 3)
    yield "dates", arr({"type": "string", "format": "date"}, 1, 2)
    yield "mixed", arr({"type": ["integer", "boolean", "null"]}, 1, 3)
    yield "fifty", arr({"const": 0}, 50, 50)


def references():
    yield "definition", {"$ref": "#/$defs/d", "$defs": {"d": DIGIT}}
    yield "old definitions", {"$ref": "#/definitions/d", "definitions": {"d": DIGIT}}
    yield "reference with a sibling", obj({"a": {"$ref": "#/$defs/n", "maximum": 5}}, **{"$defs": {"n": {"type": "integer", "minimum": 0}}})
    yield "chain", {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/c"}, "c": BOOL}}
    yield "shared", obj({"x": {"$ref": "#/$defs/p"}, "y": {"$ref": "#/$defs/p"}}, **{"$defs": {"p": obj({"v": DIGIT})}})
    yield "into properties", obj({"a": DIGIT, "b": {"$ref": "#/properties/a"}})
    yield "list node", {"$ref": "#/$defs/node", "$defs": {"node": obj({"value": DIGIT, "next": {"anyOf": [NULL, {"$ref": "#/$defs/node"}]}})}}
    yield "tree", {"$ref": "#/$defs/tree", "$defs": {"tree": obj({"leaf": BOOL, "kids": arr({"$ref": "#/$defs/tree"}, 0, 2)})}}
    yield "root recursion", obj({"v": DIGIT, "more": {"anyOf": [NULL, {"$ref": "#"}]}})
    yield "expression", {"$ref": "#/$defs/e", "$defs": {"e": {"anyOf": [DIGIT, obj({"op": {"enum": ["+", "-"]}, "args": arr({"$ref": "#/$defs/e"}, 2, 2)})]}}}
    yield "mutual", {"$ref": "#/$defs/a", "$defs": {"a": obj({"b": {"anyOf": [NULL, {"$ref": "#/$defs/b"}]}}),
                                                    "b": obj({"a": {"anyOf": [NULL, {"$ref": "#/$defs/a"}]}})}}


def records():
    yield "person", obj({"name": WORD, "age": {"type": "integer", "minimum": 0, "maximum": 130}, "email": {"type": "string", "format": "email"}}, ["name", "age"])
    yield "address", obj({"street": SHORT, "zip": {"type": "string", "pattern": "^\\d{5}$"}, "country": {"enum": ["DE", "FR", "US"]}})
    yield "order", obj({"id": {"type": "string", "format": "uuid"}, "lines": arr(obj({"sku": WORD, "count": DIGIT}), 1, 2), "paid": BOOL})
    yield "weather call", obj({"name": {"const": "weather"}, "arguments": obj({"city": WORD, "unit": {"enum": ["celsius", "fahrenheit"]}}, ["city"])})
    yield "calls", arr({"anyOf": [obj({"name": {"const": n}, "parameters": obj({"x": DIGIT})}) for n in ("add", "mul")]}, 1, 2)
    yield "pydantic model", {"$defs": {"Color": {"enum": ["red", "blue"], "title": "Color", "type": "string"}},
                             "properties": {"color": {"$ref": "#/$defs/Color"}, "size": {"anyOf": [DIGIT, NULL], "default": None, "title": "Size"}},
                             "required": ["color"], "title": "Item", "type": "object", "additionalProperties": False}
    yield "answer", obj({"steps": arr(obj({"text": SHORT, "result": DIGIT}), 1, 2), "answer": INT})
    yield "boxes", arr(obj({"box": {"type": "array", "prefixItems": [NUM, NUM], "items": False, "minItems": 2}}), 1, 1)
    yield "version", {"type": "string", "pattern": "^v\\d{1,2}\\.\\d{1,2}\\.\\d{1,2}$"}
    yield "config", obj({"debug": BOOL, "level": {"enum": ["info", "warn"]}, "ports": arr({"type": "integer", "minimum": 1, "maximum": 65535}, 1, 2)})


SCHEMAS = [pair for part in (scalars, strings, choices, objects, arrays, references, records) for pair in part()]
