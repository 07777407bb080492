// What a request says about the form of its output: json_schema, regex, ebnf, structural_tag and
// OpenAI's response_format (spec: http-api 5.2, 8.1; sampling-and-output 6).
#pragma once

#include <optional>

#include "api/json_reader.h"
#include "api/settings.h"
#include "request/sampling_params.h"

namespace fathom::api {

// At most one of the four fields; empty strings count as unset.
void read_grammar(Fields& fields, std::optional<GrammarSpec>& grammar, const Settings& settings);
// response_format; together with one of the four fields it is an error.
void read_response_format(Fields& fields, std::optional<GrammarSpec>& grammar,
                          const Settings& settings);

}  // namespace fathom::api
