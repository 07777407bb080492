//! EBNF as SGLang's users write it (GBNF's and XGrammar's notation) to llguidance's Lark.
//!
//! What is regular becomes one terminal, which llguidance matches exactly and fast; rules that refer
//! to themselves become Lark rules. Between terminals its lexer takes the longest match, so of an
//! ambiguous recursive grammar some sentences may not be offered; what is generated always matches.

use std::collections::HashMap;
use std::fmt::Write;

/// Groups in groups, and rules and groups along one path from the start. llguidance recurses so deep.
const MOST_GROUPS: usize = 100;
const MOST_DEPTH: usize = 500;
const MOST_RULES: usize = 10_000;
const MOST_REPEATS: u32 = 100_000;
/// Of a rule written out in full.
const MOST_WRITTEN_OUT: usize = 1_000_000;

enum Expr {
    Choice(Vec<Expr>),
    Sequence(Vec<Expr>),
    Repeat(Box<Expr>, u32, Option<u32>),
    Text(String),
    Class(String), // as a regular expression
    Rule(usize, String), // line of the reference
}

struct Rule {
    name: String,
    line: usize,
    body: Expr,
}

/// Lark definitions whose names begin with `prefix`; the name of the start symbol comes with them.
pub fn to_lark(source: &str, prefix: &str) -> Result<(String, String), String> {
    let rules = Parser::new(source).rules()?;
    Writer::new(&rules, prefix)?.write()
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    line: usize,
    depth: usize,
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

impl Parser {
    fn new(source: &str) -> Self {
        Parser { chars: source.chars().collect(), at: 0, line: 1, depth: 0 }
    }

    fn error<T>(&self, what: impl AsRef<str>) -> Result<T, String> {
        Err(format!("line {}: {}", self.line, what.as_ref()))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.next();
                }
            } else if c.is_whitespace() {
                self.next();
            } else {
                break;
            }
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let found = word.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        if found {
            self.at += word.len();
        }
        found
    }

    fn name(&mut self) -> String {
        let start = self.at;
        // A name may hold a dot, but the dot that stands for any character does not belong to it.
        while self.peek().is_some_and(is_name) {
            self.at += 1;
        }
        while self.at > start + 1 && self.chars[self.at - 1] == '.' {
            self.at -= 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn rules(mut self) -> Result<Vec<Rule>, String> {
        let mut rules: Vec<Rule> = Vec::new();
        self.skip();
        while let Some(c) = self.peek() {
            if !is_name_start(c) {
                return self.error(format!("expected a rule name, found {c:?}"));
            }
            let line = self.line;
            let name = self.name();
            self.skip();
            if !self.take("::=") {
                return self.error(format!("expected '::=' behind the rule name '{name}'"));
            }
            let body = self.choice()?;
            if rules.len() == MOST_RULES {
                return self.error(format!("more than {MOST_RULES} rules"));
            }
            rules.push(Rule { name, line, body });
            self.skip();
            if let Some(c) = self.peek().filter(|c| !is_name_start(*c)) {
                return self.error(format!("unexpected {c:?}"));
            }
        }
        Ok(rules)
    }

    fn choice(&mut self) -> Result<Expr, String> {
        let mut options = vec![self.sequence()?];
        while self.peek() == Some('|') {
            self.next();
            options.push(self.sequence()?);
        }
        Ok(if options.len() == 1 { options.remove(0) } else { Expr::Choice(options) })
    }

    /// Whether a name here begins the next rule.
    fn at_rule(&mut self) -> bool {
        let (at, line) = (self.at, self.line);
        self.name();
        self.skip();
        let begins = self.take("::=");
        (self.at, self.line) = (at, line);
        begins
    }

    fn sequence(&mut self) -> Result<Expr, String> {
        let mut parts = Vec::new();
        loop {
            self.skip();
            let part = match self.peek() {
                None | Some('|') | Some(')') => break,
                Some('"') => self.text()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.next();
                    Expr::Class("(?s:.)".into())
                }
                Some('(') => self.group()?,
                Some(c) if is_name_start(c) => {
                    if self.at_rule() {
                        break;
                    }
                    let line = self.line;
                    let name = self.name();
                    self.skip();
                    if self.peek() == Some('(') && matches!(name.as_str(), "TagDispatch" | "TokenTagDispatch" | "Token") {
                        return self.error(format!("{name}(...) is not supported"));
                    }
                    Expr::Rule(line, name)
                }
                Some(c @ ('*' | '+' | '?' | '{')) => {
                    return self.error(format!("the repetition {c:?} has nothing to repeat"));
                }
                Some(c) => return self.error(format!("unexpected {c:?}")),
            };
            let part = self.repeated(part)?;
            parts.push(part);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Sequence(parts) })
    }

    fn group(&mut self) -> Result<Expr, String> {
        let line = self.line;
        self.next();
        if self.peek() == Some('=') {
            return self.error("look-ahead (=...) is not supported");
        }
        self.depth += 1;
        if self.depth > MOST_GROUPS {
            return self.error(format!("groups are nested more than {MOST_GROUPS} deep"));
        }
        let inner = self.choice()?;
        self.depth -= 1;
        if self.next() != Some(')') {
            return Err(format!("line {line}: the group that opens here is not closed"));
        }
        Ok(inner)
    }

    /// `part` with the repetitions that stand behind it.
    fn repeated(&mut self, mut part: Expr) -> Result<Expr, String> {
        let mut repeats = 0;
        loop {
            self.skip();
            let (low, high) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    self.next();
                    let bounds = self.bounds()?;
                    self.at -= 1; // the closing brace is taken below
                    bounds
                }
                _ => return Ok(part),
            };
            self.next();
            repeats += 1;
            if repeats > MOST_GROUPS {
                return self.error("too many repetitions of repetitions");
            }
            part = Expr::Repeat(Box::new(part), low, high);
        }
    }

    fn bounds(&mut self) -> Result<(u32, Option<u32>), String> {
        self.skip();
        let low = self.number()?;
        self.skip();
        let mut high = low;
        if self.take(",") {
            self.skip();
            high = self.number()?;
            self.skip();
        } else if low.is_none() {
            return self.error("expected a number behind '{'");
        }
        if !self.take("}") {
            return self.error("expected '}' behind the bounds of a repetition");
        }
        let low = low.unwrap_or(0);
        if let Some(high) = high.filter(|high| *high < low) {
            return self.error(format!("repetition {{{low},{high}}}: the upper bound is the smaller one"));
        }
        Ok((low, high))
    }

    fn number(&mut self) -> Result<Option<u32>, String> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        if start == self.at {
            return Ok(None);
        }
        let digits: String = self.chars[start..self.at].iter().collect();
        match digits.parse::<u32>() {
            Ok(n) if n <= MOST_REPEATS => Ok(Some(n)),
            _ => self.error(format!("repetition of {digits}: at most {MOST_REPEATS} are allowed")),
        }
    }

    fn text(&mut self) -> Result<Expr, String> {
        let line = self.line;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err(format!("line {line}: the string that opens here is not closed")),
                Some('"') => return Ok(Expr::Text(text)),
                Some('\\') => match self.escape()? {
                    Escape::Char(c) => text.push(c),
                    Escape::Set(c) => return self.error(format!("\\{c} is not known inside a string")),
                },
                Some(c) => text.push(c),
            }
        }
    }

    fn class(&mut self) -> Result<Expr, String> {
        let line = self.line;
        self.next();
        let mut regex = String::from("[");
        if self.take("^") {
            regex.push('^');
        }
        let mut empty = true;
        loop {
            let low = match self.next() {
                None | Some('\n') => return Err(format!("line {line}: the class that opens here is not closed")),
                Some(']') if !empty => break,
                Some(']') => return self.error("empty character class"),
                Some('\\') => match self.escape()? {
                    Escape::Char(c) => c,
                    Escape::Set(c) => {
                        empty = false;
                        let _ = write!(regex, "\\{c}");
                        continue;
                    }
                },
                Some(c) => c,
            };
            empty = false;
            let mut high = low;
            if self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|c| *c != ']') {
                self.next();
                high = match self.next() {
                    Some('\\') => match self.escape()? {
                        Escape::Char(c) => c,
                        Escape::Set(c) => return self.error(format!("\\{c} cannot end a range")),
                    },
                    Some(c) => c,
                    None => continue,
                };
            }
            if high < low {
                return self.error(format!("range {low:?}-{high:?} is in the wrong order"));
            }
            let _ = write!(regex, "\\x{{{:x}}}-\\x{{{:x}}}", low as u32, high as u32);
        }
        regex.push(']');
        Ok(Expr::Class(regex))
    }

    /// Behind a backslash.
    fn escape(&mut self) -> Result<Escape, String> {
        let Some(c) = self.next() else {
            return self.error("a backslash at the end");
        };
        let digits = match c {
            'n' => return Ok(Escape::Char('\n')),
            't' => return Ok(Escape::Char('\t')),
            'r' => return Ok(Escape::Char('\r')),
            'b' => return Ok(Escape::Char('\u{8}')),
            'f' => return Ok(Escape::Char('\u{c}')),
            'v' => return Ok(Escape::Char('\u{b}')),
            '0' => return Ok(Escape::Char('\0')),
            'd' | 'w' | 's' | 'D' | 'W' | 'S' => return Ok(Escape::Set(c)),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            c if c.is_ascii_alphanumeric() => return self.error(format!("unknown escape \\{c}")),
            c => return Ok(Escape::Char(c)),
        };
        let mut code = 0u32;
        for _ in 0..digits {
            let Some(digit) = self.next().and_then(|c| c.to_digit(16)) else {
                return self.error(format!("\\{c} wants {digits} hexadecimal digits"));
            };
            code = (code << 4) | digit;
        }
        match char::from_u32(code) {
            Some(c) => Ok(Escape::Char(c)),
            None => self.error(format!("\\{c}{code:x} is not a character")),
        }
    }
}

enum Escape {
    Char(char),
    Set(char),
}

/// What a rule is, as far as known.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Unknown,
    Open, // being looked at: met again, it refers to itself
    Regular { size: usize },
    Recursive,
}

struct Writer<'a> {
    rules: &'a [Rule],
    index: HashMap<&'a str, usize>,
    kinds: Vec<Kind>,
    prefix: &'a str,
    parts: usize,
    out: String,
}

impl<'a> Writer<'a> {
    fn new(rules: &'a [Rule], prefix: &'a str) -> Result<Self, String> {
        let mut index = HashMap::new();
        for (i, rule) in rules.iter().enumerate() {
            if let Some(first) = index.insert(rule.name.as_str(), i) {
                let first: &Rule = &rules[first];
                return Err(format!("line {}: rule '{}' is defined in line {} too", rule.line, rule.name, first.line));
            }
        }
        if !index.contains_key("root") {
            return Err("line 1: the start rule 'root' is not defined".into());
        }
        let mut writer =
            Writer { rules, index, kinds: vec![Kind::Unknown; rules.len()], prefix, parts: 0, out: String::new() };
        // From the start first: depths are then those of llguidance's own walk.
        writer.classify(writer.index["root"], 0)?;
        for i in 0..rules.len() {
            writer.classify(i, 0)?;
        }
        Ok(writer)
    }

    fn classify(&mut self, i: usize, depth: usize) -> Result<Kind, String> {
        match self.kinds[i] {
            Kind::Unknown => {}
            Kind::Open => return Ok(Kind::Recursive),
            known => return Ok(known),
        }
        self.kinds[i] = Kind::Open;
        let rules = self.rules;
        self.kinds[i] = match self.written_out(&rules[i].body, depth + 1, rules[i].line)? {
            Some(size) => Kind::Regular { size },
            None => Kind::Recursive,
        };
        Ok(self.kinds[i])
    }

    /// The size of a regular expression written out in full; None if it meets a recursive rule.
    fn written_out(&mut self, expr: &'a Expr, depth: usize, line: usize) -> Result<Option<usize>, String> {
        if depth > MOST_DEPTH {
            return Err(format!("line {line}: rules and groups are nested more than {MOST_DEPTH} deep"));
        }
        let size = match expr {
            Expr::Choice(parts) | Expr::Sequence(parts) => {
                let mut sum = Some(1usize);
                for part in parts {
                    let size = self.written_out(part, depth + 1, line)?;
                    sum = sum.zip(size).map(|(sum, size)| sum + size);
                }
                sum
            }
            Expr::Repeat(inner, ..) => self.written_out(inner, depth + 1, line)?,
            Expr::Text(_) | Expr::Class(_) => Some(1),
            Expr::Rule(line, name) => {
                let Some(&i) = self.index.get(name.as_str()) else {
                    return Err(format!("line {line}: rule '{name}' is not defined"));
                };
                match self.classify(i, depth)? {
                    Kind::Regular { size } => Some(size),
                    _ => None,
                }
            }
        };
        if size.is_some_and(|size| size > MOST_WRITTEN_OUT) {
            return Err(format!("line {line}: written out, the rule has more than {MOST_WRITTEN_OUT} parts"));
        }
        Ok(size)
    }

    fn is_regular(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Choice(parts) | Expr::Sequence(parts) => parts.iter().all(|part| self.is_regular(part)),
            Expr::Repeat(inner, ..) => self.is_regular(inner),
            Expr::Text(_) | Expr::Class(_) => true,
            Expr::Rule(_, name) => matches!(self.kinds[self.index[name.as_str()]], Kind::Regular { .. }),
        }
    }

    fn name_of(&self, i: usize) -> String {
        match self.kinds[i] {
            Kind::Regular { .. } => format!("{}R{i}", self.prefix.to_uppercase()),
            _ => format!("{}r{i}", self.prefix),
        }
    }

    fn write(mut self) -> Result<(String, String), String> {
        let rules = self.rules;
        for (i, rule) in rules.iter().enumerate() {
            let regular = self.is_regular(&rule.body);
            let body = self.body(&rule.body, regular);
            let name = self.name_of(i);
            let _ = writeln!(self.out, "{name}: {body}");
        }
        let start = self.name_of(self.index["root"]);
        Ok((self.out, start))
    }

    /// The right side of a definition: terminals when `regular`.
    fn body(&mut self, expr: &'a Expr, regular: bool) -> String {
        match expr {
            Expr::Choice(options) => {
                let options: Vec<String> = options.iter().map(|option| self.atom(option, regular)).collect();
                options.join(" | ")
            }
            Expr::Sequence(parts) if parts.is_empty() => "\"\"".into(),
            Expr::Sequence(parts) => self.sequence(parts, regular),
            Expr::Repeat(_, _, Some(0)) => "\"\"".into(),
            Expr::Repeat(inner, low, high) => {
                let inner = self.atom(inner, regular);
                match (low, high) {
                    (0, None) => format!("{inner}*"),
                    (1, None) => format!("{inner}+"),
                    (0, Some(1)) => format!("{inner}?"),
                    (low, None) => format!("{inner}{{{low},}}"),
                    (low, Some(high)) => format!("{inner}{{{low},{high}}}"),
                }
            }
            _ => self.atom(expr, regular),
        }
    }

    /// Neighbours that are regular become one terminal, even inside a rule.
    fn sequence(&mut self, parts: &'a [Expr], regular: bool) -> String {
        let mut atoms = Vec::new();
        let mut i = 0;
        while i < parts.len() {
            let mut end = i + 1;
            if !regular && self.is_regular(&parts[i]) {
                while end < parts.len() && self.is_regular(&parts[end]) {
                    end += 1;
                }
            }
            if end - i > 1 {
                let body = self.sequence(&parts[i..end], true);
                atoms.push(self.define(body, true));
            } else {
                atoms.push(self.atom(&parts[i], regular));
            }
            i = end;
        }
        atoms.join(" ")
    }

    fn atom(&mut self, expr: &'a Expr, regular: bool) -> String {
        match expr {
            Expr::Text(text) => super::lark_string(text),
            Expr::Class(regex) => format!("/{regex}/"),
            Expr::Rule(_, name) => self.name_of(self.index[name.as_str()]),
            _ => {
                let regular = regular || self.is_regular(expr);
                let body = self.body(expr, regular);
                self.define(body, regular)
            }
        }
    }

    fn define(&mut self, body: String, regular: bool) -> String {
        self.parts += 1;
        let name = if regular {
            format!("{}P{}", self.prefix.to_uppercase(), self.parts)
        } else {
            format!("{}p{}", self.prefix, self.parts)
        };
        let _ = writeln!(self.out, "{name}: {body}");
        name
    }
}
