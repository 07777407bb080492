#include "api/errors.h"

#include "api/json_writer.h"

namespace fathom::api {
namespace {

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
    case ErrorCode::kUnsupported:
      return 400;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kExhausted:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

std::string_view type_of(const Failure& failure) {
  if (failure.schema) return "Bad Request";
  switch (failure.status) {
    case 400:
      return "BadRequestError";
    case 404:
      return "NotFoundError";
    case 501:
      return "NotImplementedError";
    case 503:
      return "503";
    default:
      return "InternalServerError";
  }
}

void write_fields(JsonWriter& out, const Failure& failure, std::string_view type) {
  out.key("message").string(failure.message);
  out.key("type").string(type);
  out.key("param").null();
  out.key("code").integer(failure.status);
}

// Details of what broke inside are for the log.
std::string_view anthropic_message(const Failure& failure) {
  const bool internal = failure.status == 500 || failure.status == 502 || failure.status == 504;
  return internal ? "Internal server error" : std::string_view(failure.message);
}

}  // namespace

std::string_view anthropic_error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

std::string_view stream_error_type(int status) {
  switch (status) {
    case 400:
      return "BAD_REQUEST";
    case 404:
      return "NOT_FOUND";
    case 503:
      return "SERVICE_UNAVAILABLE";
    default:
      return "INTERNAL_SERVER_ERROR";
  }
}

Failure::Failure(const Error& error) : status(status_of(error.code)), message(error.message) {
  if (error.code == ErrorCode::kInternal) message = "Internal server error: " + message;
}

Failure failure_of(const FinishReason& abort) {
  return {abort.status_code, abort.message};
}

std::string error_body(const Failure& failure, Shape shape) {
  std::string text;
  JsonWriter out(text);
  out.begin_object();
  if (shape == Shape::kAnthropic) {
    out.key("type").string("error").key("error").begin_object();
    out.key("type").string(anthropic_error_type(failure.status));
    out.key("message").string(anthropic_message(failure)).end_object();
  } else if (shape == Shape::kNested) {
    out.key("error").begin_object();
    write_fields(out, failure, type_of(failure));
    out.end_object();
  } else if (shape == Shape::kNative && !failure.schema) {
    out.key("error").begin_object().key("message").string(failure.message).end_object();
  } else {
    out.key("object").string("error");
    write_fields(out, failure, type_of(failure));
    out.key("error").begin_object();
    write_fields(out, failure, type_of(failure));
    out.end_object();
  }
  out.end_object();
  return text;
}

std::string error_event(const Failure& failure) {
  std::string text = "data: ";
  JsonWriter out(text);
  out.begin_object().key("error").begin_object().key("object").string("error");
  write_fields(out, failure, stream_error_type(failure.status));
  out.end_object().end_object();
  return text + "\n\n";
}

}  // namespace fathom::api
