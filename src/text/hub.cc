#include "text/hub.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "text/rust_call.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

bool is_hub_id(const std::string& model) {
  const auto slashes = std::count(model.begin(), model.end(), '/');
  return slashes == 1 && model.front() != '/' && model.front() != '.' && model.back() != '/' &&
         model.find("..") == std::string::npos;
}

fs::path repo_folder(const fs::path& cache, const std::string& model) {
  std::string name = "models--" + model;
  name.replace(name.find('/'), 1, "--");
  return cache / name;
}

// The snapshot of `revision` (a branch, tag or commit), when the cache has its config.
fs::path cached_snapshot(const fs::path& cache, const std::string& model, const std::string& revision) {
  const fs::path repo = repo_folder(cache, model);
  std::string commit = revision;
  std::ifstream ref(repo / "refs" / revision);
  if (ref) std::getline(ref, commit);
  const fs::path snapshot = repo / "snapshots" / commit;
  std::error_code error;
  return fs::exists(snapshot / "config.json", error) ? snapshot : fs::path();
}

bool is_wanted(std::string_view file) {
  return file.find('/') == std::string_view::npos &&
         (file.ends_with(".json") || file.ends_with(".safetensors") || file.ends_with(".jinja"));
}

struct Reporter {
  const HubProgress& progress;
  static void report(void* context, const char* file, size_t size, uint64_t done, uint64_t total) {
    static_cast<Reporter*>(context)->progress({file, size}, done, total);
  }
};

Result<fs::path> download(const fs::path& cache, const std::string& model, const HubOptions& o,
                          const HubProgress& progress) {
  std::error_code error;
  fs::create_directories(cache, error);
  if (error) return invalid("cannot create {}: {}", cache.string(), error.message());
  const std::string folder = cache.string();
  RustBuffer names;
  if (ft_hub_files(model.data(), model.size(), o.revision.data(), o.revision.size(), folder.data(),
                   folder.size(), o.endpoint.data(), o.endpoint.size(), o.token.data(),
                   o.token.size(), names.out()) != 0) {
    return fail(ErrorCode::kNotFound, "{}", rust_error());
  }
  std::string_view rest = names.text();
  fs::path snapshot;
  // The config last: a snapshot without it is not taken for a complete one.
  std::vector<std::string> wanted;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    if (is_wanted(rest.substr(0, end))) wanted.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  std::stable_partition(wanted.begin(), wanted.end(),
                        [](const std::string& name) { return name != "config.json"; });
  for (const std::string& name : wanted) {
    Reporter reporter{progress};
    RustBuffer path;
    if (ft_hub_fetch(model.data(), model.size(), o.revision.data(), o.revision.size(), name.data(),
                     name.size(), folder.data(), folder.size(), o.endpoint.data(),
                     o.endpoint.size(), o.token.data(), o.token.size(), Reporter::report, &reporter,
                     path.out()) != 0) {
      return fail(ErrorCode::kUnavailable, "{}", rust_error());
    }
    snapshot = fs::path(path.text()).parent_path();
  }
  if (snapshot.empty()) return fail(ErrorCode::kNotFound, "model '{}' has no files to download", model);
  return snapshot;
}

}  // namespace

Result<fs::path> locate_model(const std::string& model, const HubOptions& o,
                              const HubProgress& progress) {
  std::error_code error;
  if (fs::is_directory(model, error)) return fs::path(model);
  std::vector<fs::path> caches;
  if (!o.download_dir.empty()) caches.push_back(o.download_dir);
  caches.push_back(o.cache_dir);
  std::string searched;
  if (is_hub_id(model)) {
    for (const fs::path& cache : caches) {
      const fs::path snapshot = cached_snapshot(cache, model, o.revision);
      if (!snapshot.empty()) return snapshot;
      searched += (searched.empty() ? "" : ", ") + repo_folder(cache, model).string();
    }
    if (!o.offline) return download(caches.front(), model, o, progress);
  }
  return fail(ErrorCode::kNotFound,
              "Model '{}' was not found locally (searched {}). Download it first, e.g. "
              "'huggingface-cli download {}', or pass a local path.", model,
              searched.empty() ? model : searched, model);
}

}  // namespace fathom
