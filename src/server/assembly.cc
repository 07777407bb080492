#include "server/assembly.h"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/log.h"
#include "server/model_checksum.h"
#include "server/no_tokenizer.h"
#include "server/schedule_policy.h"
#include "text/builtin_templates.h"
#include "text/hub.h"
#include "weights/gguf/model_files.h"

namespace fathom {
namespace {

HubOptions hub_options(const ServerArgs& args) {
  HubOptions options;
  if (!args.revision.empty()) options.revision = args.revision;
  options.download_dir = args.download_dir;
  options.cache_dir = args.environment.hf_hub_cache;
  options.endpoint = args.environment.hf_endpoint;
  options.token = args.environment.hf_token;
  options.offline = args.environment.hf_offline;
  return options;
}

// One line per file and tenth of it.
HubProgress logging_progress() {
  struct Last {
    std::string file;
    uint64_t tenth = 0;
  };
  return [last = std::make_shared<Last>()](std::string_view file, uint64_t done, uint64_t all) {
    const uint64_t tenth = all > 0 ? done * 10 / all : 0;
    if (last->file == file && last->tenth == tenth) return;
    *last = {std::string(file), tenth};
    log::info("Downloading {}: {}0 % of {:.1f} MB", file, tenth, static_cast<double>(all) / 1e6);
  };
}

Result<std::shared_ptr<const FileSet>> folder_of(const ServerArgs& args, const std::string& name,
                                                 ModelParts parts, FileAccess access) {
  return open_model_files(TRY(locate_model(name, parts, hub_options(args), logging_progress())),
                          access);
}
Result<std::shared_ptr<const FileSet>> folder_of(const ServerArgs& args, const std::string& name,
                                                 ModelParts parts) {
  return folder_of(args, name, parts,
                   args.weight_loader_disable_mmap ? FileAccess::kRead : FileAccess::kMap);
}

// The checkpoint itself, its sums checked.
Result<std::shared_ptr<const FileSet>> checkpoint_of(const ServerArgs& args,
                                                     const std::string& name,
                                                     ModelParts parts = ModelParts::kAll) {
  if (!args.model_checksum.empty()) parts = ModelParts::kAll;
  auto files = TRY(folder_of(args, name, parts));
  if (!args.model_checksum.empty()) TRY(verify_checksums(*files, args.model_checksum));
  return files;
}

Result<std::shared_ptr<const FileSet>> tokenizer_files(
    const ServerArgs& args, const std::shared_ptr<const FileSet>& model) {
  if (args.tokenizer_path.empty() || args.tokenizer_path == args.model_path) return model;
  const std::filesystem::path path(args.tokenizer_path);
  if (path.filename() == "tokenizer.json") return FileSet::folder(path.parent_path());
  return folder_of(args, args.tokenizer_path, ModelParts::kTokenizer);
}

std::string text_of(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  return id ? std::string(tokenizer.token_bytes(*id)) : std::string();
}

// --chat-template: a built-in name or a file; else the checkpoint's own; else none.
Result<std::shared_ptr<const ChatTemplate>> chat_template(const ServerArgs& args,
                                                          const Tokenizer& tokenizer) {
  std::string source(tokenizer.chat_template());
  if (!args.hf_chat_template_name.empty()) {
    source = TRY(named_template(tokenizer.config_json(), args.hf_chat_template_name));
  }
  if (!args.chat_template.empty()) {
    if (const auto builtin = builtin_template(args.chat_template)) {
      source = *builtin;
    } else {
      std::ifstream file(args.chat_template, std::ios::binary);
      if (!file) {
        return fail(ErrorCode::kNotFound,
                    "--chat-template {}: neither a readable file nor a built-in template ({}).",
                    args.chat_template, kBuiltinTemplateNames);
      }
      source.assign(std::istreambuf_iterator<char>(file), {});
    }
  }
  if (source.empty()) return std::shared_ptr<const ChatTemplate>();
  return ChatTemplate::compile(source, text_of(tokenizer, tokenizer.bos()),
                               text_of(tokenizer, tokenizer.eos()));
}

// The model's dialects: named by flags, or told by its chat template ("auto").
Status set_dialects(const ServerArgs& args, const LoadedFiles& files, api::Settings& settings) {
  const ChatTemplate* chat = files.chat_template.get();
  if (args.reasoning_parser == "auto") {
    settings.reasoning = chat ? reasoning_dialect_of(chat->source()) : nullptr;
    log::info("--reasoning-parser auto: {}", settings.reasoning ? settings.reasoning->name : "none");
  } else if (!args.reasoning_parser.empty()) {
    settings.reasoning = TRY(find_reasoning_dialect(args.reasoning_parser));
  }
  if (args.tool_call_parser == "auto") {
    settings.tools = chat ? tool_dialect_of(chat->for_tools().source()) : nullptr;
    log::info("--tool-call-parser auto: {}", settings.tools ? settings.tools->name : "none");
  } else if (!args.tool_call_parser.empty()) {
    settings.tools = TRY(find_tool_dialect(args.tool_call_parser));
  }
  settings.strict_thinking = args.enable_strict_thinking;
  settings.strip_thinking_cache = args.strip_thinking_cache;
  return {};
}

// The command line this process was started with, its keys hidden however they were given.
std::string launch_command(const ServerArgs& args) {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string line;
  for (std::string word; std::getline(file, word, '\0');) {
    for (const std::string& key : {args.api_key, args.admin_api_key, args.tls.key_password}) {
      if (key.empty() || !word.ends_with(key)) continue;
      const size_t kept = word.size() - key.size();
      if (kept == 0 || word[kept - 1] == '=') word = word.substr(0, kept) + "***";
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return line;
}

EvictionPolicy eviction_of(std::string_view name) {
  if (name == "lfu") return EvictionPolicy::kLfu;
  if (name == "slru") return EvictionPolicy::kSegmentedLru;
  if (name == "priority") return EvictionPolicy::kPriority;
  if (name == "tlru") return EvictionPolicy::kTailLru;
  return EvictionPolicy::kLru;
}

}  // namespace

Result<LoadedFiles> load_files(const ServerArgs& args, LoadModel demo_model) {
  LoadedFiles files;
  const ModelParts parts = args.load_format == "dummy" ? ModelParts::kConfig : ModelParts::kAll;
  files.model = args.model_path ? TRY(checkpoint_of(args, *args.model_path, parts)) : demo_model();
  if (args.skip_tokenizer_init) {
    files.tokenizer = no_tokenizer();
    return files;
  }
  const auto source = TRY(tokenizer_files(args, files.model));
  files.tokenizer = TRY(Tokenizer::load(*source));
  files.chat_template = TRY(chat_template(args, *files.tokenizer));
  return files;
}

EngineOptions engine_options(const ServerArgs& args, const LoadedFiles& files) {
  EngineOptions o;
  o.model = files.model;
  o.load_format = args.load_format;
  o.json_model_override = args.json_model_override_args;
  o.kv_cache_dtype = args.kv_cache_dtype;
  o.quant = {args.quantization, args.torchao_config, args.lm_head_dtype};
  o.kernel_target = args.kernel_target;
  o.activations = args.float_activations ? Activations::kFloat : Activations::kFastest;
  o.threads = args.threads;
  o.most_threads = args.environment.omp_threads;
  o.cores = args.cores;
  o.context_length = args.context_length;
  o.mem_fraction_static = args.mem_fraction_static;
  o.max_total_tokens = args.max_total_tokens;
  o.max_running_requests = args.max_running_requests;
  o.chunked_prefill_size = args.chunked_prefill_size;
  o.page_size = args.page_size;
  o.disable_radix_cache = args.disable_radix_cache;
  o.random_seed = args.random_seed;
  o.decode_log_interval = args.decode_log_interval;
  o.enable_nan_detection = args.enable_nan_detection;
  o.original_logprobs = args.environment.original_logprobs;
  o.eviction = eviction_of(args.radix_eviction_policy);
  o.tail_budget = {.threshold = args.tlru_threshold, .next_prompt = args.tlru_next_prompt_estimate};
  o.waiting_timeout = args.environment.waiting_timeout;
  o.running_timeout = args.environment.running_timeout;
  o.max_new_tokens_limit = args.environment.max_new_tokens_limit;
  o.new_log_style = args.environment.new_log_style;
  o.scheduler.policy = schedule_policy_of(args.schedule_policy).value_or(SchedulePolicy::kFcfs);
  o.scheduler.max_queued = args.max_queued_requests;
  o.scheduler.max_prefill_tokens = args.max_prefill_tokens;
  o.scheduler.prefill_max_requests = args.prefill_max_requests;
  o.scheduler.mixed_chunk = args.mixed_chunk;
  o.scheduler.conservativeness = args.schedule_conservativeness;
  o.scheduler.priority_scheduling = args.enable_priority_scheduling;
  o.scheduler.low_priority_values_first = args.schedule_low_priority_values_first;
  o.scheduler.preemption_threshold = args.preemption_threshold;
  if (args.retraction_policy == "priority") o.scheduler.retraction = RetractionPolicy::kPriority;
  o.scheduler.estimate = args.environment.estimate;
  o.scheduler.random_seed = args.random_seed;
  if (!args.skip_tokenizer_init) {
    const Tokenizer& tokenizer = *files.tokenizer;
    o.allowed_tokens.resize(static_cast<size_t>(tokenizer.size()));
    for (int32_t id = 0; id < tokenizer.size(); ++id) {
      o.allowed_tokens[static_cast<size_t>(id)] = tokenizer.has(id);
    }
  }
  return o;
}

ApiServerOptions api_server_options(const ServerArgs& args, LoadModel demo_model) {
  ApiServerOptions o;
  o.http.host = args.host;
  o.http.port = args.port;
  o.http.max_body_bytes = static_cast<size_t>(args.max_body_bytes);
  o.http.keep_alive_timeout = std::chrono::seconds(args.timeout_keep_alive);
  o.http.threads = std::thread::hardware_concurrency() >= 16 ? 2 : 1;
  o.routes.server_args = server_args_json(args);
  o.routes.server_args["launch_command"] = launch_command(args);
  o.routes.health_timeout_seconds = args.environment.health_check_timeout;
  o.routes.enable_metrics = args.enable_metrics;
  o.http.tls = args.tls;
  o.routes.profile_folder = args.environment.profiler_dir;
  o.routes.expert_record_folder = args.environment.expert_record_dir;
  // The demo model is known by its name, too.
  const auto or_demo = [demo = args.model_path ? nullptr : demo_model()](auto open) -> OpenModel {
    return [demo, open](const std::string& name) -> Result<std::shared_ptr<const FileSet>> {
      if (demo && demo->location() == name) return demo;
      return open(name);
    };
  };
  o.routes.open_model =
      or_demo([args](const std::string& name) { return checkpoint_of(args, name); });
  o.routes.map_model = or_demo([args](const std::string& name) {
    return folder_of(args, name, ModelParts::kAll, FileAccess::kMap);
  });
  o.metrics = {.model_name = args.served_model_name,
               .extra_labels = args.extra_metric_labels,
               .first_token_buckets = args.bucket_time_to_first_token,
               .inter_token_buckets = args.bucket_inter_token_latency,
               .end_to_end_buckets = args.bucket_e2e_request_latency};
  o.api_key = args.api_key;
  o.admin_key = args.admin_api_key;
  o.root_path = args.fastapi_root_path;
  const std::string& level = args.log_level_http.empty() ? args.log_level : args.log_level_http;
  o.access_log = level == "debug" || level == "info";
  o.access_log_has_own_level = args.values.given("log-level-http");
  o.access_log_excludes = args.access_log_exclude_prefixes;
  o.request_log = {.enabled = args.log_requests,
                   .level = static_cast<RequestLogLevel>(args.log_requests_level),
                   .json = args.log_requests_json,
                   .targets = args.log_requests_target};
  o.crash_dump_folder = args.crash_dump_folder;
  return o;
}

Result<std::unique_ptr<GrammarCompiler>> grammar_compiler(const ServerArgs& args,
                                                          const LoadedFiles& files,
                                                          const Engine& engine) {
  if (args.grammar_backend == "none" || args.skip_tokenizer_init) return nullptr;
  if (args.grammar_backend != "llguidance") {
    log::info("--grammar-backend {}: grammars are llguidance's work here.", args.grammar_backend);
  }
  auto compiler = GrammarCompiler::create(
      files.tokenizer, engine.model_config().vocab_size, engine.model_config().eos_tokens,
      {.json_whitespace = args.constrained_json_whitespace_pattern,
       .compact_json = args.constrained_json_disable_any_whitespace});
  if (!compiler) return invalid("Grammars cannot be served: {}", compiler.error().message);
  if (!args.constrained_json_whitespace_pattern.empty()) {
    const auto probe = (*compiler)->compile({.kind = GrammarSpec::Kind::kJsonSchema, .text = "{}", .starts_after = {}});
    if (!probe) {
      return invalid("--constrained-json-whitespace-pattern '{}': {}", args.constrained_json_whitespace_pattern,
                     probe.error().message);
    }
  }
  return compiler;
}

Result<api::Settings> api_settings(const ServerArgs& args, const LoadedFiles& files,
                                   const Engine& engine) {
  api::Settings s;
  s.served_model_name = args.served_model_name;
  s.vocab_size = engine.model_config().vocab_size;
  s.context_length = engine.context_length();
  s.max_request_tokens = engine.max_request_tokens();
  if (args.is_embedding) s.embedding_size = engine.model_config().hidden;
  s.stream_interval = args.stream_interval;
  s.incremental_streaming_output = args.incremental_streaming_output;
  s.include_usage_by_default = args.stream_response_default_include_usage;
  s.allow_auto_truncate = args.allow_auto_truncate;
  s.trust_request_chat_template = args.trust_request_chat_template;
  s.text = !args.skip_tokenizer_init;
  s.grammars = args.grammar_backend != "none";
  TRY(set_dialects(args, files, s));
  if (!args.default_chat_template_kwargs.empty()) {
    s.template_kwargs = TRY(api::parse_template_kwargs(args.default_chat_template_kwargs));
  }
  s.priority_scheduling = args.enable_priority_scheduling;
  s.abort_on_priority_when_disabled = args.abort_on_priority_when_disabled;
  s.default_priority = args.default_priority;
  s.max_sequences_per_request = args.max_sequences_per_request;
  s.max_top_logprobs = args.max_top_logprobs;
  if (!args.preferred_sampling_params.empty()) {
    s.native_defaults =
        TRY(api::parse_sampling_defaults(args.preferred_sampling_params, s.native_defaults));
  }
  s.chat_defaults = s.native_defaults;
  if (args.sampling_defaults == "model" && files.model->has("generation_config.json")) {
    const FileBytes config = TRY(files.model->open("generation_config.json"));
    s.chat_defaults = TRY(api::parse_generation_config(config.text(), s.chat_defaults));
  }
  return s;
}

ModelFacts model_facts(const ServerArgs& args, const LoadedFiles& files, const Engine& engine,
                       const api::Settings& settings, double startup_seconds) {
  const ModelConfig& config = engine.model_config();
  const Engine::MemoryUse memory = engine.memory();
  ModelFacts f;
  f.model_path = args.model_path.value_or(files.model->location());
  f.tokenizer_path = args.tokenizer_path.empty() ? f.model_path : args.tokenizer_path;
  f.served_name = args.served_model_name;
  f.load_format = args.load_format;
  f.weight_version = args.weight_version;
  f.model_type = config.model_type;
  f.architecture = config.architecture;
  f.vocab_size = config.vocab_size;
  f.context_length = engine.context_length();
  if (config.bos_token >= 0) f.bos_token = config.bos_token;
  f.eos_tokens = config.eos_tokens;
  f.pool_tokens = engine.max_total_tokens();
  f.max_request_tokens = engine.max_request_tokens();
  f.max_running = engine.plan().max_running;
  f.page_size = args.page_size;
  f.chunked_prefill_size = engine.plan().chunk_rows;
  f.mem_fraction = engine.plan().mem_fraction;
  if (settings.reasoning) f.reasoning_parser = settings.reasoning->name;
  if (settings.tools) f.tool_call_parser = settings.tools->name;
  f.available_bytes = memory.available;
  f.weight_bytes = memory.weights;
  f.kv_bytes = memory.kv;
  f.scratch_bytes = memory.scratch;
  f.created = std::time(nullptr);
  f.startup_seconds = startup_seconds;
  return f;
}

size_t text_threads() {
  return std::clamp(std::thread::hardware_concurrency() / 4, 1u, 8u);
}

}  // namespace fathom
