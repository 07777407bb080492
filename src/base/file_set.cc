#include "base/open_folder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace fathom {
namespace {

namespace fs = std::filesystem;

// A name inside a file set: one path component, so that an index cannot point outside its folder.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

// All of an open file in anonymous memory of its own; null when there is not enough or reading fails.
void* read_whole(int fd, size_t size) {
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return MAP_FAILED;
  for (size_t done = 0; done < size;) {
    const ssize_t n = pread(fd, static_cast<char*>(p) + done, size - done, static_cast<off_t>(done));
    if (n > 0) {
      done += static_cast<size_t>(n);
    } else if (n == 0 || errno != EINTR) {
      if (n == 0) errno = EIO;  // it shrank meanwhile
      const int error = errno;
      munmap(p, size);
      errno = error;
      return MAP_FAILED;
    }
  }
  return p;
}

Result<FileBytes> open_file(const fs::path& path, FileAccess access) {
  // O_NONBLOCK: a pipe of that name must not hang us; it has no effect on regular files.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kInvalid;
    return fail(code, "cannot open {}: {}", path.string(), std::strerror(errno));
  }
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return invalid("{} is not a regular file", path.string());
  }
  const size_t size = static_cast<size_t>(info.st_size);
  FileBytes file{.bytes = {}, .owner = nullptr, .path = path.string()};
  if (size > 0) {
    void* p = access == FileAccess::kMap ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0)
                                              : read_whole(fd, size);
    if (p == MAP_FAILED) {
      const int error = errno;
      close(fd);
      return fail(ErrorCode::kExhausted, "cannot {} {} ({} bytes): {}", access == FileAccess::kMap ? "map" : "read",
                  path.string(), size,
                  std::strerror(error));
    }
    file.owner = std::shared_ptr<const void>(
        p, [size](const void* q) { munmap(const_cast<void*>(q), size); });
    file.bytes = {static_cast<const std::byte*>(p), size};
  }
  close(fd);
  return file;
}

class Folder final : public FileSet {
 public:
  Folder(fs::path path, FileAccess access) : path_(std::move(path)), access_(access) {}

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator i(path_, error), end; !error && i != end; i.increment(error)) {
      names.push_back(i->path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  Result<FileBytes> open(std::string_view name) const override {
    if (!is_plain_name(name)) {
      return invalid("'{}' is not a plain file name inside {}", name, path_.string());
    }
    return open_file(path_ / name, access_);
  }
  std::string location() const override { return path_.string(); }

 private:
  fs::path path_;
  FileAccess access_;
};

class EmbeddedFiles final : public FileSet {
 public:
  EmbeddedFiles(std::string location, Embedded files)
      : location_(std::move(location)), files_(std::move(files)) {}

  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : files_) names.push_back(name);
    return names;
  }
  Result<FileBytes> open(std::string_view name) const override {
    for (const auto& [known, bytes] : files_) {
      if (known == name) return FileBytes{bytes, nullptr, location_ + "/" + known};
    }
    return fail(ErrorCode::kNotFound, "{} has no file {}", location_, name);
  }
  std::string location() const override { return location_; }

 private:
  std::string location_;
  Embedded files_;
};

}  // namespace

bool FileSet::has(std::string_view name) const {
  const std::vector<std::string> all = names();
  return std::find(all.begin(), all.end(), name) != all.end();
}

Result<std::shared_ptr<const FileSet>> FileSet::folder(const fs::path& path) {
  return open_folder(path, FileAccess::kMap);
}

Result<std::shared_ptr<const FileSet>> open_folder(const fs::path& path, FileAccess access) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    return fail(ErrorCode::kNotFound, "folder {} does not exist or cannot be read", path.string());
  }
  if (!fs::is_directory(status)) {
    return fail(ErrorCode::kNotFound, "{} is not a folder", path.string());
  }
  return std::make_shared<Folder>(path, access);
}

std::shared_ptr<const FileSet> FileSet::embedded(std::string location, Embedded files) {
  return std::make_shared<EmbeddedFiles>(std::move(location), std::move(files));
}

}  // namespace fathom
