// The routes that make text or tokens. Every generating route is the same flow:
//   parse -> template and tokenise (text pool) -> submit -> events -> chunks or one answer.
// One object serves all connections; its methods run on the connection's executor.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>

#include "api/settings.h"
#include "engine/engine.h"
#include "grammar/compiler.h"
#include "http/server.h"
#include "server/generation/text_pool.h"
#include "server/telemetry/metrics.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace fathom {

class GenerationHandlers {
 public:
  using Submit = std::function<Result<TokenStream>(GenerateRequest, OnTokens)>;

  struct Parts {
    Submit submit;                                      // Engine::submit, or a stand-in
    Arrivals* arrivals = nullptr;  // null: aborts reach only what is submitted; outlives this
    std::shared_ptr<const Tokenizer> tokenizer;         // never null
    std::shared_ptr<const ChatTemplate> chat_template;  // null: chat is refused with 400
    api::Settings settings;
    TextPool* pool = nullptr;    // outlives this
    GrammarCompiler* grammars = nullptr;  // null: none are served; outlives this
    TextPool* grammar_pool = nullptr;     // where they are compiled, so that none waits for texts
    Metrics* metrics = nullptr;  // may be null; outlives this
    OnFinished on_finished;      // may be empty
  };

  explicit GenerationHandlers(Parts parts) : parts_(std::move(parts)) {}
  // `engine` outlives this.
  GenerationHandlers(Engine& engine, std::shared_ptr<const Tokenizer> tokenizer,
                     std::shared_ptr<const ChatTemplate> chat_template, api::Settings settings,
                     TextPool& pool, GrammarCompiler* grammars, TextPool& grammar_pool,
                     Metrics* metrics, OnFinished on_finished = {})
      : GenerationHandlers(Parts{.submit =
                                     [&engine](GenerateRequest request, OnTokens on_tokens) {
                                       return engine.submit(std::move(request),
                                                            std::move(on_tokens));
                                     },
                                 .arrivals = &engine.arrivals(),
                                 .tokenizer = std::move(tokenizer),
                                 .chat_template = std::move(chat_template),
                                 .settings = std::move(settings),
                                 .pool = &pool,
                                 .grammars = grammars,
                                 .grammar_pool = &grammar_pool,
                                 .metrics = metrics,
                                 .on_finished = std::move(on_finished)}) {}

  using Done = boost::asio::awaitable<void>;
  Done generate(const http::Request& request, http::Responder& responder);     // /generate
  Done completions(const http::Request& request, http::Responder& responder);  // /v1/completions
  Done chat_completions(const http::Request& request, http::Responder& responder);  // /v1/chat/…
  Done vertex_generate(const http::Request& request, http::Responder& responder);
  Done messages(const http::Request& request, http::Responder& responder);      // /v1/messages
  Done count_tokens(const http::Request& request, http::Responder& responder);  // /v1/messages/…
  Done responses(const http::Request& request, http::Responder& responder);     // /v1/responses
  Done embeddings(const http::Request& request, http::Responder& responder);    // /v1/embeddings
  Done encode(const http::Request& request, http::Responder& responder);        // /encode
  Done score(const http::Request& request, http::Responder& responder);         // /v1/score
  Done tokenizer_info(const http::Request& request, http::Responder& responder);
  Done tokenize(const http::Request& request, http::Responder& responder);    // and /v1/tokenize
  Done detokenize(const http::Request& request, http::Responder& responder);  // and /v1/detokenize

 private:
  Parts parts_;
};

}  // namespace fathom
