#include "server/model_checksum.h"

#include <fmt/ranges.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

#include "base/json.h"
#include "base/log.h"

namespace fathom {
namespace {

std::string sha256(std::span<const std::byte> bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  return fmt::format("{:02x}", fmt::join(digest.begin(), digest.begin() + size, ""));
}

struct Expected {
  std::string sha256;
  std::optional<uint64_t> size;
};

// nullopt: not of a known form.
std::optional<Expected> expected_of(const Json& value) {
  if (value.is_string()) return Expected{value.get<std::string>(), std::nullopt};
  if (!value.is_object()) return std::nullopt;
  Expected expected;
  if (const auto sum = value.find("sha256"); sum != value.end() && sum->is_string()) {
    expected.sha256 = sum->get<std::string>();
  }
  if (const auto size = value.find("size"); size != value.end() && size->is_number_unsigned()) {
    expected.size = size->get<uint64_t>();
  }
  if (expected.sha256.empty()) return std::nullopt;
  return expected;
}

std::string problem_of(const FileSet& files, const std::string& name, const Json& value) {
  auto expected = expected_of(value);
  if (!expected) return fmt::format("{}: the checksum file gives no sha256", name);
  const auto file = files.open(name);
  if (!file) return fmt::format("{}: {}", name, file.error().message);
  if (expected->size && *expected->size != file->bytes.size()) {
    return fmt::format("{}: {} bytes instead of {}", name, file->bytes.size(), *expected->size);
  }
  std::ranges::transform(expected->sha256, expected->sha256.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::string found = sha256(file->bytes);
  if (found != expected->sha256) {
    return fmt::format("{}: SHA-256 is {} instead of {}", name, found, expected->sha256);
  }
  return "";
}

}  // namespace

Status verify_checksums(const FileSet& files, const std::filesystem::path& sums) {
  std::ifstream file(sums, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open()) return invalid("--model-checksum {}: cannot be read", sums.string());
  const Json json =
      TRY(parse_json_object(text, fmt::format("--model-checksum {}", sums.string())));
  const auto listed = json.find("files");
  const Json& entries = listed != json.end() && listed->is_object() ? *listed : json;
  if (entries.empty()) return invalid("--model-checksum {}: lists no file", sums.string());
  std::vector<std::string> problems;
  for (const auto& [name, value] : entries.items()) {
    if (std::string problem = problem_of(files, name, value); !problem.empty()) {
      problems.push_back(std::move(problem));
    }
  }
  if (!problems.empty()) {
    return invalid("--model-checksum {}: {} does not match:\n  {}", sums.string(), files.location(),
                   fmt::join(problems, "\n  "));
  }
  log::info("Checksums of {} files of {} are right.", entries.size(), files.location());
  return {};
}

}  // namespace fathom
