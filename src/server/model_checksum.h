// --model-checksum: are these the files that were meant?
#pragma once

#include <filesystem>

#include "base/file_set.h"

namespace fathom {

// `sums` is JSON: {"name": "<sha256 hex>"}, or {"files": {"name": {"sha256": ..., "size": ...}}}.
// Names every file that is missing or differs.
Status verify_checksums(const FileSet& files, const std::filesystem::path& sums);

}  // namespace fathom
