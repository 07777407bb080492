//! Constrained output: which tokens may come next under a JSON schema, a regular expression, an EBNF
//! grammar or a structural tag (llguidance).

mod ebnf;
mod schema;
mod tags;

use crate::tokenizer::Loaded;
use crate::{deliver, guarded, handle, text, Buffer};
use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use schema::Style;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokenizers::Tokenizer;

const MOST_BYTES: usize = 1 << 20;
const MOST_FORCED_BYTES: usize = 1024;
/// Compilation recurses along the nesting of a schema or grammar, both of which are bounded.
const STACK_BYTES: usize = 64 << 20;
const MOST_COMPILING: usize = 8;

/// Bounds of one grammar's work: compilation, one mask, memory of its lexer (1 to 2 KB per state).
fn limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_items_in_row: 2_000,
        max_lexer_states: 50_000,
        max_grammar_size: 500_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}

struct Vocabulary {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }
    /// Tokens of text that the grammar forces: its beginning will do when it is long, as this happens
    /// again at every token. The tokens before the cut are not trusted.
    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let cut = bytes.len() > MOST_FORCED_BYTES;
        let bytes = if cut { &bytes[..MOST_FORCED_BYTES] } else { bytes };
        let mut tokens =
            self.trie.tokenize_with_greedy_fallback(bytes, |text| match self.tokenizer.encode_fast(text, false) {
                Ok(encoding) => encoding.get_ids().to_vec(),
                Err(_) => self.trie.greedy_tokenize(text.as_bytes()),
            });
        if cut {
            tokens.truncate(tokens.len().saturating_sub(16).max(1));
        }
        tokens
    }
}

/// A vocabulary made ready; grammars are compiled against it. Any thread.
pub struct Environment {
    factory: ParserFactory,
    style: Style,
    most_time: Duration,
}

impl Environment {
    fn new(tokenizer: &Loaded, vocab_size: u32, eos: &[u32], style: Style, most_time: Duration) -> Result<Self, String> {
        if eos.is_empty() {
            return Err("the model has no end-of-sequence token".into());
        }
        if let Some(id) = eos.iter().find(|id| **id >= vocab_size) {
            return Err(format!("end-of-sequence token {id} is outside [0, {vocab_size})"));
        }
        let mut words = vec![Vec::new(); vocab_size as usize];
        for (id, bytes, special) in tokenizer.tokens() {
            let Some(word) = words.get_mut(id as usize) else { continue };
            if special || eos.contains(&id) {
                word.push(TokTrie::SPECIAL_TOKEN_MARKER);
            }
            word.extend_from_slice(bytes);
        }
        let trie = TokTrie::from(&TokRxInfo::new(vocab_size, eos[0]), &words).with_eos_tokens(eos);
        let env: TokEnv = Arc::new(Vocabulary { trie, tokenizer: tokenizer.shared() });
        let mut factory = ParserFactory::new_simple(&env).map_err(|e| reason(&e))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Environment { factory, style, most_time })
    }

    fn compile(&self, kind: u32, text: &str) -> Result<State, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("{} bytes of grammar; at most {MOST_BYTES} are allowed", text.len()));
        }
        match kind {
            0 => self.compile_schema(text),
            1 => self.finish(lark(format!("start: {}", lark_regex(text)?))),
            2 => {
                let (rules, start) = ebnf::to_lark(text, "")?;
                self.finish(lark(format!("start: {start}\n{rules}")))
            }
            3 => self.finish(lark(tags::to_lark(text, &self.style)?)),
            _ => Err(format!("unknown kind of grammar {kind}")),
        }
    }

    fn compile_schema(&self, text: &str) -> Result<State, String> {
        let root = schema::prepare(text, &self.style)?;
        let grammar = TopLevelGrammar::from_json_schema(root.clone());
        self.finish(grammar).map_err(|why| {
            let place = schema::locate(&root, &why, |part| {
                let grammar = GrammarInit::Serialized(TopLevelGrammar::from_json_schema(part));
                grammar.to_internal(Some(self.factory.tok_env().clone()), limits()).err().map(|e| reason(&e))
            });
            format!("{place}: {why}")
        })
    }

    fn finish(&self, grammar: TopLevelGrammar) -> Result<State, String> {
        let parser = self.factory.create_parser(grammar).map_err(|e| reason(&e))?;
        let mut matcher = Matcher::new(Ok(parser));
        // What fails here would fail at the first token; it also warms what all sequences share.
        matcher.compute_mask_or_eos().map_err(|e| reason(&e))?;
        matcher.reset().map_err(|e| reason(&e))?;
        Ok(State { matcher })
    }
}

/// The cause without states and traces.
fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let text = text.split("\n<").next().unwrap_or_default().trim();
    if text == "NoExtensionBias" {
        return "the grammar allows no output at all".into();
    }
    if text.contains("oneOf constraints are not supported") {
        return "the options of oneOf cannot be shown to exclude each other; use anyOf".into();
    }
    text.replace("<non-verbose/>", "").trim().to_string()
}

/// Without the listing of a grammar that no client wrote, and without the middle of a client's own when it
/// is long: what is wrong stands at the end.
fn shorten(message: &str) -> String {
    const MOST: usize = 600;
    let own = message.lines().take_while(|line| {
        let number = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        number.len() == line.trim_start().len() || !number.starts_with(" | ")
    });
    let text = own.collect::<Vec<_>>().join("\n");
    if text.len() <= MOST {
        return text;
    }
    let head = (0..=MOST / 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let tail = (text.len() - MOST / 2..).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("{} ... {}", &text[..head], &text[tail..])
}

fn lark(source: String) -> TopLevelGrammar {
    TopLevelGrammar::from_lark(source)
}

/// A string literal of Lark.
fn lark_string(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default().replace('\u{7f}', "\\u007f")
}

/// A client's regular expression as a literal of Lark; its syntax is checked here, with its own positions.
fn lark_regex(pattern: &str) -> Result<String, String> {
    if pattern.is_empty() {
        return Ok("\"\"".into());
    }
    let mut builder = llguidance::derivre::RegexBuilder::new();
    builder.mk_regex(pattern).map_err(|e| reason(&e))?;
    Ok(format!("/{}/", llguidance::regex_to_lark(pattern, "")))
}

/// Where one sequence stands in its grammar. One thread at a time.
pub struct State {
    matcher: Matcher,
}

/// Compiles on a thread of its own: with room for recursion, and left behind when it takes too long.
/// The limits above make that rare; a thread left behind ends when they end it.
fn compile_in_time(environment: &Arc<Environment>, kind: u32, source: &str) -> Result<State, String> {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    if RUNNING.fetch_add(1, Ordering::Relaxed) >= MOST_COMPILING {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        return Err("too many grammars that take long are being compiled; try again later".into());
    }
    let (done, result) = std::sync::mpsc::channel();
    let most_time = environment.most_time;
    let (environment, source) = (environment.clone(), source.to_string());
    let spawned = std::thread::Builder::new().name("grammar".into()).stack_size(STACK_BYTES).spawn(move || {
        let compiled = guarded(|| environment.compile(kind, &source)).ok_or_else(|| shorten(&crate::last_error()));
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        let _ = done.send(compiled); // nobody waits any more: dropped
    });
    if let Err(error) = spawned {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        return Err(format!("cannot start a thread: {error}"));
    }
    result
        .recv_timeout(most_time)
        .unwrap_or_else(|_| Err(format!("it takes longer than {} s to compile", most_time.as_secs_f64())))
}

#[no_mangle]
pub unsafe extern "C" fn ft_grammar_prepare(
    tokenizer: *const Loaded,
    vocab_size: u32,
    eos: *const u32,
    eos_count: usize,
    whitespace: *const u8,
    whitespace_size: usize,
    compact: i32,
    most_seconds: f64,
) -> *mut Arc<Environment> {
    let tokenizer = &*tokenizer;
    handle(|| {
        let eos = if eos_count == 0 { &[] } else { std::slice::from_raw_parts(eos, eos_count) };
        let style = Style { whitespace: text(whitespace, whitespace_size)?.into(), compact: compact != 0 };
        let most_time = Duration::from_secs_f64(most_seconds);
        Environment::new(tokenizer, vocab_size, eos, style, most_time).map(Arc::new)
    })
}

#[no_mangle]
pub unsafe extern "C" fn ft_grammar_environment_free(environment: *mut Arc<Environment>) {
    if !environment.is_null() {
        drop(Box::from_raw(environment));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ft_grammar_compile(
    environment: *const Arc<Environment>,
    kind: u32,
    data: *const u8,
    size: usize,
) -> *mut State {
    let environment = &*environment;
    handle(|| compile_in_time(environment, kind, text(data, size)?))
}

#[no_mangle]
pub unsafe extern "C" fn ft_grammar_clone(state: *const State) -> *mut State {
    let state = &*state;
    handle(|| Ok(State { matcher: state.matcher.deep_clone() }))
}

#[no_mangle]
pub unsafe extern "C" fn ft_grammar_free(state: *mut State) {
    if !state.is_null() {
        drop(Box::from_raw(state));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ft_grammar_mask(state: *mut State, words: *mut u32, count: usize) -> i32 {
    let state = &mut *state;
    let mask = guarded(|| state.matcher.compute_mask_or_eos().map_err(|e| reason(&e)));
    let Some(mask) = mask else { return -1 };
    let out = std::slice::from_raw_parts_mut(words, count);
    let filled = mask.as_slice();
    let common = count.min(filled.len());
    out[..common].copy_from_slice(&filled[..common]);
    out[common..].fill(0);
    0
}

#[no_mangle]
pub unsafe extern "C" fn ft_grammar_accept(state: *mut State, token: u32) -> i32 {
    let state = &mut *state;
    let done = guarded(|| {
        state.matcher.consume_token(token).map_err(|e| reason(&e))?;
        Ok(state.matcher.is_stopped())
    });
    done.map_or(-1, i32::from)
}

#[no_mangle]
pub unsafe extern "C" fn ft_grammar_rollback(state: *mut State, tokens: usize) -> i32 {
    let state = &mut *state;
    guarded(|| state.matcher.rollback(tokens).map_err(|e| reason(&e))).map_or(-1, |()| 0)
}

#[no_mangle]
pub unsafe extern "C" fn ft_grammar_forced(state: *mut State, out: *mut Buffer) -> i32 {
    let state = &mut *state;
    deliver(out, || Ok(state.matcher.compute_ff_tokens().iter().flat_map(|id| id.to_ne_bytes()).collect()))
}
