// A subcommand of the fathom binary.
#pragma once

#include <span>
#include <string>

namespace fathom {

int launch_server(std::span<const std::string> args);
int bench_one_batch(std::span<const std::string> args);
int bench(std::span<const std::string> args);
int convert_checkpoint(std::span<const std::string> args);
int inspect(std::span<const std::string> args);
int doctor(std::span<const std::string> args);

}  // namespace fathom
