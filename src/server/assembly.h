// From flags to the options of each part: files, engine, API, HTTP server. Nothing here starts
// anything.
#pragma once

#include <functional>
#include <memory>

#include "api/settings.h"
#include "base/file_set.h"
#include "base/result.h"
#include "engine/engine.h"
#include "grammar/compiler.h"
#include "server/api_server.h"
#include "server/args/server_args.h"
#include "server/info.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace fathom {

using LoadModel = const std::function<std::shared_ptr<const FileSet>()>&;

// What is read before the engine is planned.
struct LoadedFiles {
  std::shared_ptr<const FileSet> model;
  std::shared_ptr<const Tokenizer> tokenizer;         // never null
  std::shared_ptr<const ChatTemplate> chat_template;  // null: the checkpoint has none
};

// Finds or downloads the model and its tokenizer. `demo_model` is used without --model-path.
Result<LoadedFiles> load_files(const ServerArgs& args, LoadModel demo_model);

EngineOptions engine_options(const ServerArgs& args, const LoadedFiles& files);
ApiServerOptions api_server_options(const ServerArgs& args, LoadModel demo_model);
// Null with --grammar-backend none and without a tokenizer.
Result<std::unique_ptr<GrammarCompiler>> grammar_compiler(const ServerArgs& args,
                                                          const LoadedFiles& files,
                                                          const Engine& engine);
Result<api::Settings> api_settings(const ServerArgs& args, const LoadedFiles& files,
                                   const Engine& engine);
ModelFacts model_facts(const ServerArgs& args, const LoadedFiles& files, const Engine& engine,
                       const api::Settings& settings, double startup_seconds);
size_t text_threads();

}  // namespace fathom
