// --crash-dump-folder: what was being asked when the process died. Requests are written to disk
// when they come, so that a dump exists however the process ends, killed for memory too; an orderly
// end removes it.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "http/message.h"

namespace fathom {

class RequestJournal {
 public:
  struct Options {
    std::filesystem::path folder;
    std::chrono::seconds window{300};  // at least so much of the past is kept, at most twice that
    size_t most_file_bytes = 256u << 20;  // a file that is larger is begun anew
  };
  // Makes <folder>/<host>/; kInvalid when it cannot be written.
  static Result<std::unique_ptr<RequestJournal>> open(const Options& options);
  virtual ~RequestJournal() = default;  // the files stay

  // Any thread. JSON lines {"time", "event": "received" | "finished", "id", ...}.
  virtual void received(uint64_t id, const http::Request& request) = 0;
  virtual void finished(uint64_t id, int status) = 0;
  // Any line of text: the state that a watchdog saw.
  virtual void note(std::string_view text) = 0;
  // The process ends in order: nothing to explain.
  virtual void remove() = 0;
};

}  // namespace fathom
