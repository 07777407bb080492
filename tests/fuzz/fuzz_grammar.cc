// The first byte chooses the kind of grammar, the rest is its text. What compiles is walked through
// for some tokens.
#include <cstdlib>

#include "grammar/compiler.h"

namespace {

fathom::GrammarCompiler& compiler() {
  static const auto compiler = [] {
    const auto files = fathom::FileSet::folder(FATHOM_SOURCE_DIR "/demo/bf16");
    return *fathom::GrammarCompiler::create(*fathom::Tokenizer::load(**files), 2048, {1}, {});
  }();
  return *compiler;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const fathom::GrammarSpec spec{
      .kind = static_cast<fathom::GrammarSpec::Kind>(data[0] % 4),
      .text = std::string(reinterpret_cast<const char*>(data + 1), size - 1),
      .starts_after = {}};
  const auto grammar = compiler().compile(spec);
  if (!grammar) return 0;
  auto state = *fathom::GrammarState::create(*grammar, {});
  for (uint32_t step = 0; step < 16 && !state->ended(); ++step) {
    const auto mask = state->mask();
    if (!mask) return 0;  // too complex at this point: an error of this sequence
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < 2048; ++id) {
      if ((*mask)[static_cast<size_t>(id / 32)] >> (id % 32) & 1) allowed.push_back(id);
    }
    if (allowed.empty()) std::abort();
    const size_t choice = (step * 31 + data[step % size]) % allowed.size();
    if (!state->accept(allowed[choice])) std::abort();
  }
  return 0;
}
