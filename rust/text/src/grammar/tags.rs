//! Structural tags: text in which marked places hold structure, in SGLang's old notation
//! ({"structures", "triggers"}) and in the new one ({"format": {"type": ...}}), to llguidance's Lark.

use super::schema::{self, Style};
use super::{ebnf, lark_regex, lark_string};
use serde_json::{Map, Value};
use std::fmt::Write;

const MOST_PARTS: usize = 5_000;
const MOST_DEPTH: usize = 50;

pub fn to_lark(text: &str, style: &Style) -> Result<String, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
    let mut writer = Writer { style, out: String::new(), parts: 0 };
    let start = match (value.get("format"), value.get("structures")) {
        (Some(format), _) => writer.format(format, "format", None, 0)?,
        (None, Some(_)) => writer.legacy(&value)?,
        (None, None) => return Err("a structural tag has 'format', or 'structures' and 'triggers'".into()),
    };
    Ok(format!("start: {start}\n{}", writer.out))
}

/// A begin, what it opens, and its end.
struct Tag<'a> {
    begin: &'a str,
    content: Content<'a>,
    end: &'a str,
    path: String,
}

enum Content<'a> {
    Schema(&'a Value),
    Format(&'a Value),
}

struct Writer<'a> {
    style: &'a Style,
    out: String,
    parts: usize,
}

fn text_of<'v>(object: &'v Value, name: &str, path: &str) -> Result<&'v str, String> {
    match object.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{path}.{name}: must be a string, got {other}")),
        None => Err(format!("{path}.{name}: is required")),
    }
}

fn list_of<'v>(object: &'v Value, name: &str, path: &str) -> Result<&'v [Value], String> {
    match object.get(name) {
        Some(Value::Array(items)) if !items.is_empty() => Ok(items),
        Some(Value::Array(_)) => Err(format!("{path}.{name}: must not be empty")),
        Some(other) => Err(format!("{path}.{name}: must be a list, got {other}")),
        None => Err(format!("{path}.{name}: is required")),
    }
}

fn flag_of(object: &Value, name: &str, path: &str) -> Result<bool, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(format!("{path}.{name}: must be true or false, got {other}")),
    }
}

fn only(object: &Value, names: &[&str], path: &str) -> Result<(), String> {
    let empty = Map::new();
    match object.as_object().unwrap_or(&empty).keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("{path}.{name}: is not supported")),
        None => Ok(()),
    }
}

impl<'a> Writer<'a> {
    fn define(&mut self, body: &str) -> Result<String, String> {
        self.name("", body, "t")
    }

    fn name(&mut self, attributes: &str, body: &str, prefix: &str) -> Result<String, String> {
        self.parts += 1;
        if self.parts > MOST_PARTS {
            return Err(format!("more than {MOST_PARTS} parts"));
        }
        let name = format!("{prefix}{}", self.parts);
        let _ = writeln!(self.out, "{name}{attributes}: {body}");
        Ok(name)
    }

    fn legacy(&mut self, value: &Value) -> Result<String, String> {
        let mut tags = Vec::new();
        for (i, item) in list_of(value, "structures", "structural_tag")?.iter().enumerate() {
            let path = format!("structures[{i}]");
            let content = item.get("schema").ok_or_else(|| format!("{path}.schema: is required"))?;
            tags.push(Tag {
                begin: text_of(item, "begin", &path)?,
                content: Content::Schema(content),
                end: text_of(item, "end", &path)?,
                path,
            });
        }
        let triggers = self.triggers(value, "structural_tag")?;
        self.triggered(&triggers, &tags, "structural_tag", None, (false, false), 0)
    }

    fn triggers<'v>(&self, value: &'v Value, path: &str) -> Result<Vec<&'v str>, String> {
        let mut triggers: Vec<&str> = Vec::new();
        for (i, item) in list_of(value, "triggers", path)?.iter().enumerate() {
            let trigger = item.as_str().filter(|t| !t.is_empty());
            let Some(trigger) = trigger else {
                return Err(format!("{path}.triggers[{i}]: must be a string that is not empty, got {item}"));
            };
            if let Some(other) = triggers.iter().find(|t| t.starts_with(trigger) || trigger.starts_with(**t)) {
                return Err(format!("{path}.triggers[{i}]: '{trigger}' and '{other}' begin alike"));
            }
            triggers.push(trigger);
        }
        Ok(triggers)
    }

    /// A format behind which `stop` follows, if given; `stop` is part of what is written. Free text
    /// ends where `stop` first occurs.
    fn format(&mut self, value: &Value, path: &str, stop: Option<&str>, depth: usize) -> Result<String, String> {
        if depth > MOST_DEPTH {
            return Err(format!("{path}: nested more than {MOST_DEPTH} deep"));
        }
        let body = match text_of(value, "type", path)? {
            "any_text" => {
                only(value, &["type"], path)?;
                return self.free_text(stop);
            }
            "triggered_tags" => {
                only(value, &["type", "triggers", "tags", "at_least_one", "stop_after_first"], path)?;
                let tags = self.tags(value, path)?;
                let triggers = self.triggers(value, path)?;
                let how = (flag_of(value, "at_least_one", path)?, flag_of(value, "stop_after_first", path)?);
                return self.triggered(&triggers, &tags, path, stop, how, depth);
            }
            "sequence" => {
                only(value, &["type", "elements"], path)?;
                let elements = list_of(value, "elements", path)?;
                let mut parts = Vec::new();
                for (i, element) in elements.iter().enumerate() {
                    let at = format!("{path}.elements[{i}]");
                    let last = i + 1 == elements.len();
                    // Free text before a fixed one ends there.
                    let next = elements.get(i + 1).and_then(|next| next.get("value")).and_then(Value::as_str);
                    if !last && is_free(element) && next.is_none() {
                        return Err(format!("{at}: free text must stand last or before a const_string"));
                    }
                    let swallowed = i > 0 && is_free(&elements[i - 1]);
                    let ends_at = if last { stop } else { next.filter(|_| is_free(element)) };
                    match (swallowed, ends_at) {
                        (true, Some(stop)) => parts.push(lark_string(stop)),
                        (true, None) => {}
                        (false, ends_at) => parts.push(self.format(element, &at, ends_at, depth + 1)?),
                    }
                }
                return self.define(&parts.join(" "));
            }
            "const_string" => {
                only(value, &["type", "value"], path)?;
                lark_string(text_of(value, "value", path)?)
            }
            "json_schema" => {
                only(value, &["type", "json_schema"], path)?;
                let schema = value.get("json_schema").ok_or_else(|| format!("{path}.json_schema: is required"))?;
                self.schema(schema, &format!("{path}.json_schema"))?
            }
            "regex" => {
                only(value, &["type", "pattern"], path)?;
                lark_regex(text_of(value, "pattern", path)?)?
            }
            "grammar" => {
                only(value, &["type", "grammar"], path)?;
                self.parts += 1;
                let prefix = format!("g{}", self.parts);
                let (rules, start) = ebnf::to_lark(text_of(value, "grammar", path)?, &prefix)
                    .map_err(|why| format!("{path}.grammar: {why}"))?;
                self.out.push_str(&rules);
                start
            }
            "or" => {
                only(value, &["type", "elements"], path)?;
                let mut options = Vec::new();
                for (i, element) in list_of(value, "elements", path)?.iter().enumerate() {
                    options.push(self.format(element, &format!("{path}.elements[{i}]"), stop, depth + 1)?);
                }
                return self.define(&options.join(" | "));
            }
            "tag" => {
                let tag = self.tag(value, path)?;
                self.tag_rule(&tag, "", depth)?
            }
            "tags_with_separator" => {
                only(value, &["type", "tags", "separator", "at_least_one", "stop_after_first"], path)?;
                let mut options = Vec::new();
                for tag in self.tags(value, path)? {
                    options.push(self.tag_rule(&tag, "", depth)?);
                }
                let tag = self.define(&options.join(" | "))?;
                let separator = lark_string(text_of(value, "separator", path)?);
                let mut body = tag.clone();
                if !flag_of(value, "stop_after_first", path)? {
                    let more = self.define(&format!("{separator} {tag}"))?;
                    body = self.define(&format!("{tag} {more}*"))?;
                }
                if flag_of(value, "at_least_one", path)? { body } else { format!("{body}?") }
            }
            other => return Err(format!("{path}.type: '{other}' is not supported")),
        };
        match stop {
            Some(stop) => self.define(&format!("{body} {}", lark_string(stop))),
            None => self.define(&body),
        }
    }

    fn schema(&mut self, schema: &Value, path: &str) -> Result<String, String> {
        let prepared = schema::prepare_value(schema.clone(), self.style).map_err(|why| format!("{path}: {why}"))?;
        self.define(&format!("%json {prepared}"))
    }

    fn tags<'v>(&self, value: &'v Value, path: &str) -> Result<Vec<Tag<'v>>, String> {
        let items = list_of(value, "tags", path)?.iter().enumerate();
        items.map(|(i, item)| self.tag(item, &format!("{path}.tags[{i}]"))).collect()
    }

    fn tag<'v>(&self, value: &'v Value, path: &str) -> Result<Tag<'v>, String> {
        only(value, &["type", "begin", "content", "end"], path)?;
        let content = value.get("content").ok_or_else(|| format!("{path}.content: is required"))?;
        Ok(Tag {
            begin: text_of(value, "begin", path)?,
            content: Content::Format(content),
            end: text_of(value, "end", path)?,
            path: path.into(),
        })
    }

    /// The tag behind `seen`, the part of its begin that has been written.
    fn tag_rule(&mut self, tag: &Tag, seen: &str, depth: usize) -> Result<String, String> {
        let begin = lark_string(&tag.begin[seen.len()..]);
        let content = match tag.content {
            Content::Schema(schema) => {
                let json = self.schema(schema, &format!("{}.schema", tag.path))?;
                format!("{json} {}", lark_string(tag.end))
            }
            Content::Format(format) => {
                let end = Some(tag.end).filter(|end| !end.is_empty());
                self.format(format, &format!("{}.content", tag.path), end, depth + 1)?
            }
        };
        self.define(&format!("{begin} {content}"))
    }

    fn triggered(
        &mut self,
        triggers: &[&str],
        tags: &[Tag],
        path: &str,
        stop: Option<&str>,
        (at_least_one, stop_after_first): (bool, bool),
        depth: usize,
    ) -> Result<String, String> {
        let mut behind_text = Vec::new();
        let mut used = vec![false; tags.len()];
        for trigger in triggers {
            let mut options = Vec::new();
            for (tag, used) in tags.iter().zip(&mut used) {
                if tag.begin.starts_with(trigger) {
                    *used = true;
                    options.push(self.tag_rule(tag, trigger, depth)?);
                }
            }
            if options.is_empty() {
                return Err(format!("{path}: no tag begins with the trigger '{trigger}'"));
            }
            let tag = self.define(&options.join(" | "))?;
            let text = self.text_until(trigger)?;
            behind_text.push(self.define(&format!("{text} {tag}"))?);
        }
        if let Some((tag, _)) = tags.iter().zip(used).find(|(_, used)| !used) {
            return Err(format!("{}.begin: '{}' begins with no trigger", tag.path, tag.begin));
        }
        let rest = self.free_text(stop)?;
        let text_tag = self.define(&behind_text.join(" | "))?;
        let stop = stop.map_or(String::new(), lark_string);
        let mut first = String::new();
        if at_least_one {
            let mut options = Vec::new();
            for tag in tags {
                options.push(self.tag_rule(tag, "", depth)?);
            }
            first = self.define(&options.join(" | "))?;
        }
        match (at_least_one, stop_after_first) {
            (false, false) => self.define(&format!("{text_tag}* {rest}")),
            (true, false) => self.define(&format!("{first} {text_tag}* {rest}")),
            (false, true) => self.define(&format!("{text_tag} {stop} | {rest}")),
            (true, true) => self.define(&format!("{first} {stop}")),
        }
    }

    fn text_until(&mut self, end: &str) -> Result<String, String> {
        // Without an attribute's suffix the text up to the end is one lexeme; lazy: the first one.
        let body = format!("/(?s:.*){}/", lark_escape(end));
        self.name("[lazy]", &body, "x")
    }

    fn free_text(&mut self, stop: Option<&str>) -> Result<String, String> {
        match stop {
            Some(stop) => self.text_until(stop),
            None => self.define("/(?s:.*)/"),
        }
    }
}

fn is_free(format: &Value) -> bool {
    matches!(format.get("type").and_then(Value::as_str), Some("any_text" | "triggered_tags"))
}

/// Text as a part of a regular expression between slashes.
fn lark_escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let _ = write!(out, "\\x{{{:x}}}", c as u32);
    }
    out
}
