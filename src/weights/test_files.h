// Test support: safetensors files made in memory, also wrong ones.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file_set.h"
#include "tensor/dtype.h"

namespace fathom {

// A file of this header, padded or cut to `data_bytes` bytes of data.
inline std::string safetensors_of(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + header + std::string(data_bytes, '\0');
}

// Builds a right file tensor by tensor.
class SafetensorsBuilder {
 public:
  void add(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
           const std::string& bytes) {
    std::string sizes;
    for (const int64_t size : shape) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    header_ += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                           header_.empty() ? "" : ",", name, name_of(dtype), sizes, data_.size(),
                           data_.size() + bytes.size());
    data_ += bytes;
  }
  // Zeros of this shape.
  void add(const std::string& name, DType dtype, const std::vector<int64_t>& shape) {
    int64_t bytes = static_cast<int64_t>(size_of(dtype));
    for (const int64_t size : shape) bytes *= size;
    add(name, dtype, shape, std::string(static_cast<size_t>(bytes), '\0'));
  }
  // Padded so that the data is aligned, as real writers do, or off by `shift` bytes.
  std::string build(size_t shift = 0) const {
    std::string header = "{" + header_ + "}";
    header.append((8 - header.size() % 8) % 8 + shift, ' ');
    return safetensors_of(header, 0) + data_;
  }

 private:
  std::string header_;
  std::string data_;
};

// Files in memory, alive as long as this.
class MemoryFiles {
 public:
  void put(const std::string& name, std::string content) { contents_[name] = std::move(content); }
  std::shared_ptr<const FileSet> files() const {
    FileSet::Embedded list;
    for (const auto& [name, content] : contents_) {
      list.emplace_back(name, std::as_bytes(std::span(content)));
    }
    return FileSet::embedded("<memory>", std::move(list));
  }

 private:
  std::map<std::string, std::string> contents_;
};

}  // namespace fathom
