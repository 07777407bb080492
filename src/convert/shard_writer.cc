#include "convert/shard_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/json.h"

namespace fathom::convert {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUnfinished = ".unfinished";

fs::path unfinished(const fs::path& path) {
  return path.string() + kUnfinished;
}

std::unexpected<Error> failed(const char* what, const fs::path& path) {
  const ErrorCode code = errno == ENOSPC ? ErrorCode::kExhausted : ErrorCode::kInvalid;
  return fail(code, "cannot {} {}: {}", what, path.string(), std::strerror(errno));
}

// A checksum over a stream of bytes that does not depend on how it is cut: FNV-1a.
uint64_t add_to_sum(uint64_t sum, std::span<const std::byte> bytes) {
  for (const std::byte b : bytes) sum = (sum ^ static_cast<uint64_t>(b)) * 0x100000001b3u;
  return sum;
}

Status write_all(int fd, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("write", path);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

std::string header_of(std::span<const OutputTensor> tensors, int64_t& data_bytes) {
  OrderedJson json = {{"__metadata__", {{"format", "pt"}}}};
  data_bytes = 0;
  for (const OutputTensor& tensor : tensors) {
    const int64_t end = data_bytes + tensor.bytes();
    json[tensor.name] = {{"dtype", name_of(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"data_offsets", {data_bytes, end}}};
    data_bytes = end;
  }
  std::string text = json_text(json);
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

Result<ShardWriter> ShardWriter::create(const fs::path& path,
                                        std::span<const OutputTensor> tensors) {
  const fs::path name = unfinished(path);
  const int fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return failed("create", name);
  ShardWriter writer(path, fd);
  int64_t data_bytes = 0;
  const std::string header = header_of(tensors, data_bytes);
  const uint64_t length = header.size();
  writer.expected_ = static_cast<int64_t>(sizeof length + length) + data_bytes;
  TRY(writer.write(std::as_bytes(std::span(&length, 1))));
  TRY(writer.write(std::as_bytes(std::span(header))));
  return writer;
}

ShardWriter::ShardWriter(ShardWriter&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      expected_(other.expected_),
      written_(other.written_),
      sum_(other.sum_) {}

ShardWriter::~ShardWriter() {
  if (fd_ >= 0) ::close(fd_);
}

Status ShardWriter::write(std::span<const std::byte> bytes) {
  TRY(write_all(fd_, bytes, unfinished(path_)));
  sum_ = add_to_sum(sum_, bytes);
  written_ += static_cast<int64_t>(bytes.size());
  return {};
}

Status ShardWriter::check_readback() {
  // From the disk, not from the page cache.
  posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
  std::vector<std::byte> buffer(4 << 20);
  uint64_t sum = 0;
  int64_t at = 0;
  while (true) {
    const ssize_t n = pread(fd_, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("read back", unfinished(path_));
    if (n == 0) break;
    sum = add_to_sum(sum, std::span(buffer).first(static_cast<size_t>(n)));
    at += n;
  }
  if (at == written_ && sum == sum_) return {};
  return fail(ErrorCode::kInternal,
              "{}: what was read back differs from what was written ({} of {} bytes); check the "
              "disk",
              unfinished(path_).string(), at, written_);
}

Status ShardWriter::finish() {
  if (written_ != expected_) {
    return fail(ErrorCode::kInternal, "{}: {} bytes were written, {} announced", path_.string(),
                written_, expected_);
  }
  if (fsync(fd_) != 0) return failed("flush", unfinished(path_));
  TRY(check_readback());
  if (::rename(unfinished(path_).c_str(), path_.c_str()) != 0) return failed("rename", path_);
  return flush_folder(path_.parent_path());
}

Status write_file(const fs::path& path, std::string_view content) {
  const fs::path name = unfinished(path);
  const int fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return failed("create", name);
  Status status = write_all(fd, std::as_bytes(std::span(content)), name);
  if (status && fsync(fd) != 0) status = failed("flush", name);
  ::close(fd);
  TRY(status);
  if (::rename(name.c_str(), path.c_str()) != 0) return failed("rename", path);
  return flush_folder(path.parent_path());
}

Status flush_folder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failed("open", folder);
  const int result = fsync(fd);
  ::close(fd);
  if (result != 0) return failed("flush", folder);
  return {};
}

}  // namespace fathom::convert
