#include "weights/checkpoint.h"

#include <sys/mman.h>

#include <set>

#include "base/json.h"
#include "base/some_of.h"
#include "weights/gguf/tensor_names.h"

namespace fathom {
namespace {

constexpr std::string_view kSingle = "model.safetensors";
constexpr size_t kMaxIndexBytes = 256 << 20;  // the largest published indices have about 20 MB
constexpr std::string_view kIndex = "model.safetensors.index.json";

bool is_gguf(std::string_view name) {
  return name.ends_with(".gguf");
}

// Shard file names of the index, each once.
Result<std::set<std::string>> shard_names(const FileSet& files) {
  const FileBytes index = TRY(files.open(kIndex));
  if (index.bytes.size() > kMaxIndexBytes) {
    return invalid("{}: {} bytes is too large for an index of tensors", index.path,
                   index.bytes.size());
  }
  const Json json = TRY(parse_json_object(index.text(), index.path));
  if (!json.contains("weight_map") || !json["weight_map"].is_object()) {
    return invalid("{}: needs an object \"weight_map\" from tensor to file", index.path);
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    if (!file.is_string()) {
      return invalid("{}: weight_map of {} is not a file name", index.path, tensor);
    }
    const std::string& name = file.get_ref<const std::string&>();
    if (name.find_first_of("/\\") != std::string::npos) {
      return invalid("{}: weight_map of {} is '{}'; it must be a file of the same folder",
                     index.path, tensor, name);
    }
    names.insert(name);
  }
  if (names.empty()) return invalid("{}: weight_map is empty", index.path);
  return names;
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> Checkpoint::open(const FileSet& files) {
  auto checkpoint = std::make_shared<Checkpoint>();
  const std::vector<std::string> listed = files.names();
  const std::set<std::string, std::less<>> names(listed.begin(), listed.end());
  if (names.contains(kIndex)) {
    const std::set<std::string> shards = TRY(shard_names(files));
    std::vector<std::string> missing;
    for (const std::string& shard : shards) {
      if (!names.contains(shard)) missing.push_back(shard);
    }
    if (!missing.empty()) {
      return fail(ErrorCode::kNotFound, "{}: {} of {} files named by {} are missing: {}",
                  files.location(), missing.size(), shards.size(), kIndex, some_of(missing));
    }
    for (const std::string& shard : shards) TRY(checkpoint->add_file(files, shard));
  } else if (names.contains(kSingle)) {
    TRY(checkpoint->add_file(files, std::string(kSingle)));
  } else {
    for (const std::string& name : listed) {
      if (is_gguf(name)) TRY(checkpoint->add_file(files, name));
    }
    if (checkpoint->files_.empty()) {
      return fail(ErrorCode::kNotFound,
                  "{} has neither {} nor {} nor a GGUF file; Fathom reads safetensors and GGUF",
                  files.location(), kSingle, kIndex);
    }
  }
  return checkpoint;
}

Status Checkpoint::add_file(const FileSet& files, const std::string& name) {
  const FileBytes& file = files_.emplace_back(TRY(files.open(name)));
  auto tensors = TRY(is_gguf(name) ? read_gguf_tensors(file.bytes, file.path)
                                   : read_safetensors(file.bytes, file.path));
  for (auto& [tensor_name, tensor] : tensors) {
    tensor.file = &file;
    const auto [place, fresh] = tensors_.emplace(tensor_name, tensor);
    if (!fresh) {
      return invalid("tensor {} is in both {} and {}", tensor_name, place->second.file->path,
                     file.path);
    }
  }
  return {};
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void Checkpoint::release(std::string_view prefix) const {
  const std::string first = std::string(prefix) + ".";
  for (auto i = tensors_.lower_bound(first); i != tensors_.end() && i->first.starts_with(first);
       ++i) {
    release_pages(i->second);
  }
}

void release_pages(const StoredTensor& tensor) {
  if (!tensor.file || !tensor.file->owner) return;  // embedded in the program
  // Whole pages only: the edges belong to neighbours too.
  constexpr uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(tensor.bytes.data());
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
  const uintptr_t end = (begin + tensor.bytes.size()) / kPage * kPage;
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

}  // namespace fathom
