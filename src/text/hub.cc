#include "text/hub.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <vector>

#include "base/json.h"
#include "base/some_of.h"
#include "text/rust_call.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWeights = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

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

// The folder of `revision` (a branch, tag or commit) in the cache, whatever is in it.
fs::path cached_snapshot(const fs::path& cache, const std::string& model,
                         const std::string& revision) {
  const fs::path repo = repo_folder(cache, model);
  if (revision.empty() || revision.find("..") != std::string::npos) return {};
  std::string commit = revision;
  std::ifstream ref(repo / "refs" / revision);
  if (ref) std::getline(ref, commit);
  const fs::path snapshot = repo / "snapshots" / commit;
  std::error_code error;
  return fs::is_directory(snapshot, error) ? snapshot : fs::path();
}

// Files of weights that the snapshot lacks. What is wrong with a damaged index is said by who reads
// it.
std::vector<std::string> missing_weights(const fs::path& snapshot) {
  std::error_code error;
  std::ifstream file(snapshot / kIndex, std::ios::binary);
  if (!file) {
    if (fs::exists(snapshot / kWeights, error)) return {};
    return {std::string(kWeights)};
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const Result<Json> index = parse_json_object(text, kIndex);
  std::set<std::string> shards;
  if (index && index->contains("weight_map") && (*index)["weight_map"].is_object()) {
    for (const auto& [tensor, shard] : (*index)["weight_map"].items()) {
      if (shard.is_string()) shards.insert(shard.get<std::string>());
    }
  }
  std::erase_if(shards, [&](const auto& shard) { return fs::exists(snapshot / shard, error); });
  return {shards.begin(), shards.end()};
}

std::string_view main_file(ModelParts parts) {
  return parts == ModelParts::kTokenizer ? "tokenizer.json" : "config.json";
}

// What of these parts the snapshot lacks: an interrupted download, or one of other parts.
std::vector<std::string> missing_files(const fs::path& snapshot, ModelParts parts) {
  std::error_code error;
  for (fs::directory_iterator i(snapshot, error), end; !error && i != end; i.increment(error)) {
    if (i->path().extension() == ".gguf" && i->exists(error)) return {};
  }
  std::vector<std::string> missing;
  if (parts == ModelParts::kAll) missing = missing_weights(snapshot);
  const std::string_view main = main_file(parts);
  if (!fs::exists(snapshot / main, error)) missing.emplace_back(main);
  return missing;
}

bool is_wanted(std::string_view file, ModelParts parts) {
  if (file.find('/') != std::string_view::npos) return false;
  if (file.ends_with(".safetensors") || file == kIndex) return parts == ModelParts::kAll;
  return file.ends_with(".json") || file.ends_with(".jinja");
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
  Download(const fs::path& cache, const std::string& model, ModelParts parts,
           const HubOptions& options, const HubProgress& progress)
      : cache_(cache.string()),
        model_(model),
        parts_(parts),
        options_(options),
        progress_(progress) {}

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
      } else if (is_wanted(line, parts_)) {
        wanted_.emplace_back(line);
      }
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    const std::string_view main = main_file(parts_);
    if (std::ranges::find(wanted_, main) == wanted_.end()) {
      return fail(ErrorCode::kNotFound,
                  "model '{}' at revision '{}' has no {}: only models in Hugging Face format "
                  "can be served",
                  model_, options_.revision, main);
    }
    return {};
  }

  // All files of one commit; those that make a snapshot look complete last.
  Result<fs::path> fetch() {
    for (const char* last : {"tokenizer.json", "config.json"}) {
      std::ranges::stable_partition(wanted_, [&](const auto& name) { return name != last; });
    }
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
  ModelParts parts_;
  const HubOptions& options_;
  const HubProgress& progress_;
  std::string commit_;
  std::vector<std::string> wanted_;
};

Result<fs::path> download(const fs::path& cache, const std::string& model, ModelParts parts,
                          const HubOptions& options, const HubProgress& progress) {
  std::error_code error;
  fs::create_directories(cache, error);
  if (error) return invalid("cannot create {}: {}", cache.string(), error.message());
  Download job(cache, model, parts, options, progress);
  TRY(job.list());
  return job.fetch();
}

}  // namespace

Result<fs::path> locate_model(const std::string& model, ModelParts parts, const HubOptions& o,
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
      searched += (searched.empty() ? "" : ", ") + repo_folder(cache, model).string();
      if (snapshot.empty()) continue;
      const std::vector<std::string> missing = missing_files(snapshot, parts);
      if (missing.empty()) return snapshot;
      searched +=
          fmt::format(", where {} lacks {}", snapshot.filename().string(), some_of(missing));
    }
    if (!o.offline) {
      Result<fs::path> folder = download(caches.front(), model, parts, o, progress);
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
