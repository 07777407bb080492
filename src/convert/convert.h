// `fathom convert`: a checkpoint into another weight format, piece by piece. Memory holds one
// layer; every shard is flushed and read back before it gets its name; index and config come last.
// An interrupted conversion is resumed by the same command, and refused by everything that loads
// models.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "convert/target.h"

namespace fathom::convert {

struct Options {
  std::filesystem::path in;
  std::filesystem::path out;
  const Target* target = nullptr;  // null: weights stay as they are (with extract_mtp)
  TargetOptions format;
  std::filesystem::path calibration;  // a text file; empty: none (int4)
  bool extract_mtp = false;           // only the multi-token-prediction layers, as a draft model
  int64_t shard_bytes = int64_t{4} << 30;
  std::string command;  // as the user typed it, for the message of an unfinished conversion
  int threads = 0;
};

struct Progress {
  int64_t bytes_done = 0;
  int64_t bytes_all = 0;
  int32_t shard = 0;  // from 1
  int32_t shards = 0;
};

struct Summary {
  int64_t bytes_in = 0;
  int64_t bytes_out = 0;
  int32_t shards = 0;
  int32_t resumed_shards = 0;  // found whole
};

Result<Summary> convert(const Options& options, const std::function<void(const Progress&)>& report);

}  // namespace fathom::convert
