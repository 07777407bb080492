#include "server/launch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "server/api_server.h"
#include "server/assembly.h"
#include "server/generation/generation.h"
#include "server/stop_signals.h"
#include "server/telemetry/request_records.h"
#include "server/telemetry/trace_exporter.h"
#include "server/warm_up.h"
#include "server/watchdog.h"

namespace fathom {
namespace {

constexpr std::chrono::seconds kTick{1};
constexpr double kEngineGraceSeconds = 5;
constexpr double kAnswerGraceSeconds = 2;  // for what has ended to be written

double now() {
  return SteadyClock().now();
}

// Weights are read from mapped files for as long as they are served. Of one that shrinks, pages are
// gone that nothing can bring back: the process ends, but not without a word.
void explain_bus_error(int) {
  constexpr std::string_view kText =
      "Bus error: a mapped file could not be read. Most likely a file of the model was overwritten "
      "or became shorter while it was served. Start again; to change files meanwhile, rename new "
      "ones into their place, or start with --weight-loader-disable-mmap.\n";
  static std::atomic_flag said;
  while (said.test_and_set()) pause();  // several threads read the file; the first one ends all
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText.data(), kText.size());
  std::signal(SIGBUS, SIG_DFL);  // the same access ends the process
}

std::string url_of(const std::string& host, uint16_t port, bool secure) {
  const bool bare_ipv6 = host.find(':') != std::string::npos && !host.starts_with('[');
  return fmt::format("{}://{}:{}", secure ? "https" : "http",
                     bare_ipv6 ? fmt::format("[{}]", host) : host, port);
}

void announce(const ServerArgs& args) {
  log::info("{}", server_args_line(args));
  for (const auto& [flag, why] : args.values.without_effect()) {
    log::info("--{} has no effect on the cpu backend: {}", flag, why);
  }
  for (const std::string& name : args.environment.ignored) {
    log::debug("The environment variable {} has no effect on the cpu backend.", name);
  }
  if (!args.model_path) log::info("No --model-path given: serving the embedded demo model.");
}

// Everything that exists between loading and shutdown. Members are destroyed from the bottom up.
struct Service {
  LoadedFiles files;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<GrammarCompiler> grammars;  // null: --grammar-backend none
  std::unique_ptr<TextPool> pool;
  std::unique_ptr<TextPool> grammar_pool;
  std::unique_ptr<GenerationHandlers> handlers;
};

GenerationRoutes routes_to(GenerationHandlers& handlers) {
  const auto to = [&handlers](auto method) -> http::Handler {
    return [&handlers, method](const http::Request& request, http::Responder& responder) {
      return (handlers.*method)(request, responder);
    };
  };
  return {.generate = to(&GenerationHandlers::generate),
          .vertex_generate = to(&GenerationHandlers::vertex_generate),
          .completions = to(&GenerationHandlers::completions),
          .chat_completions = to(&GenerationHandlers::chat_completions),
          .messages = to(&GenerationHandlers::messages),
          .count_tokens = to(&GenerationHandlers::count_tokens),
          .responses = to(&GenerationHandlers::responses),
          .embeddings = to(&GenerationHandlers::embeddings),
          .encode = to(&GenerationHandlers::encode),
          .score = to(&GenerationHandlers::score),
          .tokenize = to(&GenerationHandlers::tokenize),
          .detokenize = to(&GenerationHandlers::detokenize),
          .tokenizer_info = to(&GenerationHandlers::tokenizer_info)};
}

// What is done with every finished request besides metrics. Empty when nothing is.
Result<OnFinished> finished_sinks(const ServerArgs& args) {
  std::vector<OnFinished> sinks;
  if (args.enable_request_time_stats_logging) {
    sinks.push_back([](const FinishedRequest& r) { log::info("{}", time_stats_line(r)); });
  }
  if (!args.export_metrics_to_file_dir.empty()) {
    sinks.push_back([files = TRY(MetricsFiles::open(args.export_metrics_to_file_dir))](
                        const FinishedRequest& r) { files->write(r); });
  }
  if (!args.otlp_traces_endpoint.empty()) {
    sinks.push_back([traces = TRY(TraceExporter::open(args.otlp_traces_endpoint))](
                        const FinishedRequest& r) { traces->add(r); });
  }
  if (sinks.empty()) return OnFinished();
  return [sinks = std::move(sinks)](const FinishedRequest& r) {
    for (const OnFinished& sink : sinks) sink(r);
  };
}

// --delete-ckpt-after-loading: the weights are in memory, their files are not needed any more.
void delete_weight_files(const FileSet& model) {
  for (const std::string& name : model.names()) {
    if (!name.ends_with(".safetensors") && !name.ends_with(".safetensors.index.json")) continue;
    std::error_code error;
    const bool deleted =
        std::filesystem::remove(std::filesystem::path(model.location()) / name, error);
    if (!deleted) log::warn("--delete-ckpt-after-loading: {}: {}", name, error.message());
  }
}

Status load(const ServerArgs& args, LoadedFiles files, ApiServer& server, Service& service) {
  const Plan plan = TRY(resolve(engine_options(args, files)));
  for (const std::string& note : plan.notes) log::warn("{}", note);
  service.files = std::move(files);
  service.engine = TRY(Engine::create(plan));
  service.grammars = TRY(grammar_compiler(args, service.files, *service.engine));
  if (args.delete_ckpt_after_loading && args.model_path) delete_weight_files(*service.files.model);
  service.pool = std::make_unique<TextPool>(text_threads());
  service.grammar_pool = std::make_unique<TextPool>(1);
  api::Settings settings = TRY(api_settings(args, service.files, *service.engine));
  settings.weight_version = [&state = server.state()] { return state.weight_version(); };
  LoadedModel model;
  model.facts = model_facts(args, service.files, *service.engine, settings,
                            server.state().seconds_since_start());
  OnFinished sinks = TRY(finished_sinks(args));
  service.handlers = std::make_unique<GenerationHandlers>(
      *service.engine, service.files.tokenizer, service.files.chat_template, std::move(settings),
      *service.pool, service.grammars.get(), *service.grammar_pool, &server.state().metrics,
      std::move(sinks));
  model.engine = control_of(*service.engine);
  model.routes = routes_to(*service.handlers);
  server.attach(std::move(model));
  return {};
}

// Until the first signal. Aborts the process when the engine stands still with work waiting.
void serve(const ServerArgs& args, ServerState& state, Service& service, StopSignals& signals) {
  Watchdog watchdog(args.watchdog_timeout);
  Watchdog soft_watchdog(args.soft_watchdog_timeout);
  bool reported = false;  // by the soft one, once per standstill
  while (!signals.wait(kTick)) {
    const EngineStats stats = service.engine->stats();
    const auto describe = [&stats](double timeout) {
      return fmt::format(
          "Watchdog: no step for {:.0f} s with {} running and {} queued requests after {} "
          "steps; {} of {} KV tokens in use",
          timeout, stats.running, stats.queued, stats.steps, stats.used_tokens, stats.total_tokens);
    };
    const bool slow = soft_watchdog.stuck(stats, now());
    if (slow && !reported) {
      log::error("{}.", describe(args.soft_watchdog_timeout));
      if (state.journal) state.journal->note(describe(args.soft_watchdog_timeout));
    }
    reported = slow;
    if (!watchdog.stuck(stats, now())) continue;
    log::critical("{}; aborting the process.", describe(args.watchdog_timeout));
    if (state.journal) state.journal->note(describe(args.watchdog_timeout));
    std::abort();
  }
}

void shut_down(const ServerArgs& args, ApiServer& server, Service& service) {
  log::info("INFO:     Shutting down");
  const bool force = args.environment.force_shutdown;
  service.engine->resume();  // else requests that are paused would last until the time is over
  if (!force && !server.drain(static_cast<double>(args.graceful_exit_timeout))) {
    log::warn("{} requests did not finish within {} s (--graceful-exit-timeout); they are aborted.",
              server.state().generating.load(), args.graceful_exit_timeout);
  }
  server.state().enter(Phase::kStopping);
  service.engine->abort_all();
  service.engine->shutdown(force ? 0 : kEngineGraceSeconds);
  if (!force) server.drain(kAnswerGraceSeconds);
  server.stop();
  if (server.state().journal) server.state().journal->remove();
  log::info("INFO:     Application shutdown complete.");
  log::info("INFO:     Finished server process [{}]", getpid());
}

Status run(const ServerArgs& args, LoadModel demo_model, StopSignals& signals) {
  std::unique_ptr<ApiServer> server = TRY(ApiServer::listen(api_server_options(args, demo_model)));
  log::info("INFO:     Started server process [{}]", getpid());
  log::info("INFO:     Waiting for application startup.");
  Service service;
  const auto failed = [&server](Error error) {
    server->stop();
    if (server->state().journal) server->state().journal->remove();  // the log says why
    return std::unexpected(std::move(error));
  };
  auto files = load_files(args, demo_model);
  if (!files) return failed(std::move(files.error()));
  if (auto loaded = load(args, std::move(*files), *server, service); !loaded) {
    return failed(std::move(loaded.error()));
  }
  log::info("INFO:     Application startup complete.");
  log::info("INFO:     Uvicorn running on {} (Press CTRL+C to quit)",
            url_of(args.host, server->port(), args.tls.enabled()));
  if (!args.skip_server_warmup) {
    if (auto warm = warm_up(*service.engine, *service.files.tokenizer); !warm) {
      return failed(std::move(warm.error()));
    }
  }
  signals.be_graceful();
  server->state().enter(Phase::kServing);
  log::info("The server is fired up and ready to roll!");
  serve(args, server->state(), service, signals);
  shut_down(args, *server, service);
  return {};
}

Status print_plan(const ServerArgs& args, LoadModel demo_model) {
  const LoadedFiles files = TRY(load_files(args, demo_model));
  const Plan plan = TRY(resolve(engine_options(args, files)));
  fmt::print("{}", plan.to_text());
  return {};
}

}  // namespace

int run_server(const ServerArgs& args,
               const std::function<std::shared_ptr<const FileSet>()>& demo_model) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader of our log that goes away must not take us with it
  std::signal(SIGBUS, explain_bus_error);
  log::init(args.log_level);
  announce(args);
  Status status;
  if (args.dry_run) {
    status = print_plan(args, demo_model);
  } else {
    StopSignals signals;
    status = run(args, demo_model, signals);
  }
  if (status) return 0;
  log::critical("{}", status.error().message);  // whatever --log-level is: it is why we end
  return 1;
}

}  // namespace fathom
