//! Chat templates: Jinja as transformers sets it up, with limits on work and output.

use crate::{bytes, deliver, handle, text, Buffer};
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};
use regex::Regex;
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::io;

/// Instructions, or 64 bytes of text made, each: about a second and a gigabyte at the very most.
const FUEL: u64 = 16_000_000;
const MOST_OUTPUT: usize = 64 << 20;
const MOST_DEPTH: usize = 200;
const NAME: &str = "chat_template";

pub struct Compiled {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

/// `{% generation %}` marks spans for training; it means nothing when rendering. A block tag takes its
/// place, so that blanks around it are trimmed as ever.
fn without_generation_tags(source: &str) -> String {
    let tag = |word: &str| Regex::new(&format!(r"\{{%([-+]?)\s*{word}\s*([-+]?)%\}}")).unwrap();
    let opened = tag("generation").replace_all(source, "{%$1 if true $2%}");
    tag("endgeneration").replace_all(&opened, "{%$1 endif $2%}").into_owned()
}

struct Dump {
    item: String,
    key: String,
    indent: Option<usize>,
    ascii: bool,
    sort: bool,
}

impl Dump {
    fn string(&self, value: &str, out: &mut String) {
        out.push('"');
        for c in value.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat(' ').take(indent * depth));
        }
    }

    fn value(&self, value: &Json, depth: usize, out: &mut String) {
        match value {
            Json::String(s) => self.string(s, out),
            Json::Array(items) if items.is_empty() => out.push_str("[]"),
            Json::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push_str(&self.item);
                    }
                    self.line(depth + 1, out);
                    self.value(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push(']');
            }
            Json::Object(map) if map.is_empty() => out.push_str("{}"),
            Json::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                if self.sort {
                    entries.sort_by(|a, b| a.0.cmp(b.0));
                }
                out.push('{');
                for (i, (key, item)) in entries.into_iter().enumerate() {
                    if i > 0 {
                        out.push_str(&self.item);
                    }
                    self.line(depth + 1, out);
                    self.string(key, out);
                    out.push_str(&self.key);
                    self.value(item, depth + 1, out);
                }
                self.line(depth, out);
                out.push('}');
            }
            Json::Number(n) => out.push_str(&python_number(n)),
            other => out.push_str(&other.to_string()),
        }
    }
}

fn python_number(n: &serde_json::Number) -> String {
    match n.as_f64() {
        Some(x) if n.is_f64() => python_float(x),
        _ => n.to_string(),
    }
}

/// Python writes 1e+30 and 1e-05 where Rust writes 1e30 and 1e-5; they change to exponents alike.
fn python_float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    let text = format!("{x:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |d| ("-", d));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// What Python's str() (or, inside containers, repr()) makes of a value.
fn python_text(value: &Value, nested: bool, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > MOST_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "a value is nested too deeply to print"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => out.push_str(&python_float(f64::try_from(value.clone())?)),
        ValueKind::String if nested => python_quoted(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                python_text(&item, true, depth + 1, out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                python_text(&key, true, depth + 1, out)?;
                out.push_str(": ");
                python_text(&value.get_item(&key)?, true, depth + 1, out)?;
            }
            out.push('}');
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
    if out.len() > MOST_OUTPUT {
        return Err(Error::new(ErrorKind::InvalidOperation, "the rendered text is too long"));
    }
    Ok(())
}

fn python_quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// The formatter of `{{ value }}`.
fn print(out: &mut Output, _state: &mut State, value: &Value) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return out.write_str(text).map_err(Error::from);
    }
    let mut text = String::new();
    python_text(value, false, 0, &mut text)?;
    out.write_str(&text).map_err(Error::from)
}

fn string_filter(value: Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value);
    }
    let mut text = String::new();
    python_text(&value, false, 0, &mut text)?;
    Ok(Value::from(text))
}

/// json.dumps with the arguments that templates use; unlike Jinja's own filter it escapes nothing for
/// HTML (as transformers does it).
fn tojson(value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let json = serde_json::to_value(&value)
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("tojson: {e}")))?;
    let indent = kwargs.get::<Option<usize>>("indent")?;
    let separators = kwargs.get::<Option<Vec<String>>>("separators")?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        _ if indent.is_some() => (",".into(), ": ".into()),
        _ => (", ".into(), ": ".into()),
    };
    let dump = Dump {
        item,
        key,
        indent,
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    dump.value(&json, 0, &mut out);
    Ok(Value::from_safe_string(out))
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: String) -> Result<Value, Error> {
    jiff::fmt::strtime::format(format.as_bytes(), &jiff::Zoned::now())
        .map(Value::from)
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {e}")))
}

/// Refuses to grow without end.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.0.len() + data.len() > MOST_OUTPUT {
            return Err(io::Error::other("the rendered text is too long"));
        }
        self.0.extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Compiled {
    fn compile(source: &str, bos: &str, eos: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = minijinja::syntax::SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|e| e.to_string())?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MOST_DEPTH);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(print);
        environment.add_filter("tojson", tojson);
        environment.add_filter("string", string_filter);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|e| format!("chat template: {}", describe(&e)))?;
        Ok(Compiled { environment, bos: bos.into(), eos: eos.into() })
    }

    fn render(&self, context: &[u8]) -> Result<Vec<u8>, String> {
        let mut context: Json = serde_json::from_slice(context).map_err(|e| format!("chat template context: {e}"))?;
        let variables = context.as_object_mut().ok_or("chat template context: not an object")?;
        for (name, value) in [("bos_token", &self.bos), ("eos_token", &self.eos)] {
            variables.entry(name).or_insert_with(|| Json::String(value.clone()));
        }
        let template = self.environment.get_template(NAME).map_err(|e| describe(&e))?;
        let mut out = Limited(Vec::new());
        template
            .render_captured_to(Value::from(Serde(&context)), &mut out)
            .map_err(|e| describe(&e))?;
        Ok(out.0)
    }
}

/// The message that the template raised, or minijinja's with its place.
fn describe(error: &Error) -> String {
    let detail = error.detail().map(str::to_owned).unwrap_or_else(|| error.kind().to_string());
    match error.line() {
        Some(line) => format!("{detail} (line {line} of the chat template)"),
        None => detail,
    }
}

#[no_mangle]
pub unsafe extern "C" fn ft_template_compile(
    source: *const u8,
    size: usize,
    bos: *const u8,
    bos_size: usize,
    eos: *const u8,
    eos_size: usize,
) -> *mut Compiled {
    handle(|| Compiled::compile(text(source, size)?, text(bos, bos_size)?, text(eos, eos_size)?))
}

#[no_mangle]
pub unsafe extern "C" fn ft_template_free(compiled: *mut Compiled) {
    if !compiled.is_null() {
        drop(Box::from_raw(compiled));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ft_template_render(
    compiled: *const Compiled,
    context: *const u8,
    size: usize,
    out: *mut Buffer,
) -> i32 {
    let compiled = &*compiled;
    deliver(out, || compiled.render(bytes(context, size)))
}
