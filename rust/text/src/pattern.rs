//! Regular expressions for stop_regex: linear time, bounded size.

use crate::{handle, text};
use regex::{Regex, RegexBuilder};

const MOST_COMPILED_BYTES: usize = 1 << 20;

#[no_mangle]
pub unsafe extern "C" fn ft_regex_compile(pattern: *const u8, size: usize) -> *mut Regex {
    handle(|| {
        RegexBuilder::new(text(pattern, size)?)
            .size_limit(MOST_COMPILED_BYTES)
            .nest_limit(64)
            .build()
            .map_err(|e| e.to_string())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ft_regex_free(regex: *mut Regex) {
    if !regex.is_null() {
        drop(Box::from_raw(regex));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ft_regex_find(
    regex: *const Regex,
    data: *const u8,
    size: usize,
    begin: *mut usize,
    end: *mut usize,
) -> i32 {
    let regex = &*regex;
    let found = crate::guarded(|| Ok(regex.find(text(data, size)?).map(|m| (m.start(), m.end()))));
    match found {
        Some(Some((start, stop))) => {
            begin.write(start);
            end.write(stop);
            1
        }
        Some(None) => 0,
        None => -1,
    }
}
