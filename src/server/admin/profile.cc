#include "server/admin/profile.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <mutex>

#include "base/log.h"
#include "server/admin/body.h"
#include "server/answers.h"
#include "server/error_body.h"

namespace fathom {
namespace {

namespace asio = http::asio;

struct ProfileOptions {
  std::string folder;
  std::string id;
  std::optional<int64_t> start_step, num_steps;
};

Result<ProfileOptions> parse_options(const std::string& body, const std::string& default_folder) {
  AdminBody fields = TRY(AdminBody::parse(body));
  ProfileOptions o;
  o.folder = fields.text("output_dir").value_or(default_folder);
  o.start_step = fields.integer("start_step", 0, INT64_MAX);
  o.num_steps = fields.integer("num_steps", 1, INT64_MAX);
  const std::string prefix = fields.text("profile_prefix").value_or("");
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  o.id = fields.text("profile_id").value_or(fmt::format("{:.6f}", now.count()));
  if (!prefix.empty()) o.id = prefix + "-" + o.id;
  TRY(fields.status());
  if (o.id.empty() || o.id.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
    return invalid("profile_id and profile_prefix: must be parts of a file name");
  }
  return o;
}

Status write_gzip(const std::filesystem::path& path, const std::string& text) {
  std::error_code ec;
  std::filesystem::create_directories(path.parent_path(), ec);
  const gzFile file = gzopen(path.c_str(), "wb");
  if (!file) return invalid("cannot write {}", path.string());
  const bool good = gzfwrite(text.data(), 1, text.size(), file) == text.size();
  if (gzclose(file) != Z_OK || !good) return invalid("cannot write all of {}", path.string());
  return {};
}

}  // namespace

std::string chrome_trace(const std::vector<ProfileEvent>& events) {
  const int pid = getpid();
  OrderedJson list = OrderedJson::array();
  list.push_back(
      {{"name", "process_name"}, {"ph", "M"}, {"pid", pid}, {"args", {{"name", "fathom"}}}});
  list.push_back({{"name", "thread_name"},
                  {"ph", "M"},
                  {"pid", pid},
                  {"tid", 0},
                  {"args", {{"name", "engine"}}}});
  for (const ProfileEvent& e : events) {
    list.push_back(
        {{"name", e.phase},
         {"cat", "engine"},
         {"ph", "X"},
         {"ts", e.start * 1e6},
         {"dur", e.seconds * 1e6},
         {"pid", pid},
         {"tid", 0},
         {"args",
          {{"step", e.step}, {"prompt_rows", e.prompt_rows}, {"decode_rows", e.decode_rows}}}});
  }
  return json_text(OrderedJson{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(list)}});
}

class ProfileSession : public std::enable_shared_from_this<ProfileSession> {
 public:
  ProfileSession(const ServerState& state, TextPool& blocking, std::string default_folder)
      : state_(state), blocking_(blocking), default_folder_(std::move(default_folder)) {}

  Status start(const std::string& body) {
    ProfileOptions options = TRY(parse_options(body, default_folder_));
    std::error_code ec;
    std::filesystem::create_directories(options.folder, ec);
    if (ec || access(options.folder.c_str(), W_OK) != 0) {
      return invalid("output_dir {}: not a folder that can be written", options.folder);
    }
    std::lock_guard lock(mutex_);
    if (active_) return invalid("Profiling is already in progress. Call /stop_profile first.");
    active_ = true;
    EngineControl& engine = *state_.model()->engine;
    ProfileRequest request{.start_step = 0, .num_steps = options.num_steps, .done = {}};
    // As SGLang counts: the number of the forward pass since the start.
    if (options.start_step) {
      request.start_step = std::max<int64_t>(*options.start_step - engine.stats().steps, 0);
    }
    request.done = [self = shared_from_this(), options](std::vector<ProfileEvent> events) {
      self->blocking_.post(
          [self, options, events = std::move(events)] { self->write(options, events); });
    };
    engine.start_profile(std::move(request));
    return {};
  }

  asio::awaitable<Status> stop() {
    {
      std::lock_guard lock(mutex_);
      if (!active_) co_return invalid("Profiling is not in progress. Call /start_profile first.");
    }
    state_.model()->engine->stop_profile();
    asio::steady_timer pause(co_await asio::this_coro::executor);
    for (int i = 0; i < kStopChecks; ++i) {
      {
        std::lock_guard lock(mutex_);
        if (!active_) co_return result_;
      }
      pause.expires_after(kStopCheck);
      co_await pause.async_wait(asio::use_awaitable);
    }
    co_return fail(ErrorCode::kInternal, "The engine did not hand out its profile.");
  }

 private:
  static constexpr std::chrono::milliseconds kStopCheck{20};
  static constexpr int kStopChecks = 3000;

  void write(const ProfileOptions& options, const std::vector<ProfileEvent>& events) {
    const auto path = std::filesystem::path(options.folder) / (options.id + "-TP-0.trace.json.gz");
    Status written;
    try {
      written = write_gzip(path, chrome_trace(events));
    } catch (const std::exception& e) {  // a million events make a long text
      written = fail(ErrorCode::kExhausted, "{}", e.what());
    }
    if (written) {
      log::info("Profiling done. Traces are saved to: {}", path.string());
    } else {
      log::error("Profiling: {}", written.error().message);
    }
    std::lock_guard lock(mutex_);
    active_ = false;
    result_ = std::move(written);
  }

  const ServerState& state_;
  TextPool& blocking_;
  const std::string default_folder_;
  std::mutex mutex_;
  bool active_ = false;  // until the file is written
  Status result_;
};

std::shared_ptr<ProfileSession> make_profile_session(const ServerState& state, TextPool& blocking,
                                                     std::string default_folder) {
  return std::make_shared<ProfileSession>(state, blocking, std::move(default_folder));
}

http::Handler start_profile_handler(std::shared_ptr<ProfileSession> session) {
  return [session](const http::Request& request, http::Responder& responder) {
    const Status started = session->start(request.body);
    return responder.send(started
                              ? plain_text("Start profiling.\n")
                              : error_response(ErrorShape::kNative, 400, started.error().message));
  };
}

namespace {
asio::awaitable<void> answer_stop(std::shared_ptr<ProfileSession> session,
                                  http::Responder& responder) {
  const Status stopped = co_await session->stop();
  auto response = stopped ? plain_text("Stop profiling. This will take some time.\n")
                          : error_response(ErrorShape::kNative, 400, stopped.error().message);
  co_await responder.send(std::move(response));
}
}  // namespace

http::Handler stop_profile_handler(std::shared_ptr<ProfileSession> session) {
  return [session](const http::Request&, http::Responder& responder) {
    return answer_stop(session, responder);
  };
}

}  // namespace fathom
