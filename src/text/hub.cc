#include "text/hub.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "text/rust_call.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

bool is_hub_id(const std::string& model) {
  if (model.empty()) return false;
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
fs::path cached_snapshot(const fs::path& cache, const std::string& model,
                         const std::string& revision) {
  const fs::path repo = repo_folder(cache, model);
  if (revision.empty() || revision.find("..") != std::string::npos) return {};
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

// Remembers what a revision stands for, as huggingface_hub does, so that the next start finds it.
Status write_ref(const fs::path& repo, const std::string& revision, const std::string& commit) {
  const fs::path path = repo / "refs" / revision;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  std::ofstream file(path, std::ios::trunc);
  file << commit;
  if (!file.flush()) return invalid("cannot write {}", path.string());
  return {};
}

// One model on one hub, with one cache folder.
class Download {
 public:
  Download(const fs::path& cache, const std::string& model, const HubOptions& options,
           const HubProgress& progress)
      : cache_(cache.string()), model_(model), options_(options), progress_(progress) {}

  // Asks which commit the revision is and which of its files are needed.
  Status list() {
    RustBuffer lines;
    if (rust<ft_hub_files>(model_.data(), model_.size(), options_.revision.data(),
                           options_.revision.size(), cache_.data(), cache_.size(),
                           options_.endpoint.data(), options_.endpoint.size(),
                           options_.token.data(), options_.token.size(), lines.out()) != 0) {
      return fail(ErrorCode::kNotFound, "{}", rust_error());
    }
    std::string_view rest = lines.text();
    for (bool first = true; !rest.empty(); first = false) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      const std::string_view line = rest.substr(0, end);
      if (first) {
        commit_ = line;
      } else if (is_wanted(line)) {
        wanted_.emplace_back(line);
      }
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (std::ranges::find(wanted_, "config.json") == wanted_.end()) {
      return fail(
          ErrorCode::kNotFound,
          "model '{}' at revision '{}' has no config.json: only models in Hugging Face format "
          "can be served",
          model_, options_.revision);
    }
    return {};
  }

  // All files of one commit; the config last: a snapshot without it is not taken for complete.
  Result<fs::path> fetch() {
    std::ranges::stable_partition(wanted_, [](const auto& name) { return name != "config.json"; });
    fs::path snapshot;
    for (const std::string& name : wanted_) {
      RustBuffer path;
      if (rust<ft_hub_fetch>(model_.data(), model_.size(), commit_.data(), commit_.size(),
                             name.data(), name.size(), cache_.data(), cache_.size(),
                             options_.endpoint.data(), options_.endpoint.size(),
                             options_.token.data(), options_.token.size(), report, this,
                             path.out()) != 0) {
        return fail(ErrorCode::kUnavailable, "{}", rust_error());
      }
      snapshot = fs::path(path.text()).parent_path();
    }
    TRY(write_ref(repo_folder(cache_, model_), options_.revision, commit_));
    return snapshot;
  }

 private:
  static void report(void* self, const char* file, size_t size, uint64_t done, uint64_t total) {
    const auto& progress = static_cast<Download*>(self)->progress_;
    if (progress) progress({file, size}, done, total);
  }

  std::string cache_;
  const std::string& model_;
  const HubOptions& options_;
  const HubProgress& progress_;
  std::string commit_;
  std::vector<std::string> wanted_;
};

Result<fs::path> download(const fs::path& cache, const std::string& model,
                          const HubOptions& options, const HubProgress& progress) {
  std::error_code error;
  fs::create_directories(cache, error);
  if (error) return invalid("cannot create {}: {}", cache.string(), error.message());
  Download job(cache, model, options, progress);
  TRY(job.list());
  return job.fetch();
}

}  // namespace

Result<fs::path> locate_model(const std::string& model, const HubOptions& o,
                              const HubProgress& progress) {
  std::error_code error;
  if (fs::is_directory(model, error)) return fs::path(model);
  if (model.ends_with(".gguf") && fs::is_regular_file(model, error)) return fs::path(model);
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
    if (!o.offline) {
      Result<fs::path> folder = download(caches.front(), model, o, progress);
      // A relative path looks like an id of the hub.
      if (!folder)
        folder.error().message += fmt::format(" ('{}' is no local folder either.)", model);
      return folder;
    }
  }
  return fail(ErrorCode::kNotFound,
              "Model '{}' was not found locally (searched {}). Download it first, e.g. "
              "'huggingface-cli download {}', or pass a local path.",
              model, searched.empty() ? model : searched, model);
}

}  // namespace fathom
