// `fathom inspect`: what a checkpoint is, what it costs to run, and what is wrong with it, from its
// headers and scales.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"

namespace fathom::convert {

struct Part {
  std::string name;  // "attention", "routed experts", ...
  int64_t parameters = 0;
  double active_parameters = 0;            // of one token
  std::map<std::string, int64_t> formats;  // bytes in the files by format
  double bytes_per_token = 0;              // read to compute one token alone
  int64_t bytes() const;
};

struct Inspection {
  std::string location;
  ModelConfig config;
  std::vector<Part> parts;
  int64_t kv_bytes_per_token = 0;  // BF16 cache
  std::vector<std::string> problems;

  std::string to_text() const;
  std::string to_json() const;
};

// Problems are part of the answer; an error means that there is nothing to look at.
Result<Inspection> inspect(const std::filesystem::path& path);

}  // namespace fathom::convert
