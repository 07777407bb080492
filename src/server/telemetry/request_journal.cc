#include "server/telemetry/request_journal.h"

#include <unistd.h>

#include <fstream>
#include <mutex>

#include "base/json.h"

namespace fathom {
namespace {

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name[0] ? name : "localhost";
}

// Two files, the current one and the one before it.
class FileJournal final : public RequestJournal {
 public:
  explicit FileJournal(const Options& options)
      : options_(options),
        current_(options.folder / host_name() / fmt::format("crash_dump_{}.jsonl", getpid())),
        previous_(current_.string() + ".previous") {}

  Status begin() {
    std::error_code ec;
    std::filesystem::create_directories(current_.parent_path(), ec);
    start_file();
    if (!file_) {
      return invalid("--crash-dump-folder {}: cannot be written", options_.folder.string());
    }
    return {};
  }

  void received(uint64_t id, const http::Request& request) override {
    write({{"time", unix_now()},
           {"event", "received"},
           {"id", id},
           {"request", request.method + " " + request.target},
           {"client", request.remote},
           {"body", request.body}});
  }
  void finished(uint64_t id, int status) override {
    write({{"time", unix_now()}, {"event", "finished"}, {"id", id}, {"status", status}});
  }
  void note(std::string_view text) override {
    write({{"time", unix_now()}, {"event", "note"}, {"text", text}});
  }
  void remove() override {
    std::lock_guard lock(mutex_);
    removed_ = true;
    file_.close();
    std::error_code ignored;
    std::filesystem::remove(current_, ignored);
    std::filesystem::remove(previous_, ignored);
  }

 private:
  void write(const OrderedJson& record) {
    const std::string line = json_text(record) + "\n";
    std::lock_guard lock(mutex_);
    if (removed_) return;
    if (!file_.is_open() || std::chrono::steady_clock::now() - began_ > options_.window ||
        written_ > options_.most_file_bytes)
      start_file();
    file_.clear();  // the disk may have been full, and have room again
    if (file_ << line << std::flush) written_ += line.size();
  }
  void start_file() {
    file_.close();
    std::error_code ignored;
    std::filesystem::rename(current_, previous_, ignored);
    file_ = std::ofstream(current_, std::ios::trunc);
    began_ = std::chrono::steady_clock::now();
    written_ = 0;
  }

  const Options options_;
  const std::filesystem::path current_, previous_;
  std::mutex mutex_;
  std::ofstream file_;
  std::chrono::steady_clock::time_point began_;
  size_t written_ = 0;
  bool removed_ = false;
};

}  // namespace

Result<std::unique_ptr<RequestJournal>> RequestJournal::open(const Options& options) {
  auto journal = std::make_unique<FileJournal>(options);
  TRY(journal->begin());
  return journal;
}

}  // namespace fathom
