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

// HTTP status names in capitals, as errors inside a stream carry them.
std::string_view stream_type_of(int status) {
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

void write_fields(JsonWriter& out, const Failure& failure, std::string_view type) {
  out.key("message").string(failure.message);
  out.key("type").string(type);
  out.key("param").null();
  out.key("code").integer(failure.status);
}

}  // namespace

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
  if (shape == Shape::kNative && !failure.schema) {
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
  write_fields(out, failure, stream_type_of(failure.status));
  out.end_object().end_object();
  return text + "\n\n";
}

}  // namespace fathom::api
