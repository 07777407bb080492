//! Hugging Face tokenizers.

use crate::{bytes, deliver, handle, text, Buffer};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokenizers::Tokenizer;

const SPECIAL: u32 = 1;
const ADDED: u32 = 2;
/// Ids beyond this are not a vocabulary but a mistake.
const MOST_IDS: u32 = 1 << 22;

pub struct Loaded {
    tokenizer: Arc<Tokenizer>,
    tokens: BTreeMap<u32, Token>,
}

struct Token {
    flags: u32,
    bytes: Vec<u8>,
}

/// GPT-2's map from the characters of a byte-level vocabulary to bytes.
fn byte_of_char() -> HashMap<char, u8> {
    let printable = |b: u32| (0x21..=0x7e).contains(&b) || (0xa1..=0xac).contains(&b) || (0xae..=0xff).contains(&b);
    let mut next = 256u32;
    let mut map = HashMap::new();
    for b in 0..256u32 {
        let c = if printable(b) {
            b
        } else {
            next += 1;
            next - 1
        };
        map.insert(char::from_u32(c).unwrap(), b as u8);
    }
    map
}

/// The byte table below is true of byte-level vocabularies only, which all of DeepSeek's are.
fn require_byte_level(tokenizer: &Tokenizer) -> Result<(), String> {
    let parts = [
        serde_json::to_string(&tokenizer.get_decoder()),
        serde_json::to_string(&tokenizer.get_pre_tokenizer()),
    ];
    if parts.iter().flatten().any(|json| json.contains("\"type\":\"ByteLevel\"")) {
        return Ok(());
    }
    Err("tokenizer.json: neither decoder nor pre_tokenizer is ByteLevel; only byte-level tokenizers are supported".into())
}

/// Special flags that tokenizer_config.json sets against tokenizer.json.
fn overrides(config: &[u8]) -> Result<HashMap<u32, bool>, String> {
    let mut flags = HashMap::new();
    if config.is_empty() {
        return Ok(flags);
    }
    let json: serde_json::Value =
        serde_json::from_slice(config).map_err(|e| format!("tokenizer_config.json: {e}"))?;
    if let Some(entries) = json.get("added_tokens_decoder").and_then(|v| v.as_object()) {
        for (id, entry) in entries {
            let id = id
                .parse()
                .map_err(|_| format!("tokenizer_config.json: added_tokens_decoder: {id:?} is not a token id"))?;
            if let Some(special) = entry.get("special").and_then(|v| v.as_bool()) {
                flags.insert(id, special);
            }
        }
    }
    Ok(flags)
}

impl Loaded {
    fn load(json: &[u8], config: &[u8]) -> Result<Self, String> {
        // The tokenizer crate panics on some damaged files; their place is better said here.
        serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(|e| format!("tokenizer.json: {e}"))?;
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|e| format!("tokenizer.json: {e}"))?;
        // What training cut and padded, a server takes whole.
        tokenizer.with_truncation(None).map_err(|e| format!("tokenizer.json: {e}"))?;
        tokenizer.with_padding(None);
        require_byte_level(&tokenizer)?;
        let special = overrides(config)?;
        let added = tokenizer.get_added_tokens_decoder();
        let map = byte_of_char();
        let mut tokens = BTreeMap::new();
        for (content, id) in tokenizer.get_vocab(true) {
            if id >= MOST_IDS {
                return Err(format!("tokenizer.json: token {content:?} has id {id}, above {MOST_IDS}"));
            }
            let token = match added.get(&id) {
                Some(entry) => Token {
                    flags: ADDED | if *special.get(&id).unwrap_or(&entry.special) { SPECIAL } else { 0 },
                    bytes: entry.content.clone().into_bytes(),
                },
                None => Token { flags: 0, bytes: running_text(&content, &map) },
            };
            if tokens.insert(id, token).is_some() {
                return Err(format!("tokenizer.json: token {content:?} has id {id}, which another token has too"));
            }
        }
        if tokens.is_empty() {
            return Err("tokenizer.json: the vocabulary is empty".into());
        }
        Ok(Loaded { tokenizer: Arc::new(tokenizer), tokens })
    }

    pub fn shared(&self) -> Arc<Tokenizer> {
        self.tokenizer.clone()
    }

    /// Id, bytes in running text, and whether it is special.
    pub fn tokens(&self) -> impl Iterator<Item = (u32, &[u8], bool)> {
        self.tokens.iter().map(|(id, token)| (*id, token.bytes.as_slice(), token.flags & SPECIAL != 0))
    }

    fn records(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, token) in &self.tokens {
            out.extend_from_slice(&id.to_ne_bytes());
            out.extend_from_slice(&token.flags.to_ne_bytes());
            out.extend_from_slice(&(token.bytes.len() as u32).to_ne_bytes());
            out.extend_from_slice(&token.bytes);
        }
        out
    }
}

/// A vocabulary entry as the bytes it stands for; characters outside the byte map stand for themselves.
fn running_text(content: &str, map: &HashMap<char, u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    for c in content.chars() {
        match map.get(&c) {
            Some(b) => out.push(*b),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

#[no_mangle]
pub unsafe extern "C" fn ft_tokenizer_load(
    json: *const u8,
    json_size: usize,
    config: *const u8,
    config_size: usize,
) -> *mut Loaded {
    handle(|| Loaded::load(bytes(json, json_size), bytes(config, config_size)))
}

#[no_mangle]
pub unsafe extern "C" fn ft_tokenizer_free(tokenizer: *mut Loaded) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ft_tokenizer_tokens(tokenizer: *const Loaded, out: *mut Buffer) -> i32 {
    let tokenizer = &*tokenizer;
    deliver(out, || Ok(tokenizer.records()))
}

#[no_mangle]
pub unsafe extern "C" fn ft_tokenizer_encode(
    tokenizer: *const Loaded,
    data: *const u8,
    size: usize,
    out: *mut Buffer,
) -> i32 {
    let tokenizer = &*tokenizer;
    deliver(out, || {
        let encoding = tokenizer
            .tokenizer
            .encode_fast(text(data, size)?, false)
            .map_err(|e| format!("cannot tokenize: {e}"))?;
        Ok(encoding.get_ids().iter().flat_map(|id| id.to_ne_bytes()).collect())
    })
}
