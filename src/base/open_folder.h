// A folder as a FileSet, when it matters how its files come into memory.
#pragma once

#include "base/file_set.h"

namespace fathom {

enum class FileAccess {
  kMap,   // pages come from the file when they are touched
  kRead,  // read as a whole into memory of our own
};

// FileSet::folder() with a choice.
Result<std::shared_ptr<const FileSet>> open_folder(const std::filesystem::path& path,
                                                   FileAccess access);

}  // namespace fathom
