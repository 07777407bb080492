// The files of a checkpoint or tokenizer by name: a folder on disk, or files embedded in the binary.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fathom {

// Read-only bytes of a whole file, memory mapped or embedded; shared by everything that reads it.
struct FileBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  std::string path;  // for messages
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

class FileSet {
 public:
  virtual ~FileSet() = default;
  virtual std::vector<std::string> names() const = 0;
  // kNotFound names the file and where it was looked for.
  virtual Result<FileBytes> open(std::string_view name) const = 0;
  virtual std::string location() const = 0;  // folder, or "<embedded demo model>"
  bool has(std::string_view name) const;

  static Result<std::shared_ptr<const FileSet>> folder(const std::filesystem::path& path);
  using Embedded = std::vector<std::pair<std::string, std::span<const std::byte>>>;
  static std::shared_ptr<const FileSet> embedded(std::string location, Embedded files);
};

}  // namespace fathom
