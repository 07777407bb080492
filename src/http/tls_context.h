// From TlsFiles to a context of OpenSSL. Internal to http/.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "base/result.h"
#include "http/tls.h"

namespace fathom::http {

// TLS 1.2 and newer. kInvalid names the flag, the file and what is wrong with it.
Result<std::unique_ptr<boost::asio::ssl::context>> tls_context(const TlsFiles& files);

}  // namespace fathom::http
