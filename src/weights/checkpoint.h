// The tensors of a checkpoint by Hugging Face's names: model.safetensors, or the shards that
// model.safetensors.index.json names, or GGUF files (gguf/model_files.h). Files stay mapped as long
// as the checkpoint lives.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "weights/safetensors.h"

namespace fathom {

class Checkpoint {
 public:
  // Missing shards are reported all at once.
  static Result<std::shared_ptr<const Checkpoint>> open(const FileSet& files);

  const StoredTensor* find(std::string_view name) const;
  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }
  // release_pages() of the tensors named "prefix.*", which were copied into another form.
  void release(std::string_view prefix) const;

 private:
  Status add_file(const FileSet& files, const std::string& name);

  std::deque<FileBytes> files_;  // stable addresses: tensors point at them
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

// Gives back the memory of a tensor, so that memory holds only what is being worked on. Where the file
// is mapped the tensor may be read again; where it was read into memory it is zeros from now on.
void release_pages(const StoredTensor& tensor);

}  // namespace fathom
