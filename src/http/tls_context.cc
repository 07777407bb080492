#include "http/tls_context.h"

#include <openssl/ssl.h>

#include <filesystem>
#include <fstream>

namespace fathom::http {
namespace {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

Status check_readable(std::string_view flag, const std::string& path) {
  std::error_code ec;
  if (!std::filesystem::exists(path, ec)) return invalid("{} {}: no such file", flag, path);
  if (!std::filesystem::is_regular_file(path, ec)) return invalid("{} {}: not a file", flag, path);
  if (!std::ifstream(path)) return invalid("{} {}: cannot be read", flag, path);
  return {};
}

}  // namespace

Result<std::unique_ptr<ssl::context>> tls_context(const TlsFiles& files) {
  constexpr std::string_view kCertificate = "--ssl-certfile", kKey = "--ssl-keyfile",
                             kAuthorities = "--ssl-ca-certs";
  TRY(check_readable(kCertificate, files.certificate_file));
  TRY(check_readable(kKey, files.key_file));
  auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  error_code ec;
  context->set_options(ssl::context::default_workarounds | SSL_OP_NO_RENEGOTIATION, ec);
  context->set_password_callback(
      [password = files.key_password](size_t, ssl::context::password_purpose) { return password; },
      ec);
  context->use_certificate_chain_file(files.certificate_file, ec);
  if (ec) {
    return invalid("{} {}: not a PEM certificate chain ({})", kCertificate, files.certificate_file,
                   ec.message());
  }
  context->use_private_key_file(files.key_file, ssl::context::pem, ec);
  if (ec) {
    const bool mismatch = ec.message().find("mismatch") != std::string::npos;
    return invalid("{} {}: {} ({})", kKey, files.key_file,
                   mismatch ? "does not belong to the certificate of --ssl-certfile"
                            : "not a PEM private key, or --ssl-keyfile-password is wrong",
                   ec.message());
  }
  if (SSL_CTX_check_private_key(context->native_handle()) != 1) {
    return invalid("{} {}: does not belong to the certificate {}", kKey, files.key_file,
                   files.certificate_file);
  }
  if (!files.authorities_file.empty()) {
    TRY(check_readable(kAuthorities, files.authorities_file));
    context->load_verify_file(files.authorities_file, ec);
    if (!ec) context->set_verify_mode(ssl::verify_peer, ec);
    if (ec) {
      return invalid("{} {}: not PEM certificates ({})", kAuthorities, files.authorities_file,
                     ec.message());
    }
    constexpr unsigned char kSessionContext[] = "fathom";  // needed where clients are verified
    SSL_CTX_set_session_id_context(context->native_handle(), kSessionContext,
                                   sizeof(kSessionContext) - 1);
  }
  return context;
}

}  // namespace fathom::http
