//! JSON schemas made ready for llguidance: what it would ignore or cannot promise is refused with its
//! path, its notation of options is added.

use regex_syntax::hir::HirKind;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const MOST_NODES: usize = 20_000;
/// Oneof options that are references are replaced by what they refer to, so often in all.
const MOST_INLINED: usize = 1_000;
/// llguidance keeps a state per remainder.
const MOST_MULTIPLE: f64 = 10_000.0;
/// Patterns, formats and lengths that bind one string: the cost of intersecting them is exponential.
const MOST_INTERSECTED: usize = 6;
const LOCATING_TAKES: Duration = Duration::from_millis(500);

/// How JSON is laid out.
pub struct Style {
    pub whitespace: String, // a regular expression; empty: up to 20 blanks of any kind
    pub compact: bool,      // ", " and ": " and nothing else
}

const OF_ONE: &[&str] = &["additionalProperties", "additionalItems", "items"];
const OF_MANY: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems", "items"];
const OF_NAMED: &[&str] = &["properties", "patternProperties", "$defs", "definitions"];
/// Keywords of any draft that constrain and that llguidance cannot enforce; keywords that are in no
/// list here are annotations.
const REFUSED: &[&str] = &[
    "not", "if", "then", "else", "dependencies", "dependentRequired", "dependentSchemas", "contains",
    "minContains", "maxContains", "propertyNames", "uniqueItems", "unevaluatedItems",
    "unevaluatedProperties", "$recursiveRef", "$dynamicRef", "$recursiveAnchor", "$dynamicAnchor",
];
const FORMATS: &[&str] = &[
    "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "unknown",
];

pub fn prepare(text: &str, style: &Style) -> Result<Value, String> {
    let root = match text.trim() {
        "$$ANY$$" => Value::Bool(true),
        text => serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?,
    };
    prepare_value(root, style)
}

pub fn prepare_value(mut root: Value, style: &Style) -> Result<Value, String> {
    match &root {
        Value::Bool(true) => root = Value::Object(Map::new()),
        Value::Object(_) => {}
        other => return Err(format!("#: a schema that allows anything is an object or true, got {other}")),
    }
    let whole = root.clone();
    let mut walk = Walk { root: &whole, nodes: 0, inlined: 0, open: Vec::new() };
    walk.check(&mut root, &mut Vec::new())?;
    if can_close(&root) {
        close(&mut root);
    }
    let intersected = Intersections { root: &root, of_references: HashMap::new() }.of(&root);
    if intersected > MOST_INTERSECTED {
        return Err(format!(
            "#: up to {intersected} patterns, formats and lengths apply to one string; at most {MOST_INTERSECTED} are allowed"
        ));
    }
    if let Value::Object(members) = &mut root {
        members.insert("x-guidance".into(), options(style));
    }
    Ok(root)
}

fn options(style: &Style) -> Value {
    // Without \u escapes every text has one spelling, so no key can be written twice in disguise.
    let mut options = serde_json::json!({"json_allowed_escapes": "nrbtf\\\"", "whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,20}"});
    if style.compact {
        options = serde_json::json!({"json_allowed_escapes": "nrbtf\\\"", "whitespace_flexible": false,
            "item_separator": ", ", "key_separator": ": "});
    } else if !style.whitespace.is_empty() {
        options["whitespace_pattern"] = style.whitespace.clone().into();
    }
    options
}

/// "#/properties/a": a JSON pointer.
fn pointer(path: &[String]) -> String {
    let mut out = String::from("#");
    for part in path {
        out.push('/');
        out.push_str(&part.replace('~', "~0").replace('/', "~1"));
    }
    out
}

struct Walk<'a> {
    root: &'a Value,
    nodes: usize,
    inlined: usize,
    open: Vec<String>, // references that the path here has been replaced along
}

impl Walk<'_> {
    fn check(&mut self, schema: &mut Value, path: &mut Vec<String>) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(format!("{}: the schema has more than {MOST_NODES} parts", pointer(path)));
        }
        let members = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(members) => members,
            other => return Err(format!("{}: a schema is an object or a boolean, got {other}", pointer(path))),
        };
        members.retain(|keyword, value| !is_idle(keyword, value));
        if let Some(keyword) = members.keys().find(|key| REFUSED.contains(&key.as_str())) {
            return Err(format!("{}/{keyword}: the keyword '{keyword}' is not supported", pointer(path)));
        }
        self.check_values(members, path)?;
        for (keyword, value) in members.iter_mut() {
            let keyword = keyword.as_str();
            path.push(keyword.into());
            match value {
                Value::Array(parts) if OF_MANY.contains(&keyword) => {
                    for (i, part) in parts.iter_mut().enumerate() {
                        path.push(i.to_string());
                        let open = self.open.len();
                        if keyword == "oneOf" {
                            self.inline(part);
                        }
                        self.check(part, path)?;
                        self.open.truncate(open);
                        path.pop();
                    }
                }
                Value::Object(parts) if OF_NAMED.contains(&keyword) => {
                    for (name, part) in parts.iter_mut() {
                        path.push(name.clone());
                        self.check(part, path)?;
                        path.pop();
                    }
                }
                value if OF_ONE.contains(&keyword) => self.check(value, path)?,
                value if OF_MANY.contains(&keyword) => {
                    return Err(format!("{}: must be a list of schemas, got {value}", pointer(path)));
                }
                value if OF_NAMED.contains(&keyword) => {
                    return Err(format!("{}: must be an object of schemas, got {value}", pointer(path)));
                }
                _ => {}
            }
            path.pop();
        }
        Ok(())
    }

    fn check_values(&mut self, members: &Map<String, Value>, path: &[String]) -> Result<(), String> {
        let at = |keyword: &str| format!("{}/{keyword}", pointer(path));
        if let Some(reference) = members.get("$ref") {
            let Some(text) = reference.as_str() else {
                return Err(format!("{}: must be a string, got {reference}", at("$ref")));
            };
            if text != "#" && !text.starts_with("#/") {
                return Err(format!("{}: '{text}' is not inside this schema; only #/... is supported", at("$ref")));
            }
            if text.contains(['~', '%']) {
                return Err(format!("{}: '{text}': escaped names (~0, ~1, %) are not supported", at("$ref")));
            }
            if text != "#" && text != "#/" && self.root.pointer(&text[1..]).is_none() {
                return Err(format!("{}: '{text}' is not defined", at("$ref")));
            }
        }
        if let Some(format) = members.get("format") {
            let only_text = match members.get("type") {
                None => true,
                Some(Value::Array(types)) => types.iter().any(|t| t == "string"),
                Some(t) => t == "string",
            };
            if only_text && !format.as_str().is_some_and(|f| FORMATS.contains(&f)) {
                let known = FORMATS[..FORMATS.len() - 1].join(", ");
                return Err(format!("{}: the format {format} is not supported; these are: {known}", at("format")));
            }
        }
        for keyword in ["const", "enum"] {
            if members.get(keyword).is_some_and(|value| has_control(value)) {
                return Err(format!("{}: control characters are not supported", at(keyword)));
            }
        }
        if let Some(pattern) = members.get("pattern").and_then(Value::as_str) {
            check_pattern(pattern).map_err(|why| format!("{}: {why}", at("pattern")))?;
        }
        if let Some(factor) = members.get("multipleOf") {
            let Some(mut size) = factor.as_f64().filter(|f| *f > 0.0) else {
                return Err(format!("{}: must be a number above 0, got {factor}", at("multipleOf")));
            };
            while size.fract() > 1e-9 && size < MOST_MULTIPLE {
                size *= 10.0;
            }
            if size > MOST_MULTIPLE {
                return Err(format!("{}: {factor} has more than {MOST_MULTIPLE} remainders", at("multipleOf")));
            }
        }
        // Freely named properties may repeat a name, which readers count once.
        let required = members.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
        if let Some(least) = members.get("minProperties").and_then(Value::as_u64).filter(|n| *n > required + 1) {
            return Err(format!(
                "{}: {least} cannot be guaranteed; at most one more than the required properties ({required})",
                at("minProperties")
            ));
        }
        Ok(())
    }

    /// llguidance proves options of oneOf exclusive only where it sees them.
    fn inline(&mut self, option: &mut Value) {
        while let Some(members) = option.as_object() {
            let Some(Value::String(reference)) = members.get("$ref") else { return };
            if members.len() > 1 || !reference.starts_with("#/") || self.inlined == MOST_INLINED {
                return;
            }
            let Some(target) = self.root.pointer(&reference[1..]) else { return };
            if self.open.contains(reference) {
                return;
            }
            self.inlined += 1;
            self.open.push(reference.clone());
            *option = target.clone();
        }
    }
}

/// Keywords that say which properties an object has.
const OF_OBJECTS: &[&str] =
    &["properties", "required", "additionalProperties", "patternProperties", "anyOf", "const", "enum", "minProperties"];

/// Whether objects may be closed one by one: no two parts of the schema describe the same object, and
/// no option has to differ from the others.
fn can_close(schema: &Value) -> bool {
    match schema {
        Value::Array(parts) => parts.iter().all(can_close),
        Value::Object(members) => {
            let joined = ["allOf", "oneOf"].iter().any(|key| members.contains_key(*key))
                || members.contains_key("$ref") && OF_OBJECTS.iter().any(|key| members.contains_key(*key));
            !joined && members.values().all(can_close)
        }
        _ => true,
    }
}

/// An object whose properties are listed gets these alone, unless the schema says what else it may have:
/// still valid, and a model that has said all stops. SGLang's grammar backends do the same.
fn close(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    let named = members.get("properties").and_then(Value::as_object).filter(|named| !named.is_empty());
    if let Some(named) = named {
        let says_more = OF_OBJECTS[2..].iter().any(|key| members.contains_key(*key));
        let required = members.get("required").and_then(Value::as_array);
        let all_named = required
            .is_none_or(|names| names.iter().all(|name| name.as_str().is_some_and(|name| named.contains_key(name))));
        if !says_more && all_named {
            members.insert("additionalProperties".into(), Value::Bool(false));
        }
    }
    let described = members.contains_key("properties");
    for (keyword, value) in members.iter_mut() {
        match (keyword.as_str(), value) {
            ("anyOf", _) if described => {} // they describe this object too
            (keyword, Value::Array(parts)) if OF_MANY.contains(&keyword) => parts.iter_mut().for_each(close),
            (keyword, Value::Object(parts)) if OF_NAMED.contains(&keyword) => parts.values_mut().for_each(close),
            (keyword, value) if OF_ONE.contains(&keyword) => close(value),
            _ => {}
        }
    }
}

/// Counts, never too few, how many regular expressions meet in one string.
struct Intersections<'a> {
    root: &'a Value,
    of_references: HashMap<&'a str, usize>,
}

impl<'a> Intersections<'a> {
    fn of(&mut self, schema: &'a Value) -> usize {
        let Some(members) = schema.as_object() else { return 0 };
        let mut met = usize::from(members.contains_key("minLength") || members.contains_key("maxLength"));
        let mut within = 0;
        for (keyword, value) in members {
            match (keyword.as_str(), value) {
                ("pattern" | "format", _) => met += 1,
                ("$ref", Value::String(reference)) => met += self.of_reference(reference),
                ("allOf", Value::Array(parts)) => met += parts.iter().map(|part| self.of(part)).sum::<usize>(),
                ("anyOf" | "oneOf", Value::Array(parts)) => {
                    met += parts.iter().map(|part| self.of(part)).max().unwrap_or(0);
                }
                ("$defs" | "definitions", _) => {}
                (name, Value::Array(parts)) if OF_MANY.contains(&name) => {
                    within = parts.iter().map(|part| self.of(part)).max().unwrap_or(0).max(within);
                }
                (name, Value::Object(parts)) if OF_NAMED.contains(&name) => {
                    within = parts.values().map(|part| self.of(part)).max().unwrap_or(0).max(within);
                }
                (name, value) if OF_ONE.contains(&name) => within = self.of(value).max(within),
                _ => {}
            }
        }
        met + within
    }

    fn of_reference(&mut self, reference: &'a str) -> usize {
        if let Some(known) = self.of_references.get(reference) {
            return *known;
        }
        self.of_references.insert(reference, 0); // around a cycle nothing is added
        let target = if reference.len() > 2 { self.root.pointer(&reference[1..]) } else { Some(self.root) };
        let met = target.map_or(0, |target| self.of(target));
        self.of_references.insert(reference, met);
        met
    }
}

/// Characters that JSON text can only hold as \u escapes, which options() rules out.
fn is_control(c: char) -> bool {
    (c < ' ' || c == '\u{7f}') && !matches!(c, '\n' | '\r' | '\t' | '\u{8}' | '\u{c}')
}

fn has_control(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(is_control),
        Value::Array(items) => items.iter().any(has_control),
        Value::Object(members) => members.values().any(has_control),
        _ => false,
    }
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    let syntax = regex_syntax::parse(&llguidance::regex_to_lark(pattern, "dw")).map_err(|e| e.to_string())?;
    let mut parts = vec![&syntax];
    while let Some(part) = parts.pop() {
        if let HirKind::Literal(literal) = part.kind() {
            if literal.0.iter().any(|byte| is_control(*byte as char)) {
                return Err("control characters are not supported".into());
            }
        }
        parts.extend(part.kind().subs());
    }
    Ok(())
}

/// Keywords in a form that constrains nothing, and our own notation, which is not for clients.
fn is_idle(keyword: &str, value: &Value) -> bool {
    match keyword {
        "uniqueItems" => *value == Value::Bool(false),
        "unevaluatedItems" | "unevaluatedProperties" | "propertyNames" => *value == Value::Bool(true),
        "dependencies" | "dependentRequired" | "dependentSchemas" => value.as_object().is_some_and(Map::is_empty),
        "x-guidance" => true,
        _ => false,
    }
}

/// The smallest part of `root` that fails by itself for the reason that the whole fails for, as a
/// JSON pointer. `compile` says why a schema does not compile.
pub fn locate(root: &Value, reason: &str, compile: impl Fn(Value) -> Option<String>) -> String {
    let deadline = Instant::now() + LOCATING_TAKES;
    let mut path = Vec::new();
    let mut here = root;
    'descend: loop {
        for (steps, child) in children(here) {
            if Instant::now() > deadline {
                break 'descend;
            }
            let Value::Object(members) = child else { continue };
            let mut alone = members.clone();
            for shared in ["$schema", "$defs", "definitions", "x-guidance"] {
                if let (false, Some(value)) = (alone.contains_key(shared), root.get(shared)) {
                    alone.insert(shared.into(), value.clone());
                }
            }
            if compile(Value::Object(alone)).is_some_and(|why| reason.contains(&why)) {
                path.extend(steps);
                here = child;
                continue 'descend;
            }
        }
        break;
    }
    pointer(&path)
}

fn children(schema: &Value) -> Vec<(Vec<String>, &Value)> {
    let mut found = Vec::new();
    let Some(members) = schema.as_object() else { return found };
    for (keyword, value) in members {
        let step = |name: String| vec![keyword.clone(), name];
        match value {
            Value::Array(parts) if OF_MANY.contains(&keyword.as_str()) => {
                found.extend(parts.iter().enumerate().map(|(i, part)| (step(i.to_string()), part)));
            }
            Value::Object(parts) if OF_NAMED.contains(&keyword.as_str()) => {
                found.extend(parts.iter().map(|(name, part)| (step(name.clone()), part)));
            }
            value if OF_ONE.contains(&keyword.as_str()) => found.push((vec![keyword.clone()], value)),
            _ => {}
        }
    }
    found
}
