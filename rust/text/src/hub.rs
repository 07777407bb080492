//! Downloads from a Hugging Face hub into its cache layout. The crate writes to a temporary file and
//! renames it, so nothing that is incomplete looks complete.

use crate::{deliver, text, Buffer};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::api::Progress;
use hf_hub::{Cache, Repo, RepoType};
use std::ffi::c_void;
use std::path::PathBuf;

type Callback = extern "C" fn(*mut c_void, *const u8, usize, u64, u64);

struct Reporter {
    callback: Option<Callback>,
    context: *mut c_void,
    file: String,
    done: u64,
    total: u64,
}

impl Reporter {
    fn report(&self) {
        if let Some(callback) = self.callback {
            callback(self.context, self.file.as_ptr(), self.file.len(), self.done, self.total);
        }
    }
}

impl Progress for Reporter {
    fn init(&mut self, size: usize, _name: &str) {
        self.total = size as u64;
        self.report();
    }
    fn update(&mut self, size: usize) {
        self.done += size as u64;
        self.report();
    }
    fn finish(&mut self) {
        self.done = self.total;
        self.report();
    }
}

/// An empty variable means "no proxy" to everybody but the HTTP crate, which would connect to host "".
/// Its proxy cannot be set through hf-hub, so the variable goes; models are fetched while the process starts.
fn forget_empty_proxies() {
    for name in ["all_proxy", "https_proxy", "http_proxy"] {
        for name in [name.to_string(), name.to_uppercase()] {
            if std::env::var(&name).is_ok_and(|value| value.trim().is_empty()) {
                std::env::remove_var(name);
            }
        }
    }
}

fn api(cache: &str, endpoint: &str, token: &str) -> Result<Api, String> {
    forget_empty_proxies();
    let mut builder = ApiBuilder::new()
        .with_cache_dir(PathBuf::from(cache))
        .with_progress(false)
        .with_token((!token.is_empty()).then(|| token.to_string()));
    if !endpoint.is_empty() {
        builder = builder.with_endpoint(endpoint.to_string());
    }
    builder.build().map_err(|e| e.to_string())
}

fn repo(model: &str, revision: &str) -> Repo {
    Repo::with_revision(model.to_string(), RepoType::Model, revision.to_string())
}

fn explain(model: &str, what: &str, error: ApiError) -> String {
    let detail = error.to_string();
    let hint = if detail.contains("401") || detail.contains("403") {
        "; set HF_TOKEN to a token that may read it"
    } else if detail.contains("404") {
        "; check the name and --revision"
    } else if detail.contains("416") {
        "; an earlier download was broken off at its end: delete its .part file in the cache's blobs folder"
    } else {
        ""
    };
    format!("cannot download {what} of model '{model}': {detail}{hint}")
}

#[no_mangle]
pub unsafe extern "C" fn ft_hub_fetch(
    model: *const u8,
    model_size: usize,
    commit: *const u8,
    commit_size: usize,
    file: *const u8,
    file_size: usize,
    cache: *const u8,
    cache_size: usize,
    endpoint: *const u8,
    endpoint_size: usize,
    token: *const u8,
    token_size: usize,
    callback: Option<Callback>,
    context: *mut c_void,
    out: *mut Buffer,
) -> i32 {
    deliver(out, || {
        let (model, file) = (text(model, model_size)?, text(file, file_size)?);
        let cache = text(cache, cache_size)?;
        let api = api(cache, text(endpoint, endpoint_size)?, text(token, token_size)?)?;
        let commit = text(commit, commit_size)?;
        if let Some(cached) = Cache::new(PathBuf::from(cache)).repo(repo(model, commit)).get(file) {
            return Ok(cached.to_string_lossy().into_owned().into_bytes());
        }
        let repo = api.repo(repo(model, commit));
        let reporter = Reporter { callback, context, file: file.to_string(), done: 0, total: 0 };
        let path = repo.download_with_progress(file, reporter).map_err(|e| explain(model, file, e))?;
        Ok(path.to_string_lossy().into_owned().into_bytes())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ft_hub_files(
    model: *const u8,
    model_size: usize,
    revision: *const u8,
    revision_size: usize,
    cache: *const u8,
    cache_size: usize,
    endpoint: *const u8,
    endpoint_size: usize,
    token: *const u8,
    token_size: usize,
    out: *mut Buffer,
) -> i32 {
    deliver(out, || {
        let model = text(model, model_size)?;
        let api = api(text(cache, cache_size)?, text(endpoint, endpoint_size)?, text(token, token_size)?)?;
        let repo = api.repo(repo(model, text(revision, revision_size)?));
        let info = repo.info().map_err(|e| explain(model, "the list of files", e))?;
        let mut lines = vec![info.sha];
        lines.extend(info.siblings.into_iter().map(|s| s.rfilename));
        Ok(lines.join("\n").into_bytes())
    })
}
