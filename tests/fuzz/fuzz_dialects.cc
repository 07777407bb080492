// Answers of a model: cut in any way they must be read the same, and text may not vanish.
#include <cstdlib>

#include "text/dialects/testing/cuts.h"

using namespace fathom;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > 16384) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const ReasoningParser thoughts(**find_reasoning_dialect("deepseek-r1"), data[0] & 1);
  const ToolCallParser calls(**find_tool_dialect(data[0] & 2 ? "deepseekv3" : "deepseekv31"),
                             {"f", "get_weather"});
  const DialectEvents want = joined(read_pieces(whole(text), thoughts, calls));
  if (joined(read_pieces(bytewise(text), thoughts, calls)) != want) std::abort();
  if (joined(read_pieces(random_cuts(text, data[0]), thoughts, calls)) != want) std::abort();

  const GatheredOutput got = gather(want);
  // Without a call only the tags of the thoughts are missing.
  if (got.calls.empty() && text.find("think>") == std::string_view::npos &&
      got.reasoning + got.content != text) {
    std::abort();
  }
  return 0;
}
