//! Text behind one C header (include/fathom_text.h): tokenizers, chat templates, grammars, regular
//! expressions and hub downloads. No panic crosses the boundary.

mod grammar;
mod hub;
mod pattern;
mod template;
mod tokenizer;

use std::cell::RefCell;
use std::panic::{catch_unwind, set_hook, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Bytes owned by Rust, lent to C until `ft_buffer_free`.
#[repr(C)]
pub struct Buffer {
    data: *mut u8,
    size: usize,
    capacity: usize,
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Buffer { data: bytes.as_mut_ptr(), size: bytes.len(), capacity: bytes.capacity() }
    }
}

/// # Safety
/// `buffer` came out of this library and is given back once.
#[no_mangle]
pub unsafe extern "C" fn ft_buffer_free(buffer: Buffer) {
    if !buffer.data.is_null() {
        drop(Vec::from_raw_parts(buffer.data, buffer.size, buffer.capacity));
    }
}

/// # Safety
/// `size` is valid.
#[no_mangle]
pub unsafe extern "C" fn ft_error(size: *mut usize) -> *const u8 {
    ERROR.with(|error| {
        let error = error.borrow();
        *size = error.len();
        error.as_ptr()
    })
}

fn remember(message: String) {
    ERROR.with(|error| *error.borrow_mut() = message);
}

fn last_error() -> String {
    ERROR.with(|error| error.borrow().clone())
}

/// Runs `work`; a failure or a panic is remembered for `ft_error` and becomes None.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Option<T> {
    // The caller reports; the standard hook would write a trace to the server's log for a bad file.
    static QUIET: Once = Once::new();
    QUIET.call_once(|| set_hook(Box::new(|_| {})));
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(message)) => {
            remember(message);
            None
        }
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("unknown panic");
            remember(format!("internal error: {text}"));
            None
        }
    }
}

fn handle<T>(work: impl FnOnce() -> Result<T, String>) -> *mut T {
    guarded(work).map_or(std::ptr::null_mut(), |value| Box::into_raw(Box::new(value)))
}

/// # Safety
/// `out` is valid for a write.
unsafe fn deliver(out: *mut Buffer, work: impl FnOnce() -> Result<Vec<u8>, String>) -> i32 {
    match guarded(work) {
        Some(bytes) => {
            out.write(bytes.into());
            0
        }
        None => -1,
    }
}

/// # Safety
/// `data` points at `size` bytes, or `size` is 0.
unsafe fn bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// # Safety
/// As `bytes`.
unsafe fn text<'a>(data: *const u8, size: usize) -> Result<&'a str, String> {
    std::str::from_utf8(bytes(data, size)).map_err(|e| format!("not valid UTF-8 at byte {}", e.valid_up_to()))
}
