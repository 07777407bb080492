// What makes a server speak HTTPS: files as --ssl-* name them.
#pragma once

#include <string>

namespace fathom::http {

struct TlsFiles {
  std::string certificate_file;  // PEM chain, the server's own first
  std::string key_file;          // PEM
  std::string key_password;      // of an encrypted key
  std::string
      authorities_file;  // PEM; clients that send a certificate must be signed by one of them
  bool enabled() const { return !certificate_file.empty(); }
};

}  // namespace fathom::http
