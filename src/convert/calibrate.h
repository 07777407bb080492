// Activation-aware scaling for int4 (AWQ: Lin et al., arXiv 2306.00978). The model reads a text;
// the inputs behind the two norms of each layer are averaged per channel. Channels with large
// inputs are scaled up before rounding, and the norm in front (and the router behind it) is scaled
// the other way, so that the model computes the same. Scales are powers of two: nothing is rounded
// by the folding itself.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "convert/source.h"
#include "convert/target.h"

namespace fathom::convert {

// Inputs of all layers behind one norm.
struct ChannelScales {
  std::vector<float> scale;       // columns of these layers are multiplied by it, the norm divided
  std::vector<float> importance;  // mean square of the input
  double exponent = 0;            // that was chosen
};

// By the norm's tensor name.
using Calibration = std::map<std::string, ChannelScales, std::less<>>;

// The norm whose output is the input of this weight ("model.layers.0.mlp.experts.1.up_proj",
// "model.layers.0.mlp.gate"); "": another layer's output, which is not scaled.
std::string norm_before(const std::string& prefix);

// Runs the model over at most 16,384 tokens of the text.
Result<Calibration> calibrate(const Source& source, const std::filesystem::path& text,
                              const TargetOptions& options, Exec& exec);

}  // namespace fathom::convert
